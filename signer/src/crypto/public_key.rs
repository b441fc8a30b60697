//! Public keys: SubjectPublicKeyInfo in, fingerprint and verification out.

use super::{Digest, HashAlgorithm, KeyType, Scheme, Signature, SignatureAlgorithm};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey, EcPoint},
    nid::Nid,
    pkey::{Id, PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::{Padding, Rsa},
    sign::RsaPssSaltlen,
};

/// The NIST curves hsmsign knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

impl Curve {
    /// Width of a coordinate, and of r and s, in bytes.
    #[must_use]
    pub const fn width_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    const fn nid(self) -> Nid {
        match self {
            Self::P256 => Nid::X9_62_PRIME256V1,
            Self::P384 => Nid::SECP384R1,
        }
    }
}

/// The numbers that make up a public key, big-endian without leading zeros (EC: full width).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMaterial {
    /// RSA modulus and public exponent.
    Rsa {
        /// n.
        modulus: Vec<u8>,
        /// e.
        exponent: Vec<u8>,
    },
    /// A point on a named curve.
    Ec {
        /// The curve.
        curve: Curve,
        /// Affine x, as wide as the curve.
        x: Vec<u8>,
        /// Affine y, as wide as the curve.
        y: Vec<u8>,
    },
}

/// Why bytes are not a public key that hsmsign can use, or why a signature is not by that key.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyError {
    /// Not a SubjectPublicKeyInfo, a point off the curve, and the like.
    #[error("not a usable public key: {0}")]
    Malformed(#[from] openssl::error::ErrorStack),
    /// A type or curve hsmsign does not sign with.
    #[error("public keys of type {0} are not supported")]
    Unsupported(String),
    /// An algorithm of the other key family.
    #[error("algorithm {0} does not fit this key")]
    AlgorithmMismatch(SignatureAlgorithm),
    /// The signature does not verify.
    #[error("the signature was not made by key {fingerprint}")]
    BadSignature {
        /// SubjectPublicKeyInfo SHA-256 of the key that was expected.
        fingerprint: String,
    },
}

/// A public key with its SubjectPublicKeyInfo.
#[derive(Clone)]
pub struct PublicKey {
    key: PKey<Public>,
    spki_der: Vec<u8>,
    material: KeyMaterial,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo (RFC 5280, section 4.1).
    ///
    /// The DER is encoded anew, so equal keys have equal fingerprints whatever form they came in.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`] if it is malformed or of a type hsmsign does not sign with.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        Self::from_pkey(PKey::public_key_from_der(der)?)
    }

    /// From modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError::Malformed`] if OpenSSL refuses the numbers.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        let rsa = Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?)?;
        Self::from_pkey(PKey::from_rsa(rsa)?)
    }

    /// From an uncompressed or compressed point (SEC 1, section 2.3.3) on `curve`.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError::Malformed`] if the point is not on the curve.
    pub fn from_ec_point(curve: Curve, point: &[u8]) -> Result<Self, PublicKeyError> {
        let group = EcGroup::from_curve_name(curve.nid())?;
        let mut ctx = openssl::bn::BigNumContext::new()?;
        let point = EcPoint::from_bytes(&group, point, &mut ctx)?;
        Self::from_pkey(PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?)
    }

    fn from_pkey(key: PKey<Public>) -> Result<Self, PublicKeyError> {
        let material = match key.id() {
            Id::RSA => {
                let rsa = key.rsa()?;
                KeyMaterial::Rsa { modulus: rsa.n().to_vec(), exponent: rsa.e().to_vec() }
            }
            Id::EC => {
                let ec = key.ec_key()?;
                let curve = match ec.group().curve_name() {
                    Some(Nid::X9_62_PRIME256V1) => Curve::P256,
                    Some(Nid::SECP384R1) => Curve::P384,
                    other => {
                        let name = other.and_then(|n| n.long_name().ok()).unwrap_or("an unnamed curve");
                        return Err(PublicKeyError::Unsupported(format!("EC on {name}")));
                    }
                };
                let mut ctx = openssl::bn::BigNumContext::new()?;
                let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
                ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut ctx)?;
                let width = i32::try_from(curve.width_bytes()).unwrap_or(i32::MAX);
                KeyMaterial::Ec { curve, x: x.to_vec_padded(width)?, y: y.to_vec_padded(width)? }
            }
            other => return Err(PublicKeyError::Unsupported(format!("{other:?}"))),
        };
        let spki_der = key.public_key_to_der()?;
        Ok(Self { key, spki_der, material })
    }

    /// The DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The PEM of its SubjectPublicKeyInfo.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError::Malformed`] if OpenSSL cannot encode it.
    pub fn to_pem(&self) -> Result<String, PublicKeyError> {
        Ok(String::from_utf8_lossy(&self.key.public_key_to_pem()?).into_owned())
    }

    /// `sha256:` and the hexadecimal SHA-256 of the SubjectPublicKeyInfo: what policies pin.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", HashAlgorithm::Sha256.digest(&self.spki_der).to_hex())
    }

    /// The numbers.
    #[must_use]
    pub fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// Size of modulus or curve in bits.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.key.bits()
    }

    /// The key type a policy would name, or `None` for an RSA size hsmsign does not sign with.
    #[must_use]
    pub fn key_type(&self) -> Option<KeyType> {
        match (&self.material, self.bits()) {
            (KeyMaterial::Rsa { .. }, 2048) => Some(KeyType::Rsa2048),
            (KeyMaterial::Rsa { .. }, 3072) => Some(KeyType::Rsa3072),
            (KeyMaterial::Rsa { .. }, 4096) => Some(KeyType::Rsa4096),
            (KeyMaterial::Rsa { .. }, _) => None,
            (KeyMaterial::Ec { curve: Curve::P256, .. }, _) => Some(KeyType::EcdsaP256),
            (KeyMaterial::Ec { curve: Curve::P384, .. }, _) => Some(KeyType::EcdsaP384),
        }
    }

    /// Checks `signature` of `digest`.
    ///
    /// PSS signatures with a salt of any length are accepted, as U-Boot and swupdate accept them.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError::BadSignature`] if it does not verify;
    /// [`PublicKeyError::AlgorithmMismatch`] if the scheme belongs to the other key family or the
    /// digest to another hash.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), PublicKeyError> {
        let is_rsa = matches!(self.material, KeyMaterial::Rsa { .. });
        if is_rsa == (algorithm.scheme == Scheme::Ecdsa) || digest.algorithm() != algorithm.hash {
            return Err(PublicKeyError::AlgorithmMismatch(algorithm));
        }
        let bad = || PublicKeyError::BadSignature { fingerprint: self.fingerprint() };
        let mut ctx = PkeyCtx::new(&self.key)?;
        ctx.verify_init()?;
        ctx.set_signature_md(message_digest(algorithm.hash))?;
        let encoded = match algorithm.scheme {
            Scheme::RsaPkcs1v15 => {
                ctx.set_rsa_padding(Padding::PKCS1)?;
                signature.as_bytes().to_vec()
            }
            Scheme::RsaPss => {
                ctx.set_rsa_padding(Padding::PKCS1_PSS)?;
                ctx.set_rsa_pss_saltlen(RsaPssSaltlen::MAXIMUM_LENGTH)?;
                signature.as_bytes().to_vec()
            }
            Scheme::Ecdsa => {
                let KeyMaterial::Ec { curve, .. } = &self.material else {
                    return Err(PublicKeyError::AlgorithmMismatch(algorithm));
                };
                if signature.as_bytes().len() != 2 * curve.width_bytes() {
                    return Err(bad());
                }
                signature.to_ecdsa_der().map_err(|_| bad())?
            }
        };
        // OpenSSL reports a wrong signature as `false` or as an error, depending on the padding.
        match ctx.verify(digest.as_bytes(), &encoded) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(bad()),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der == other.spki_der
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

fn message_digest(hash: HashAlgorithm) -> &'static openssl::md::MdRef {
    match hash {
        HashAlgorithm::Sha256 => openssl::md::Md::sha256(),
        HashAlgorithm::Sha384 => openssl::md::Md::sha384(),
        HashAlgorithm::Sha512 => openssl::md::Md::sha512(),
    }
}
