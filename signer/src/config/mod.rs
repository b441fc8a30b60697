//! `hsmsign.yaml` (the policy) and the host settings.

/// What is wrong with a configuration file.
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
