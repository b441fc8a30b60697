//! Private keys that programs carry to test themselves: not a leak inside the program, one anywhere else.

use crate::crypto::Fingerprint;
use std::{collections::BTreeSet, sync::LazyLock};

/// SHA-256 of the SubjectPublicKeyInfo, and whose key it is.
const KEYS: &str = include_str!("self_test.tsv");

static KNOWN: LazyLock<BTreeSet<Fingerprint>> = LazyLock::new(|| {
    let lines = KEYS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| format!("sha256:{}", line.split('\t').next()?).parse().ok()).collect()
});

/// Whether this is such a key.
pub(super) fn is_known(key: &Fingerprint) -> bool {
    KNOWN.contains(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        assert_eq!(KNOWN.len(), KEYS.lines().filter(|line| !line.starts_with('#')).count());
    }
}
