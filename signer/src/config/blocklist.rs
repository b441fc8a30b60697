//! A host's own list of keys that must not be trusted.

use super::{Place, error::Fault};
use crate::crypto::Fingerprint;
use std::collections::BTreeMap;

/// Keys that must not be trusted, each with the reason.
///
/// One key a line: its fingerprint (`sha256:` and the SHA-256 of the SubjectPublicKeyInfo), a blank, and what is
/// wrong with it. Empty lines and lines that begin with `#` mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// Fingerprint to reason.
    pub keys: BTreeMap<Fingerprint, String>,
}

impl Blocklist {
    /// Parses a list's text; pure.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], with its line.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut keys = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let fault = |message: String| Fault {
                message,
                place: Place::new(text, number + 1, 1),
                hint: Some("write `sha256:FINGERPRINT REASON`; `hsmsign keys pin` shows fingerprints".into()),
            };
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (key, reason) = content
                .split_once(char::is_whitespace)
                .ok_or_else(|| fault("a key without a reason".to_owned()))?;
            let fingerprint: Fingerprint =
                key.parse().map_err(|reason| fault(format!("not a fingerprint: {reason}")))?;
            if keys.insert(fingerprint, reason.trim().to_owned()).is_some() {
                return Err(fault(format!("{fingerprint} stands here a second time")));
            }
        }
        Ok(Self { keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mistakes_have_their_line() {
        let key = format!("sha256:{}", "ab".repeat(32));
        for (text, line, message) in [
            (format!("\n{key}\n"), 2, "without a reason"),
            ("# good\n\nsha256:00 short\n".into(), 3, "not a fingerprint"),
            (format!("{key} one\n{key} two\n"), 2, "second time"),
        ] {
            let fault = Blocklist::parse(&text).unwrap_err();
            assert_eq!(fault.place.line, line);
            assert!(fault.message.contains(message), "{}", fault.message);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_a_fault(text in ".{0,200}") {
            let _ = Blocklist::parse(&text);
        }
    }
}
