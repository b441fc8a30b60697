//! Where dev and release part, and the only place: decisions over plain data.

mod trust;

pub use trust::TrustedKey;

/// What the build is for; one variable chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is signed.
    Off,
    /// Keys in a SoftHSMv2 token made on first use.
    Dev,
    /// Pinned keys in an HSM.
    Release,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Dev => "dev",
            Self::Release => "release",
        })
    }
}

/// Why the policy says no.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Signing was asked for in mode `off`.
    #[error("mode is `off`, so nothing is signed")]
    Off,
}

impl Refusal {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Off => {
                Some("choose `--mode dev`, or `--mode release` where release signing happens".into())
            }
        }
    }
}
