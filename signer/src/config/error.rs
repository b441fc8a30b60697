//! What is wrong with a configuration, and where.

/// What is wrong with a configuration file, the environment, or the host's set-up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not valid, with its place.
    #[error("{message}")]
    Invalid {
        /// What and where.
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
            Self::Invalid { hint, .. } => hint.clone(),
        }
    }
}
