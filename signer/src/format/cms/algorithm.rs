//! Algorithm identifiers, both ways.

use super::CmsError;
use crate::crypto::{HashAlgorithm, Scheme, SignatureAlgorithm};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_MGF_1, ID_RSASSA_PSS, ID_SHA_256,
    ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
};
use der::{
    Any, Sequence,
    asn1::{Null, ObjectIdentifier},
};
use spki::AlgorithmIdentifierOwned;

/// RFC 4055, section 3.1. Its defaults are SHA-1's, which we neither write nor accept.
#[derive(Debug, Sequence)]
struct RsassaPssParams {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask_gen: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_len_bytes: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

const fn hash_oid(hash: HashAlgorithm) -> ObjectIdentifier {
    match hash {
        HashAlgorithm::Sha256 => ID_SHA_256,
        HashAlgorithm::Sha384 => ID_SHA_384,
        HashAlgorithm::Sha512 => ID_SHA_512,
    }
}

const fn ecdsa_oid(hash: HashAlgorithm) -> ObjectIdentifier {
    match hash {
        HashAlgorithm::Sha256 => ECDSA_WITH_SHA_256,
        HashAlgorithm::Sha384 => ECDSA_WITH_SHA_384,
        HashAlgorithm::Sha512 => ECDSA_WITH_SHA_512,
    }
}

const fn rsa_with_hash_oid(hash: HashAlgorithm) -> ObjectIdentifier {
    match hash {
        HashAlgorithm::Sha256 => SHA_256_WITH_RSA_ENCRYPTION,
        HashAlgorithm::Sha384 => SHA_384_WITH_RSA_ENCRYPTION,
        HashAlgorithm::Sha512 => SHA_512_WITH_RSA_ENCRYPTION,
    }
}

/// The digest algorithm without parameters, as RFC 5754, section 2 wants it.
pub(super) fn digest_identifier(hash: HashAlgorithm) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: hash_oid(hash), parameters: None }
}

/// The hash function of a digest algorithm; parameters may be absent or NULL.
pub(super) fn hash_of(identifier: &AlgorithmIdentifierOwned) -> Result<HashAlgorithm, CmsError> {
    HashAlgorithm::ALL
        .into_iter()
        .find(|h| hash_oid(*h) == identifier.oid)
        .filter(|_| is_absent_or_null(identifier))
        .ok_or(CmsError::DigestAlgorithm(identifier.oid))
}

/// The signature algorithm as OpenSSL and the kernel expect it.
///
/// RSA PKCS#1 v1.5 is `rsaEncryption`: the kernel's parser (`crypto/asymmetric_keys/pkcs7_parser.c`)
/// knows that one alone and takes the hash from the digest algorithm.
pub(super) fn signature_identifier(
    algorithm: SignatureAlgorithm,
) -> Result<AlgorithmIdentifierOwned, CmsError> {
    let hash = algorithm.hash;
    Ok(match algorithm.scheme {
        Scheme::RsaPkcs1v15 => {
            AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::from(Null)) }
        }
        Scheme::Ecdsa => AlgorithmIdentifierOwned { oid: ecdsa_oid(hash), parameters: None },
        Scheme::RsaPss => AlgorithmIdentifierOwned {
            oid: ID_RSASSA_PSS,
            parameters: Some(pss_parameters(hash).map_err(CmsError::der("RSASSA-PSS parameters"))?),
        },
    })
}

fn pss_parameters(hash: HashAlgorithm) -> der::Result<Any> {
    // RFC 4055 defines these identifiers with NULL; receivers must take both forms.
    let with_null = AlgorithmIdentifierOwned { oid: hash_oid(hash), parameters: Some(Any::from(Null)) };
    Any::encode_from(&RsassaPssParams {
        hash: Some(with_null.clone()),
        mask_gen: Some(AlgorithmIdentifierOwned {
            oid: ID_MGF_1,
            parameters: Some(Any::encode_from(&with_null)?),
        }),
        salt_len_bytes: u16::try_from(hash.digest_len_bytes()).ok(),
        trailer: None,
    })
}

/// The algorithm that `identifier` names, which must use `hash` throughout.
pub(super) fn signature_algorithm(
    identifier: &AlgorithmIdentifierOwned,
    hash: HashAlgorithm,
) -> Result<SignatureAlgorithm, CmsError> {
    let oid = identifier.oid;
    let scheme = if oid == RSA_ENCRYPTION || oid == rsa_with_hash_oid(hash) {
        is_absent_or_null(identifier).then_some(Scheme::RsaPkcs1v15)
    } else if oid == ecdsa_oid(hash) {
        is_absent_or_null(identifier).then_some(Scheme::Ecdsa)
    } else if oid == ID_RSASSA_PSS {
        is_pss_with(identifier, hash).then_some(Scheme::RsaPss)
    } else {
        None
    };
    let scheme = scheme.ok_or(CmsError::SignatureAlgorithm(oid))?;
    Ok(SignatureAlgorithm { scheme, hash })
}

fn is_pss_with(identifier: &AlgorithmIdentifierOwned, hash: HashAlgorithm) -> bool {
    let parameters = identifier.parameters.as_ref().and_then(|p| p.decode_as::<RsassaPssParams>().ok());
    let Some(RsassaPssParams { hash: Some(of), mask_gen: Some(mask_gen), trailer, .. }) = parameters else {
        return false;
    };
    let mask_hash = mask_gen.parameters.and_then(|p| p.decode_as::<AlgorithmIdentifierOwned>().ok());
    let same = |identifier: &AlgorithmIdentifierOwned| hash_of(identifier).is_ok_and(|h| h == hash);
    same(&of)
        && mask_gen.oid == ID_MGF_1
        && mask_hash.as_ref().is_some_and(same)
        && trailer.is_none_or(|t| t == 1)
}

fn is_absent_or_null(identifier: &AlgorithmIdentifierOwned) -> bool {
    identifier.parameters.as_ref().is_none_or(|p| p.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_reads_back() {
        for scheme in [Scheme::RsaPkcs1v15, Scheme::RsaPss, Scheme::Ecdsa] {
            for hash in HashAlgorithm::ALL {
                let algorithm = SignatureAlgorithm { scheme, hash };
                let identifier = signature_identifier(algorithm).unwrap();
                assert_eq!(signature_algorithm(&identifier, hash).unwrap(), algorithm);
            }
        }
    }

    #[test]
    fn a_hash_that_contradicts_the_digest_algorithm_is_refused() {
        for scheme in [Scheme::RsaPss, Scheme::Ecdsa] {
            let algorithm = SignatureAlgorithm { scheme, hash: HashAlgorithm::Sha512 };
            let identifier = signature_identifier(algorithm).unwrap();
            assert!(signature_algorithm(&identifier, HashAlgorithm::Sha256).is_err());
        }
    }

    #[test]
    fn pss_with_its_sha1_defaults_is_refused() {
        let empty = Any::new(der::Tag::Sequence, Vec::new()).unwrap();
        let identifier = AlgorithmIdentifierOwned { oid: ID_RSASSA_PSS, parameters: Some(empty) };
        assert!(signature_algorithm(&identifier, HashAlgorithm::Sha256).is_err());
    }
}
