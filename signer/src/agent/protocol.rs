//! What a client and the agent say to each other, version 1.
//!
//! A message is its length (4 bytes, big-endian) and that many bytes of JSON (RFC 8259): one object, whose
//! unknown members are errors. The client asks, the agent replies, one at a time. docs/agent.md describes every
//! message. Nothing in them is secret: digests and public keys go one way, signatures the other.

use super::Statement;
use crate::{
    audit::Head,
    crypto::{Digest, PublicKey, Signature, SignatureAlgorithm},
    policy::{KeyFacts, TokenFacts},
    request::{Format, Request, Subject},
    vocabulary::Role,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of these messages. An agent and a client of different versions do not work together.
pub const VERSION: u32 = 1;

/// Longest message, in bytes: what a request may carry to be signed, in hexadecimal, and room for the rest.
pub const MAX_MESSAGE_LEN_BYTES: usize = 2 * Request::MAX_MESSAGE_LEN_BYTES + 64 * 1024;

/// Longest name or identifying digest in a request, in bytes.
const MAX_NAME_LEN_BYTES: usize = 4096;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Comes first on each connection.
    Hello {
        /// [`VERSION`].
        protocol: u32,
        /// What asks, such as `hsmsign 0.1.0`.
        tool: String,
        /// What the client's policy demands; absent if it wants no signature.
        #[serde(default)]
        policy: Option<Statement>,
    },
    /// Which key signs for a role?
    Key {
        /// The role.
        role: Role,
    },
    /// Sign this.
    Sign(Box<SignRequest>),
    /// How is the agent?
    Status,
}

/// A signing request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// The client's number for it; the reply has the same.
    pub number: u64,
    /// Whose key.
    pub role: Role,
    /// Such as `rsa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// The digest, hexadecimal.
    pub digest: String,
    /// What was digested, hexadecimal, where it is short enough to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What kind of thing is signed.
    pub format: Format,
    /// Its name.
    pub name: String,
    /// Its identifying digest, hexadecimal.
    pub identity: String,
}

/// What the agent replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Ask::Hello`].
    Hello {
        /// [`VERSION`].
        protocol: u32,
        /// What replies.
        tool: String,
        /// How long a signature may take, the time in line included.
        sign_seconds: u64,
    },
    /// To [`Ask::Key`].
    Key(Box<KeyReply>),
    /// To [`Ask::Sign`].
    Signature {
        /// The request's number.
        number: u64,
        /// The signature as its mechanism yields it, hexadecimal.
        signature: String,
        /// The agent's audit log at the record of this signature.
        head: Head,
    },
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// To anything that is not answered.
    Error(Problem),
}

/// Facts about a role's key, for the client's own policy to judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReply {
    /// The role.
    pub role: Role,
    /// SubjectPublicKeyInfo, DER, hexadecimal.
    pub public_key: String,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_SENSITIVE; null, like the next four, if the token does not tell.
    pub sensitive: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE.
    pub always_sensitive: Option<bool>,
    /// CKA_EXTRACTABLE.
    pub extractable: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE.
    pub never_extractable: Option<bool>,
    /// CKA_LOCAL.
    pub local: Option<bool>,
    /// The token that holds it.
    pub token: TokenReply,
}

/// A token's own account of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenReply {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
}

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// What it is, such as `hsmsign 0.1.0`.
    pub tool: String,
    /// Its process.
    pub pid: u32,
    /// The product its policy is for.
    pub product: String,
    /// SHA-256 of the policy file's bytes, `sha256:…`.
    pub policy: String,
    /// Whether it rehearses.
    pub rehearsal: bool,
    /// Seconds since it was ready.
    pub uptime_seconds: u64,
    /// Seconds until it ends by itself; null if its lifetime has no limit.
    pub seconds_left: Option<u64>,
    /// Each role's key.
    pub roles: Vec<RoleStatus>,
    /// Each token.
    pub tokens: Vec<TokenStatus>,
}

/// A role's key in the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleStatus {
    /// The role.
    pub role: Role,
    /// The key's fingerprint, `sha256:…`.
    pub fingerprint: String,
    /// Signature algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// The policy's name for its token.
    pub token: String,
    /// Signatures asked for and not refused since the agent was ready.
    pub signatures: u64,
    /// Signatures it may still make; null if there is no limit.
    pub signatures_left: Option<u64>,
}

/// A token in the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenStatus {
    /// The policy's name for it.
    pub name: String,
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Requests that wait or are being signed.
    pub waiting: usize,
    /// What is wrong with it; null if nothing is.
    pub trouble: Option<String>,
}

/// Whose fault it is that something is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The policy, or a limit of the agent, says no.
    Refused,
    /// The client's policy is not the agent's.
    Policy,
    /// Token or module.
    Token,
    /// Too much to do, or too slow; another try may work.
    Busy,
    /// The client does not keep to the protocol.
    Protocol,
}

/// Why something is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Whose fault it is.
    pub cause: Cause,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with its remedy.
    pub fn new(cause: Cause, message: impl Into<String>, hint: &str) -> Self {
        let hint = Some(hint.to_owned()).filter(|h| !h.is_empty());
        Self { cause, message: message.into(), hint }
    }

    /// The client's message is not what it should be.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new(Cause::Protocol, message, "")
    }
}

/// `text` as far as it may be sent; it is for people alone.
fn shortened(text: &str) -> String {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= MAX_NAME_LEN_BYTES).last().unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// The length that `header` announces.
///
/// # Errors
///
/// A sentence for one that is zero or beyond [`MAX_MESSAGE_LEN_BYTES`].
pub fn message_len_bytes(header: [u8; 4]) -> Result<usize, String> {
    let len = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    match len {
        0 => Err("a message of no bytes".into()),
        1..=MAX_MESSAGE_LEN_BYTES => Ok(len),
        _ => Err(format!("a message of {len} bytes, where {MAX_MESSAGE_LEN_BYTES} are allowed")),
    }
}

/// The bytes of `message`, its length before them.
///
/// # Errors
///
/// A sentence if it is too long.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(|e| e.to_string())?;
    let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX).to_be_bytes();
    message_len_bytes(len)?;
    for (byte, header) in bytes.iter_mut().zip(len) {
        *byte = header;
    }
    Ok(bytes)
}

/// The message in `bytes`, which no longer have their length before them.
///
/// # Errors
///
/// What serde_json says of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

impl SignRequest {
    /// `request` as it is sent.
    #[must_use]
    pub fn new(number: u64, request: &Request) -> Self {
        Self {
            number,
            role: request.role,
            algorithm: request.algorithm.to_string(),
            digest: request.digest.to_hex(),
            message: request.message.as_ref().map(hex::encode),
            format: request.subject.format,
            name: shortened(&request.subject.name),
            identity: shortened(&request.subject.identity),
        }
    }

    /// The request, every field checked by itself.
    ///
    /// # Errors
    ///
    /// The first field that is not what it should be.
    pub fn to_request(&self) -> Result<Request, String> {
        let algorithm: SignatureAlgorithm = self.algorithm.parse()?;
        let bytes = hex::decode(&self.digest).map_err(|e| format!("the digest: {e}"))?;
        let len = bytes.len();
        let digest = Digest::new(algorithm.hash, bytes)
            .ok_or_else(|| format!("a digest of {len} bytes is not {}", algorithm.hash))?;
        let message = self.message.as_ref().map(hex::decode).transpose();
        let message = message.map_err(|e| format!("the message: {e}"))?;
        if message.as_ref().is_some_and(|m| m.len() > Request::MAX_MESSAGE_LEN_BYTES) {
            return Err("the message to be signed is too long".into());
        }
        if message.as_ref().is_some_and(|m| algorithm.hash.digest(m) != digest) {
            return Err("the message to be signed does not have the digest".into());
        }
        for (what, text) in [("name", &self.name), ("identity", &self.identity)] {
            if text.len() > MAX_NAME_LEN_BYTES {
                return Err(format!("`{what}` of {} bytes is too long", text.len()));
            }
        }
        let subject =
            Subject { format: self.format, name: self.name.clone(), identity: self.identity.clone() };
        Ok(Request { role: self.role, algorithm, digest, message, subject })
    }
}

impl KeyReply {
    /// `token` and `key` as they are sent.
    #[must_use]
    pub fn new(role: Role, token: &TokenFacts, key: &KeyFacts) -> Self {
        Self {
            role,
            public_key: hex::encode(key.public_key.spki_der()),
            label: key.label.clone(),
            sensitive: key.sensitive,
            always_sensitive: key.always_sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            local: key.local,
            token: TokenReply {
                label: token.label.clone(),
                serial: token.serial.clone(),
                manufacturer: token.manufacturer.clone(),
                model: token.model.clone(),
            },
        }
    }

    /// The facts.
    ///
    /// # Errors
    ///
    /// A sentence if the public key is none.
    pub fn facts(&self) -> Result<(TokenFacts, KeyFacts), String> {
        let der = hex::decode(&self.public_key).map_err(|e| format!("the public key: {e}"))?;
        let token = TokenFacts {
            label: self.token.label.clone(),
            manufacturer: self.token.manufacturer.clone(),
            model: self.token.model.clone(),
            serial: self.token.serial.clone(),
        };
        let key = KeyFacts {
            label: self.label.clone(),
            public_key: PublicKey::from_spki_der(&der).map_err(|e| e.to_string())?,
            sensitive: self.sensitive,
            always_sensitive: self.always_sensitive,
            extractable: self.extractable,
            never_extractable: self.never_extractable,
            local: self.local,
        };
        Ok((token, key))
    }
}

/// The version that a greeting names, whatever else stands in it: that of another version may have members
/// which this one does not know.
#[must_use]
pub fn greeting_version(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Greeting {
        ask: String,
        protocol: u32,
    }
    let greeting: Greeting = serde_json::from_slice(bytes).ok()?;
    (greeting.ask == "hello").then_some(greeting.protocol)
}

/// A signature from its hexadecimal form.
///
/// # Errors
///
/// A sentence if it is not hexadecimal.
pub(super) fn signature(text: &str) -> Result<Signature, String> {
    hex::decode(text).map(Signature::from_bytes).map_err(|e| format!("the signature: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{HashAlgorithm, Scheme};
    use proptest::prelude::*;

    fn request(role: Role, hash: HashAlgorithm, message: Vec<u8>, send: bool, name: String) -> Request {
        Request {
            role,
            algorithm: SignatureAlgorithm { scheme: Scheme::RsaPss, hash },
            digest: hash.digest(&message),
            message: send.then_some(message),
            subject: Subject { format: Format::Fit, name, identity: "00".into() },
        }
    }

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(
            message in proptest::collection::vec(any::<u8>(), 0..200),
            send: bool,
            role in 0_usize..4,
            hash in 0_usize..3,
            name in ".{0,40}",
        ) {
            let sent = request(Role::ALL[role], HashAlgorithm::ALL[hash], message, send, name);
            let bytes = encode(&Ask::Sign(Box::new(SignRequest::new(7, &sent)))).unwrap();
            let len = message_len_bytes(bytes[..4].try_into().unwrap()).unwrap();
            prop_assert_eq!(len, bytes.len() - 4);
            let Ask::Sign(got) = decode(&bytes[4..]).unwrap() else { panic!("another message") };
            prop_assert_eq!(got.number, 7);
            prop_assert_eq!(got.to_request().unwrap(), sent);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Ask::Sign(request)) = decode(&bytes) {
                let _ = request.to_request();
            }
            if let Ok(Reply::Key(key)) = decode(&bytes) {
                let _ = key.facts();
            }
            let _ = greeting_version(&bytes);
        }
    }

    #[test]
    fn lengths_are_limited() {
        assert!(message_len_bytes([0; 4]).is_err());
        assert!(message_len_bytes([0xff; 4]).is_err());
        assert_eq!(message_len_bytes([0, 0, 1, 0]), Ok(256));
    }

    #[test]
    fn the_longest_request_fits_into_a_message() {
        let longest = vec![0xff; Request::MAX_MESSAGE_LEN_BYTES];
        let name = "\u{1}".repeat(MAX_NAME_LEN_BYTES);
        let sent = request(Role::Fit, HashAlgorithm::Sha512, longest, true, name);
        assert!(encode(&Ask::Sign(Box::new(SignRequest::new(u64::MAX, &sent)))).is_ok());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let sent = request(Role::Fit, HashAlgorithm::Sha256, vec![], false, "é".repeat(3000));
        let got = SignRequest::new(1, &sent).to_request().unwrap();
        assert_eq!(got.subject.name, "é".repeat(2048));
    }

    #[test]
    fn a_greeting_of_another_version_is_understood_that_far() {
        assert_eq!(greeting_version(br#"{"ask":"hello","protocol":9,"new":[1]}"#), Some(9));
        assert_eq!(greeting_version(br#"{"ask":"status","protocol":9}"#), None);
        assert_eq!(greeting_version(b"GET / HTTP/1.1"), None);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let good = SignRequest::new(1, &request(Role::Fit, HashAlgorithm::Sha256, vec![1], true, "n".into()));
        assert!(good.to_request().is_ok());
        let changed = |change: fn(&mut SignRequest)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.to_request().unwrap_err()
        };
        assert!(changed(|r| r.algorithm = "rsa-md5".into()).contains("rsa-md5"));
        assert!(changed(|r| r.digest.truncate(62)).contains("31 bytes"));
        assert!(changed(|r| r.digest.replace_range(0..1, "x")).contains("digest"));
        assert!(changed(|r| r.message = Some("02".into())).contains("does not have the digest"));
        assert!(changed(|r| r.name = "n".repeat(5000)).contains("`name`"));
    }

    #[test]
    fn unknown_members_are_errors() {
        assert!(decode::<Ask>(br#"{"ask":"status"}"#).is_ok());
        assert!(decode::<Ask>(br#"{"ask":"key","role":"fit","pin":"1234"}"#).is_err());
        assert!(decode::<Ask>(br#"{"ask":"shutdown"}"#).is_err());
    }
}
