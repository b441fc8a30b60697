//! The three modes.

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
