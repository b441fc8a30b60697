//! Byte for byte what U-Boot's mkimage and libfdt make of the same input and key.

#![allow(clippy::indexing_slicing, reason = "these are tests")]

use super::{
    Signing, plan, properties as p,
    testing::{Kind, node, unsigned},
};
use crate::{
    crypto::{HashAlgorithm, Scheme},
    format::fdt::{Fdt, testing::edited},
    request::{Answer as _, Role},
    testing::SoftKey,
};
use std::{path::Path, process::Command};

/// Runs a program in `directory`; `false` if it is not installed, which is a failure in CI.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    match command.args(arguments).current_dir(directory).env("SOURCE_DATE_EPOCH", "1700000000").output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
            eprintln!("SKIPPED: `{program}` is not installed");
            false
        }
    }
}

/// Structure block and strings block; what follows them is free space.
fn blocks(tree: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let word = |index: usize| {
        let bytes: [u8; 4] = tree[index * 4..index * 4 + 4].try_into().unwrap();
        u32::from_be_bytes(bytes) as usize
    };
    let (structure, strings) = (word(2), word(3));
    (tree[structure..structure + word(9)].to_vec(), tree[strings..strings + word(8)].to_vec())
}

/// The sample FIT with placeholders for two configurations' signatures and one image's.
fn placeholders() -> Vec<u8> {
    edited(&unsigned(Kind::Embedded), |fdt| {
        for path in ["/configurations/conf-2", "/configurations/conf-1", "/images/kernel-1"] {
            let signature = fdt.add_node(node(fdt, path), "signature-1").unwrap();
            fdt.set_strings(signature, p::SIGN_IMAGES, &["kernel", "fdt", "ramdisk"]).unwrap();
            fdt.set_string(signature, p::KEY_NAME_HINT, "test").unwrap();
            fdt.set_string(signature, p::ALGO, "sha256,rsa2048").unwrap();
        }
    })
}

#[test]
fn a_signed_fit_is_what_mkimage_makes_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut key = SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
    key.rename("test");
    std::fs::write(directory.path().join("test.key"), key.private_pem()).unwrap();
    let fit = placeholders();
    std::fs::write(directory.path().join("fit"), &fit).unwrap();
    if !run(directory.path(), "mkimage", &["-F", "-k", ".", "fit"]) {
        return;
    }
    let theirs = std::fs::read(directory.path().join("fit")).unwrap();

    let signing = Signing {
        identity: key.identity(),
        artifact: "sample",
        timestamp: None,
        stage_trust: None,
        image_signatures: false,
    };
    let plan = plan(&fit, &signing, &|_| {}).unwrap();
    let answers: Vec<_> = plan.requests().iter().map(|request| key.answer(request).unwrap()).collect();
    let ours = plan.attach(&answers).unwrap().apply(&fit, 1 << 24).unwrap();

    let paths = ["/images/kernel-1", "/configurations/conf-1", "/configurations/conf-2"];
    let theirs_read = Fdt::parse(&theirs).unwrap();
    let ours_read = Fdt::parse(&ours).unwrap();
    for path in paths {
        let path = format!("{path}/signature-1");
        for name in [p::VALUE, p::HASHED_STRINGS, p::HASHED_NODES, p::TIMESTAMP] {
            let get = |fdt: &Fdt<'_>| fdt.bytes(node(fdt, &path), name, 4096).unwrap();
            assert_eq!(get(&ours_read), get(&theirs_read), "{path} {name}");
        }
    }
    // All else is equal too, once we call ourselves mkimage.
    let version = theirs_read.string(node(&theirs_read, "/images/kernel-1/signature-1"), p::SIGNER_VERSION);
    let version = version.unwrap().unwrap();
    let disguised = edited(&ours, |fdt| {
        for path in paths {
            let signature = node(fdt, &format!("{path}/signature-1"));
            fdt.set_string(signature, p::SIGNER_NAME, "mkimage").unwrap();
            fdt.set_string(signature, p::SIGNER_VERSION, &version).unwrap();
        }
    });
    assert!(blocks(&disguised) == blocks(&theirs));
}

#[test]
fn edits_are_what_libfdt_makes() {
    // Values fill whole words: libfdt leaves in the padding what happened to stand there, we write zeros.
    let directory = tempfile::tempdir().unwrap();
    let tree = unsigned(Kind::Embedded);
    std::fs::write(directory.path().join("tree"), &tree).unwrap();
    let fdtput = |arguments: &[&str]| run(directory.path(), "fdtput", arguments);
    if !fdtput(&["-t", "s", "tree", "/images/kernel-1", "compression", "non"]) {
        return;
    }
    fdtput(&["-c", "tree", "/images/kernel-1/cipher"]);
    fdtput(&["-t", "s", "tree", "/images/kernel-1/cipher", "key-name-hint", "abcdefg"]);
    fdtput(&["-t", "s", "tree", "/", "description", "altered"]);
    fdtput(&["-t", "s", "tree", "/images/kernel-1/cipher", "hint", "abc"]);
    fdtput(&["-d", "tree", "/images/fdt-1", "data"]);
    fdtput(&["-r", "tree", "/images/kernel-2"]);
    let ours = edited(&tree, |fdt| {
        let image = node(fdt, "/images/kernel-1");
        fdt.set_string(image, "compression", "non").unwrap();
        let cipher = fdt.add_node(image, "cipher").unwrap();
        fdt.set_string(cipher, "key-name-hint", "abcdefg").unwrap();
        fdt.set_string(Fdt::ROOT, "description", "altered").unwrap();
        fdt.set_string(cipher, "hint", "abc").unwrap();
        assert!(fdt.delete_property(node(fdt, "/images/fdt-1"), "data"));
        fdt.delete_node(node(fdt, "/images/kernel-2"));
    });
    let theirs = std::fs::read(directory.path().join("tree")).unwrap();
    assert!(blocks(&ours) == blocks(&theirs));
}
