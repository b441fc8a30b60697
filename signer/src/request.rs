//! The signing request: what a format asks and a key holder answers.
//!
//! It is plain data, so the dev token, a release token, an agent on another machine or an offline
//! ceremony can answer the same request.

use crate::crypto::{Digest, Signature, SignatureAlgorithm};
pub use crate::vocabulary::{Mode, Role};

/// The artifact formats whose signatures a key holder may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A FIT configuration or image signature.
    Fit,
    /// A PKCS#7 signature of a dm-verity root hash.
    Verity,
    /// A swupdate `sw-description`.
    Swu,
    /// Any other file.
    Blob,
    /// A certificate or certification request for the key itself.
    Certificate,
}

/// What is being signed, for people and for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The artifact's format.
    pub format: Format,
    /// The artifact's name, such as `fitImage conf-1`.
    pub name: String,
    /// An identifying digest that costs no second pass, hexadecimal: the root hash, the
    /// configuration digest, the `sw-description` hash.
    pub identity: String,
}

/// One digest to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose key.
    pub role: Role,
    /// With which scheme and hash.
    pub algorithm: SignatureAlgorithm,
    /// Of what; made with `algorithm.hash`.
    pub digest: Digest,
    /// The bytes that were digested, where they are few (at most [`Request::MAX_MESSAGE_LEN_BYTES`]).
    ///
    /// Some tokens sign only with mechanisms that hash by themselves, and those take the message. A
    /// request without one is refused by such a token; all others never look at it.
    pub message: Option<Vec<u8>>,
    /// Why.
    pub subject: Subject,
}

impl Request {
    /// The longest message worth carrying: the signed region of a FIT configuration, a
    /// `sw-description`, a root hash fit well within.
    pub const MAX_MESSAGE_LEN_BYTES: usize = 1 << 20;
}

/// Something that holds the key of one role and answers requests with it.
///
/// Implementations check each signature against the public key before they hand it out.
pub trait Answer {
    /// Public facts about the key.
    fn identity(&self) -> &Identity;

    /// Signs one digest.
    ///
    /// # Errors
    ///
    /// Whatever keeps the key from signing: refused by policy, or by the token.
    fn answer(&self, request: &Request) -> Result<Signature, crate::error::Error>;
}

/// Public facts about a role's key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The role.
    pub role: Role,
    /// Dev or release.
    pub mode: Mode,
    /// What the role signs with.
    pub algorithm: SignatureAlgorithm,
    /// `key-name-hint` in FITs: `hsmsign-dev-fit`, `hsmsign-release-fit`; differs by mode so that a
    /// mix-up is readable on U-Boot's console.
    pub key_name_hint: String,
    /// The public key.
    pub public_key: crate::crypto::PublicKey,
    /// The key's certificate, DER, where the role has one.
    pub certificate: Option<Vec<u8>>,
    /// Intermediate certificates, DER, nearest the key first.
    pub chain: Vec<Vec<u8>>,
    /// Label of the token that holds it.
    pub token_label: String,
    /// Serial number of that token.
    pub token_serial: String,
    /// Whether this is a release key in a rehearsal (a software token).
    pub rehearsal: bool,
}

impl Identity {
    /// The `key-name-hint` of a role's key in a mode, such as `hsmsign-dev-fit`.
    #[must_use]
    pub fn hint(mode: Mode, role: Role) -> String {
        format!("hsmsign-{mode}-{role}")
    }

    /// Whose key a hint names; `None` if it is not one of ours.
    #[must_use]
    pub fn parse_hint(hint: &str) -> Option<(Mode, Role)> {
        let pairs = [Mode::Dev, Mode::Release].into_iter().flat_map(|m| Role::ALL.map(|r| (m, r)));
        pairs.into_iter().find(|(mode, role)| Self::hint(*mode, *role) == hint)
    }
}
