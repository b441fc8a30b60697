//! `keys`: show, check, make and export keys.

use super::Context;
use crate::error::Error;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Every role's key: token, algorithm, fingerprint, certificate, age
    List,
}

pub(super) fn run(_context: &Context<'_>, _command: &KeysCommand) -> Result<(), Error> {
    Err(Error::Internal("not built yet".into()))
}
