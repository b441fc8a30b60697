//! `doctor`: what is configured, reachable, wrong, and how to mend it.

use super::Context;
use crate::error::Error;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

pub(super) fn run(_context: &Context<'_>, _args: &DoctorArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
