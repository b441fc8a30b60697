//! X.509 certificates (RFC 5280) and certification requests (RFC 2986) signed by keys in tokens.

use crate::{
    crypto::{HashAlgorithm, KeyMaterial, PublicKey, Scheme, Signature, SignatureAlgorithm},
    request::{Format, Request, Role, Subject},
};
use const_oid::db::{rfc4519, rfc5280, rfc5912};
use der::{
    Decode as _, Encode as _, EncodePem as _,
    asn1::{Any, BitString, ObjectIdentifier, OctetString, SetOfVec, UtcTime, Utf8StringRef},
    pem::LineEnding,
};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    attr::AttributeTypeAndValue,
    ext::{
        AsExtension, Extension,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::{RdnSequence, RelativeDistinguishedName},
    request::{CertReq, CertReqInfo, ExtensionReq},
    serial_number::SerialNumber,
    time::{Time, Validity},
};

/// OU of every development certificate.
pub const DEVELOPMENT_UNIT: &str = "hsmsign DEVELOPMENT keys, not for release";
/// How that begins: by this a development certificate is known wherever it, or its name, turns up.
pub const DEVELOPMENT_MARK: &str = "hsmsign DEVELOPMENT keys";

/// Distinguished name of a key's holder, outermost part first.
#[derive(Clone, Debug)]
pub struct Holder {
    /// O: the product.
    pub organization: String,
    /// OU: what the key is for, or not for.
    pub unit: String,
    /// CN.
    pub common_name: String,
}

/// A certificate still to be signed.
#[derive(Debug)]
pub struct UnsignedCertificate {
    tbs: TbsCertificate,
    tbs_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl UnsignedCertificate {
    /// A self-signed certificate that never expires (RFC 5280, section 4.1.2.5), valid also on a device
    /// whose clock starts in 1970.
    ///
    /// It may sign code and swupdate's CMS (extended key usage codeSigning and emailProtection), and no
    /// other certificate. Everything in it is an argument, so equal arguments give equal bytes.
    ///
    /// # Errors
    ///
    /// A description of the part that DER cannot hold.
    pub fn self_signed(key: &PublicKey, holder: &Holder, serial: &[u8]) -> Result<Self, String> {
        let algorithm = algorithm(key);
        let name = name(holder).map_err(text)?;
        let not_before = UtcTime::from_unix_duration(std::time::Duration::ZERO).map_err(text)?;
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(serial).map_err(text)?,
            signature: identifier(algorithm),
            issuer: name.clone(),
            validity: Validity { not_before: Time::UtcTime(not_before), not_after: Time::INFINITY },
            subject: name.clone(),
            subject_public_key_info: spki(key)?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions(key, &name).map_err(text)?),
        };
        let tbs_der = tbs.to_der().map_err(text)?;
        Ok(Self { tbs, tbs_der, algorithm })
    }

    /// What the key has to sign.
    #[must_use]
    pub fn request(&self, role: Role) -> Request {
        request(role, self.algorithm, &self.tbs_der, "certificate")
    }

    /// The certificate, DER.
    ///
    /// # Errors
    ///
    /// A description of what DER cannot hold.
    pub fn finish(self, signature: &Signature) -> Result<Vec<u8>, String> {
        let signature = bit_string(self.algorithm, signature)?;
        let signature_algorithm = identifier(self.algorithm);
        Certificate { tbs_certificate: self.tbs, signature_algorithm, signature }.to_der().map_err(text)
    }
}

/// A certification request still to be signed.
#[derive(Debug)]
pub struct UnsignedRequest {
    info: CertReqInfo,
    info_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl UnsignedRequest {
    /// A request for a certificate with the extensions that the `rootfs` and `update` roles need.
    ///
    /// # Errors
    ///
    /// A description of the part that DER cannot hold.
    pub fn new(key: &PublicKey, holder: &Holder) -> Result<Self, String> {
        let algorithm = algorithm(key);
        let subject = name(holder).map_err(text)?;
        let wanted = ExtensionReq(extensions(key, &subject).map_err(text)?);
        let attribute = x509_cert::attr::Attribute {
            oid: rfc5912::ID_EXTENSION_REQ,
            values: SetOfVec::try_from(vec![Any::encode_from(&wanted).map_err(text)?]).map_err(text)?,
        };
        let info = CertReqInfo {
            version: x509_cert::request::Version::V1,
            subject,
            public_key: spki(key)?,
            attributes: SetOfVec::try_from(vec![attribute]).map_err(text)?,
        };
        let info_der = info.to_der().map_err(text)?;
        Ok(Self { info, info_der, algorithm })
    }

    /// What the key has to sign.
    #[must_use]
    pub fn request(&self, role: Role) -> Request {
        request(role, self.algorithm, &self.info_der, "certification request")
    }

    /// The request, DER.
    ///
    /// # Errors
    ///
    /// A description of what DER cannot hold.
    pub fn finish(self, signature: &Signature) -> Result<Vec<u8>, String> {
        let signature = bit_string(self.algorithm, signature)?;
        CertReq { info: self.info, algorithm: identifier(self.algorithm), signature }.to_der().map_err(text)
    }
}

/// The public key in a certificate, DER.
///
/// # Errors
///
/// A description of what is malformed.
pub fn public_key(der: &[u8]) -> Result<PublicKey, String> {
    let certificate = Certificate::from_der(der).map_err(text)?;
    let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(text)?;
    PublicKey::from_spki_der(&spki).map_err(|e| e.to_string())
}

/// Whether a certificate (DER) says that its key is one for development.
#[must_use]
pub fn is_development(der: &[u8]) -> bool {
    let marked = |value: &Any| value.value().starts_with(DEVELOPMENT_MARK.as_bytes());
    Certificate::from_der(der).is_ok_and(|certificate| {
        let names = [&certificate.tbs_certificate.subject, &certificate.tbs_certificate.issuer];
        names.iter().flat_map(|name| &name.0).flat_map(|part| part.0.iter()).any(|pair| marked(&pair.value))
    })
}

/// The subject of a certificate (DER), for people (RFC 4514).
#[must_use]
pub fn subject(der: &[u8]) -> Option<String> {
    Certificate::from_der(der).ok().map(|certificate| certificate.tbs_certificate.subject.to_string())
}

/// Whether a certificate (DER) names itself as its issuer, as a root does. Its signature is not looked at.
#[must_use]
pub fn is_self_issued(der: &[u8]) -> bool {
    Certificate::from_der(der).is_ok_and(|c| c.tbs_certificate.subject == c.tbs_certificate.issuer)
}

/// PEM of a certificate, DER.
///
/// # Errors
///
/// A description of what is malformed.
pub fn to_pem(der: &[u8]) -> Result<String, String> {
    Certificate::from_der(der).and_then(|c| c.to_pem(LineEnding::LF)).map_err(text)
}

/// DER of every certificate in a file: one in DER, or PEM ones one after the other.
///
/// # Errors
///
/// A description of what is malformed.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Certificate::from_der(bytes).and_then(|c| c.to_der()).map_err(text)?]);
    }
    // x509-cert 0.2.5 subtracts one from the length of what is left without line ends, also when nothing is.
    let certificates = match bytes.trim_ascii() {
        [] | [_] => Vec::new(),
        pem => Certificate::load_pem_chain(pem).map_err(text)?,
    };
    if certificates.is_empty() {
        return Err("there is no certificate in it".into());
    }
    certificates.iter().map(|c| c.to_der().map_err(text)).collect()
}

/// Certificates are signed with PKCS#1 v1.5 whatever the role signs with: the kernel reads no PSS.
fn algorithm(key: &PublicKey) -> SignatureAlgorithm {
    match key.material() {
        KeyMaterial::Rsa { .. } => {
            SignatureAlgorithm { scheme: Scheme::RsaPkcs1v15, hash: HashAlgorithm::Sha256 }
        }
        KeyMaterial::Ec { curve: crate::crypto::Curve::P256, .. } => {
            SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha256 }
        }
        KeyMaterial::Ec { curve: crate::crypto::Curve::P384, .. } => {
            SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha384 }
        }
    }
}

fn identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifierOwned {
    // RFC 4055, section 5: NULL parameters for RSA; RFC 5758, section 3.2: none for ECDSA.
    let (oid, parameters) = match (algorithm.scheme, algorithm.hash) {
        (Scheme::Ecdsa, HashAlgorithm::Sha256) => (rfc5912::ECDSA_WITH_SHA_256, None),
        (Scheme::Ecdsa, HashAlgorithm::Sha384) => (rfc5912::ECDSA_WITH_SHA_384, None),
        (Scheme::Ecdsa, HashAlgorithm::Sha512) => (rfc5912::ECDSA_WITH_SHA_512, None),
        (_, HashAlgorithm::Sha256) => (rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Any::null())),
        (_, HashAlgorithm::Sha384) => (rfc5912::SHA_384_WITH_RSA_ENCRYPTION, Some(Any::null())),
        (_, HashAlgorithm::Sha512) => (rfc5912::SHA_512_WITH_RSA_ENCRYPTION, Some(Any::null())),
    };
    AlgorithmIdentifierOwned { oid, parameters }
}

fn name(holder: &Holder) -> der::Result<RdnSequence> {
    let part = |oid: ObjectIdentifier, value: &str| -> der::Result<RelativeDistinguishedName> {
        let value = Any::encode_from(&Utf8StringRef::new(value)?)?;
        let pair = AttributeTypeAndValue { oid, value };
        Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![pair])?))
    };
    Ok(RdnSequence(vec![
        part(rfc4519::O, &holder.organization)?,
        part(rfc4519::OU, &holder.unit)?,
        part(rfc4519::CN, &holder.common_name)?,
    ]))
}

fn extensions(key: &PublicKey, subject: &RdnSequence) -> der::Result<Vec<Extension>> {
    // RFC 7093, section 2, method 1: the leftmost 160 bits of the SHA-256 of the key.
    let spki = SubjectPublicKeyInfoOwned::from_der(key.spki_der())?;
    let digest = HashAlgorithm::Sha256.digest(spki.subject_public_key.raw_bytes());
    let key_id = digest.as_bytes().get(..20).unwrap_or_default().to_vec();
    let none: &[Extension] = &[];
    Ok(vec![
        BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, none)?,
        KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(subject, none)?,
        ExtendedKeyUsage(vec![rfc5280::ID_KP_CODE_SIGNING, rfc5280::ID_KP_EMAIL_PROTECTION])
            .to_extension(subject, none)?,
        SubjectKeyIdentifier(OctetString::new(key_id)?).to_extension(subject, none)?,
    ])
}

fn spki(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, String> {
    SubjectPublicKeyInfoOwned::from_der(key.spki_der()).map_err(text)
}

fn bit_string(algorithm: SignatureAlgorithm, signature: &Signature) -> Result<BitString, String> {
    let bytes = match algorithm.scheme {
        Scheme::Ecdsa => signature.to_ecdsa_der().map_err(|e| e.to_string())?,
        Scheme::RsaPkcs1v15 | Scheme::RsaPss => signature.as_bytes().to_vec(),
    };
    BitString::from_bytes(&bytes).map_err(text)
}

fn request(role: Role, algorithm: SignatureAlgorithm, bytes: &[u8], name: &str) -> Request {
    let digest = algorithm.hash.digest(bytes);
    let subject = Subject { format: Format::Certificate, name: name.into(), identity: digest.to_hex() };
    Request { role, algorithm, digest, message: Some(bytes.to_vec()), subject }
}

fn text(error: der::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_without_certificate_is_an_error() {
        for bytes in [&b""[..], b"\n", b"\r\n\n", b"x", b"x\n"] {
            assert!(read_all(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
        }
    }
}
