//! A host's own list of keys that must not be trusted.

use super::{Place, error::Fault};
use crate::crypto::Fingerprint;
use std::collections::BTreeMap;

/// Longest line. Real ones are a digest and a sentence.
const MAX_LINE_LEN_BYTES: usize = 1000;

/// Keys that must not be trusted, each with the reason.
///
/// One key a line: its fingerprint (`sha256:` and the SHA-256 of the SubjectPublicKeyInfo), a blank, and what is
/// wrong with it. With `secret` before it the digest is that of a symmetric key's bytes. Empty lines and lines
/// that begin with `#` mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// Public keys: fingerprint to reason.
    pub keys: BTreeMap<Fingerprint, String>,
    /// Symmetric keys: SHA-256 to reason.
    pub secrets: BTreeMap<Fingerprint, String>,
}

impl Blocklist {
    /// Parses a list's text; pure.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], with its line and column. A list that is half understood would let pass what it should stop.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut list = Self::default();
        for (number, line) in text.lines().map(str::trim_end).enumerate() {
            // `from` is the end of `line`.
            let fault = |from: &str, message: String| {
                let before = line.get(..line.len() - from.len()).unwrap_or_default();
                Fault {
                    message,
                    place: Place::new(text, number + 1, before.chars().count() + 1),
                    hint: Some(
                        "write `sha256:FINGERPRINT REASON` or `secret sha256:DIGEST REASON`; `hsmsign keys pin` shows \
                         fingerprints"
                            .into(),
                    ),
                }
            };
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if line.len() > MAX_LINE_LEN_BYTES {
                return Err(fault(line, format!("longer than {MAX_LINE_LEN_BYTES} bytes")));
            }
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return Err(fault(line, "control characters".into()));
            }
            let (keys, entry) = match first_word(content) {
                ("secret", rest) => (&mut list.secrets, rest),
                _ => (&mut list.keys, content),
            };
            let (digest, reason) = first_word(entry);
            let digest: Fingerprint =
                digest.parse().map_err(|why| fault(entry, format!("not a fingerprint: {why}")))?;
            if reason.is_empty() {
                return Err(fault(entry, "a key without a reason".into()));
            }
            if keys.insert(digest, reason.to_owned()).is_some() {
                return Err(fault(entry, format!("{digest} stands here a second time")));
            }
        }
        Ok(list)
    }
}

/// The first word, and what follows it.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_are_read() {
        let key = format!("sha256:{}", "ab".repeat(32));
        let list = Blocklist::parse(&format!("\u{feff}# ours\n\n  {key}\tstolen in 2024 \nsecret {key} x\n"))
            .unwrap();
        let [(found, reason)]: [_; 1] = list.keys.into_iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((found.to_string(), reason.as_str()), (key, "stolen in 2024"));
        assert_eq!(list.secrets.into_values().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn mistakes_have_their_place() {
        let key = format!("sha256:{}", "ab".repeat(32));
        for (text, line, column, message) in [
            (format!("\n{key}\n"), 2, 1, "without a reason"),
            (format!("secret   {key}   \n"), 1, 10, "without a reason"),
            ("# good\n\nsha256:00 short\n".into(), 3, 1, "not a fingerprint"),
            (format!("SECRET {key} x"), 1, 1, "not a fingerprint"),
            ("  secret".into(), 1, 9, "not a fingerprint"),
            (format!("{key} one\nsecret {key} another\n{key} two\n"), 3, 1, "second time"),
            (format!("{key} one\u{1b}[2K"), 1, 1, "control characters"),
            (format!("{key} {}", "a".repeat(1000)), 1, 1, "longer than"),
        ] {
            let fault = Blocklist::parse(&text).unwrap_err();
            assert_eq!((fault.place.line, fault.place.column), (line, column), "{text}: {fault:?}");
            assert!(fault.message.contains(message), "{}", fault.message);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_a_fault(text in ".{0,200}|(secret|sha256:|[0-9a-f]{64}|[ \t\r\n#é\u{0}])*") {
            let _ = Blocklist::parse(&text);
        }
    }
}
