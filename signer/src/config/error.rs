//! What is wrong with a configuration, and where.

use super::place::{Place, Step};
use std::path::PathBuf;

/// One mistake in the text of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong, naming the key.
    pub message: String,
    /// Where.
    pub place: Place,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Fault {
    /// A mistake in the value at `path`.
    pub(super) fn at(text: &str, path: &[Step], message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), place: Place::of_value(text, path), hint: Some(hint.into()) }
    }

    /// With the file that holds the text.
    #[must_use]
    pub fn in_file(self, file: impl Into<PathBuf>) -> ConfigError {
        ConfigError::Invalid { file: file.into(), fault: self }
    }
}

/// What is wrong with a configuration file, the environment, or the host's set-up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is not valid.
    #[error("{fault}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The mistake.
        fault: Fault,
    },
    /// Something is missing or contradictory that stands in no single file.
    #[error("{message}")]
    Setup {
        /// What.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
}

impl ConfigError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { fault, .. } => fault.hint.clone(),
            Self::Setup { hint, .. } => hint.clone(),
        }
    }
}
