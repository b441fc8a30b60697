//! The superblock's UUID.

use super::VerityError;
use std::str::FromStr;

/// A UUID (RFC 9562), sixteen bytes in the order they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = VerityError;

    fn from_str(text: &str) -> Result<Self, VerityError> {
        let bad = || VerityError::Uuid(text.to_owned());
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|g| g.len()).ne([8, 4, 4, 4, 12]) {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(groups.concat(), &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        let text = "0f0e0d0c-0b0a-8908-8706-050403020100";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "0f0e0d0c0b0a89088706050403020100", "0f0e0d0c-0b0a-8908-8706-05040302010g", "-----"]
        {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
