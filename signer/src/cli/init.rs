//! `init`: a commented `hsmsign.yaml` and the dev token.

use super::Context;
use crate::error::Error;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {}

pub(super) fn run(_context: &Context<'_>, _args: &InitArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
