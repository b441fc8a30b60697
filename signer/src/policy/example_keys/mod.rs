//! Public example keys: their private halves stand in public repositories, so they protect nothing.

use crate::{config::Blocklist, crypto::Fingerprint};
use std::{collections::BTreeMap, sync::LazyLock};

/// The list that comes with the program; its head says what the columns are.
const TEXT: &str = include_str!("builtin.tsv");
/// The same for symmetric keys.
const SYMMETRIC: &str = include_str!("symmetric.tsv");

type List = BTreeMap<Fingerprint, &'static str>;

static BUILTIN: LazyLock<List> = LazyLock::new(|| read(TEXT));
static BUILTIN_SECRETS: LazyLock<List> = LazyLock::new(|| read(SYMMETRIC));

fn read(text: &'static str) -> List {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(parse).collect()
}

fn parse(line: &'static str) -> Option<(Fingerprint, &'static str)> {
    let (fingerprint, rest) = line.split_once('\t')?;
    let seen = rest.rsplit_once('\t')?.1;
    Some((format!("sha256:{fingerprint}").parse().ok()?, seen))
}

/// Keys that nobody may trust: the list that comes with the program, and the host's own.
#[derive(Clone, Debug, Default)]
pub struct ExampleKeys {
    added: BTreeMap<Fingerprint, String>,
    added_secrets: BTreeMap<Fingerprint, String>,
}

impl ExampleKeys {
    /// The list that comes with the program, and what these lists add.
    pub fn with(lists: impl IntoIterator<Item = Blocklist>) -> Self {
        let mut all = Self::default();
        for list in lists {
            all.added.extend(list.keys);
            all.added_secrets.extend(list.secrets);
        }
        all
    }

    /// Where the private half of the key with this fingerprint was seen; `None` if it is not known to be
    /// public.
    #[must_use]
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&str> {
        self.added.get(fingerprint).map(String::as_str).or_else(|| BUILTIN.get(fingerprint).copied())
    }

    /// Where the symmetric key with these bytes was seen, or what about it nobody drew at random; `None` if neither.
    #[must_use]
    pub fn find_secret(&self, key: &[u8]) -> Option<&str> {
        let digest = Fingerprint::of_bytes(key);
        let listed = self.added_secrets.get(&digest).map(String::as_str);
        listed.or_else(|| BUILTIN_SECRETS.get(&digest).copied()).or_else(|| constant(key))
    }

    /// How many public keys are listed.
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

/// What is plain about a symmetric key of 16 bytes or more: bytes that repeat, or count. A key drawn at random
/// has that with a chance of 2^-64 at most.
fn constant(key: &[u8]) -> Option<&'static str> {
    let first = *key.first().filter(|_| key.len() >= 16)?;
    let repeats = |period| key.iter().skip(period).eq(key.iter().take(key.len() - period));
    let counts_by = |step: u8| {
        let expected = std::iter::successors(Some(first), |b| Some(b.wrapping_add(step)));
        key.iter().copied().eq(expected.take(key.len()))
    };
    if (1..=8).any(repeats) {
        Some("the same bytes over and over")
    } else if [1, 0x11, 0x22, 0xff].into_iter().any(counts_by) {
        Some("bytes that count")
    } else if key.iter().eq(b"0123456789abcdef0123456789abcdef".iter().take(key.len())) {
        Some("digits that count")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Curve, PublicKey};

    #[test]
    fn every_line_of_the_list_is_read() {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 500);
        assert_eq!(ExampleKeys::default().len(), lines);
        let lines = SYMMETRIC.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 10);
        assert_eq!(BUILTIN_SECRETS.len(), lines);
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

    #[test]
    fn well_known_keys_are_found() {
        for (fingerprint, whose) in [
            ("cac7bcfaf8674a57e5eaa8ef1a7c9b67af1fd5562a06440d88d5e3c632e88c48", "OP-TEE"),
            (
                "27f501a05553b8086eaea2ddabeb46c96b3ca30cd6ceb0d4f30e5bc0c543d507",
                "avb:test/data/testkey_rsa2048",
            ),
            ("a48ae977cf91ad27f3a90c2550a990f9e221c083b000d6e4739a6bedd140daa6", "OpenBMC.priv"),
        ] {
            let found = ExampleKeys::default()
                .find(&format!("sha256:{fingerprint}").parse().unwrap())
                .map(str::to_owned);
            assert!(found.as_ref().is_some_and(|f| f.contains(whose)), "{found:?}");
        }
        // RFC 6979, A.2.5: the public key of the P-256 examples, from its numbers.
        let point = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                     7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        let key = PublicKey::from_ec_point(Curve::P256, &hex::decode(point).unwrap()).unwrap();
        assert!(ExampleKeys::default().find(&Fingerprint::of(&key)).is_some());
    }

    #[test]
    fn symmetric_examples_are_found() {
        let keys = ExampleKeys::default();
        for (hex, whose) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "FIPS 197"),
            ("390ad54490a4a5f53722291023c19e08ffb5c4677a59e958c96ffa6e641df040", "swupdate"),
            ("000102030405060708090a0b0c0d0e0f", "count"),
            ("00112233445566778899aabbccddeeff", "count"),
            ("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "over and over"),
            ("0123456789abcdef0123456789abcdef", "over and over"),
            ("1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef", "over and over"),
            ("30313233343536373839616263646566", "digits"),
        ] {
            let found = keys.find_secret(&hex::decode(hex).unwrap());
            assert!(found.is_some_and(|f| f.contains(whose)), "{hex}: {found:?}");
        }
        assert_eq!(keys.find_secret(&[0; 8]), None, "too short to be a key");
        assert_eq!(keys.find_secret(b"\x8f\x11\x02 quite an ordinary key"), None);
        let list = format!("secret {} of 2019\n", Fingerprint::of_bytes(b"quite an ordinary key"));
        let keys = ExampleKeys::with([Blocklist::parse(&list).unwrap()]);
        assert_eq!(keys.find_secret(b"quite an ordinary key"), Some("of 2019"));
    }
}
