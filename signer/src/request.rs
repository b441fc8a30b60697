//! The signing request: what a format asks and a key holder answers.
//!
//! It is plain data, so the dev token, a release token, an agent on another machine or an offline
//! ceremony can answer the same request.

use crate::crypto::{Digest, Signature, SignatureAlgorithm};

/// Who signs what; each role has its own key per mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// U-Boot proper, checked by SPL or ROM.
    Bootloader,
    /// FIT images, checked by U-Boot.
    Fit,
    /// dm-verity root hashes, checked by the kernel.
    Rootfs,
    /// swupdate bundles, checked by swupdate.
    Update,
}

impl Role {
    /// Every role, in boot order.
    pub const ALL: [Self; 4] = [Self::Bootloader, Self::Fit, Self::Rootfs, Self::Update];

    /// The name used in configuration and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootloader => "bootloader",
            Self::Fit => "fit",
            Self::Rootfs => "rootfs",
            Self::Update => "update",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == name)
            .ok_or_else(|| format!("unknown role `{name}`; roles are bootloader, fit, rootfs, update"))
    }
}

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
    pub mode: crate::policy::Mode,
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
    pub fn hint(mode: crate::policy::Mode, role: Role) -> String {
        format!("hsmsign-{mode}-{role}")
    }

    /// Whose key a hint names; `None` if it is not one of ours.
    #[must_use]
    pub fn parse_hint(hint: &str) -> Option<(crate::policy::Mode, Role)> {
        use crate::policy::Mode;
        let pairs = [Mode::Dev, Mode::Release].into_iter().flat_map(|m| Role::ALL.map(|r| (m, r)));
        pairs.into_iter().find(|(mode, role)| Self::hint(*mode, *role) == hint)
    }
}
