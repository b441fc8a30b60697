//! `sign swu` and `verify swu` with the real binary, judged by swupdate, OpenSSL and cpio.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cpio/mod.rs"]
mod cpio;
mod outputs;
mod signers;
use common::{Bench, Outcome, find_tool, optional_tool, skip, token::TestToken};
use cpio::{Checksum, Member, pack, unpack};
use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

const DESCRIPTION: &str = r#"software =
{
	version = "1.0.0"; # of the whole
	hardware-compatibility: [ "1.0" ];
	/* two files */
	images: ( { filename = "rootfs.img"; type = "raw"; device = "/dev/null"; } );
	files: ( { filename = "app.bin"; type = "rawfile"; path = "/tmp/app"; sha256 = "@app.bin"; } );
};

"#;

/// A bench with a description, two files, and a fresh dev set's certificate and public key.
fn bench(roles: &str) -> Bench {
    let bench = Bench::new();
    bench.write("hsmsign.yaml", format!("version: 1\nproduct: test\nroles:\n{roles}"));
    bench.write("sw-description", DESCRIPTION);
    bench.write("rootfs.img", (0..300_001_u32).map(|i| (i % 251).to_be_bytes()[3]).collect::<Vec<_>>());
    bench.write("app.bin", b"app");
    bench.hsmsign(&["keys", "certificate", "--role", "update", "-o", "update.pem"]).exits(0);
    bench.hsmsign(&["keys", "public", "--role", "update", "-o", "update.pub"]).exits(0);
    bench
}

/// A bench for CMS; the dev set is not shared with any other.
fn fresh_cms() -> Bench {
    bench("  update: { algorithm: rsa2048, format: cms }\n")
}

/// A bench for CMS whose dev set was made once for all tests, which saves most of the time.
fn cms() -> Bench {
    static TEMPLATE: OnceLock<Bench> = OnceLock::new();
    let template = TEMPLATE.get_or_init(fresh_cms);
    let bench = Bench::new();
    copy_tree(template.directory(), bench.directory());
    bench
}

fn signed(bench: Bench) -> Bench {
    sign(&bench, "out.swu").exits(0);
    bench
}

fn sign(bench: &Bench, output: &str) -> Outcome {
    let images = ["--image", "rootfs.img", "app.bin"];
    let head = ["sign", "swu", "--description", "sw-description"];
    bench.hsmsign(&[&head[..], &images, &["-o", output]].concat())
}

fn verify(bench: &Bench, bundle: &str, more: &[&str]) -> Outcome {
    bench.hsmsign(&[&["verify", "swu", bundle], more].concat())
}

/// swupdate's dry run. It unpacks to fixed names, so each run has a TMPDIR of its own.
///
/// The verdict is what it says: on a busy machine 2022.12 sometimes ends with 1 after a success.
fn swupdate(program: &Path, bench: &Bench, key: &str, bundle: &str) -> bool {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(bench.directory()).env("TMPDIR", temporary.path()).stdin(Stdio::null());
    command.args(["-c", "-H", "board:1.0", "-k", key, "-i", bundle]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let accepted = text.contains("SWUPDATE successful");
    assert!(accepted || !output.status.success(), "{text}");
    assert!(!accepted || !text.contains("ERROR"), "{text}");
    // Shown when a test fails.
    eprintln!("{text}");
    accepted
}

/// What every swupdate at hand that takes CMS says.
#[track_caller]
fn swupdate_says(expected: bool, bench: &Bench, certificate: &str, bundle: &str) {
    let programs = [find_tool("swupdate"), optional_tool("SWUPDATE_CMS")];
    for program in programs.into_iter().flatten() {
        assert_eq!(swupdate(&program, bench, certificate, bundle), expected, "{program:?} on {bundle}");
    }
}

/// A self-signed certificate and its key.
fn signer_of_openssl(bench: &Bench, openssl: &Path, usage: &str) {
    let usage = format!("extendedKeyUsage={usage}");
    let more = ["-subj", "/CN=signer", "-addext", &usage, "-days", "10"];
    let head =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "signer.key", "-out", "signer.pem"];
    bench.tool(openssl, &[&head[..], &more].concat());
}

/// `openssl.swu`: description `d` signed by openssl, and `app.bin`.
fn openssl_bundle(bench: &Bench, openssl: &Path, more: &[&str]) {
    let head = ["cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER", "-in", "d", "-out", "d.sig"];
    bench.tool(openssl, &[&head[..], &["-signer", "signer.pem", "-inkey", "signer.key"], more].concat());
    let member = |name: &str, file: &str| Member::new(name, &bench.read(file));
    let members =
        [member("sw-description", "d"), member("sw-description.sig", "d.sig"), member("app.bin", "app.bin")];
    bench.write("openssl.swu", pack(&members));
}

/// Writes a changed copy of `out.swu`.
fn tamper(bench: &Bench, name: &str, change: impl FnOnce(&mut Vec<Member>)) {
    let mut members = unpack(&bench.read("out.swu"));
    change(&mut members);
    bench.write(name, pack(&members));
}

#[test]
fn swupdate_accepts_what_we_sign_and_refuses_what_was_changed() {
    let bench = signed(cms());
    swupdate_says(true, &bench, "update.pem", "out.swu");
    verify(&bench, "out.swu", &[]).exits(0).says("rsa-pkcs1-v1_5-sha256");
    tamper(&bench, "repacked.swu", |_| {});
    swupdate_says(true, &bench, "update.pem", "repacked.swu");
    verify(&bench, "repacked.swu", &[]).exits(0);

    type Change = fn(&mut Vec<Member>);
    let changes: [(&str, Change, &str); 6] = [
        ("payload.swu", |m| m[2].data[200_000] ^= 1, "its SHA-256 is"),
        ("script.swu", |m| m[3].data.push(b'\n'), "its SHA-256 is"),
        ("signature.swu", |m| *m[1].data.last_mut().unwrap() ^= 1, "does not verify"),
        ("unsigned.swu", |m| drop(m.remove(1)), "not signed"),
        ("missing.swu", |m| drop(m.remove(3)), "not in the bundle"),
        ("version.swu", |m| m[0].replace("1.0.0", "9.0.0"), "is not what was signed"),
    ];
    for (name, change, reason) in changes {
        tamper(&bench, name, change);
        swupdate_says(false, &bench, "update.pem", name);
        verify(&bench, name, &[]).exits(7).says(reason);
    }
    // Payload and hash changed together: only the signature tells.
    let other = fresh_cms();
    other.write("app.bin", b"evil");
    let other = signed(other);
    bench.write("other.swu", other.read("out.swu"));
    swupdate_says(false, &bench, "update.pem", "other.swu");
    verify(&bench, "other.swu", &[]).exits(7);
    swupdate_says(true, &other, "update.pem", "out.swu");
    let description = unpack(&other.read("out.swu")).remove(0);
    tamper(&bench, "swapped.swu", |m| m[0] = description);
    swupdate_says(false, &bench, "update.pem", "swapped.swu");
    verify(&bench, "swapped.swu", &[]).exits(7).says("is not what was signed");
}

#[test]
fn verify_is_stricter_than_swupdate() {
    let bench = signed(cms());
    tamper(&bench, "extra.swu", |m| m.push(Member::new("extra.sh", b"#!/bin/sh\n")));
    verify(&bench, "extra.swu", &[]).exits(7).says("extra.sh: no entry names it");
    tamper(&bench, "twice.swu", |m| m.push(m[3].clone()));
    verify(&bench, "twice.swu", &[]).exits(6).says("`app.bin` is there twice");
    tamper(&bench, "order.swu", |m| m.swap(1, 2));
    verify(&bench, "order.swu", &[])
        .exits(6)
        .says("`sw-description.sig` must be member 2, found `rootfs.img`");
    tamper(&bench, "path.swu", |m| m[3].name = "../app.bin".into());
    verify(&bench, "path.swu", &[]).exits(6).says("bare file names only");
    tamper(&bench, "checksum.swu", |m| m[2].checksum = Checksum::Wrong);
    verify(&bench, "checksum.swu", &[]).exits(7).says("rootfs.img: its checksum is");
    let mut bytes = bench.read("out.swu");
    bytes.extend(b"more");
    bench.write("trailing.swu", bytes);
    verify(&bench, "trailing.swu", &[]).exits(6).says("after the trailer");
}

#[test]
fn an_entry_without_hash_fails_even_where_no_device_selects_it() {
    let Some(openssl) = find_tool("openssl") else { return };
    let bench = cms();
    signer_of_openssl(&bench, &openssl, "emailProtection");
    bench.write("d", "software = { version = \"1\"; b: { images: ( { filename = \"app.bin\"; } ); }; };");
    openssl_bundle(&bench, &openssl, &[]);
    verify(&bench, "openssl.swu", &["--trust", "signer.pem"]).exits(7).says("no SHA-256 of it was signed");
}

#[test]
fn signing_again_replaces_the_signature_and_nothing_else() {
    let bench = signed(cms());
    bench.hsmsign(&["sign", "swu", "out.swu", "-o", "again.swu"]).exits(0);
    assert_eq!(bench.read("again.swu"), bench.read("out.swu"), "RSA PKCS#1 v1.5 is deterministic");
    bench.hsmsign(&["sign", "swu", "again.swu", "-o", "again.swu"]).exits(0);
    assert_eq!(bench.read("again.swu"), bench.read("out.swu"), "in place");

    let other = fresh_cms();
    other.write("theirs.swu", bench.read("out.swu"));
    verify(&other, "theirs.swu", &[]).exits(7);
    other.hsmsign(&["sign", "swu", "theirs.swu", "-o", "ours.swu"]).exits(0);
    verify(&other, "ours.swu", &[]).exits(0);
    swupdate_says(true, &other, "update.pem", "ours.swu");
    swupdate_says(false, &bench, "update.pem", other.path("ours.swu").to_str().unwrap());
    let (theirs, ours) = (unpack(&other.read("theirs.swu")), unpack(&other.read("ours.swu")));
    for index in [0, 2, 3] {
        assert_eq!(ours[index].data, theirs[index].data);
    }
    assert_ne!(ours[1].data, theirs[1].data);

    // An unsigned bundle, and one in newc format, which has no checksums.
    tamper(&bench, "unsigned.swu", |m| drop(m.remove(1)));
    tamper(&bench, "newc.swu", |m| m.iter_mut().for_each(|m| m.checksum = Checksum::None));
    for name in ["unsigned.swu", "newc.swu"] {
        bench.hsmsign(&["sign", "swu", name, "-o", "again.swu"]).exits(0);
        assert_eq!(bench.read("again.swu"), bench.read("out.swu"), "{name}");
    }
    // What is wrong with a bundle is not signed over.
    tamper(&bench, "damaged.swu", |m| m[2].checksum = Checksum::Wrong);
    tamper(&bench, "extra.swu", |m| m.push(Member::new("extra", b"x")));
    tamper(&bench, "payload.swu", |m| m[3].data[0] ^= 1);
    for (name, reason) in [
        ("damaged.swu", "`rootfs.img` is damaged"),
        ("extra.swu", "`extra` is not named in sw-description"),
        ("payload.swu", "sw-description, line 7: the sha256 of `app.bin` is"),
    ] {
        bench.hsmsign(&["sign", "swu", name, "-o", "no.swu"]).exits(6).says(reason);
    }
    assert!(!bench.path("no.swu").exists());
}

#[test]
fn the_users_text_stays() {
    let bench = signed(cms());
    let description = String::from_utf8(unpack(&bench.read("out.swu")).remove(0).data).unwrap();
    let hash = |name: &str| sha256(&bench, name);
    let image = "filename = \"rootfs.img\";";
    let expected = DESCRIPTION
        .replace("\"@app.bin\"", &format!("\"{}\"", hash("app.bin")))
        .replace(image, &format!("{image} sha256 = \"{}\";", hash("rootfs.img")));
    assert_eq!(description, expected);
}

fn sha256(bench: &Bench, name: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bench.read(name)))
}

#[test]
fn json_and_placeholders_of_meta_swupdate() {
    let bench = cms();
    bench.write(
        "sw-description",
        r#"{"software": {"version": "1", "hardware-compatibility": ["1.0"],
            "board": {"stable": {"a": {"images": [
                {"filename": "rootfs.img", "device": "/dev/null", "size": $swupdate_get_size(rootfs.img),
                 "sha256": "$swupdate_get_sha256(rootfs.img)"}]}}},
            "files": [{"filename": "app.bin", "path": "/tmp/x", "type": "rawfile"}]}}"#,
    );
    sign(&bench, "out.swu").exits(0);
    let description = unpack(&bench.read("out.swu")).remove(0).data;
    let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
    let image = &description["software"]["board"]["stable"]["a"]["images"][0];
    assert_eq!(image["sha256"], sha256(&bench, "rootfs.img"));
    assert_eq!(image["size"], 300_001);
    assert_eq!(description["software"]["files"][0]["sha256"], sha256(&bench, "app.bin"));
    verify(&bench, "out.swu", &[]).exits(0);
    swupdate_says(true, &bench, "update.pem", "out.swu");
}

#[test]
fn other_programs_read_our_archives() {
    let bench = signed(cms());
    let names = "sw-description\nsw-description.sig\nrootfs.img\napp.bin\n";
    if let Some(cpio) = find_tool("cpio") {
        let read = |arguments: &[&str]| {
            let mut command = Command::new(&cpio);
            let input = File::open(bench.path("out.swu")).unwrap();
            command.current_dir(bench.directory()).args(arguments).stdin(input).output().unwrap()
        };
        let listed = read(&["-it", "--quiet"]);
        assert!(listed.status.success());
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), names);
        // GNU cpio checks each checksum and says so when one is wrong.
        let checked = read(&["-i", "--only-verify-crc"]);
        assert!(checked.status.success());
        assert!(!String::from_utf8_lossy(&checked.stderr).contains("checksum error"));
    }
    if let Some(bsdtar) = find_tool("bsdtar") {
        assert_eq!(bench.tool(&bsdtar, &["-tf", "out.swu"]).stdout, names);
    }
}

/// Makes `to` a copy of the directory `from`.
fn copy_tree(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir(&target).unwrap();
            std::fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn json_results_say_what_was_signed() {
    let bench = cms();
    let head = ["--json", "sign", "swu", "--description", "sw-description"];
    let outcome =
        bench.hsmsign(&[&head[..], &["--image", "rootfs.img", "app.bin", "-o", "out.swu"]].concat());
    let result: serde_json::Value = serde_json::from_str(&outcome.exits(0).stdout).unwrap();
    assert_eq!(result["files"][0]["name"], "rootfs.img");
    assert_eq!(result["files"][0]["sha256"], sha256(&bench, "rootfs.img"));
    assert_eq!(result["filled_in"], true);
    let report = verify(&bench, "out.swu", &["--json"]).exits(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["signed_by"][0]["fingerprint"], result["fingerprint"]);
    assert_eq!(report["signed_by"][0]["place"], "sw-description.sig");
}
