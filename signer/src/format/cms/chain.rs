//! Path building from a signer's certificate to a trusted one (RFC 5280, section 6), by OpenSSL.

use super::CmsError;
use crate::crypto::PublicKey;
use const_oid::db::rfc5280::ID_KP_CODE_SIGNING;
use der::Decode as _;
use openssl::{
    stack::Stack,
    x509::{
        X509, X509PurposeId, X509StoreContext,
        store::X509StoreBuilder,
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};
use std::time::SystemTime;
use x509_cert::{
    Certificate,
    ext::pkix::{ExtendedKeyUsage, KeyUsage},
};

/// What a signer's certificate must be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Anything.
    Any,
    /// S/MIME signing, swupdate's default: extended key usage absent or with emailProtection.
    EmailProtection,
    /// Extended key usage with codeSigning.
    CodeSigning,
}

/// How strictly a path is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRules {
    /// What the signer's certificate must be good for.
    pub purpose: Purpose,
    /// When all certificates must be valid; `None` leaves their dates unchecked.
    pub at: Option<SystemTime>,
}

/// Checks the path from `certificate` over `untrusted` to one of `anchors`; all are DER.
pub(super) fn verify(
    certificate: &[u8],
    anchors: &[Vec<u8>],
    untrusted: &[&[u8]],
    rules: ChainRules,
) -> Result<(), CmsError> {
    let problem = verify_by_openssl(certificate, anchors, untrusted, rules)
        .map_err(|e| CmsError::Certificate(e.to_string()))?;
    if let Some(problem) = problem {
        return Err(CmsError::Chain(problem));
    }
    if rules.purpose == Purpose::CodeSigning { check_code_signing(certificate) } else { Ok(()) }
}

/// `None` if the path holds, else why it does not.
fn verify_by_openssl(
    certificate: &[u8],
    anchors: &[Vec<u8>],
    untrusted: &[&[u8]],
    rules: ChainRules,
) -> Result<Option<String>, openssl::error::ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for anchor in anchors {
        store.add_cert(X509::from_der(anchor)?)?;
    }
    let mut parameters = X509VerifyParam::new()?;
    // An intermediate or the signer itself may be what the user trusts.
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    match rules.at.map(|t| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()) {
        Some(seconds) => parameters.set_time(i64::try_from(seconds).unwrap_or(i64::MAX)),
        None => parameters.set_flags(X509VerifyFlags::NO_CHECK_TIME)?,
    }
    parameters.set_purpose(match rules.purpose {
        Purpose::EmailProtection => X509PurposeId::SMIME_SIGN,
        // OpenSSL before 3.2 has no code-signing purpose: checked by hand.
        Purpose::Any | Purpose::CodeSigning => X509PurposeId::ANY,
    })?;
    store.set_param(&parameters)?;
    let mut intermediates = Stack::new()?;
    for der in untrusted {
        intermediates.push(X509::from_der(der)?)?;
    }
    let certificate = X509::from_der(certificate)?;
    let mut context = X509StoreContext::new()?;
    context.init(&store.build(), &certificate, &intermediates, |context| {
        let good = context.verify_cert()?;
        Ok((!good).then(|| context.error().error_string().to_owned()))
    })
}

fn check_code_signing(certificate: &[u8]) -> Result<(), CmsError> {
    let certificate = Certificate::from_der(certificate).map_err(CmsError::der("certificate"))?;
    let fields = certificate.tbs_certificate;
    let usages = fields.get::<ExtendedKeyUsage>().map_err(CmsError::der("extended key usage"))?;
    if !usages.is_some_and(|(_, u)| u.0.contains(&ID_KP_CODE_SIGNING)) {
        return Err(CmsError::Chain("its extended key usage lacks codeSigning".into()));
    }
    match fields.get::<KeyUsage>().map_err(CmsError::der("key usage"))? {
        Some((_, usage)) if !usage.digital_signature() => {
            Err(CmsError::Chain("its key usage lacks digitalSignature".into()))
        }
        _ => Ok(()),
    }
}

/// The key in a certificate, DER.
pub(super) fn public_key(certificate: &[u8]) -> Result<PublicKey, CmsError> {
    let bad = |e: openssl::error::ErrorStack| CmsError::Certificate(e.to_string());
    let key = X509::from_der(certificate).and_then(|c| c.public_key()).map_err(bad)?;
    let spki = key.public_key_to_der().map_err(bad)?;
    PublicKey::from_spki_der(&spki).map_err(|e| CmsError::Certificate(e.to_string()))
}
