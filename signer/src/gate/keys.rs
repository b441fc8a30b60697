//! Keys and certificates wherever they turn up.

use crate::{crypto::PublicKey, key::certificate};
use der::{Reader as _, SliceReader};

/// Most keys that are taken out of one place.
const MAX_KEYS: usize = 4096;

/// A public key that was found, with its certificate if it came in one.
#[derive(Clone, Debug)]
pub struct FoundKey {
    /// The key.
    pub key: PublicKey,
    /// Its certificate, DER.
    pub certificate: Option<Vec<u8>>,
}

/// Every certificate and public key that `bytes` hold: PEM anywhere, or DER as a whole.
#[must_use]
pub fn in_file(bytes: &[u8]) -> Vec<FoundKey> {
    if bytes.first() == Some(&0x30) {
        return of_der(bytes).into_iter().collect();
    }
    in_pem(&String::from_utf8_lossy(bytes))
}

/// A certificate or SubjectPublicKeyInfo in DER.
#[must_use]
pub fn of_der(der: &[u8]) -> Option<FoundKey> {
    if let Ok(key) = certificate::public_key(der) {
        return Some(FoundKey { key, certificate: Some(der.to_vec()) });
    }
    PublicKey::from_spki_der(der).ok().map(|key| FoundKey { key, certificate: None })
}

/// Every certificate and public key in PEM that stands in `text` (RFC 7468), whatever is around it.
#[must_use]
pub fn in_pem(text: &str) -> Vec<FoundKey> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        rest = rest.get(at..).unwrap_or_default();
        let after = rest.get(BEGIN.len()..).unwrap_or_default();
        let label = after.split("-----").next().unwrap_or_default();
        let end = format!("-----END {label}-----");
        let wanted = matches!(label, "CERTIFICATE" | "TRUSTED CERTIFICATE" | "PUBLIC KEY");
        let Some(len) = rest.find(&end).filter(|_| wanted).map(|at| at + end.len()) else {
            rest = after;
            continue;
        };
        let block = rest.get(..len).unwrap_or_default();
        if let Some(der) = decode(block) {
            found.extend(of_der(&der));
        }
        if found.len() >= MAX_KEYS {
            break;
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    found
}

/// The bytes of one PEM block; lenient about line lengths and line ends, as OpenSSL is.
fn decode(block: &str) -> Option<Vec<u8>> {
    let body: String =
        block.lines().filter(|l| !l.starts_with("-----")).flat_map(str::split_whitespace).collect();
    openssl::base64::decode_block(&body).ok()
}

/// Whether `bytes` begin with a private key in DER: PKCS#1, SEC 1 or PKCS#8.
pub(super) fn is_private_der(bytes: &[u8]) -> bool {
    let parse = || -> der::Result<bool> {
        let mut outer = SliceReader::new(bytes)?;
        let header = <der::Header as der::Decode>::decode(&mut outer)?;
        let body_len = usize::try_from(header.length)?;
        // A file that is one value, not something longer that begins like one.
        let body = outer.tlv_rest(body_len)?;
        let mut inner = SliceReader::new(body)?;
        let version: u8 = inner.decode()?;
        let next = inner.peek_tag()?;
        Ok(match (version, next) {
            (0 | 1, der::Tag::Integer) => looks_like_rsa(&mut inner)?,
            (0 | 1, der::Tag::Sequence) => {
                let _algorithm: der::AnyRef<'_> = inner.decode()?;
                inner.peek_tag()? == der::Tag::OctetString
            }
            (1, der::Tag::OctetString) => {
                let secret: der::asn1::OctetStringRef<'_> = inner.decode()?;
                (16..=66).contains(&secret.as_bytes().len())
            }
            _ => false,
        })
    };
    parse().unwrap_or(false)
}

/// Nine integers, the first of them long (RFC 8017, appendix A.1.2).
fn looks_like_rsa(reader: &mut SliceReader<'_>) -> der::Result<bool> {
    let mut integers = 0;
    let mut first_len = 0;
    while !reader.is_finished() && integers < 8 {
        let value: der::AnyRef<'_> = reader.decode()?;
        if integers == 0 {
            first_len = value.value().len();
        }
        integers += 1;
    }
    Ok(integers == 8 && first_len >= 64)
}

/// What is left of a reader, if it is at least `len` long.
trait Rest<'a> {
    fn tlv_rest(&mut self, len: usize) -> der::Result<&'a [u8]>;
}

impl<'a> Rest<'a> for SliceReader<'a> {
    fn tlv_rest(&mut self, len: usize) -> der::Result<&'a [u8]> {
        self.read_slice(der::Length::try_from(len)?)
    }
}
