//! `sign swu` and `verify swu`.

use super::Context;
use crate::error::Error;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignSwuArgs {}

pub(super) fn sign(_context: &Context<'_>, _args: &SignSwuArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifySwuArgs {}

pub(super) fn verify(_context: &Context<'_>, _args: &VerifySwuArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
