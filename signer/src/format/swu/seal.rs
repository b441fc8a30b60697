//! `sw-description.sig`: planned, asked for, put together.

use super::SwuError;
use crate::{
    crypto::{Digest, HashAlgorithm, Scheme, Signature, SignatureAlgorithm},
    format::cms,
    request::{Format, Identity, Request, Subject},
};

/// Forms of `sw-description.sig`. Which one a device takes is built into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Detached CMS `SignedData` in DER, with certificates.
    Cms,
    /// A bare RSA PKCS#1 v1.5 signature, SHA-256.
    Rsa,
    /// A bare RSA-PSS signature, SHA-256.
    RsaPss,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cms => "cms",
            Self::Rsa => "rsa",
            Self::RsaPss => "rsa-pss",
        })
    }
}

/// A signature that waits for its value.
#[derive(Clone, Debug)]
pub struct Seal {
    kind: Kind,
    algorithm: SignatureAlgorithm,
    identity: Digest,
    content: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Kind {
    Raw(Digest),
    Cms(Box<cms::Plan>),
}

/// Plans the signature of `description` by the key of `signer`.
///
/// CMS carries the certificate and its chain, which swupdate demands, and signed attributes without a
/// time, so RSA PKCS#1 v1.5 signatures are reproducible.
///
/// # Errors
///
/// [`SwuError::Algorithm`] if swupdate knows no such signature, [`SwuError::NoCertificate`].
pub fn seal(description: &str, form: Form, signer: &Identity) -> Result<Seal, SwuError> {
    let algorithm = signer.algorithm;
    let wanted = match form {
        Form::Cms => None,
        Form::Rsa => Some(Scheme::RsaPkcs1v15),
        Form::RsaPss => Some(Scheme::RsaPss),
    };
    if wanted.is_some_and(|scheme| algorithm != SignatureAlgorithm { scheme, hash: HashAlgorithm::Sha256 }) {
        return Err(SwuError::Algorithm { form, algorithm });
    }
    let content = description.as_bytes().to_vec();
    let digest = algorithm.hash.digest(&content);
    let kind = if form == Form::Cms {
        let certificate = signer.certificate.as_deref().ok_or(SwuError::NoCertificate)?;
        let options = cms::Options { signed_attributes: true, certificates: true, signing_time: None };
        Kind::Cms(Box::new(cms::plan(&digest, algorithm, certificate, &signer.chain, options)?))
    } else {
        Kind::Raw(digest)
    };
    Ok(Seal { kind, algorithm, identity: HashAlgorithm::Sha256.digest(&content), content })
}

impl Seal {
    /// The request to the key holder; `name` is the bundle's.
    #[must_use]
    pub fn request(&self, signer: &Identity, name: &str) -> Request {
        let subject = Subject { format: Format::Swu, name: name.into(), identity: self.identity.to_hex() };
        match &self.kind {
            Kind::Cms(plan) => plan.request(signer.role, subject, Some(&self.content)),
            Kind::Raw(digest) => Request {
                role: signer.role,
                algorithm: self.algorithm,
                digest: digest.clone(),
                message: Some(self.content.clone()).filter(|m| m.len() <= Request::MAX_MESSAGE_LEN_BYTES),
                subject,
            },
        }
    }

    /// SHA-256 of the description.
    #[must_use]
    pub fn description_sha256(&self) -> &Digest {
        &self.identity
    }

    /// The bytes of `sw-description.sig`.
    ///
    /// # Errors
    ///
    /// [`SwuError::Cms`] if an ECDSA signature is not r‖s.
    pub fn attach(&self, signature: &Signature) -> Result<Vec<u8>, SwuError> {
        match &self.kind {
            Kind::Cms(plan) => Ok(cms::attach(plan, signature)?),
            Kind::Raw(_) => Ok(signature.as_bytes().to_vec()),
        }
    }

    /// The longest that [`attach`](Self::attach) may return; exact unless the signature is ECDSA, whose
    /// length in DER varies by a few bytes.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    pub fn max_len_bytes(&self, signer: &Identity) -> Result<usize, SwuError> {
        let bits = usize::try_from(signer.public_key.bits()).unwrap_or(0);
        let raw_len = match self.algorithm.scheme {
            Scheme::RsaPkcs1v15 | Scheme::RsaPss => bits.div_ceil(8),
            Scheme::Ecdsa => 2 * bits.div_ceil(8),
        };
        // All ones make both integers of an ECDSA signature as long as they can be.
        Ok(self.attach(&Signature::from_bytes(vec![0xff; raw_len]))?.len())
    }
}
