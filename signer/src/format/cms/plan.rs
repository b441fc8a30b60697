//! Making a message: all but the signature first, then the signature.

use super::{CmsError, algorithm, structure, structure::SignedData};
use crate::{
    crypto::{Digest, Scheme, Signature, SignatureAlgorithm},
    request::{Request, Role, Subject},
};
use cms::{
    content_info::CmsVersion,
    signed_data::{EncapsulatedContentInfo, SignedAttributes, SignerIdentifier, SignerInfo, SignerInfos},
};
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNING_TIME};
use der::{
    Any, Decode as _, Encode as _,
    asn1::{GeneralizedTime, ObjectIdentifier, OctetString, SetOfVec, UtcTime},
};
use std::time::{Duration, SystemTime};
use x509_cert::{attr::Attribute, time::Time};

/// What goes into a message besides the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Sign the content's digest through signed attributes (RFC 5652, section 5.4) rather than directly.
    pub signed_attributes: bool,
    /// Put in the signer's certificate and the chain.
    pub certificates: bool,
    /// The `signingTime` attribute, to the second; only with signed attributes.
    pub signing_time: Option<SystemTime>,
}

/// A message that waits for its signature.
#[derive(Clone, Debug)]
pub struct Plan {
    algorithm: SignatureAlgorithm,
    digest: Digest,
    signer: SignerIdentifier,
    signed_attributes: Option<SignedAttributes>,
    certificates: Option<SetOfVec<Any>>,
}

impl Plan {
    /// What is to be signed: the content's digest, or that of the signed attributes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The request to the key holder.
    ///
    /// `content` is what was digested, where it is small (see [`Request::message`]); with signed
    /// attributes these are the message, and `content` is not needed.
    #[must_use]
    pub fn request(&self, role: Role, subject: Subject, content: Option<&[u8]>) -> Request {
        let message = match &self.signed_attributes {
            Some(attributes) => attributes.to_der().ok(),
            None => content.filter(|c| c.len() <= Request::MAX_MESSAGE_LEN_BYTES).map(<[u8]>::to_vec),
        };
        Request { role, algorithm: self.algorithm, digest: self.digest.clone(), message, subject }
    }
}

/// Plans a detached message over `content`, the digest of what is signed.
///
/// `certificate` (DER) names the signer by issuer and serial number; `chain` are further certificates
/// (DER) to put in. The content's digest must be made with `algorithm.hash`.
///
/// # Errors
///
/// [`CmsError::Hash`] for another hash function, [`CmsError::Der`] for a malformed certificate.
///
/// Source: RFC 5652, sections 5.1 to 5.4.
pub fn plan(
    content: &Digest,
    algorithm: SignatureAlgorithm,
    certificate: &[u8],
    chain: &[Vec<u8>],
    options: Options,
) -> Result<Plan, CmsError> {
    if content.algorithm() != algorithm.hash {
        return Err(CmsError::Hash { expected: algorithm.hash, found: content.algorithm() });
    }
    let signer = SignerIdentifier::IssuerAndSerialNumber(structure::issuer_and_serial(certificate)?);
    let certificates = if options.certificates {
        let mut set = Vec::new();
        for der in std::iter::once(certificate).chain(chain.iter().map(Vec::as_slice)) {
            let raw = Any::from_der(der).map_err(CmsError::der("certificate"))?;
            if !set.contains(&raw) {
                set.push(raw);
            }
        }
        Some(SetOfVec::try_from(set).map_err(CmsError::der("certificates"))?)
    } else {
        None
    };
    let (digest, signed_attributes) = if options.signed_attributes {
        let attributes =
            signed_attributes(content, options.signing_time).map_err(CmsError::der("signed attributes"))?;
        (attributes_digest(&attributes, algorithm)?, Some(attributes))
    } else {
        (content.clone(), None)
    };
    Ok(Plan { algorithm, digest, signer, signed_attributes, certificates })
}

/// Puts the signature in. Returns the DER of a `ContentInfo`.
///
/// # Errors
///
/// [`CmsError::Signature`] if an ECDSA signature is not r‖s.
pub fn attach(plan: &Plan, signature: &Signature) -> Result<Vec<u8>, CmsError> {
    let bytes = match plan.algorithm.scheme {
        Scheme::RsaPkcs1v15 | Scheme::RsaPss => signature.as_bytes().to_vec(),
        Scheme::Ecdsa => signature.to_ecdsa_der()?,
    };
    let digest_alg = algorithm::digest_identifier(plan.algorithm.hash);
    let signer_info = SignerInfo {
        version: CmsVersion::V1,
        sid: plan.signer.clone(),
        digest_alg: digest_alg.clone(),
        signed_attrs: plan.signed_attributes.clone(),
        signature_algorithm: algorithm::signature_identifier(plan.algorithm)?,
        signature: OctetString::new(bytes).map_err(CmsError::der("signature"))?,
        unsigned_attrs: None,
    };
    let message = || -> der::Result<SignedData> {
        Ok(SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![digest_alg])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
            certificates: plan.certificates.clone(),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer_info])?),
        })
    };
    message().map_err(CmsError::der("SignedData"))?.to_content_info()
}

/// The digest that is signed when there are signed attributes: that of their DER as a plain SET OF.
pub(super) fn attributes_digest(
    attributes: &SignedAttributes,
    algorithm: SignatureAlgorithm,
) -> Result<Digest, CmsError> {
    let der = attributes.to_der().map_err(CmsError::der("signed attributes"))?;
    Ok(algorithm.hash.digest(&der))
}

fn signed_attributes(content: &Digest, signing_time: Option<SystemTime>) -> der::Result<SignedAttributes> {
    let mut attributes = vec![
        attribute(ID_CONTENT_TYPE, Any::encode_from(&ID_DATA)?)?,
        attribute(ID_MESSAGE_DIGEST, Any::encode_from(&OctetString::new(content.as_bytes())?)?)?,
    ];
    if let Some(time) = signing_time {
        attributes.push(attribute(ID_SIGNING_TIME, Any::encode_from(&asn1_time(time)?)?)?);
    }
    SetOfVec::try_from(attributes)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<Attribute> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}

/// UTCTime through 2049, GeneralizedTime after that (RFC 5652, section 11.3).
fn asn1_time(time: SystemTime) -> der::Result<Time> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole_seconds = Duration::from_secs(since_epoch.as_secs());
    match UtcTime::from_unix_duration(whole_seconds) {
        Ok(utc) => Ok(Time::UtcTime(utc)),
        Err(_) => GeneralizedTime::from_unix_duration(whole_seconds).map(Time::GeneralTime),
    }
}
