//! Keys in memory, for unit tests of formats; the program itself signs only with tokens.

use crate::{
    crypto::{Curve, HashAlgorithm, PublicKey, Scheme, Signature, SignatureAlgorithm},
    error::Error,
    policy::Mode,
    request::{Answer, Identity, Request, Role},
};
use openssl::{
    asn1::Asn1Time,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::{Padding, Rsa},
    sign::RsaPssSaltlen,
    x509::{X509, X509NameBuilder},
};

/// A key in memory with a self-signed certificate.
pub(crate) struct SoftKey {
    key: PKey<Private>,
    identity: Identity,
}

impl SoftKey {
    /// A fresh RSA key.
    pub(crate) fn rsa(role: Role, bits: u32, scheme: Scheme, hash: HashAlgorithm) -> Self {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        Self::new(role, key, SignatureAlgorithm { scheme, hash })
    }

    /// A fresh EC key.
    pub(crate) fn ecdsa(role: Role, curve: Curve, hash: HashAlgorithm) -> Self {
        let nid = match curve {
            Curve::P256 => Nid::X9_62_PRIME256V1,
            Curve::P384 => Nid::SECP384R1,
        };
        let group = EcGroup::from_curve_name(nid).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        Self::new(role, key, SignatureAlgorithm { scheme: Scheme::Ecdsa, hash })
    }

    fn new(role: Role, key: PKey<Private>, algorithm: SignatureAlgorithm) -> Self {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "unit test").unwrap();
        let name = name.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_subject_name(&name).unwrap();
        certificate.set_issuer_name(&name).unwrap();
        certificate.set_pubkey(&key).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        let identity = Identity {
            role,
            mode: Mode::Dev,
            algorithm,
            key_name_hint: format!("hsmsign-dev-{role}"),
            public_key: PublicKey::from_spki_der(&key.public_key_to_der().unwrap()).unwrap(),
            certificate: Some(certificate.build().to_der().unwrap()),
            chain: Vec::new(),
            token_label: "memory".into(),
            token_serial: "0".into(),
            rehearsal: false,
        };
        Self { key, identity }
    }
}

impl SoftKey {
    /// Gives the key another name hint, as the other mode's key has.
    pub(crate) fn rename(&mut self, key_name_hint: &str) {
        self.identity.key_name_hint = key_name_hint.into();
    }

    /// The private key, for a tool whose output is to be compared.
    pub(crate) fn private_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }
}

impl Answer for SoftKey {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answer(&self, request: &Request) -> Result<Signature, Error> {
        let md = match request.algorithm.hash {
            HashAlgorithm::Sha256 => openssl::md::Md::sha256(),
            HashAlgorithm::Sha384 => openssl::md::Md::sha384(),
            HashAlgorithm::Sha512 => openssl::md::Md::sha512(),
        };
        let mut ctx = PkeyCtx::new(&self.key).unwrap();
        ctx.sign_init().unwrap();
        ctx.set_signature_md(md).unwrap();
        match request.algorithm.scheme {
            Scheme::RsaPkcs1v15 => ctx.set_rsa_padding(Padding::PKCS1).unwrap(),
            Scheme::RsaPss => {
                ctx.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                ctx.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            }
            Scheme::Ecdsa => {}
        }
        let mut bytes = Vec::new();
        ctx.sign_to_vec(request.digest.as_bytes(), &mut bytes).unwrap();
        Ok(match self.identity.public_key.material() {
            crate::crypto::KeyMaterial::Rsa { .. } => Signature::from_bytes(bytes),
            crate::crypto::KeyMaterial::Ec { curve, .. } => {
                Signature::from_ecdsa_der(&bytes, curve.width_bytes()).unwrap()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Format, Subject};

    fn request(key: &SoftKey, bytes: &[u8]) -> Request {
        let algorithm = key.identity().algorithm;
        let digest = algorithm.hash.digest(bytes);
        let subject = Subject { format: Format::Blob, name: "test".into(), identity: digest.to_hex() };
        Request { role: key.identity().role, algorithm, digest, message: Some(bytes.to_vec()), subject }
    }

    #[test]
    fn public_keys_verify_every_scheme_and_refuse_another_digest() {
        let keys = [
            SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
            SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPss, HashAlgorithm::Sha512),
            SoftKey::ecdsa(Role::Fit, Curve::P256, HashAlgorithm::Sha256),
            SoftKey::ecdsa(Role::Fit, Curve::P384, HashAlgorithm::Sha384),
        ];
        for key in &keys {
            let request = request(key, b"good");
            let signature = key.answer(&request).unwrap();
            let public = &key.identity().public_key;
            public.verify(request.algorithm, &request.digest, &signature).unwrap();
            let other = request.algorithm.hash.digest(b"bad");
            assert!(public.verify(request.algorithm, &other, &signature).is_err(), "{}", request.algorithm);
        }
    }
}
