//! Unit and property tests on trees made here.

use super::*;
use crate::{
    crypto::{Curve, HashAlgorithm, PublicKey, Scheme},
    format::fdt::Fdt,
    report::{Report, Verdict},
    request::{Answer as _, Role},
    testing::SoftKey,
};
use proptest::prelude::*;
use std::sync::OnceLock;

/// A tree as dtc would write it; `slack` free bytes at its end.
pub(super) fn tree(slack: usize) -> Vec<u8> {
    let structure: Vec<u8> = [
        &[0, 0, 0, 1, 0, 0, 0, 0][..],
        &[0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0, 0],
        b"board\0\0\0",
        &[0, 0, 0, 1],
        b"chosen\0\0",
        &[0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9],
    ]
    .concat();
    let strings = b"model\0";
    let structure_at = 40 + 16;
    let strings_at = structure_at + structure.len();
    let total = strings_at + strings.len() + slack;
    let header =
        [0xd00d_feed, total, structure_at, strings_at, 40, 17, 16, 0, strings.len(), structure.len()];
    let mut bytes: Vec<u8> = header.iter().flat_map(|w| u32::try_from(*w).unwrap().to_be_bytes()).collect();
    bytes.extend([0; 16]);
    bytes.extend(structure);
    bytes.extend(strings);
    bytes.resize(total, 0);
    bytes
}

fn rsa_key() -> &'static PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
        key.identity().public_key.clone()
    })
}

fn ec_key() -> &'static PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| {
        SoftKey::ecdsa(Role::Fit, Curve::P256, HashAlgorithm::Sha256).identity().public_key.clone()
    })
}

fn entry<'a>(hint: &'a str, public_key: &'a PublicKey) -> KeyEntry<'a> {
    KeyEntry { hint, public_key, hash: HashAlgorithm::Sha256, required: Required::Conf }
}

fn ours(hint: &str) -> bool {
    hint.starts_with("hsmsign-")
}

fn put(tree: &[u8], hint: &str, key: &PublicKey) -> (Vec<u8>, Placed) {
    put_key(tree, &entry(hint, key), &ours, &|other| other.starts_with("hsmsign-dev-") || other == hint)
        .unwrap()
}

fn keys(tree: &[u8]) -> Vec<KeyNode> {
    read_keys(&Fdt::parse(&tree).unwrap()).unwrap().unwrap().nodes
}

pub(super) fn report(tree: &[u8], trusted: &[PublicKey]) -> Report {
    let describe = |hint: &str| ours(hint).then(|| format!("key {hint}"));
    let expected = Expected { trusted, other_roles: &[], describe: &describe };
    let mut report = Report::new("test");
    check_tree(tree, "u-boot.dtb", Stage::Spl, &expected, &mut report).unwrap();
    report
}

pub(super) fn worst(report: &Report) -> (Verdict, String) {
    let rank = |v: Verdict| match v {
        Verdict::Pass => 0,
        Verdict::Warn => 1,
        Verdict::Fail => 2,
    };
    let check = report.checks.iter().rev().max_by_key(|c| rank(c.verdict)).unwrap();
    (check.verdict, check.detail.clone())
}

#[test]
fn a_key_reads_back_and_verifies() {
    for key in [rsa_key(), ec_key()] {
        let (with, placed) = put(&tree(0), "hsmsign-dev-fit", key);
        assert!(placed.changed && placed.removed.is_empty() && placed.foreign.is_empty());
        let nodes = keys(&with);
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].hint, "hsmsign-dev-fit");
        assert_eq!(nodes[0].required.as_deref(), Some("conf"));
        assert_eq!(nodes[0].key.as_ref().unwrap(), key);
        assert_eq!(worst(&report(&with, std::slice::from_ref(key))).0, Verdict::Pass);
        // Everything that was there is still there.
        let fdt = Fdt::parse(&with).unwrap();
        assert_eq!(fdt.string(Fdt::ROOT, "model").unwrap().as_deref(), Some("board"));
        assert!(fdt.find("/chosen").is_some());
    }
}

#[test]
fn a_second_time_changes_nothing() {
    let (once, _) = put(&tree(0), "hsmsign-dev-fit", rsa_key());
    let (twice, placed) = put(&once, "hsmsign-dev-fit", rsa_key());
    assert!(!placed.changed);
    assert_eq!(once, twice);
}

#[test]
fn free_space_is_used_before_the_tree_grows() {
    let roomy = tree(4096);
    let (with, placed) = put(&roomy, "hsmsign-dev-fit", rsa_key());
    assert_eq!(with.len(), roomy.len());
    assert_eq!(placed.total_bytes, (roomy.len() as u64, roomy.len() as u64));
    let (grown, placed) = put(&tree(3), "hsmsign-dev-fit", rsa_key());
    assert_eq!(placed.total_bytes.1, grown.len() as u64);
    assert!(grown.len() > tree(3).len());
}

#[test]
fn the_other_modes_key_gives_way_and_foreign_ones_stay() {
    let (with, _) = put(&tree(0), "acme-2024", ec_key());
    let (with, _) = put(&with, "hsmsign-dev-fit", rsa_key());
    let (with, placed) = put(&with, "hsmsign-release-fit", ec_key());
    assert_eq!(placed.removed, ["/signature/key-hsmsign-dev-fit"]);
    assert_eq!(placed.foreign.len(), 1);
    assert_eq!(placed.foreign[0].node, "/signature/acme-2024");
    assert_eq!(placed.foreign[0].required.as_deref(), Some("conf"));
    let hints: Vec<String> = keys(&with).into_iter().map(|k| k.hint).collect();
    assert_eq!(hints, ["hsmsign-release-fit", "acme-2024"]);
}

#[test]
fn an_older_key_of_the_same_name_is_overwritten_whole() {
    let (with, _) = put(&tree(0), "hsmsign-dev-fit", rsa_key());
    let mut fdt = Fdt::parse(&with).unwrap();
    let node = fdt.find("/signature/key-hsmsign-dev-fit").unwrap();
    fdt.set_string(node, "padding", "pss").unwrap();
    fdt.set_string(node, "required", "image").unwrap();
    let edits = fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap();
    let odd = edits.apply(&with, 1 << 20).unwrap();
    let other = SoftKey::rsa(Role::Fit, 3072, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
    let (new, _) = put(&odd, "hsmsign-dev-fit", &other.identity().public_key);
    let fdt = Fdt::parse(&new).unwrap();
    assert!(fdt.property(node, "padding").is_none());
    assert_eq!(worst(&report(&new, &[other.identity().public_key.clone()])).0, Verdict::Pass);
}

#[test]
fn a_fit_is_no_control_tree() {
    let bytes = tree(0);
    let mut fdt = Fdt::parse(&bytes).unwrap();
    fdt.add_node(Fdt::ROOT, "images").unwrap();
    let edits = fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap();
    let fit = edits.apply(&bytes, 1 << 20).unwrap();
    let result = put_key(&fit, &entry("x", rsa_key()), &ours, &|_| false);
    assert!(matches!(result, Err(ControlDtbError::IsFit)));
}

#[test]
fn a_node_that_libfdt_takes_for_signature_is_refused() {
    let bytes = tree(0);
    let mut fdt = Fdt::parse(&bytes).unwrap();
    fdt.add_node(Fdt::ROOT, "signature@0").unwrap();
    let edits = fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap();
    let odd = edits.apply(&bytes, 1 << 20).unwrap();
    let result = put_key(&odd, &entry("x", rsa_key()), &ours, &|_| false);
    assert!(matches!(result, Err(ControlDtbError::UnitAddress(path)) if path == "/signature@0"));
    assert!(matches!(read_keys(&Fdt::parse(&odd).unwrap()), Err(ControlDtbError::UnitAddress(_))));
}

#[test]
fn an_appended_tree_grows_into_the_padding_behind_it() {
    let program: Vec<u8> = (0..1001_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let padding = vec![0xff; 4096];
    for padding in [&[][..], &padding[..100], &padding] {
        let file = [&program[..], &tree(0), padding].concat();
        let (edits, _) =
            put_key_in_file(&file, Location::Appended, &entry("hsmsign-dev-fit", rsa_key()), &ours, &|_| {
                false
            })
            .unwrap();
        let new = edits.apply(&file, 1 << 20).unwrap();
        assert_eq!(new[..1001], program);
        if padding.len() == 4096 {
            assert_eq!(new.len(), file.len());
        }
        let tree = Location::Appended.read(&new).unwrap();
        assert_eq!(keys(&tree)[0].key.as_ref().unwrap(), rsa_key());
    }
}

#[test]
fn a_file_that_needs_no_change_has_no_edits() {
    let (with, _) = put(&tree(9), "hsmsign-dev-fit", rsa_key());
    let place = |file: &Vec<u8>| {
        put_key_in_file(file, Location::Whole, &entry("hsmsign-dev-fit", rsa_key()), &ours, &|_| false)
            .unwrap()
            .0
    };
    assert!(place(&with).as_slice().is_empty());
    assert!(place(&[with, vec![0; 77]].concat()).as_slice().is_empty());
}

#[test]
fn what_makes_verified_boot_worthless_is_told() {
    let trusted = [rsa_key().clone()];
    assert_eq!(worst(&report(&tree(0), &trusted)).1, "absent: this stage accepts unsigned images");

    let edited = |edit: &dyn Fn(&mut Fdt<'_>)| {
        let (with, _) = put(&tree(0), "hsmsign-dev-fit", rsa_key());
        let mut fdt = Fdt::parse(&with).unwrap();
        edit(&mut fdt);
        fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap().apply(&with, 1 << 20).unwrap()
    };
    let key = |fdt: &Fdt<'_>| fdt.find("/signature/key-hsmsign-dev-fit").unwrap();
    let set = |name: &'static str, value: &'static [u8]| {
        edited(&move |fdt: &mut Fdt<'_>| fdt.set(key(fdt), name, value).unwrap())
    };
    let cases: [(Vec<u8>, Verdict, &str); 9] = [
        (edited(&|fdt| assert!(fdt.delete_property(key(fdt), "required"))), Verdict::Fail, "not `required`"),
        (set("required", b"image\0"), Verdict::Warn, "required for images only"),
        (set("required", b"yes\0"), Verdict::Fail, "means nothing"),
        (set("algo", b"sha1,rsa2048\0"), Verdict::Fail, "collision"),
        (set("algo", b"sha256,rsa4096\0"), Verdict::Fail, "does not fit"),
        (set("rsa,n0-inverse", &[1, 2, 3, 4]), Verdict::Fail, "rsa,n0-inverse"),
        (set("rsa,num-bits", &[0, 0, 16, 0]), Verdict::Fail, "rsa,num-bits"),
        (set("rsa,r-squared", &[7; 256]), Verdict::Fail, "rsa,r-squared"),
        (
            edited(&|fdt| {
                let node = fdt.find("/signature").unwrap();
                fdt.set_string(node, "required-mode", "any").unwrap();
            }),
            Verdict::Warn,
            "the weakest key decides",
        ),
    ];
    for (bytes, verdict, detail) in cases {
        let found = worst(&report(&bytes, &trusted));
        assert_eq!(found.0, verdict, "{found:?}");
        assert!(found.1.contains(detail), "{found:?}");
    }
}

#[test]
fn an_untrusted_key_of_ours_fails_and_a_foreign_one_warns() {
    let (with, _) = put(&tree(0), "hsmsign-release-fit", rsa_key());
    let (dev, _) = put_key(&with, &entry("hsmsign-dev-fit", ec_key()), &ours, &|_| false).unwrap();
    let found = worst(&report(&dev, &[rsa_key().clone()]));
    assert_eq!(found.0, Verdict::Fail);
    assert!(found.1.contains("untrusted key hsmsign-dev-fit"), "{found:?}");
    let (foreign, _) = put_key(&with, &entry("acme", ec_key()), &ours, &|_| false).unwrap();
    assert_eq!(worst(&report(&foreign, &[rsa_key().clone()])).0, Verdict::Warn);
    // ... unless one required key suffices: then the foreign one opens the device by itself.
    let mut fdt = Fdt::parse(&foreign).unwrap();
    let signature = fdt.find("/signature").unwrap();
    fdt.set_string(signature, "required-mode", "any").unwrap();
    let edits = fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap();
    let any = edits.apply(&foreign, 1 << 20).unwrap();
    let found = worst(&report(&any, &[rsa_key().clone()]));
    assert_eq!(found.0, Verdict::Fail);
    assert!(found.1.contains("it alone suffices"), "{found:?}");
    // Under another name it is still not the trusted key.
    assert_eq!(worst(&report(&with, &[ec_key().clone()])).0, Verdict::Fail);
}

#[test]
fn a_required_key_of_another_role_fails_if_it_alone_suffices() {
    let (with, _) = put(&tree(0), "hsmsign-release-fit", rsa_key());
    let (both, _) = put_key(&with, &entry("hsmsign-release-spl", ec_key()), &ours, &|_| false).unwrap();
    let (trusted, other_roles) = ([rsa_key().clone()], [ec_key().clone()]);
    let judged = |tree: &[u8]| {
        let expected = Expected { trusted: &trusted, other_roles: &other_roles, describe: &|_| None };
        let mut report = Report::new("test");
        check_tree(tree, "u-boot.dtb", Stage::Spl, &expected, &mut report).unwrap();
        worst(&report)
    };
    let found = judged(&both);
    assert_eq!(found.0, Verdict::Warn, "{found:?}");
    let mut fdt = Fdt::parse(&both).unwrap();
    let signature = fdt.find("/signature").unwrap();
    fdt.set_string(signature, "required-mode", "any").unwrap();
    let edits = fdt.edits(crate::format::fdt::Tail::Moves { alignment: 4 }).unwrap();
    let any = edits.apply(&both, 1 << 20).unwrap();
    let found = judged(&any);
    assert_eq!(found.0, Verdict::Fail, "{found:?}");
    assert!(found.1.contains("of another role"), "{found:?}");
}

#[test]
fn the_settings_node_shows_ways_around() {
    let bytes = tree(0);
    let places = |edit: &dyn Fn(&mut Fdt<'_>)| {
        let mut fdt = Fdt::parse(&bytes).unwrap();
        edit(&mut fdt);
        weaknesses(&fdt).into_iter().map(|(place, _)| place).collect::<Vec<_>>()
    };
    assert_eq!(places(&|_| ()), ["/config/load-environment", "/config/bootdelay"]);
    let closed = |fdt: &mut Fdt<'_>| {
        let config = fdt.add_node(Fdt::ROOT, "config").unwrap();
        fdt.set_u32(config, "load-environment", 0).unwrap();
        fdt.set_u32(config, "bootdelay", u32::MAX - 1).unwrap();
        fdt.set_string(config, "bootcmd", "if load mmc 0 0x5000 fit; then bootm 0x5000; fi").unwrap();
    };
    assert_eq!(places(&closed), [""; 0]);
    let found = places(&|fdt| {
        closed(fdt);
        let config = fdt.find("/config").unwrap();
        fdt.set_string(config, "bootcmd", "bootm 1 || booti 2 - 3").unwrap();
        fdt.set_u32(config, "bootdelay", 2).unwrap();
        fdt.set_u32(config, "u-boot,mmc-env-offset", 4096).unwrap();
    });
    assert_eq!(found, ["/config/bootdelay", "/config/bootcmd", "/config/u-boot,mmc-env-offset"]);
}

proptest! {
    #[test]
    fn hostile_trees_never_panic(edits in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..8)) {
        static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
        let mut bytes = GOOD.get_or_init(|| put(&tree(8), "hsmsign-dev-fit", ec_key()).0).clone();
        for (at, byte) in edits {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        if let Ok((new, _)) = put_key(&bytes, &entry("hsmsign-dev-fit", ec_key()), &ours, &|_| true) {
            prop_assert!(Fdt::parse(&new).is_ok());
        }
        if let Ok(fdt) = Fdt::parse(&bytes) {
            let _ = read_keys(&fdt);
            let _ = weaknesses(&fdt);
        }
    }

    #[test]
    fn truncated_trees_are_refused(cut in 1..400_usize) {
        let (good, _) = put(&tree(0), "hsmsign-dev-fit", ec_key());
        let cut = cut.min(good.len());
        prop_assert!(put_key(&good[..good.len() - cut], &entry("x", ec_key()), &ours, &|_| true).is_err());
    }
}
