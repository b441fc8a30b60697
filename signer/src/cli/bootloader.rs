//! `sign bootloader` and `verify bootloader`.

use super::Context;
use crate::error::Error;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignBootloaderArgs {}

pub(super) fn sign(_context: &Context<'_>, _args: &SignBootloaderArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyBootloaderArgs {}

pub(super) fn verify(_context: &Context<'_>, _args: &VerifyBootloaderArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
