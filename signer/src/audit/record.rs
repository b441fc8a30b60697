//! What stands in a line of the log.

use super::{Hash, Requester};
use crate::{
    crypto::{Digest, Fingerprint, HashAlgorithm, Signature},
    request::{Format, Identity, Request},
    vocabulary::{Mode, Role},
};
use serde::{Deserialize, Serialize};

/// Longest line, in bytes, its line break included.
pub const MAX_LINE_LEN_BYTES: usize = 64 * 1024;

/// Longest name that goes into a record, in bytes: the rest of a line is short by nature.
const MAX_NAME_LEN_BYTES: usize = 4096;

/// The format of a record that this version writes.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The record's format, 1.
    pub version: u32,
    /// Its number: 1 for the first, one more for each that follows.
    pub sequence: u64,
    /// SHA-256, hexadecimal, over the bytes from the beginning of the line of the record before to the
    /// beginning of this one's; over no bytes for the first record.
    pub previous: Hash,
    /// When it was written, RFC 3339 in UTC.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A signature was made. It may not have been handed out: the process could have ended in between.
    Signature(Box<Signed>),
    /// The log ended in something that is no record, which a crash while a record is being written leaves.
    Repair(Repaired),
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Dev or release.
    pub mode: Mode,
    /// Whether `rehearsal: true` stood in the policy.
    pub rehearsal: bool,
    /// What the policy let pass by name, in sentences.
    pub exceptions: Vec<String>,
    /// Whose key.
    pub role: Role,
    /// SubjectPublicKeyInfo SHA-256 of the key, `sha256:…`.
    pub key: String,
    /// The token that holds it.
    pub token: Token,
    /// What kind of thing was signed.
    pub format: Format,
    /// Its name.
    pub artifact: String,
    /// An identifying digest, hexadecimal: root hash, configuration digest, `sw-description` hash.
    pub identity: String,
    /// Signature algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// The digest that was signed, `sha256:…`.
    pub digest: String,
    /// SHA-256 of the signature as the token gave it, `sha256:…`: tells which record a given signature has.
    pub signature: String,
    /// Who asked.
    pub requester: Requester,
    /// SHA-256 of the policy file's bytes, `sha256:…`.
    pub policy: String,
    /// What signed, such as `hsmsign 0.1.0`.
    pub tool: String,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
}

/// What was found at the end of the log, and left there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// How many bytes stand between the line of the record before and this one's.
    pub torn_len_bytes: u64,
}

/// What a signature was made with, beside the request: gathered where the key is opened.
pub(crate) struct Circumstances<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) exceptions: Vec<String>,
    pub(crate) policy: &'a str,
}

impl Signed {
    pub(crate) fn new(
        request: &Request,
        signature: &Signature,
        requester: &Requester,
        around: Circumstances<'_>,
    ) -> Self {
        let identity = around.identity;
        Self {
            mode: identity.mode,
            rehearsal: identity.rehearsal,
            exceptions: around.exceptions,
            role: request.role,
            key: Fingerprint::of(&identity.public_key).to_string(),
            token: Token { label: identity.token_label.clone(), serial: identity.token_serial.clone() },
            format: request.subject.format,
            artifact: request.subject.name.clone(),
            identity: request.subject.identity.clone(),
            algorithm: request.algorithm.to_string(),
            digest: digest(&request.digest),
            signature: digest(&HashAlgorithm::Sha256.digest(signature.as_bytes())),
            requester: requester.clone(),
            policy: around.policy.to_owned(),
            tool: concat!("hsmsign ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The same with names that are cut where they would make the line too long: they come from artifacts.
    pub(super) fn bounded(self) -> Self {
        Self { artifact: shortened(self.artifact), identity: shortened(self.identity), ..self }
    }
}

fn digest(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm(), digest.to_hex())
}

fn shortened(text: String) -> String {
    if text.len() <= MAX_NAME_LEN_BYTES {
        return text;
    }
    let mut end = MAX_NAME_LEN_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Record {
    /// The record in `line`, without its line break; `None` if it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The line, with its line break.
    ///
    /// # Errors
    ///
    /// A description if it would be longer than a line may be.
    pub fn to_line(&self) -> Result<Vec<u8>, String> {
        // JSON escapes line breaks, so this is one line whatever the names hold (RFC 8259, section 7).
        let mut line = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        line.push(b'\n');
        if line.len() > MAX_LINE_LEN_BYTES {
            return Err(format!("a record of {} bytes is too long", line.len()));
        }
        Ok(line)
    }
}
