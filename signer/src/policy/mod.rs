//! Where dev and release part, and the only place: decisions over plain data.
//!
//! A dev key and a release key are different types: only this module makes an
//! [`Authorized<Dev>`](Authorized) or an [`Authorized<Release>`](Authorized), each from its own policy.
//! [`DevPolicy`] is built without the release settings; it knows only the fingerprints it must refuse.

mod authorized;
mod certificate;
mod dev;
mod example_keys;
mod facts;
mod permit;
mod refusal;
mod release;
mod software_token;
mod trust;

pub use authorized::{Authorized, Dev, Exception, Release, SigningMode};
pub use certificate::Certificates;
pub use dev::DevPolicy;
pub use example_keys::ExampleKeys;
pub use facts::{KeyFacts, ModuleFacts, TokenFacts};
pub use refusal::Refusal;
pub use release::{Judgement, ReleasePolicy};
pub use trust::TrustedKey;

pub use crate::vocabulary::Mode;

use crate::config::Config;

/// What a run may do, by its mode.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Nothing is signed.
    Off,
    /// Dev keys sign.
    Dev(DevPolicy),
    /// Pinned release keys sign.
    Release(ReleasePolicy),
}

impl Policy {
    /// The policy of `mode`; takes the configuration apart so that dev mode keeps nothing of its
    /// release section but the fingerprints.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoReleaseSection`] in release mode without release settings.
    pub fn new(mode: Mode, config: Config) -> Result<Self, Refusal> {
        let Config { product: _, roles, release, gate: _, scan: _ } = config;
        match mode {
            Mode::Off => Ok(Self::Off),
            Mode::Dev => {
                let pins = release.into_iter().flat_map(|r| r.keys.into_values()).flat_map(|k| k.pins);
                Ok(Self::Dev(DevPolicy::new(roles, pins.collect())))
            }
            Mode::Release => {
                let release = release.ok_or(Refusal::NoReleaseSection)?;
                Ok(Self::Release(ReleasePolicy::new(roles, release)))
            }
        }
    }

    /// The same with the host's own list of example keys. Dev mode has no host settings, and knows the
    /// program's list alone.
    #[must_use]
    pub fn with_examples(self, examples: ExampleKeys) -> Self {
        match self {
            Self::Release(policy) => Self::Release(policy.with_examples(examples)),
            Self::Off | Self::Dev(_) => self,
        }
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Off => Mode::Off,
            Self::Dev(_) => Mode::Dev,
            Self::Release(_) => Mode::Release,
        }
    }
}
