//! Keys in PKCS#11 tokens: found, checked, and asked to sign one digest.

/// Whatever keeps a token from signing.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Placeholder until tokens are opened.
    #[error("no token is configured for role `{0}`")]
    NoToken(crate::request::Role),
}

impl KeyError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoToken(_) => None,
        }
    }
}
