//! `sign rootfs` and `verify rootfs`.

use super::Context;
use crate::error::Error;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignRootfsArgs {}

pub(super) fn sign(_context: &Context<'_>, _args: &SignRootfsArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyRootfsArgs {}

pub(super) fn verify(_context: &Context<'_>, _args: &VerifyRootfsArgs) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
