//! Where a log ends.

use crate::crypto::{HashAlgorithm, Hasher};

/// SHA-256 over the bytes from the beginning of one record's line to the beginning of the next one's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(bytes);
        Self::finish(hasher)
    }

    /// The end of a SHA-256 computation.
    pub(super) fn finish(hasher: Hasher) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hasher.finish().as_bytes());
        Self(bytes)
    }
}

impl std::str::FromStr for Hash {
    type Err = String;

    /// From 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "not 64 hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a log ends: the number of its last record, and the hash of that record's line.
///
/// Kept somewhere else, it shows later whether records were cut off the end. Text form: `SEQUENCE:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record; 0 in an empty log.
    pub sequence: u64,
    /// Hash of its line, the line break included.
    pub hash: Hash,
}

impl Head {
    /// The end of a log without records.
    #[must_use]
    pub fn empty() -> Self {
        Self { sequence: 0, hash: Hash::of(b"") }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected SEQUENCE:HASH, a number, a colon and 64 hexadecimal digits";
        let (sequence, hash) = text.split_once(':').ok_or(expected)?;
        let digits = !sequence.is_empty() && sequence.bytes().all(|b| b.is_ascii_digit());
        let sequence = sequence.parse().ok().filter(|_| digits).ok_or(expected)?;
        Ok(Self { sequence, hash: hash.parse().map_err(|_| expected)? })
    }
}

impl<'de> serde::Deserialize<'de> for Head {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Head {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_converts_back() {
        let head = Head { sequence: 17, hash: Hash::of(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
    }

    #[test]
    fn other_forms_are_refused() {
        let hash = "0".repeat(64);
        for text in ["", "17", "17:", "17:00", &format!("+17:{hash}"), &format!(":{hash}"), &hash] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
    }
}
