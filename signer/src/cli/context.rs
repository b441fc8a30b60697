//! What every command works with: settings resolved once, keys opened on demand.

use super::{
    Output,
    args::{Global, TrustArgs},
};
use crate::{
    error::Error,
    key::KeyError,
    policy::TrustedKey,
    request::{Answer, Role},
};

/// Settings of one run.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where the command speaks.
    pub output: &'a Output,
}

impl<'a> Context<'a> {
    /// Resolves settings: command line, environment, file, default.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a configuration that cannot be used.
    pub fn new(_global: &Global, output: &'a Output) -> Result<Self, Error> {
        Ok(Self { output })
    }

    /// The product's name, for certificates, reports and derived salts.
    #[must_use]
    pub fn product(&self) -> &str {
        "unnamed"
    }

    /// Opens the key of `role` in the current mode.
    ///
    /// # Errors
    ///
    /// Refused in mode `off`; otherwise what keeps the token from being used.
    pub fn signer(&self, role: Role) -> Result<Box<dyn Answer>, Error> {
        Err(KeyError::NoToken(role).into())
    }

    /// The keys that a verification for `role` accepts.
    ///
    /// # Errors
    ///
    /// A trust file that cannot be read, or a dev token that does not exist yet.
    pub fn trust(&self, role: Role, _trust: &TrustArgs) -> Result<Vec<TrustedKey>, Error> {
        Err(KeyError::NoToken(role).into())
    }
}
