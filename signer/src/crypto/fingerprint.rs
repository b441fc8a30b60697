//! Fingerprints of public keys: what policies pin.

use super::{HashAlgorithm, PublicKey};

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `key`.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self::of_bytes(key.spki_der())
    }

    /// SHA-256 of `bytes`: a SubjectPublicKeyInfo, or a symmetric key that is looked for in a list.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(HashAlgorithm::Sha256.digest(bytes).as_bytes());
        Self(fingerprint)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = String;

    /// From `sha256:` and 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").ok_or("does not begin with `sha256:`")?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex, &mut bytes).map_err(|_| {
            format!("has {} characters after `sha256:`, which are not 64 hexadecimal digits", hex.len())
        })?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_converts_back_whatever_its_case() {
        let text = format!("sha256:{}", "Ab".repeat(32));
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text.to_lowercase());
    }

    #[test]
    fn refuses_other_forms() {
        for text in
            ["", "sha256:", "sha1:00", "sha256:zz", &"0".repeat(64), &format!("sha256:{}", "0".repeat(63))]
        {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
