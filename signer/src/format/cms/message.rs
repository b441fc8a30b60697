//! Reading a message back and checking it, stricter than its consumers do.

use super::{
    CmsError, algorithm,
    chain::{self, ChainRules},
    plan::attributes_digest,
    structure::{self, SignedData},
};
use crate::crypto::{Digest, HashAlgorithm, PublicKey, Scheme, Signature, SignatureAlgorithm};
use cms::signed_data::{SignedAttributes, SignerIdentifier, SignerInfo};
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST};
use der::{
    Any, Decode as _, Encode as _,
    asn1::{ObjectIdentifier, OctetString},
};
use x509_cert::{Certificate, ext::pkix::SubjectKeyIdentifier};

/// Longest message that is read: a signature and some twenty certificates.
const MAX_LEN_BYTES: usize = 64 * 1024;

/// A detached `SignedData` with one signer. Nothing in it is trusted until a `verify_…` says so.
#[derive(Clone, Debug)]
pub struct Message {
    signer: SignerInfo,
    algorithm: SignatureAlgorithm,
    certificates: Vec<Vec<u8>>,
}

/// A signer that is known beforehand: by certificate, or by public key alone.
#[derive(Clone, Copy, Debug)]
pub struct KnownSigner<'a> {
    /// The key.
    pub public_key: &'a PublicKey,
    /// Its certificate, DER. With it, the message must name that very certificate.
    pub certificate: Option<&'a [u8]>,
}

/// A signer whose certificate led to a trusted one.
#[derive(Clone, Debug)]
pub struct ChainSigner {
    /// The signer's certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key.
    pub public_key: PublicKey,
}

impl Message {
    /// Reads the DER of a `ContentInfo`.
    ///
    /// # Errors
    ///
    /// [`CmsError`] if it is malformed, holds its content or other than one signer, or uses an
    /// algorithm hsmsign does not sign with.
    pub fn parse(der: &[u8]) -> Result<Self, CmsError> {
        if der.len() > MAX_LEN_BYTES {
            return Err(CmsError::TooLong(der.len()));
        }
        let data = SignedData::from_content_info(der)?;
        if data.encap_content_info.econtent_type != ID_DATA || data.encap_content_info.econtent.is_some() {
            return Err(CmsError::NotDetached);
        }
        let signers = data.signer_infos.0.into_vec();
        let [signer] = <[SignerInfo; 1]>::try_from(signers).map_err(|s| CmsError::SignerCount(s.len()))?;
        let hash = algorithm::hash_of(&signer.digest_alg)?;
        // RFC 5652, section 5.1 lets verifiers refuse a digest algorithm that is not listed; the kernel does.
        if !data.digest_algorithms.iter().any(|d| algorithm::hash_of(d).is_ok_and(|h| h == hash)) {
            return Err(CmsError::DigestAlgorithm(signer.digest_alg.oid));
        }
        let algorithm = algorithm::signature_algorithm(&signer.signature_algorithm, hash)?;
        let certificates = data.certificates.map_or_else(Vec::new, |c| c.into_vec());
        let certificates = certificates
            .iter()
            .map(|c| c.to_der().map_err(CmsError::der("certificates")))
            .collect::<Result<_, _>>()?;
        Ok(Self { signer, algorithm, certificates })
    }

    /// The hash function to digest the content with.
    #[must_use]
    pub fn hash(&self) -> HashAlgorithm {
        self.algorithm.hash
    }

    /// The signature algorithm it names.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Whether the signature is over signed attributes; the kernel refuses such for root hashes.
    #[must_use]
    pub fn has_signed_attributes(&self) -> bool {
        self.signer.signed_attrs.is_some()
    }

    /// The certificates it carries, DER.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The certificate of its signer, DER, if it carries that.
    #[must_use]
    pub fn signer_certificate(&self) -> Option<&[u8]> {
        self.certificates.iter().map(Vec::as_slice).find(|c| self.names(c))
    }

    /// Whom it names as signer, for people.
    #[must_use]
    pub fn signer(&self) -> String {
        match &self.signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                format!("`{}` serial {}", id.issuer, hex::encode(id.serial_number.as_bytes()))
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                format!("key identifier {}", hex::encode(id.0.as_bytes()))
            }
        }
    }

    /// Checks that one of `known` signed `content`. Returns its place in the list.
    ///
    /// # Errors
    ///
    /// [`CmsError`] saying what does not hold.
    pub fn verify_by_known(&self, content: &Digest, known: &[KnownSigner<'_>]) -> Result<usize, CmsError> {
        let signed = self.signed_digest(content)?;
        let mut named = false;
        for (place, candidate) in known.iter().enumerate() {
            if !candidate.certificate.is_none_or(|c| self.names(c)) {
                continue;
            }
            named |= candidate.certificate.is_some();
            if self.verify_signature(candidate.public_key, &signed).is_ok() {
                return Ok(place);
            }
        }
        Err(if named { self.bad_signature() } else { CmsError::UnknownSigner { signer: self.signer() } })
    }

    /// Checks that someone signed `content` whose certificate leads to one of `anchors`.
    ///
    /// The signer's certificate is taken from the message, else from `anchors`; an anchor need not be
    /// self-signed. `intermediates` help to build the path and are not trusted. All are DER.
    ///
    /// # Errors
    ///
    /// [`CmsError`] saying what does not hold.
    pub fn verify_by_chain(
        &self,
        content: &Digest,
        anchors: &[Vec<u8>],
        intermediates: &[Vec<u8>],
        rules: ChainRules,
    ) -> Result<ChainSigner, CmsError> {
        let signed = self.signed_digest(content)?;
        let certificate = self
            .certificates
            .iter()
            .chain(anchors)
            .find(|c| self.names(c))
            .ok_or_else(|| CmsError::UnknownSigner { signer: self.signer() })?;
        let untrusted: Vec<&[u8]> =
            self.certificates.iter().chain(intermediates).map(Vec::as_slice).collect();
        chain::verify(certificate, anchors, &untrusted, rules)?;
        let public_key = chain::public_key(certificate)?;
        self.verify_signature(&public_key, &signed)?;
        Ok(ChainSigner { certificate: certificate.clone(), public_key })
    }

    /// Whether the message names `certificate` as its signer's.
    fn names(&self, certificate: &[u8]) -> bool {
        match &self.signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                structure::issuer_and_serial(certificate).is_ok_and(|c| c == *id)
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => Certificate::from_der(certificate)
                .ok()
                .and_then(|c| c.tbs_certificate.get::<SubjectKeyIdentifier>().ok().flatten())
                .is_some_and(|(_, found)| found == *id),
        }
    }

    /// The digest the signature should be over, after `content` was compared with the attributes.
    fn signed_digest(&self, content: &Digest) -> Result<Digest, CmsError> {
        if content.algorithm() != self.hash() {
            return Err(CmsError::Hash { expected: self.hash(), found: content.algorithm() });
        }
        let Some(attributes) = &self.signer.signed_attrs else { return Ok(content.clone()) };
        let content_type = single(attributes, ID_CONTENT_TYPE, "contentType")?;
        if !content_type.decode_as::<ObjectIdentifier>().is_ok_and(|oid| oid == ID_DATA) {
            return Err(CmsError::Attribute { name: "contentType", problem: "is not plain data" });
        }
        let digest = single(attributes, ID_MESSAGE_DIGEST, "messageDigest")?;
        let digest: OctetString = digest.decode_as().map_err(CmsError::der("messageDigest"))?;
        if digest.as_bytes() != content.as_bytes() {
            return Err(CmsError::Content {
                hash: self.hash(),
                found: content.to_hex(),
                signed: hex::encode(digest.as_bytes()),
            });
        }
        attributes_digest(attributes, self.algorithm)
    }

    fn verify_signature(&self, key: &PublicKey, signed: &Digest) -> Result<(), CmsError> {
        let bytes = self.signer.signature.as_bytes();
        let signature = match (self.algorithm.scheme, key.material()) {
            (Scheme::Ecdsa, crate::crypto::KeyMaterial::Ec { curve, .. }) => {
                Signature::from_ecdsa_der(bytes, curve.width_bytes()).map_err(|_| self.bad_signature())?
            }
            _ => Signature::from_bytes(bytes.to_vec()),
        };
        key.verify(self.algorithm, signed, &signature).map_err(|_| self.bad_signature())
    }

    fn bad_signature(&self) -> CmsError {
        CmsError::BadSignature { signer: self.signer(), algorithm: self.algorithm }
    }
}

/// The one value of an attribute that must be there once (RFC 5652, sections 11.1 and 11.2).
fn single<'a>(
    attributes: &'a SignedAttributes,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<&'a Any, CmsError> {
    let mut found = attributes.iter().filter(|a| a.oid == oid);
    let attribute = found.next().ok_or(CmsError::Attribute { name, problem: "is missing" })?;
    match (found.next(), attribute.values.as_ref()) {
        (None, [value]) => Ok(value),
        _ => Err(CmsError::Attribute { name, problem: "is there more than once" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::Curve,
        format::cms::{Options, attach, plan},
        request::{Answer as _, Format, Role, Subject},
        testing::SoftKey,
    };
    use proptest::prelude::*;

    const BARE: Options = Options { signed_attributes: false, certificates: false, signing_time: None };
    const FULL: Options = Options { signed_attributes: true, certificates: true, signing_time: None };

    fn sign(key: &SoftKey, content: &[u8], options: Options) -> Vec<u8> {
        let identity = key.identity();
        let digest = identity.algorithm.hash.digest(content);
        let certificate = identity.certificate.as_ref().unwrap();
        let plan = plan(&digest, identity.algorithm, certificate, &[], options).unwrap();
        let subject = Subject { format: Format::Blob, name: "test".into(), identity: digest.to_hex() };
        let request = plan.request(Role::Update, subject, Some(content));
        assert_eq!(request.algorithm.hash.digest(request.message.as_ref().unwrap()), request.digest);
        attach(&plan, &key.answer(&request).unwrap()).unwrap()
    }

    fn known(key: &SoftKey) -> KnownSigner<'_> {
        let identity = key.identity();
        KnownSigner { public_key: &identity.public_key, certificate: identity.certificate.as_deref() }
    }

    fn keys() -> Vec<SoftKey> {
        vec![
            SoftKey::rsa(Role::Update, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
            SoftKey::rsa(Role::Update, 2048, Scheme::RsaPss, HashAlgorithm::Sha512),
            SoftKey::ecdsa(Role::Update, Curve::P384, HashAlgorithm::Sha384),
        ]
    }

    #[test]
    fn known_signers_verify_and_other_content_or_keys_do_not() {
        let other = SoftKey::ecdsa(Role::Update, Curve::P384, HashAlgorithm::Sha384);
        for key in keys() {
            for options in [BARE, FULL] {
                let message = Message::parse(&sign(&key, b"good", options)).unwrap();
                let good = message.hash().digest(b"good");
                assert_eq!(message.verify_by_known(&good, &[known(&other), known(&key)]).unwrap(), 1);
                let by_key_alone = KnownSigner { certificate: None, ..known(&key) };
                message.verify_by_known(&good, &[by_key_alone]).unwrap();
                assert!(message.verify_by_known(&message.hash().digest(b"evil"), &[known(&key)]).is_err());
                assert!(message.verify_by_known(&good, &[known(&other)]).is_err());
                assert!(message.verify_by_known(&good, &[]).is_err());
            }
        }
    }

    #[test]
    fn a_name_is_no_proof() {
        // Both certificates have the same issuer and serial number, so only the signature tells.
        let [real, forger] =
            [0, 1].map(|_| SoftKey::rsa(Role::Update, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256));
        let message = Message::parse(&sign(&forger, b"x", FULL)).unwrap();
        let digest = message.hash().digest(b"x");
        let error = message.verify_by_known(&digest, &[known(&real)]).unwrap_err();
        assert!(matches!(error, CmsError::BadSignature { .. }), "{error}");
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let key = SoftKey::rsa(Role::Update, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
        for options in [BARE, Options { certificates: false, ..FULL }] {
            let good = sign(&key, b"x", options);
            let digest = HashAlgorithm::Sha256.digest(b"x");
            for place in 0..good.len() {
                let mut bad = good.clone();
                bad[place] ^= 0x01;
                let verdict = Message::parse(&bad).and_then(|m| m.verify_by_known(&digest, &[known(&key)]));
                // Version numbers bear no meaning that a verifier leans on.
                let is_version = good[place.saturating_sub(2)..=place] == [0x02, 0x01, 0x01];
                assert!(verdict.is_err() || is_version, "byte {place} of {}", hex::encode(&good));
            }
        }
    }

    #[test]
    fn truncated_and_extended_messages_are_malformed() {
        let key = SoftKey::ecdsa(Role::Update, Curve::P256, HashAlgorithm::Sha256);
        let good = sign(&key, b"x", FULL);
        for len in 0..good.len() {
            assert!(Message::parse(&good[..len]).is_err());
        }
        assert!(Message::parse(&[&good[..], b"\0"].concat()).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn hostile_changes_never_panic(place in 0usize..900, byte: u8) {
            let key = SoftKey::ecdsa(Role::Update, Curve::P256, HashAlgorithm::Sha256);
            let mut message = sign(&key, b"x", FULL);
            let place = place % message.len();
            message[place] = byte;
            if let Ok(message) = Message::parse(&message) {
                let digest = message.hash().digest(b"x");
                let _ = message.verify_by_known(&digest, &[known(&key)]);
            }
        }
    }
}
