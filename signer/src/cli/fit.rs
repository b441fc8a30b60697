//! `sign fit` and `verify fit`.

use super::Context;
use crate::error::Error;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignFitArgs {}

pub(super) fn sign(_context: &Context<'_>, _args: &SignFitArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyFitArgs {}

pub(super) fn verify(_context: &Context<'_>, _args: &VerifyFitArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
