//! `sign blob` and `verify blob`.

use super::Context;
use crate::error::Error;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignBlobArgs {}

pub(super) fn sign(_context: &Context<'_>, _args: &SignBlobArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyBlobArgs {}

pub(super) fn verify(_context: &Context<'_>, _args: &VerifyBlobArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
