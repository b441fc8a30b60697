//! Which mechanism makes a signature of a digest, and in which form the data goes in.

use crate::{
    crypto::{Digest, HashAlgorithm, Scheme},
    request::Request,
};
use cryptoki::{
    error::{Error as CkError, RvError},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    types::Ulong,
};
use std::borrow::Cow;

/// One way to make the signature.
pub(super) struct Attempt<'a> {
    pub(super) mechanism: Mechanism<'static>,
    pub(super) data: Cow<'a, [u8]>,
}

/// The ways to answer `request`, best first.
///
/// Raw mechanisms come first, as hashing is ours to do. Hashed ones take the message itself, so they are
/// there only if the request carries it. The token's mechanism list is not asked: tokens exist that can
/// do what they do not list (tpm2-pkcs11 with PSS), and the other way round.
pub(super) fn attempts(request: &Request, curve_width_bytes: Option<usize>) -> Vec<Attempt<'_>> {
    let hash = request.algorithm.hash;
    let digest = request.digest.as_bytes();
    let (raw, data, hashed) = match request.algorithm.scheme {
        Scheme::RsaPkcs1v15 => {
            (Mechanism::RsaPkcs, Cow::Owned(digest_info(&request.digest)), hashed_rsa(hash))
        }
        Scheme::RsaPss => {
            let parameters = pss_parameters(hash);
            (Mechanism::RsaPkcsPss(parameters), Cow::Borrowed(digest), hashed_pss(hash, parameters))
        }
        Scheme::Ecdsa => {
            // FIPS 186-5, section 6.4.1: a digest wider than the order counts by its leftmost bits.
            // Tokens differ in whether they cut it themselves or refuse it.
            let width = curve_width_bytes.unwrap_or(digest.len()).min(digest.len());
            (Mechanism::Ecdsa, Cow::Borrowed(digest.get(..width).unwrap_or(digest)), hashed_ecdsa(hash))
        }
    };
    let mut attempts = vec![Attempt { mechanism: raw, data }];
    if let Some(message) = &request.message {
        attempts.push(Attempt { mechanism: hashed, data: Cow::Borrowed(message) });
    }
    attempts
}

/// Whether another mechanism may do what this error says cannot be done.
pub(super) fn is_unsupported(error: &CkError) -> bool {
    matches!(
        error,
        CkError::NullFunctionPointer
            | CkError::Pkcs11(
                RvError::MechanismInvalid
                    | RvError::MechanismParamInvalid
                    | RvError::FunctionNotSupported
                    | RvError::KeyFunctionNotPermitted
                    | RvError::KeyTypeInconsistent
                    | RvError::DataInvalid
                    | RvError::DataLenRange
                    | RvError::ArgumentsBad
                    | RvError::ActionProhibited
                    | RvError::OperationNotInitialized,
                _
            )
    )
}

/// `DigestInfo` of RFC 8017, section 9.2: what PKCS#1 v1.5 pads.
fn digest_info(digest: &Digest) -> Vec<u8> {
    let (oid_last, len) = match digest.algorithm() {
        HashAlgorithm::Sha256 => (0x01, 32),
        HashAlgorithm::Sha384 => (0x02, 48),
        HashAlgorithm::Sha512 => (0x03, 64),
    };
    let mut info = vec![0x30, 17 + len, 0x30, 0x0d, 0x06, 0x09];
    info.extend_from_slice(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, oid_last]);
    info.extend_from_slice(&[0x05, 0x00, 0x04, len]);
    info.extend_from_slice(digest.as_bytes());
    info
}

fn pss_parameters(hash: HashAlgorithm) -> PkcsPssParams {
    let (hash_alg, mgf, s_len) = match hash {
        HashAlgorithm::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        HashAlgorithm::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        HashAlgorithm::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
    };
    PkcsPssParams { hash_alg, mgf, s_len: Ulong::new(s_len) }
}

fn hashed_rsa(hash: HashAlgorithm) -> Mechanism<'static> {
    match hash {
        HashAlgorithm::Sha256 => Mechanism::Sha256RsaPkcs,
        HashAlgorithm::Sha384 => Mechanism::Sha384RsaPkcs,
        HashAlgorithm::Sha512 => Mechanism::Sha512RsaPkcs,
    }
}

fn hashed_pss(hash: HashAlgorithm, parameters: PkcsPssParams) -> Mechanism<'static> {
    match hash {
        HashAlgorithm::Sha256 => Mechanism::Sha256RsaPkcsPss(parameters),
        HashAlgorithm::Sha384 => Mechanism::Sha384RsaPkcsPss(parameters),
        HashAlgorithm::Sha512 => Mechanism::Sha512RsaPkcsPss(parameters),
    }
}

fn hashed_ecdsa(hash: HashAlgorithm) -> Mechanism<'static> {
    match hash {
        HashAlgorithm::Sha256 => Mechanism::EcdsaSha256,
        HashAlgorithm::Sha384 => Mechanism::EcdsaSha384,
        HashAlgorithm::Sha512 => Mechanism::EcdsaSha512,
    }
}
