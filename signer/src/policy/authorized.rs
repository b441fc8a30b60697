//! The proof that a key may sign: made only by this module's policies.

use super::Mode;
use crate::{
    crypto::{Fingerprint, SignatureAlgorithm},
    vocabulary::Role,
};
use std::marker::PhantomData;

/// Marks what belongs to dev mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dev {}

/// Marks what belongs to release mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Dev {}
    impl Sealed for super::Release {}
}

/// A mode in which something is signed: [`Dev`] or [`Release`].
pub trait SigningMode: sealed::Sealed {
    /// The same as a value.
    const MODE: Mode;
}

impl SigningMode for Dev {
    const MODE: Mode = Mode::Dev;
}

impl SigningMode for Release {
    const MODE: Mode = Mode::Release;
}

/// Leave to sign with one key for one role, in mode `M`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized<M: SigningMode> {
    role: Role,
    algorithm: SignatureAlgorithm,
    fingerprint: Fingerprint,
    exceptions: Vec<Exception>,
    mode: PhantomData<M>,
}

impl<M: SigningMode> Authorized<M> {
    pub(super) fn new(
        role: Role,
        algorithm: SignatureAlgorithm,
        fingerprint: Fingerprint,
        exceptions: Vec<Exception>,
    ) -> Self {
        Self { role, algorithm, fingerprint, exceptions, mode: PhantomData }
    }

    /// For which role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// With which scheme and hash.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// With which key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What the policy lets pass though it is not as it should be: said on every run.
    #[must_use]
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        M::MODE
    }
}

/// A rule that the policy waives by name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "exception")]
pub enum Exception {
    /// `rehearsal: true`; with the software token's manufacturer and model, if it is one.
    Rehearsal {
        /// `None` on a hardware token.
        software_token: Option<String>,
    },
    /// `accept: [imported]` for this role.
    Imported {
        /// The role.
        role: Role,
    },
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rehearsal { software_token: Some(token) } => {
                write!(
                    f,
                    "REHEARSAL: this release key lies in a software token ({token}); do not ship what it signs"
                )
            }
            Self::Rehearsal { software_token: None } => {
                write!(f, "REHEARSAL: `rehearsal: true` is set; do not ship what is signed now")
            }
            Self::Imported { role } => {
                write!(
                    f,
                    "role `{role}`: `accept: [imported]` lets a key sign that was not born in this token"
                )
            }
        }
    }
}
