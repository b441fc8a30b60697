//! What every byte is compared with: few, rare and long enough, so that the search runs at the speed of memory.

use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Why a place is looked at more closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// `PRIVATE KEY`, in the first or last line of a PEM block.
    PemPrivate,
    /// The first line of a PEM block with a public key or certificate.
    PemPublic,
    /// What follows the outer SEQUENCE of RSAPrivateKey, PrivateKeyInfo, ECPrivateKey and PFX: an INTEGER.
    DerVersion,
    /// OID of a password-based encryption.
    DerEncryption,
    /// OID of an RSA or EC public key.
    DerPublic,
    /// PuTTY's first line.
    Putty,
    /// `age`'s secret key.
    Age,
    /// JSON Web Key's `kty`.
    Jwk,
    /// RFC 7512's attribute.
    PinValue,
    /// An assignment to something called PIN.
    PinName,
    /// A command line option.
    PinOption,
}

/// The bytes, each with what they mean. No marker is the beginning of a later one.
///
/// Few words of prose or code begin as one of them does: the search compares the first three bytes.
const MARKERS: [(&[u8], Marker); 25] = [
    (b"PRIVATE KEY", Marker::PemPrivate),
    (b"BEGIN CERTIFICATE", Marker::PemPublic),
    (b"BEGIN PUBLIC KEY", Marker::PemPublic),
    // RFC 8017 A.1.2: version 0, then a modulus of 128 bytes or more.
    (b"\x02\x01\x00\x02\x81", Marker::DerVersion),
    (b"\x02\x01\x00\x02\x82", Marker::DerVersion),
    // RFC 5958: version 0 or 1, then the algorithm.
    (b"\x02\x01\x00\x30", Marker::DerVersion),
    (b"\x02\x01\x01\x30", Marker::DerVersion),
    // RFC 5915: version 1, then 20 to 66 bytes of private key.
    (b"\x02\x01\x01\x04", Marker::DerVersion),
    // RFC 7292: version 3, then the content.
    (b"\x02\x01\x03\x30", Marker::DerVersion),
    // RFC 8018: PBES2, and PBES1 with MD5 and DES or SHA-1 and DES; RFC 7292, appendix C.
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", Marker::DerEncryption),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03", Marker::DerEncryption),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0a", Marker::DerEncryption),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01", Marker::DerEncryption),
    // RFC 3279: rsaEncryption, id-ecPublicKey.
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03", Marker::DerPublic),
    (b"\x2a\x86\x48\xce\x3d\x02\x01\x06", Marker::DerPublic),
    (b"PuTTY-User-Key-File-", Marker::Putty),
    (b"AGE-SECRET-KEY-1", Marker::Age),
    (b"\"kty\"", Marker::Jwk),
    (b"pin-value", Marker::PinValue),
    (b"_PIN", Marker::PinName),
    (b"PIN=", Marker::PinName),
    (b"PIN =", Marker::PinName),
    (b"-pin ", Marker::PinOption),
    (b"-pin=", Marker::PinOption),
    (b"token-pin", Marker::PinName),
];

/// Finds markers in a piece of a file.
pub(super) struct Markers(Option<Searcher>);

impl Markers {
    pub(super) fn new() -> Self {
        let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
        builder.extend(MARKERS.iter().map(|(bytes, _)| bytes));
        Self(builder.build())
    }

    /// The first marker at or behind `from` in `bytes`: where, how long, which.
    pub(super) fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize, Marker)> {
        let searcher = self.0.as_ref()?;
        let found = searcher.find_in(bytes, (from..bytes.len()).into())?;
        let (_, marker) = MARKERS.get(found.pattern().as_usize())?;
        Some((found.start(), found.end() - found.start(), *marker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_is_found_alone_and_behind_others() {
        let markers = Markers::new();
        for (bytes, marker) in MARKERS {
            for padding in [0, 1, 15, 16, 17, 100] {
                let text = [vec![b'x'; padding], bytes.to_vec(), vec![b'x'; padding]].concat();
                assert_eq!(markers.find(&text, 0), Some((padding, bytes.len(), marker)));
            }
        }
    }
}
