//! What can be wrong with a CMS message, or with the certificate it is made for.

use crate::crypto::{HashAlgorithm, SignatureAlgorithm};
use der::asn1::ObjectIdentifier;

/// Why a message cannot be made, read or accepted.
#[derive(Debug, thiserror::Error)]
pub enum CmsError {
    /// Not the DER of what it should be.
    #[error("malformed {what}: {source}")]
    Der {
        /// Which structure.
        what: &'static str,
        /// Why.
        source: der::Error,
    },
    /// Longer than any message worth reading.
    #[error("{0} bytes are too long for a detached CMS signature")]
    TooLong(usize),
    /// Some other CMS content type.
    #[error("content type {0} is not SignedData")]
    NotSignedData(ObjectIdentifier),
    /// The content is inside, or is not plain data.
    #[error("not a detached signature of plain data")]
    NotDetached,
    /// Zero or several signers.
    #[error("{0} signers; exactly one is expected")]
    SignerCount(usize),
    /// A hash function hsmsign does not sign with.
    #[error("digest algorithm {0} is not SHA-256, SHA-384 or SHA-512")]
    DigestAlgorithm(ObjectIdentifier),
    /// A signature algorithm hsmsign does not sign with, or parameters that contradict it.
    #[error("signature algorithm {0} is not supported with these parameters")]
    SignatureAlgorithm(ObjectIdentifier),
    /// An attribute that is missing, repeated, or has another value than the message itself says.
    #[error("signed attribute `{name}` {problem}")]
    Attribute {
        /// Its name in RFC 5652.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The content's digest was made with another hash function.
    #[error("the message is over {expected}, not {found}")]
    Hash {
        /// What the message says.
        expected: HashAlgorithm,
        /// What the caller gave.
        found: HashAlgorithm,
    },
    /// The content is not what was signed.
    #[error("the content is not what was signed: its {hash} is {found}, signed was {signed}")]
    Content {
        /// The hash function.
        hash: HashAlgorithm,
        /// Digest of the content at hand, hexadecimal.
        found: String,
        /// Digest in the message, hexadecimal.
        signed: String,
    },
    /// The signer is none of those trusted.
    #[error("signer {signer} is none of the trusted ones")]
    UnknownSigner {
        /// Issuer and serial number, or key identifier.
        signer: String,
    },
    /// The signature is not by the key it names.
    #[error("the signature by {signer} does not verify ({algorithm})")]
    BadSignature {
        /// Issuer and serial number, or key identifier.
        signer: String,
        /// The algorithm the message names.
        algorithm: SignatureAlgorithm,
    },
    /// The signer's certificate does not lead to a trusted one, is not for this purpose or not valid now.
    #[error("the signer's certificate is not acceptable: {0}")]
    Chain(String),
    /// A certificate that cannot be used.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The signature attached is not in the form its algorithm demands.
    #[error(transparent)]
    Signature(#[from] crate::crypto::SignatureError),
}

impl CmsError {
    /// For `map_err`: malformed DER of `what`.
    pub(super) fn der(what: &'static str) -> impl FnOnce(der::Error) -> Self {
        move |source| Self::Der { what, source }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Der { .. } | Self::NotSignedData(_) => Some(
                "hsmsign reads DER; convert PEM with `openssl cms -cmsout -inform PEM -outform DER`".into(),
            ),
            Self::UnknownSigner { .. } => Some(
                "name the signer's certificate with `--trust`, or sign again with this mode's key".into(),
            ),
            _ => None,
        }
    }
}
