//! What `scan` lets pass by name: the policy's `scan` section, or a file of its own.

use super::{
    Pattern,
    error::Fault,
    parse::{Reason, check_version},
    place::Step,
    yaml::{self, Parsed},
};
use crate::{crypto::Fingerprint, vocabulary::LeakKind};
use serde::Deserialize;
use std::str::FromStr;

/// One exception: findings for which everything that is named agrees. A path or a fingerprint is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanAllowed {
    /// Where: below what is scanned, with `!/` behind each container.
    pub path: Option<Pattern>,
    /// What.
    pub kind: Option<LeakKind>,
    /// Which key.
    pub fingerprint: Option<Fingerprint>,
    /// Why, for people.
    pub reason: String,
}

impl std::fmt::Display for ScanAllowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.path.as_ref().map(|p| format!("path `{p}`")),
            self.kind.map(|k| format!("kind `{k}`")),
            self.fingerprint.map(|k| format!("fingerprint `{k}`")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The file of `scan --allow`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: u64,
    allow: Vec<RawScanAllowed>,
}

/// The policy's section.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScan {
    #[serde(default)]
    allow: Vec<RawScanAllowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScanAllowed {
    path: Option<Parsed<Pattern>>,
    kind: Option<Parsed<Kind>>,
    fingerprint: Option<Parsed<Fingerprint>>,
    reason: Parsed<Reason>,
}

impl ScanAllowed {
    /// Parses an allow-list of its own; pure.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], naming key, line and column.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw: RawFile = yaml::read(text, "an allow-list has `version: 1` and `allow:`, see docs/scan.md")?;
        check_version(text, raw.version)?;
        exceptions(text, &["allow".into()], raw.allow)
    }
}

/// The policy's exceptions.
pub(super) fn section(text: &str, raw: RawScan) -> Result<Vec<ScanAllowed>, Fault> {
    exceptions(text, &["scan".into(), "allow".into()], raw.allow)
}

fn exceptions(text: &str, place: &[Step], raw: Vec<RawScanAllowed>) -> Result<Vec<ScanAllowed>, Fault> {
    let mut all = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let entry = ScanAllowed {
            path: raw.path.map(|p| p.0),
            kind: raw.kind.map(|k| k.0.0),
            fingerprint: raw.fingerprint.map(|f| f.0),
            reason: raw.reason.0.0,
        };
        if entry.path.is_none() && entry.fingerprint.is_none() {
            let place: Vec<Step> = place.iter().cloned().chain([index.into()]).collect();
            let message = "`allow`: an exception names a `path` or a `fingerprint`".to_owned();
            return Err(Fault::at(text, &place, message, "a kind alone would let all of its findings pass"));
        }
        all.push(entry);
    }
    Ok(all)
}

struct Kind(LeakKind);

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        LeakKind::ALL.into_iter().find(|kind| kind.name() == text).map(Self).ok_or_else(|| {
            let names: Vec<String> = LeakKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
            format!("unknown kind `{text}`, expected {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_it_is_written() {
        let text = "version: 1\nallow:\n  - path: src/**/test/*.pem\n    kind: private-key\n    reason: keys of a test suite\n  \
                    - fingerprint: \"sha256:abababababababababababababababababababababababababababababababab\"\n    reason: published on purpose\n";
        let list = ScanAllowed::parse_list(text).unwrap();
        assert_eq!(list[0].kind, Some(LeakKind::PrivateKey));
        assert!(list[0].path.as_ref().unwrap().matches("src/a/test/x.pem"));
        assert!(list[1].fingerprint.is_some());
    }

    #[test]
    fn what_would_switch_the_scan_off_is_refused() {
        for (text, says) in [
            ("version: 1\nallow:\n  - kind: pin\n    reason: all of them please\n", "names a `path`"),
            ("version: 1\nallow:\n  - path: \"**\"\n    reason: all of them please\n", "matches everything"),
            ("version: 1\nallow:\n  - path: a.pem\n", "reason"),
            ("version: 1\nallow:\n  - path: a.pem\n    reason: ok\n", "not a reason"),
            (
                "version: 1\nallow:\n  - path: a.pem\n    why: an unknown key here\n    reason: a long enough one\n",
                "why",
            ),
            ("version: 2\nallow: []\n", "version"),
            (
                "version: 1\nallow:\n  - path: a.pem\n    kind: privat-key\n    reason: a long enough one\n",
                "unknown kind",
            ),
        ] {
            let fault = ScanAllowed::parse_list(text).unwrap_err();
            assert!(
                fault.to_string().contains(says) || format!("{fault:?}").contains(says),
                "{text}: {fault:?}"
            );
        }
    }
}
