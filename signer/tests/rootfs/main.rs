//! `sign rootfs` and `verify rootfs` with the real binary, judged by veritysetup and OpenSSL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "these are tests")]

mod by_fit;
#[path = "../common/mod.rs"]
mod common;
mod options;
mod outputs;
use common::{Bench, Outcome, find_tool, token::TestToken};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

const BLOCK: usize = 4096;

const BLOCKS: usize = 600;

/// Data in which all blocks differ.
fn image(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| byte()).collect()
}

/// A bench with `image` of [`BLOCKS`] blocks, signed as `out`; the dev set's certificate is `dev.pem`.
fn signed(more: &[&str]) -> Bench {
    let bench = Bench::new();
    bench.write("image", image(BLOCKS * BLOCK));
    sign(&bench, "image", "out", more).exits(0);
    bench
}

fn sign(bench: &Bench, image: &str, output: &str, more: &[&str]) -> Outcome {
    bench.hsmsign(&[&["sign", "rootfs", image, "-o", output], more].concat())
}

fn verify(bench: &Bench, more: &[&str]) -> Outcome {
    bench.hsmsign(&[&["verify", "rootfs"], more].concat())
}

fn description(bench: &Bench, output: &str) -> serde_json::Value {
    serde_json::from_slice(&bench.read(&format!("{output}.verity.json"))).unwrap()
}

/// Changes one byte of a file.
fn flip(bench: &Bench, name: &str, place: usize) {
    let mut bytes = bench.read(name);
    bytes[place] ^= 0x20;
    bench.write(name, bytes);
}

/// `veritysetup verify` of an image with its hash area behind the data. 0 good, 1 wrong root hash, 2 tampered.
fn veritysetup(bench: &Bench, image: &str, root_hash: &str) -> Option<i32> {
    let tool = find_tool("veritysetup")?;
    let offset = format!("--hash-offset={}", BLOCKS * BLOCK);
    Some(bench.try_tool(&tool, &["verify", &offset, image, image, root_hash]).code)
}

fn root_hash(bench: &Bench, output: &str) -> String {
    String::from_utf8(bench.read(&format!("{output}.roothash"))).unwrap()
}

/// The check that cryptsetup's documentation shows.
fn openssl_accepts(bench: &Bench, signature: &str, content: &str, certificate: &str) -> Option<bool> {
    let tool = find_tool("openssl")?;
    let arguments = ["smime", "-verify", "-binary", "-inform", "der", "-in", signature, "-content", content];
    let more = ["-certfile", certificate, "-nointern", "-noverify"];
    Some(bench.try_tool(&tool, &[&arguments[..], &more].concat()).code == 0)
}

/// Puts the dev set's certificate into `dev.pem`, taken from a CMS message.
fn dev_certificate(bench: &Bench) {
    let Some(openssl) = find_tool("openssl") else { return };
    let sign = ["sign", "blob", "image", "--role", "rootfs", "--format", "cms", "-o", "cms"];
    bench.hsmsign(&sign).exits(0);
    bench.tool(&openssl, &["pkcs7", "-inform", "DER", "-in", "cms", "-print_certs", "-out", "dev.pem"]);
}

/// A key and certificate that are not of the dev set.
fn stranger(bench: &Bench) -> Option<PathBuf> {
    let openssl = find_tool("openssl")?;
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger", "-days", "2"];
    bench.tool(&openssl, &[&new[..], &["-keyout", "stranger.key", "-out", "stranger.pem"]].concat());
    Some(openssl)
}

#[test]
fn veritysetup_accepts_the_image_and_refuses_it_tampered() {
    let bench = signed(&[]);
    assert_eq!(bench.files(), ["image", "out", "out.roothash", "out.roothash.p7s", "out.verity.json"]);
    assert_eq!(bench.read("image"), bench.read("out")[..BLOCKS * BLOCK]);
    let root = root_hash(&bench, "out");
    assert_eq!(root.len(), 64, "no line feed");
    verify(&bench, &["out"]).exits(0);
    let Some(verdict) = veritysetup(&bench, "out", &root) else { return };
    assert_eq!(verdict, 0);
    assert_ne!(veritysetup(&bench, "out", &"0".repeat(64)), Some(0), "wrong root hash");

    let last_hash_byte = bench.read("out").len() - BLOCK;
    for place in [0, 77 * BLOCK + 5, BLOCKS * BLOCK - 1, (BLOCKS + 1) * BLOCK, last_hash_byte] {
        let good = bench.read("out");
        flip(&bench, "out", place);
        assert_eq!(veritysetup(&bench, "out", &root).map(|code| code != 0), Some(true), "byte {place}");
        verify(&bench, &["out"]).exits(7);
        bench.write("out", good);
    }
    verify(&bench, &["out"]).exits(0);
}

#[test]
fn a_tampered_data_block_is_named() {
    let bench = signed(&[]);
    flip(&bench, "out", 77 * BLOCK + 5);
    flip(&bench, "out", 301 * BLOCK);
    verify(&bench, &["out"]).exits(7).says("data block 77, 301 ");
    let json = verify(&bench, &["out", "--json"]).exits(7).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let failed = report["checks"].as_array().unwrap().iter().filter(|c| c["verdict"] == "fail");
    assert_eq!(failed.count(), 1, "{json}");
}

#[test]
fn openssl_accepts_the_signature_and_refuses_others() {
    let bench = signed(&[]);
    dev_certificate(&bench);
    let Some(accepted) = openssl_accepts(&bench, "out.roothash.p7s", "out.roothash", "dev.pem") else {
        return;
    };
    assert!(accepted);
    stranger(&bench);
    assert_eq!(openssl_accepts(&bench, "out.roothash.p7s", "out.roothash", "stranger.pem"), Some(false));
    let other = root_hash(&bench, "out").replace(['0', '1'], "2");
    bench.write("other", other);
    assert_eq!(openssl_accepts(&bench, "out.roothash.p7s", "other", "dev.pem"), Some(false));
    let length = bench.read("out.roothash.p7s").len();
    flip(&bench, "out.roothash.p7s", length - 10);
    assert_eq!(openssl_accepts(&bench, "out.roothash.p7s", "out.roothash", "dev.pem"), Some(false));
    verify(&bench, &["out"]).exits(7).says("does not verify");
}

#[test]
fn signatures_that_the_kernel_would_refuse_are_refused() {
    let bench = signed(&[]);
    let Some(openssl) = stranger(&bench) else { return };
    let attach = |more: &[&str]| {
        let sign =
            ["cms", "-sign", "-binary", "-outform", "DER", "-in", "out.roothash", "-signer", "stranger.pem"];
        let files = ["-inkey", "stranger.key", "-md", "sha256", "-out", "out.roothash.p7s"];
        bench.tool(&openssl, &[&sign[..], &files, more].concat());
        verify(&bench, &["out", "--trust", "stranger.pem"])
    };
    attach(&["-noattr", "-nocerts"]).exits(0);
    verify(&bench, &["out"]).exits(7).says("none of the trusted ones");
    attach(&["-nocerts"]).exits(7).says("signed attributes");
    attach(&["-noattr", "-nocerts", "-keyopt", "rsa_padding_mode:pss"]).exits(7).says("PSS");
    attach(&["-noattr"]).exits(0).says("does not need");
    attach(&["-noattr", "-nocerts", "-nodetach"]).exits(7).says("detached");
}

#[test]
fn unsigned_swapped_and_truncated_are_refused() {
    let bench = signed(&[]);
    let signature = bench.read("out.roothash.p7s");
    fs::remove_file(bench.path("out.roothash.p7s")).unwrap();
    verify(&bench, &["out"]).exits(7).says("not signed");
    for len in [0, 1, 20, signature.len() - 1] {
        bench.write("out.roothash.p7s", &signature[..len]);
        verify(&bench, &["out"]).exits(7);
    }
    bench.write("out.roothash.p7s", &signature);

    // Another image's root hash with its own good signature, under this image's name.
    bench.write("image2", image(BLOCKS * BLOCK / 2));
    sign(&bench, "image2", "out2", &[]).exits(0);
    for suffix in ["roothash", "roothash.p7s"] {
        let name = format!("out.{suffix}");
        bench.write(&name, bench.read(&format!("out2.{suffix}")));
    }
    fs::remove_file(bench.path("out.verity.json")).unwrap();
    verify(&bench, &["out"]).exits(7).says("does not lead to the root hash");

    let bench = signed(&[]);
    let good = bench.read("out");
    for len in [0, 511, BLOCK, BLOCKS * BLOCK, BLOCKS * BLOCK + 600, good.len() - 1] {
        bench.write("out", &good[..len]);
        verify(&bench, &["out"]).exits(6).says("`out`");
    }
    for text in
        [format!("{}\n", root_hash(&bench, "out")), root_hash(&bench, "out").to_uppercase(), String::new()]
    {
        bench.write("out", &good);
        bench.write("out.roothash", text);
        verify(&bench, &["out"]).exits(7).says("not a root hash");
    }
}

#[test]
fn superblocks_are_bounded() {
    let bench = signed(&["--hash-file"]);
    let good = bench.read("out");
    verify(&bench, &["image", "--hash-file", "out"]).exits(0);
    let hostile: [(usize, &[u8]); 9] = [
        (0, b"VERITY"),
        (8, &[2]),
        (12, &[0]),
        (32, b"md5\0\0\0"),
        (64, &[0, 0, 0, 0]),
        (64, &[1, 16, 0, 0]),
        (68, &[0, 0, 0, 0x80]),
        (72, &[0xff; 8]),
        (80, &[0xff, 0xff]),
    ];
    for (place, bytes) in hostile {
        let mut bad = good.clone();
        bad[place..place + bytes.len()].copy_from_slice(bytes);
        bench.write("out", bad);
        let outcome = verify(&bench, &["image", "--hash-file", "out"]);
        assert!([6, 7].contains(&outcome.code), "{place}: {outcome:?}");
    }
    // Legal values, but not those of this image.
    let hostile: [(usize, &[u8]); 5] = [(64, &[0, 2]), (68, &[0, 2]), (72, &[0x57]), (80, &[31]), (88, &[0])];
    fs::remove_file(bench.path("out.verity.json")).unwrap();
    for (place, bytes) in hostile {
        let mut bad = good.clone();
        bad[place..place + bytes.len()].copy_from_slice(bytes);
        if bad != good {
            bench.write("out", bad);
            let outcome = verify(&bench, &["image", "--hash-file", "out"]);
            assert!([6, 7].contains(&outcome.code), "{place}: {outcome:?}");
        }
    }
}

#[test]
fn signing_again_replaces_and_does_not_nest() {
    for more in [
        &["--salt", "c0ffee", "--uuid", "00112233-4455-6677-8899-aabbccddeeff", "--hash", "sha512"][..],
        &["--data-block-size", "1024", "--hash-block-size", "512", "--salt", "-"],
        &["--no-superblock", "--salt", "01"],
    ] {
        let bench = signed(more);
        let first = bench.read("out");
        // In place, by another key, without naming the options again.
        let other = Bench::new();
        other.write("out", &first);
        other.write("out.verity.json", bench.read("out.verity.json"));
        sign(&other, "out", "out", &[]).exits(0).says("signed already");
        assert!(other.read("out") == first, "{more:?}");
        assert_eq!(root_hash(&other, "out"), root_hash(&bench, "out"));
        verify(&other, &["out"]).exits(0);
        assert!(bench.read("out.roothash.p7s") != other.read("out.roothash.p7s"));
    }
    // Other parameters on the way: the old tree goes.
    let bench = signed(&["--hash", "sha512"]);
    sign(&bench, "out", "new", &["--hash", "sha256"]).exits(0);
    sign(&bench, "image", "direct", &["--salt", description(&bench, "out")["salt"].as_str().unwrap()])
        .exits(0);
    assert_eq!(root_hash(&bench, "new"), root_hash(&bench, "direct"));
    // Data that changed since is signed as it is, and that is said.
    flip(&bench, "out", 5);
    sign(&bench, "out", "new", &[]).exits(0).says("have changed since");
    verify(&bench, &["new"]).exits(0);
}

/// A dev image is promoted: the release key signs the same bytes, and each mode refuses the other's signature.
#[test]
fn release_signs_what_dev_signed_without_a_rebuild() {
    let (Some(token), Some(openssl)) = (TestToken::softhsm(), find_tool("openssl")) else { return };
    let bench = &token.bench;
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    // The host settings are those of every role.
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    let policy = |certificate: &str| {
        let text = format!(
            "version: 1\nproduct: test\nroles:\n  rootfs: {{ algorithm: rsa2048 }}\nrelease:\n  rehearsal: true\n  keys:\n    \
             rootfs:\n      token: hsm\n      uri: \"pkcs11:token=hsm;object=k\"\n      pins: [\"{pin}\"]\n{certificate}"
        );
        bench.write("hsmsign.yaml", text);
    };
    policy("");
    bench.write("image", image(BLOCKS * BLOCK));
    let sign = ["sign", "rootfs", "dev", "-o", "release"];
    bench.hsmsign(&["sign", "rootfs", "image", "-o", "dev"]).exits(0);
    token.hsmsign(&sign).exits(4).says("certificate");

    token.hsmsign(&["keys", "csr", "--role", "rootfs", "-o", "k.csr"]).exits(0);
    let ca = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca", "-days", "9"];
    bench.tool(&openssl, &[&ca[..], &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
    let issue = ["x509", "-req", "-in", "k.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    bench.tool(&openssl, &[&issue[..], &["-days", "9", "-out", "k.crt"]].concat());
    policy("      certificate: k.crt\n");
    token.hsmsign(&sign).exits(0).says("REHEARSAL");

    assert!(bench.read("release") == bench.read("dev"));
    assert_eq!(root_hash(bench, "release"), root_hash(bench, "dev"));
    assert_eq!(openssl_accepts(bench, "release.roothash.p7s", "release.roothash", "k.crt"), Some(true));
    token.hsmsign(&["verify", "rootfs", "release"]).exits(0);
    token.hsmsign(&["verify", "rootfs", "dev"]).exits(7);
    verify(bench, &["dev"]).exits(0);
    verify(bench, &["release"]).exits(7);
    verify(bench, &["release", "--trust", "k.crt"]).exits(0);
}
