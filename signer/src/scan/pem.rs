//! Keys in text: PEM blocks, also as people paste them into code, PuTTY's form, age's, JSON Web Keys.

use super::{der, finding::Leak, ssh, stream::Place};
use crate::{crypto::Fingerprint, vocabulary::LeakKind};
use openssl::base64::decode_block;

/// Longest first line of a PEM block.
const MAX_LABEL_LEN: usize = 40;
/// Longest PEM block, in bytes: RSA with 16384 bits takes 13 KiB.
const MAX_BLOCK_LEN_BYTES: usize = 48 << 10;
/// How far around `"kty"` its object reaches at most.
const MAX_JWK_LEN_BYTES: usize = 4 << 10;

/// A PEM block whose first line has the marker `PRIVATE KEY`.
pub(super) fn private(place: &Place<'_>) -> Option<Leak> {
    let before = tail(place.before(), MAX_LABEL_LEN);
    let begin = memchr::memmem::rfind(before, b"---- BEGIN ").map(|at| (at, 11));
    let (begin, length) = memchr::memmem::rfind(before, b"-----BEGIN ").map(|at| (at, 11)).or(begin)?;
    let label = before.get(begin + length..)?;
    let rest = place.behind();
    let rest = rest.strip_prefix(b" BLOCK").unwrap_or(rest);
    let rest = rest.strip_prefix(b"-----").or_else(|| rest.strip_prefix(b" ----"))?;
    let len = memchr::memmem::find(head(rest, MAX_BLOCK_LEN_BYTES), b"---- END")
        .or_else(|| memchr::memmem::find(head(rest, MAX_BLOCK_LEN_BYTES), b"-----END"))?;
    let block = rest.get(..len)?;
    let leak = block_of(label, block)?;
    let covers = place.at_marker().len() - rest.len() + len;
    Some(leak.spanning(before.len() - begin, covers))
}

fn block_of(label: &[u8], block: &[u8]) -> Option<Leak> {
    let plain = |detail: String| Leak::new(LeakKind::PrivateKey, detail);
    let closed = |detail: &str| Leak::new(LeakKind::EncryptedPrivateKey, detail);
    let (headers, bytes) = decode(block);
    let bytes = bytes?;
    match label {
        b"OPENSSH " => {
            let key = ssh::openssh(&bytes)?;
            let leak = if key.encrypted {
                closed("OpenSSH private key, encrypted with a passphrase")
            } else {
                plain(format!("{} private key of OpenSSH", key.algorithm))
            };
            Some(leak.of_key(key.fingerprint))
        }
        // RFC 4880 4.2: the tag of a secret key packet, in the old and the new form.
        b"PGP " => {
            let first = *bytes.first()?;
            (first & 0xfc == 0x94 || first == 0xc5).then(|| plain("OpenPGP private key".into()))
        }
        b"SSH2 ENCRYPTED " => bytes.starts_with(b"\x3f\x6f\xf9\xeb").then(|| closed("SSH2 private key")),
        b"ENCRYPTED " => der::is_encrypted_private_key(&bytes)
            .then(|| closed("private key in PEM, encrypted with a password")),
        // A key that a TPM wrapped is of no use without that TPM.
        b"TSS2 " => None,
        // RFC 1421: then only the headers tell, and the bytes are ciphertext.
        _ if headers.contains("ENCRYPTED") => Some(closed("private key in PEM, encrypted with a password")),
        _ => match der::private_key(&bytes) {
            Some((name, fingerprint)) => {
                Some(plain(format!("{name} private key in PEM")).of_key(fingerprint))
            }
            None if der::looks_like_private_key(&bytes) => {
                let mut leak = plain("private key of unknown kind in PEM".into());
                leak.digest = Some(Fingerprint::of_bytes(&bytes));
                Some(leak)
            }
            None => None,
        },
    }
}

/// The DER in a PEM block whose first line has the marker, such as `BEGIN CERTIFICATE`.
pub(super) fn public(place: &Place<'_>) -> Option<Vec<u8>> {
    let rest = place.behind().strip_prefix(b"-----")?;
    let len = memchr::memmem::find(head(rest, MAX_BLOCK_LEN_BYTES), b"-----END")?;
    decode(rest.get(..len)?).1
}

/// Headers of a PEM block, and its bytes.
///
/// Blocks stand in source code too, each line in quotes, with `\n` at its end, or behind a comment's mark.
fn decode(block: &[u8]) -> (String, Option<Vec<u8>>) {
    let text = String::from_utf8_lossy(block);
    let text = text.replace("\\\\", "\\").replace("\\n", "\n").replace("\\r", "\n").replace("\\t", " ");
    let (mut headers, mut base64) = (String::new(), String::new());
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || "\"'`,;#*>|\\".contains(c));
        let line = line.strip_prefix("// ").unwrap_or(line);
        // `"…" +`; a line of Base64 may end in `+` too.
        let joined = line.strip_suffix('+').map(str::trim_end);
        let line = joined.filter(|l| l.is_empty() || l.ends_with(['"', '\'', '`'])).unwrap_or(line);
        let line = line.trim_matches(|c: char| c.is_whitespace() || "\"'`".contains(c));
        if line.contains(':') || line.starts_with("DEK-Info") {
            headers.push_str(line);
            headers.push('\n');
        } else if line.starts_with('=') {
            // RFC 4880 6.1: the checksum.
            break;
        } else {
            base64.push_str(line);
        }
    }
    (headers, decode_block(&base64).ok().filter(|bytes| !bytes.is_empty()))
}

/// PuTTY's file from its first line on.
pub(super) fn putty(place: &Place<'_>) -> Option<Leak> {
    let text = String::from_utf8_lossy(head(place.at_marker(), MAX_BLOCK_LEN_BYTES));
    let mut lines = text.lines();
    let (_, algorithm) = lines.next()?.split_once(": ")?;
    let encryption = lines.next()?.strip_prefix("Encryption: ")?;
    let mut public = String::new();
    let mut left = 0;
    for line in lines.by_ref() {
        if let Some(count) = line.strip_prefix("Public-Lines: ") {
            left = count.trim().parse().ok().filter(|n| *n <= 400)?;
        } else if left > 0 {
            public.push_str(line.trim());
            left -= 1;
        } else if line.starts_with("Private-Lines: ") {
            let fingerprint = decode_block(&public).ok().and_then(|public| ssh::fingerprint(&public));
            let leak = if encryption.trim() == "none" {
                let algorithm: String = algorithm.chars().filter(char::is_ascii_graphic).take(64).collect();
                Leak::new(LeakKind::PrivateKey, format!("{algorithm} private key of PuTTY"))
            } else {
                Leak::new(LeakKind::EncryptedPrivateKey, "PuTTY private key, encrypted with a passphrase")
            };
            return Some(leak.of_key(fingerprint));
        }
    }
    None
}

/// A secret key of age: the marker and 58 characters of Bech32.
pub(super) fn age(place: &Place<'_>) -> Option<Leak> {
    let is_bech32 = |b: &u8| b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".contains(b);
    let digits = place.behind().iter().take_while(|b| is_bech32(b)).count();
    (digits == 58).then(|| Leak::new(LeakKind::PrivateKey, "secret key of age"))
}

/// A JSON Web Key with a private part.
///
/// Source: RFC 7517, RFC 7518 section 6, RFC 8037.
pub(super) fn jwk(place: &Place<'_>) -> Option<Leak> {
    let before = tail(place.before(), MAX_JWK_LEN_BYTES);
    let start = memchr::memrchr(b'{', before)?;
    let behind = head(place.at_marker(), MAX_JWK_LEN_BYTES);
    let end = memchr::memchr(b'}', behind)?;
    let object = [before.get(start..)?, behind.get(..=end)?].concat();
    let object: serde_json::Value = serde_json::from_slice(&object).ok()?;
    let member = |name: &str| object.get(name).and_then(serde_json::Value::as_str);
    let (name, secret) = match member("kty")? {
        "RSA" => ("RSA", member("d")?),
        "EC" => ("EC", member("d")?),
        "OKP" => ("Edwards curve", member("d")?),
        "oct" => ("symmetric", member("k")?),
        _ => return None,
    };
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if secret.len() < 20 || !secret.bytes().all(is_base64url) {
        return None;
    }
    Some(Leak::new(LeakKind::PrivateKey, format!("{name} key as JSON Web Key, with its private part")))
}

pub(super) fn head(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(..len.min(bytes.len())).unwrap_or_default()
}

pub(super) fn tail(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(len)..).unwrap_or_default()
}
