//! Public example keys: their private halves stand in public repositories, so they protect nothing.

use crate::{config::Blocklist, crypto::Fingerprint};
use std::{collections::BTreeMap, sync::LazyLock};

/// The list that comes with the program; its head says what the columns are.
const TEXT: &str = include_str!("builtin.tsv");

static BUILTIN: LazyLock<BTreeMap<Fingerprint, &'static str>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(parse).collect()
});

fn parse(line: &'static str) -> Option<(Fingerprint, &'static str)> {
    let (fingerprint, rest) = line.split_once('\t')?;
    let seen = rest.rsplit_once('\t')?.1;
    Some((format!("sha256:{fingerprint}").parse().ok()?, seen))
}

/// Keys that nobody may trust: the list that comes with the program, and the host's own.
#[derive(Clone, Debug, Default)]
pub struct ExampleKeys {
    added: BTreeMap<Fingerprint, String>,
}

impl ExampleKeys {
    /// The list that comes with the program, and what these lists add.
    pub fn with(lists: impl IntoIterator<Item = Blocklist>) -> Self {
        Self { added: lists.into_iter().flat_map(|list| list.keys).collect() }
    }

    /// Where the private half of the key with this fingerprint was seen; `None` if it is not known to be
    /// public.
    #[must_use]
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&str> {
        self.added.get(fingerprint).map(String::as_str).or_else(|| BUILTIN.get(fingerprint).copied())
    }

    /// How many keys are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        BUILTIN.len() + self.added.keys().filter(|key| !BUILTIN.contains_key(key)).count()
    }

    /// Whether none is; never, in fact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read() {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 300);
        assert_eq!(ExampleKeys::default().len(), lines);
    }

    #[test]
    fn ti_s_degenerate_and_u_boots_keys_are_known() {
        // `openssl pkey -pubout -outform DER | sha256sum` of U-Boot's arch/arm/mach-k3/keys/custMpk.pem.
        let key = "sha256:00acfeb4d70d02eeabb36d01690d2b450f471ad40f7fde5f8247673567ddc0b0";
        assert!(ExampleKeys::default().find(&key.parse().unwrap()).unwrap().contains("custMpk"));
    }

    #[test]
    fn hosts_add_to_it() {
        let key: Fingerprint = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(ExampleKeys::default().find(&key), None);
        let list = Blocklist::parse(&format!("# ours\n{key} leaked in 2024\n")).unwrap();
        let keys = ExampleKeys::with([list]);
        assert_eq!(keys.find(&key), Some("leaked in 2024"));
        assert_eq!(keys.len(), ExampleKeys::default().len() + 1);
    }
}
