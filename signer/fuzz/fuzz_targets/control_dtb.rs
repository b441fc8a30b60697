//! Control trees, alone and behind a program: keys are read, judged and put in.

#![no_main]

use hsmsign::{
    crypto::{Curve, HashAlgorithm, PublicKey},
    format::{
        control_dtb::{Expected, KeyEntry, Location, Required, Stage, check_tree, put_key_in_file},
        fdt::Fdt,
    },
    report::Report,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The base point of P-256 (SEC 2, section 2.4.2), which is a point of the curve as good as any.
static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let mut point = vec![0x03];
    point.extend([
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77,
        0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ]);
    PublicKey::from_ec_point(Curve::P256, &point).expect("a point of the curve")
});

fuzz_target!(|bytes: &[u8]| {
    let entry =
        KeyEntry { hint: "fuzz", public_key: &KEY, hash: HashAlgorithm::Sha256, required: Required::Conf };
    for location in [Location::Whole, Location::Appended] {
        let Ok((edits, placed)) = put_key_in_file(&bytes, location, &entry, &|_| true, &|hint| hint.len() > 4)
        else {
            continue;
        };
        let new = edits.apply(&bytes, 64 << 20).expect("edits fit their source");
        let range = location.range(&new).expect("what was written is a tree again");
        let tree = &new[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let fdt = Fdt::parse(&tree).expect("what was written is a tree again");
        assert!(fdt.find(&placed.node).is_some());
        let trusted = [KEY.clone()];
        let expected = Expected { trusted: &trusted, other_roles: &[], describe: &|_| None };
        let mut report = Report::new("fuzz");
        let _ = check_tree(tree, "fuzz", Stage::UBoot, &expected, &mut report);
    }
});
