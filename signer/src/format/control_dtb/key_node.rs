//! A public key as properties of its node, in the words of U-Boot and mkimage.

use super::{ControlDtbError, RsaNumbers};
use crate::crypto::{Curve, HashAlgorithm, KeyMaterial, KeyType, PublicKey};

/// What a device must find signed by a key before it uses an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Required {
    /// The configuration, with every image it names and how they are used together.
    #[default]
    Conf,
    /// Each image's data, by itself. Images of different FITs can then be mixed.
    Image,
}

impl Required {
    /// The value of property `required`: `conf` or `image`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Image => "image",
        }
    }
}

/// A public key and how a boot stage shall use it.
#[derive(Clone, Copy, Debug)]
pub struct KeyEntry<'a> {
    /// `key-name-hint`, which also names the node.
    pub hint: &'a str,
    /// The key.
    pub public_key: &'a PublicKey,
    /// Hash of the signatures. The node pins it: U-Boot compares the whole `algo` string of an RSA key.
    pub hash: HashAlgorithm,
    /// What must be signed.
    pub required: Required,
}

/// Properties in the order in which mkimage sets them; libfdt puts each new one first.
pub(super) type Properties = Vec<(&'static str, Vec<u8>)>;

impl KeyEntry<'_> {
    /// Name of the node under `/signature`: RSA keys have `key-` before the hint, ECDSA keys the bare hint.
    ///
    /// Source: U-Boot `lib/rsa/rsa-sign.c` (`rsa_add_verify_data`), `lib/ecdsa/ecdsa-libcrypto.c` (`ecdsa_add_verify_data`).
    #[must_use]
    pub fn node_name(&self) -> String {
        match self.public_key.material() {
            KeyMaterial::Rsa { .. } => format!("key-{}", self.hint),
            KeyMaterial::Ec { .. } => self.hint.to_owned(),
        }
    }

    /// Property `algo`, such as `sha256,rsa2048`.
    ///
    /// # Errors
    ///
    /// [`ControlDtbError::UnsupportedKey`] for a key that U-Boot has no name for.
    pub fn algo(&self) -> Result<String, ControlDtbError> {
        let key_type = self.public_key.key_type().ok_or(ControlDtbError::UnsupportedKey)?;
        Ok(format!("{},{}", self.hash, crypto_name(key_type)))
    }

    pub(super) fn properties(&self) -> Result<Properties, ControlDtbError> {
        let mut all = vec![("key-name-hint", string(self.hint))];
        match self.public_key.material() {
            KeyMaterial::Rsa { modulus, exponent } => {
                let numbers = RsaNumbers::compute(modulus, exponent)?;
                all.extend([
                    ("rsa,num-bits", numbers.bits.to_be_bytes().to_vec()),
                    ("rsa,n0-inverse", numbers.n0_inverse.to_be_bytes().to_vec()),
                    ("rsa,exponent", numbers.exponent.to_be_bytes().to_vec()),
                    ("rsa,modulus", numbers.modulus),
                    ("rsa,r-squared", numbers.r_squared),
                ]);
            }
            KeyMaterial::Ec { curve, x, y } => all.extend([
                ("ecdsa,curve", string(curve_name(*curve))),
                ("ecdsa,x-point", x.clone()),
                ("ecdsa,y-point", y.clone()),
            ]),
        }
        all.push(("algo", string(&self.algo()?)));
        all.push(("required", string(self.required.name())));
        Ok(all)
    }
}

/// U-Boot's name of a key type in `algo` (`boot/image-sig.c`, `crypto_algos`).
#[must_use]
pub const fn crypto_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Rsa2048 => "rsa2048",
        KeyType::Rsa3072 => "rsa3072",
        KeyType::Rsa4096 => "rsa4096",
        KeyType::EcdsaP256 => "ecdsa256",
        KeyType::EcdsaP384 => "ecdsa384",
    }
}

/// OpenSSL's short name of a curve, which `ecdsa,curve` holds.
pub(super) const fn curve_name(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "prime256v1",
        Curve::P384 => "secp384r1",
    }
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
