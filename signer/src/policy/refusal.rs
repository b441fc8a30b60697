//! Why the policy says no.

use crate::{
    crypto::{Fingerprint, KeyType},
    vocabulary::Role,
};

/// Why the policy says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Signing was asked for in mode `off`.
    #[error("mode is `off`, so nothing is signed")]
    Off,

    /// Dev mode uses SoftHSMv2 and nothing else.
    #[error("dev mode uses SoftHSMv2 alone, and {what} reports itself as `{reported}`")]
    NotSoftHsm {
        /// Module or token.
        what: String,
        /// Its manufacturer and description or model.
        reported: String,
    },
    /// Dev mode opens its own token and no other.
    #[error("token `{label}` is not this workspace's dev token `{own}`")]
    ForeignDevToken {
        /// The token that turned up.
        label: String,
        /// The one that belongs here.
        own: String,
    },
    /// A key pinned for release turned up in the dev token.
    #[error("role `{role}`: the dev token holds key {fingerprint}, which is pinned for release")]
    ReleaseKeyInDev {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: Fingerprint,
    },

    /// Release mode without release settings.
    #[error("mode is `release`, but the policy has no `release` section")]
    NoReleaseSection,
    /// Release mode without a key for the role.
    #[error("role `{0}`: the policy names no release key")]
    NoReleaseKey(Role),
    /// The public key is not pinned.
    #[error("role `{role}`: key {fingerprint} is not pinned")]
    NotPinned {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: Fingerprint,
    },
    /// A key whose private half anyone can read.
    #[error("role `{role}`: key {fingerprint} is a public example key: its private half was seen at {seen}")]
    PublicExampleKey {
        /// The role.
        role: Role,
        /// The key.
        fingerprint: Fingerprint,
        /// Where.
        seen: String,
    },
    /// Another token than the pinned one.
    #[error("role `{role}`: token `{label}` has serial number `{found}`, and `{pinned}` is pinned")]
    WrongSerial {
        /// The role.
        role: Role,
        /// The token.
        label: String,
        /// Its serial number.
        found: String,
        /// The pinned one.
        pinned: String,
    },
    /// A release key in a software token.
    #[error("role `{role}`: token `{label}` is a software token ({family})")]
    SoftwareToken {
        /// The role.
        role: Role,
        /// The token.
        label: String,
        /// Which software.
        family: String,
    },
    /// An attribute of the private key is not as it must be.
    #[error(
        "role `{role}`: the private key's {attribute} is {}, and must be {required}",
        match found { Some(value) => value.to_string(), None => "not told by the token".into() }
    )]
    KeyAttribute {
        /// The role.
        role: Role,
        /// Its PKCS#11 name.
        attribute: &'static str,
        /// What the token says.
        found: Option<bool>,
        /// What it must say.
        required: bool,
    },
    /// Another type of key than the role asks for.
    #[error("role `{role}`: the key is {found}, and the policy asks for {wanted}")]
    WrongKeyType {
        /// The role.
        role: Role,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: KeyType,
    },
    /// A key that can be broken.
    #[error("role `{role}`: the RSA key is weak: {reason}")]
    WeakKey {
        /// The role.
        role: Role,
        /// Why.
        reason: String,
    },
    /// A request that no artifact of the role makes.
    #[error("role `{role}`: {reason}")]
    Request {
        /// The role.
        role: Role,
        /// What is wrong with it.
        reason: String,
    },
    /// The role needs a certificate.
    #[error("role `{0}`: the policy names no certificate")]
    NoCertificate(Role),
    /// The certificate cannot be used.
    #[error("role `{role}`: {which} {reason}")]
    Certificate {
        /// The role.
        role: Role,
        /// `the certificate`, or which one of the chain.
        which: String,
        /// What is wrong.
        reason: String,
        /// How to mend it.
        hint: &'static str,
    },
}

impl Refusal {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Off => "choose `--mode dev`, or `--mode release` where release signing happens".into(),
            Self::NotSoftHsm { .. } => {
                "name SoftHSMv2's own libsofthsm2.so with `--softhsm`; dev mode never touches an HSM".into()
            }
            Self::ForeignDevToken { .. } => {
                "remove the dev directory, and a fresh one is made on the next use".into()
            }
            Self::ReleaseKeyInDev { .. } => {
                "a release key must not lie in a dev token: treat it as leaked, and remove the dev directory"
                    .into()
            }
            Self::NoReleaseSection => "add `release: keys:` to hsmsign.yaml, or choose `--mode dev`".into(),
            Self::NoReleaseKey(role) => format!("add `release: keys: {role}:` to hsmsign.yaml"),
            Self::NotPinned { role, .. } => format!(
                "if this is the right key, `hsmsign --mode release keys pin --role {role}` prints the lines that pin it"
            ),
            Self::PublicExampleKey { .. } => {
                "anyone can sign with it: generate another key with `hsmsign keys generate`, pin it, and replace \
                 this one on every device that trusts it"
                    .into()
            }
            Self::WrongSerial { .. } => {
                "insert the right token, or change `serial` in hsmsign.yaml after review".into()
            }
            Self::SoftwareToken { .. } => {
                "release keys belong in an HSM; `rehearsal: true` tries the flow without one".into()
            }
            Self::KeyAttribute {
                attribute: "CKA_ALWAYS_SENSITIVE" | "CKA_NEVER_EXTRACTABLE" | "CKA_LOCAL", role, ..
            } => {
                format!(
                    "generate the key inside the token (`hsmsign keys generate`); for a backup token with a \
                     wrapped copy write `accept: [imported]` under `release: keys: {role}:`"
                )
            }
            Self::KeyAttribute { .. } => {
                "this key can leave its token; generate one inside the token (`hsmsign keys generate`)".into()
            }
            Self::WrongKeyType { role, .. } => {
                format!("make the key and `roles: {role}: algorithm:` in hsmsign.yaml agree")
            }
            Self::WeakKey { .. } => "generate another key with `hsmsign keys generate`".into(),
            Self::Request { .. } => "sign with this role's own commands and settings".into(),
            Self::NoCertificate(role) => format!(
                "`hsmsign --mode release keys csr --role {role}` makes a request for your CA; then write \
                 `certificate:` under `release: keys: {role}:`"
            ),
            Self::Certificate { hint, .. } => (*hint).into(),
        })
    }
}
