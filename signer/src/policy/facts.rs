//! What tokens and keys say of themselves: plain data that decisions are made on.

use crate::crypto::PublicKey;
use std::path::PathBuf;

/// What a loaded PKCS#11 module says of itself (`CK_INFO`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFacts {
    /// The file it was loaded from, links resolved.
    pub path: PathBuf,
    /// `manufacturerID`, padding removed.
    pub manufacturer: String,
    /// `libraryDescription`, padding removed.
    pub description: String,
}

/// What a token says of itself (`CK_TOKEN_INFO`), padding removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// `label`.
    pub label: String,
    /// `manufacturerID`.
    pub manufacturer: String,
    /// `model`.
    pub model: String,
    /// `serialNumber`.
    pub serial: String,
}

/// What is known of a private key object and its public half.
///
/// Attributes are `None` where the token does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// `CKA_LABEL`.
    pub label: String,
    /// The public key.
    pub public_key: PublicKey,
    /// `CKA_SENSITIVE`.
    pub sensitive: Option<bool>,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: Option<bool>,
    /// `CKA_EXTRACTABLE`.
    pub extractable: Option<bool>,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: Option<bool>,
    /// `CKA_LOCAL`: whether the key was made in its token.
    pub local: Option<bool>,
}
