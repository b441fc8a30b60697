//! Keys in DER.

use super::{finding::Leak, markers::Marker, stream::Place};
use crate::{crypto::Fingerprint, vocabulary::LeakKind};
use openssl::pkey::PKey;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
/// RFC 7292: pkcs8ShroudedKeyBag and keyBag, whose last octet is 2 or 1.
const BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
/// RFC 5652: what a PFX begins with behind its version: id-data or id-signedData.
const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";

/// What is around a marker.
pub(super) fn examine(place: &Place<'_>) -> Option<Leak> {
    match place.marker {
        Marker::DerVersion if place.at_marker().starts_with(b"\x02\x01\x03") => key_store(place),
        Marker::DerVersion => plain(place),
        Marker::DerEncryption => encrypted(place),
        _ => None,
    }
}

/// RSAPrivateKey, PrivateKeyInfo, OneAsymmetricKey, ECPrivateKey.
fn plain(place: &Place<'_>) -> Option<Leak> {
    let (header, der) = sequence_before(place.bytes, place.at)?;
    let (name, fingerprint) = private_key(der)?;
    if (name.starts_with('X') || name.starts_with("Ed")) && !is_random(der.get(16..)?) {
        return None;
    }
    let detail = format!("{name} private key in DER");
    let leak = Leak::new(LeakKind::PrivateKey, detail).of_key(fingerprint);
    Some(leak.spanning(header, der.len() - header))
}

/// Whether these may be the bytes of an Edwards or Montgomery curve's key, which are any bytes at all. Programs that
/// write such keys carry the DER before them, and texts, zeros or the DER of another curve come behind that.
fn is_random(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|b| **b == 0).count();
    let text = bytes.iter().filter(|b| b.is_ascii_graphic() || **b == b' ').count();
    zeros < 4 && text * 4 < bytes.len() * 3 && memchr::memmem::find(bytes, b"\x06\x03\x2b\x65").is_none()
}

/// What OpenSSL calls the private key that `der` is, and the fingerprint of its public half.
pub(super) fn private_key(der: &[u8]) -> Option<(String, Option<Fingerprint>)> {
    // OpenSSL would take a certificate request for some keys, and anything behind a key.
    let key = PKey::private_key_from_der(der);
    // What it could not read stays in its queue else, and would be told of something later.
    let _ = openssl::error::ErrorStack::get();
    let key = key.ok()?;
    let name = match key.id() {
        openssl::pkey::Id::RSA => format!("RSA-{}", key.bits()),
        openssl::pkey::Id::EC => format!("EC-{}", key.bits()),
        openssl::pkey::Id::DSA => format!("DSA-{}", key.bits()),
        openssl::pkey::Id::ED25519 => "Ed25519".into(),
        openssl::pkey::Id::ED448 => "Ed448".into(),
        openssl::pkey::Id::X25519 => "X25519".into(),
        openssl::pkey::Id::X448 => "X448".into(),
        openssl::pkey::Id::DH => return None,
        _ => "unknown".into(),
    };
    // A DER of nine small numbers is no key.
    if key.bits() < 160 {
        return None;
    }
    let spki = key.public_key_to_der().ok();
    Some((name, spki.map(|spki| Fingerprint::of_bytes(&spki))))
}

/// Whether `der` is an EncryptedPrivateKeyInfo (RFC 5958), to its last byte.
pub(super) fn is_encrypted_private_key(der: &[u8]) -> bool {
    let Some((SEQUENCE, inside, b"")) = element(der) else { return false };
    let Some((SEQUENCE, algorithm, rest)) = element(inside) else { return false };
    // One algorithm, then the ciphertext and nothing more.
    matches!(element(algorithm), Some((6, _, _)))
        && matches!(element(rest), Some((OCTET_STRING, data, b"")) if !data.is_empty())
}

/// EncryptedPrivateKeyInfo around the OID of an encryption.
fn encrypted(place: &Place<'_>) -> Option<Leak> {
    // 06 and the length come before the OID's value.
    let oid = place.at.checked_sub(2)?;
    let (algorithm_header, _) = sequence_before(place.bytes, oid)?;
    let (header, der) = sequence_before(place.bytes, oid - algorithm_header)?;
    if !is_encrypted_private_key(der) {
        return None;
    }
    let before = header + algorithm_header + 2;
    let leak = Leak::new(LeakKind::EncryptedPrivateKey, "private key in DER, encrypted with a password");
    Some(leak.spanning(before, der.len() - before))
}

/// PKCS#12 with a private key in it. One that holds certificates alone is a trust store.
fn key_store(place: &Place<'_>) -> Option<Leak> {
    let (_, content, _) = element(place.at_marker().get(3..)?).or_else(|| unfinished(place))?;
    if !content.starts_with(PKCS7) {
        return None;
    }
    let mut bags = memchr::memmem::find_iter(content, BAG);
    if !bags.any(|at| matches!(content.get(at + BAG.len()), Some(1 | 2))) {
        return None;
    }
    let covers = content.len();
    Some(Leak::new(LeakKind::KeyStore, "PKCS#12 key store with a private key").spanning(4, covers))
}

/// The content of a long SEQUENCE behind the marker, as far as it is there.
fn unfinished<'a>(place: &Place<'a>) -> Option<(u8, &'a [u8], &'a [u8])> {
    let (tag, header, _) = header(place.at_marker().get(3..)?)?;
    Some((tag, place.at_marker().get(3 + header..)?, b""))
}

/// The DER of a SubjectPublicKeyInfo around the OID of its algorithm.
pub(super) fn public_key<'a>(place: &Place<'a>) -> Option<&'a [u8]> {
    spki(place.bytes, place.at)
}

fn spki(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let oid = at.checked_sub(2)?;
    let (algorithm_header, _) = sequence_before(bytes, oid)?;
    let (_, der) = sequence_before(bytes, oid - algorithm_header)?;
    Some(der)
}

/// Every SubjectPublicKeyInfo in `der`, such as a certificate.
pub(super) fn public_keys(der: &[u8]) -> Vec<&[u8]> {
    let oids: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x2a\x86\x48\xce\x3d\x02\x01"];
    oids.iter().flat_map(|oid| memchr::memmem::find_iter(der, oid)).filter_map(|at| spki(der, at)).collect()
}

/// The SEQUENCE whose contents begin at `at`: how long its header is, and all of it.
fn sequence_before(bytes: &[u8], at: usize) -> Option<(usize, &[u8])> {
    (2..=4).find_map(|length| {
        let from = bytes.get(at.checked_sub(length)?..)?;
        let (tag, header, len) = header(from)?;
        let all = from.get(..header.checked_add(len)?)?;
        (tag == SEQUENCE && header == length).then_some((header, all))
    })
}

/// The first element of `der`: its tag, its contents, and what comes behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, header, len) = header(der)?;
    let rest = der.get(header..)?;
    Some((tag, rest.get(..len)?, rest.get(len..)?))
}

/// Tag, length of the header and length of the contents, in the shortest form as DER demands.
///
/// Source: ITU-T X.690, 8.1 and 10.1.
fn header(der: &[u8]) -> Option<(u8, usize, usize)> {
    match *der {
        [tag, short @ 0..=0x7f, ..] => Some((tag, 2, short.into())),
        [tag, 0x81, len @ 0x80..=0xff, ..] => Some((tag, 3, len.into())),
        [tag, 0x82, high @ 1..=0xff, low, ..] => Some((tag, 4, usize::from(high) << 8 | usize::from(low))),
        [tag, 0x83, a @ 1..=0xff, b, c, ..] => {
            Some((tag, 5, usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)))
        }
        _ => None,
    }
}

/// Whether `der` is one SEQUENCE that begins with a version number, as every private key does.
pub(super) fn looks_like_private_key(der: &[u8]) -> bool {
    matches!(element(der), Some((SEQUENCE, inside, b"")) if matches!(element(inside), Some((2, [0..=3], _))))
}
