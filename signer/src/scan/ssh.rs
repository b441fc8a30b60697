//! Keys in OpenSSH's and PuTTY's forms.

use crate::crypto::Fingerprint;
use openssl::{
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey, EcPoint},
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::Rsa,
};

/// What an OpenSSH private key tells without a passphrase.
pub(super) struct OpenSsh {
    pub(super) encrypted: bool,
    pub(super) algorithm: String,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// Reads the outside of `bytes`.
///
/// Source: OpenSSH `PROTOCOL.key`.
pub(super) fn openssh(bytes: &[u8]) -> Option<OpenSsh> {
    let mut fields = Fields(bytes.strip_prefix(b"openssh-key-v1\0")?);
    let cipher = fields.string()?;
    let (_kdf, _kdf_options, _count) = (fields.string()?, fields.string()?, fields.number()?);
    let public = fields.string()?;
    let algorithm = Fields(public).string()?;
    Some(OpenSsh {
        encrypted: cipher != b"none",
        algorithm: String::from_utf8_lossy(algorithm)
            .chars()
            .filter(|c| c.is_ascii_graphic())
            .take(64)
            .collect(),
        fingerprint: fingerprint(public),
    })
}

/// The fingerprint of a public key in SSH's form, RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4.
pub(super) fn fingerprint(public: &[u8]) -> Option<Fingerprint> {
    let key = public_key(public);
    let _ = openssl::error::ErrorStack::get();
    Some(Fingerprint::of_bytes(&key?.public_key_to_der().ok()?))
}

fn public_key(public: &[u8]) -> Option<PKey<Public>> {
    let mut fields = Fields(public);
    match fields.string()? {
        b"ssh-rsa" => {
            let exponent = BigNum::from_slice(fields.string()?).ok()?;
            let modulus = BigNum::from_slice(fields.string()?).ok()?;
            PKey::from_rsa(Rsa::from_public_components(modulus, exponent).ok()?).ok()
        }
        b"ssh-ed25519" => PKey::public_key_from_raw_bytes(fields.string()?, Id::ED25519).ok(),
        name => {
            let curve = match name {
                b"ecdsa-sha2-nistp256" => Nid::X9_62_PRIME256V1,
                b"ecdsa-sha2-nistp384" => Nid::SECP384R1,
                b"ecdsa-sha2-nistp521" => Nid::SECP521R1,
                _ => return None,
            };
            let _curve = fields.string()?;
            let group = EcGroup::from_curve_name(curve).ok()?;
            let mut context = BigNumContext::new().ok()?;
            let point = EcPoint::from_bytes(&group, fields.string()?, &mut context).ok()?;
            PKey::from_ec_key(EcKey::from_public_key(&group, &point).ok()?).ok()
        }
    }
}

/// RFC 4251's strings and numbers.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(string)
    }
}
