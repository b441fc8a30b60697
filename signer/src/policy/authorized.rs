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
///
/// Only a policy makes one, and a key of one mode takes no leave of the other. Code that mixes them does not build;
/// each of these examples has a twin beside it that does.
///
/// A key takes its own mode's leave:
/// ```
/// use hsmsign::policy::{Authorized, Dev, Release};
/// fn sign_release(_: &Authorized<Release>) {}
/// fn mix(leave: &Authorized<Release>) { sign_release(leave) }
/// ```
/// and not the other's:
/// ```compile_fail,E0308
/// use hsmsign::policy::{Authorized, Dev, Release};
/// fn sign_release(_: &Authorized<Release>) {}
/// fn mix(leave: &Authorized<Dev>) { sign_release(leave) }
/// ```
/// A release key is opened with the release policy:
/// ```
/// use hsmsign::{config, key::release::ReleaseAccess, policy::{DevPolicy, ReleasePolicy}, vocabulary::Role};
/// fn open(policy: &ReleasePolicy, key: config::ReleaseKey, host: config::HostToken) -> ReleaseAccess<'_> {
///     ReleaseAccess { policy, role: Role::Fit, key, host, certificates: None }
/// }
/// ```
/// and not with dev mode's:
/// ```compile_fail,E0308
/// use hsmsign::{config, key::release::ReleaseAccess, policy::{DevPolicy, ReleasePolicy}, vocabulary::Role};
/// fn open(policy: &DevPolicy, key: config::ReleaseKey, host: config::HostToken) -> ReleaseAccess<'_> {
///     ReleaseAccess { policy, role: Role::Fit, key, host, certificates: None }
/// }
/// ```
/// The release policy knows where the release key is:
/// ```
/// use hsmsign::{policy::{DevPolicy, ReleasePolicy}, vocabulary::Role};
/// fn uri(policy: &ReleasePolicy) -> Option<String> { Some(policy.key(Role::Fit).ok()?.uri.clone()) }
/// ```
/// and dev mode's does not:
/// ```compile_fail,E0599
/// use hsmsign::{policy::{DevPolicy, ReleasePolicy}, vocabulary::Role};
/// fn uri(policy: &DevPolicy) -> Option<String> { Some(policy.key(Role::Fit).ok()?.uri.clone()) }
/// ```
/// There are two modes that sign:
/// ```
/// use hsmsign::policy::{Authorized, Dev, Release, SigningMode};
/// enum Third {}
/// fn leave(_: Option<Authorized<Release>>) {}
/// ```
/// and nobody adds a third:
/// ```compile_fail,E0277
/// use hsmsign::policy::{Authorized, Dev, Release, SigningMode};
/// enum Third {}
/// fn leave(_: Option<Authorized<Third>>) {}
/// ```
/// Leave can be read:
/// ```
/// use hsmsign::{crypto::SignatureAlgorithm, policy::{Authorized, Release}, vocabulary::Role};
/// fn role(leave: Authorized<Release>) -> Role { leave.role() }
/// ```
/// and not be written:
/// ```compile_fail,E0616
/// use hsmsign::{crypto::SignatureAlgorithm, policy::{Authorized, Release}, vocabulary::Role};
/// fn role(mut leave: Authorized<Release>) -> Role { leave.role = Role::Update; leave.role() }
/// ```
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
