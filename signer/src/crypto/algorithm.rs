//! Signature algorithms: a scheme and a hash function.

use super::HashAlgorithm;

/// How a digest becomes a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    RsaPkcs1v15,
    /// RSASSA-PSS (RFC 8017, section 8.1), MGF1 with the same hash, salt as long as the digest.
    RsaPss,
    /// ECDSA (FIPS 186-5).
    Ecdsa,
}

/// The kinds of key a role can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA with a 2048-bit modulus.
    Rsa2048,
    /// RSA with a 3072-bit modulus.
    Rsa3072,
    /// RSA with a 4096-bit modulus.
    Rsa4096,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
}

impl KeyType {
    /// Every key type, in the order the documentation lists them.
    pub const ALL: [Self; 5] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384];

    /// The name used in `hsmsign.yaml`: `rsa2048`, …, `ecdsa-p256`, `ecdsa-p384`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }

    /// The key type of that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Whether this is an RSA key.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A scheme with the hash function it signs digests of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureAlgorithm {
    /// How a digest becomes a signature.
    pub scheme: Scheme,
    /// What digests are made with.
    pub hash: HashAlgorithm,
}

impl std::fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::RsaPkcs1v15 => "rsa-pkcs1-v1_5",
            Scheme::RsaPss => "rsa-pss",
            Scheme::Ecdsa => "ecdsa",
        };
        write!(f, "{scheme}-{}", self.hash)
    }
}

impl std::str::FromStr for SignatureAlgorithm {
    type Err = String;

    /// From the form that [`Display`](std::fmt::Display) gives, such as `rsa-pss-sha256`.
    fn from_str(text: &str) -> Result<Self, String> {
        let schemes = [Scheme::RsaPkcs1v15, Scheme::RsaPss, Scheme::Ecdsa];
        let mut all =
            schemes.into_iter().flat_map(|scheme| HashAlgorithm::ALL.map(|hash| Self { scheme, hash }));
        all.find(|algorithm| algorithm.to_string() == text)
            .ok_or_else(|| format!("unknown signature algorithm `{text}`"))
    }
}
