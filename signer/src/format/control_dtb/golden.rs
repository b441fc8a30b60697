//! Golden tests: our key nodes beside those that U-Boot's mkimage writes, property by property.

use super::{
    KeyEntry, Placed, Required, put_key,
    tests::{report, tree, worst},
};
use crate::{
    crypto::{HashAlgorithm, PublicKey},
    format::fdt::Fdt,
    report::Verdict,
};
use openssl::{
    asn1::Asn1Time,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::X509,
};
use std::process::Command;

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn ecdsa(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// What mkimage wants of an RSA key beside the key.
fn certificate(key: &PKey<Private>) -> Vec<u8> {
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

/// The tree after `mkimage -f -k -K -r`; `None`, said aloud, if there is no mkimage.
fn mkimages_tree(mkimage: &str, key: &PKey<Private>, algo: &str) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    match key.ec_key() {
        Ok(ec) => write("golden.pem", &ec.private_key_to_pem().unwrap()),
        Err(_) => {
            write("golden.key", &key.private_key_to_pem_pkcs8().unwrap());
            write("golden.crt", &certificate(key));
        }
    }
    write("data.bin", b"data");
    write("u-boot.dtb", &tree(0));
    let its = r#"/dts-v1/; / { description = "t"; images { kernel { data = /incbin/("data.bin"); type = "kernel";
        arch = "arm64"; os = "linux"; compression = "none"; hash-1 { algo = "sha256"; }; }; };
        configurations { default = "c"; c { kernel = "kernel"; signature-1 { algo = "ALGO";
        key-name-hint = "golden"; }; }; }; };"#;
    write("fit.its", its.replace("ALGO", algo).as_bytes());
    let arguments = ["-f", "fit.its", "-k", ".", "-K", "u-boot.dtb", "-r", "fit.itb"];
    match Command::new(mkimage).current_dir(&directory).args(arguments).output() {
        // Its exit code is not to be trusted; the tree is what counts.
        Ok(_) => Some(std::fs::read(directory.path().join("u-boot.dtb")).unwrap()),
        Err(_) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: `{mkimage}` is not installed");
            None
        }
        Err(e) => panic!("{mkimage}: {e}"),
    }
}

fn compare(mkimage: &str, key: &PKey<Private>, algo: &str, node: &str) {
    let Some(theirs) = mkimages_tree(mkimage, key, algo) else { return };
    let public_key = PublicKey::from_spki_der(&key.public_key_to_der().unwrap()).unwrap();
    let hash = HashAlgorithm::from_name(&algo[..6]).unwrap();
    let entry = KeyEntry { hint: "golden", public_key: &public_key, hash, required: Required::Conf };
    let put = |tree: &[u8]| -> (Vec<u8>, Placed) { put_key(tree, &entry, &|_| false, &|_| false).unwrap() };
    let (ours, placed) = put(&tree(0));
    assert_eq!(placed.node, node);
    assert_eq!(key_properties(&ours), key_properties(&theirs), "names, order and bytes, {algo}");
    assert_same_layout(&ours, &theirs);
    // What they wrote, we find sound, and would not change.
    assert_eq!(worst(&report(&theirs, std::slice::from_ref(&public_key))).0, Verdict::Pass);
    assert!(!put(&theirs).1.changed);
}

fn key_properties(tree: &[u8]) -> Vec<(String, Vec<u8>)> {
    let fdt = Fdt::parse(&tree).unwrap();
    let signature = fdt.find("/signature").expect("mkimage wrote no key");
    let (node, _) = fdt.children(signature).next().unwrap();
    let value = |name: &str| fdt.bytes(node, name, 4096).unwrap().unwrap();
    fdt.node(node).properties().iter().map(|p| (p.name().to_owned(), value(p.name()))).collect()
}

/// Block places, sizes and strings agree. (libfdt leaves old bytes as padding behind values.)
fn assert_same_layout(ours: &[u8], theirs: &[u8]) {
    assert_eq!(ours[8..40], theirs[8..40], "headers but for `totalsize`");
    let strings_at = usize::try_from(u32::from_be_bytes(ours[12..16].try_into().unwrap())).unwrap();
    assert_eq!(ours[strings_at..], theirs[strings_at..ours.len()], "strings block");
}

fn compare_rsa(mkimage: &str) {
    for bits in [2048, 3072, 4096] {
        compare(mkimage, &rsa(bits), &format!("sha256,rsa{bits}"), "/signature/key-golden");
    }
}

fn newest_mkimage() -> Option<String> {
    let found = std::env::var("HSMSIGN_TEST_MKIMAGE").ok();
    if found.is_none() {
        eprintln!("SKIPPED: HSMSIGN_TEST_MKIMAGE does not name U-Boot's newest mkimage");
    }
    found
}

#[test]
fn rsa_key_nodes_equal_mkimages() {
    compare_rsa("mkimage");
}

#[test]
fn rsa_key_nodes_equal_the_newest_mkimages() {
    if let Some(mkimage) = newest_mkimage() {
        compare_rsa(&mkimage);
    }
}

/// mkimage 2023.01 writes no ECDSA keys into trees, and fdt_add_pubkey crashes on them in 2026.10.
#[test]
fn ecdsa_key_nodes_equal_the_newest_mkimages() {
    if let Some(mkimage) = newest_mkimage() {
        compare(&mkimage, &ecdsa(Nid::X9_62_PRIME256V1), "sha256,ecdsa256", "/signature/golden");
        compare(&mkimage, &ecdsa(Nid::SECP384R1), "sha384,ecdsa384", "/signature/golden");
    }
}
