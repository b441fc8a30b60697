//! The root hash's signature, in the one form that the kernel takes.
//!
//! The kernel checks a detached PKCS#7 `SignedData` in DER over the root hash as lower-case hexadecimal text,
//! without signed attributes (`drivers/md/dm-verity-verify-sig.c`, `crypto/asymmetric_keys/pkcs7_verify.c`). It
//! finds the key in its keyrings by issuer and serial number, so certificates inside would only cost room.

use super::VerityError;
use crate::{
    crypto::{Digest, Scheme, Signature, SignatureAlgorithm},
    format::cms::{self, KnownSigner, Message},
    request::{Format, Request, Role, Subject},
};

/// A root hash that waits for its signature.
#[derive(Clone, Debug)]
pub struct Plan {
    root_hash: String,
    message: cms::Plan,
}

/// A signature that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Place of the signer in the list of known ones.
    pub signer: usize,
    /// The algorithm used.
    pub algorithm: SignatureAlgorithm,
    /// Whether certificates are inside, which the kernel does not need.
    pub has_certificates: bool,
}

/// Checks that the kernel knows `algorithm`; worth asking before an image is hashed.
///
/// # Errors
///
/// [`VerityError::Pss`] if it does not.
pub fn check_algorithm(algorithm: SignatureAlgorithm) -> Result<(), VerityError> {
    if algorithm.scheme == Scheme::RsaPss { Err(VerityError::Pss) } else { Ok(()) }
}

/// Plans the signature of `root_hash` by the key in `certificate` (DER).
///
/// # Errors
///
/// [`VerityError::Pss`] for a scheme the kernel does not know.
pub fn plan(
    root_hash: &Digest,
    algorithm: SignatureAlgorithm,
    certificate: &[u8],
) -> Result<Plan, VerityError> {
    check_algorithm(algorithm)?;
    let root_hash = root_hash.to_hex();
    let content = algorithm.hash.digest(root_hash.as_bytes());
    let options = cms::Options { signed_attributes: false, certificates: false, signing_time: None };
    let message = cms::plan(&content, algorithm, certificate, &[], options)?;
    Ok(Plan { root_hash, message })
}

impl Plan {
    /// The request to the key holder; `image` names the artifact.
    #[must_use]
    pub fn request(&self, image: &str) -> Request {
        let subject =
            Subject { format: Format::Verity, name: image.to_owned(), identity: self.root_hash.clone() };
        self.message.request(Role::Rootfs, subject, Some(self.root_hash.as_bytes()))
    }
}

/// Puts the signature in. Returns DER.
///
/// # Errors
///
/// [`VerityError::Signature`] as [`cms::attach`] does.
pub fn attach(plan: &Plan, signature: &Signature) -> Result<Vec<u8>, VerityError> {
    Ok(cms::attach(&plan.message, signature)?)
}

/// Checks that one of `known` signed `root_hash`, in the kernel's form.
///
/// # Errors
///
/// [`VerityError::KernelForm`] for a signature that others may accept but the kernel refuses, else
/// [`VerityError::Signature`].
pub fn verify(der: &[u8], root_hash: &Digest, known: &[KnownSigner<'_>]) -> Result<Verified, VerityError> {
    let message = Message::parse(der)?;
    let algorithm = message.algorithm();
    if algorithm.scheme == Scheme::RsaPss {
        return Err(VerityError::KernelForm("with RSASSA-PSS"));
    }
    if message.has_signed_attributes() {
        return Err(VerityError::KernelForm("over signed attributes"));
    }
    let content = message.hash().digest(root_hash.to_hex().as_bytes());
    let signer = message.verify_by_known(&content, known)?;
    Ok(Verified { signer, algorithm, has_certificates: !message.certificates().is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::HashAlgorithm, request::Answer as _, testing::SoftKey};

    fn known(key: &SoftKey) -> KnownSigner<'_> {
        let identity = key.identity();
        KnownSigner { public_key: &identity.public_key, certificate: identity.certificate.as_deref() }
    }

    fn sign(key: &SoftKey, root: &Digest) -> Vec<u8> {
        let identity = key.identity();
        let plan = plan(root, identity.algorithm, identity.certificate.as_ref().unwrap()).unwrap();
        attach(&plan, &key.answer(&plan.request("rootfs")).unwrap()).unwrap()
    }

    #[test]
    fn another_root_hash_or_key_is_refused() {
        let key = SoftKey::rsa(Role::Rootfs, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
        let other = SoftKey::rsa(Role::Rootfs, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
        let root = HashAlgorithm::Sha256.digest(b"root");
        let signature = sign(&key, &root);
        assert_eq!(verify(&signature, &root, &[known(&key)]).unwrap().signer, 0);
        assert!(verify(&signature, &HashAlgorithm::Sha256.digest(b"toor"), &[known(&key)]).is_err());
        assert!(verify(&signature, &root, &[known(&other)]).is_err());
    }

    #[test]
    fn pss_is_refused_when_signing_and_when_verifying() {
        let key = SoftKey::rsa(Role::Rootfs, 2048, Scheme::RsaPss, HashAlgorithm::Sha256);
        let root = HashAlgorithm::Sha256.digest(b"root");
        let certificate = key.identity().certificate.as_ref().unwrap();
        assert!(matches!(plan(&root, key.identity().algorithm, certificate), Err(VerityError::Pss)));

        let content = HashAlgorithm::Sha256.digest(root.to_hex().as_bytes());
        let options = cms::Options { signed_attributes: false, certificates: false, signing_time: None };
        let message = cms::plan(&content, key.identity().algorithm, certificate, &[], options).unwrap();
        let subject = Subject { format: Format::Verity, name: String::new(), identity: String::new() };
        let signature = key.answer(&message.request(Role::Rootfs, subject, None)).unwrap();
        let der = cms::attach(&message, &signature).unwrap();
        assert!(matches!(verify(&der, &root, &[known(&key)]), Err(VerityError::KernelForm(_))));
    }
}
