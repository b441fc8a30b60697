//! `sign swu` and `verify swu` with the real binary, judged by swupdate, OpenSSL and cpio.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "these are tests")]

mod common;
mod cpio;

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

#[test]
fn certificates_are_judged_as_swupdate_judges_them() {
    let Some(openssl) = find_tool("openssl") else { return };
    let bench = cms();
    let hash = "a172cedcae47474b615c54d510a5d84a8dea3032e958587430b413538be3f333";
    let entry =
        format!("{{ filename = \"app.bin\"; type = \"rawfile\"; path = \"/x\"; sha256 = \"{hash}\"; }}");
    let head = "version = \"1\"; hardware-compatibility: [ \"1.0\" ];";
    bench.write("d", format!("software = {{ {head} files: ( {entry} ); }};"));
    for (usage, more, expected) in [
        ("emailProtection", &[][..], true),
        ("emailProtection,codeSigning", &["-noattr"][..], true),
        ("emailProtection", &["-md", "sha512"][..], true),
        ("emailProtection", &["-keyopt", "rsa_padding_mode:pss"][..], true),
        ("serverAuth", &[][..], false),
        ("emailProtection", &["-nocerts"][..], false),
    ] {
        signer_of_openssl(&bench, &openssl, usage);
        openssl_bundle(&bench, &openssl, more);
        eprintln!("{usage}, {more:?}");
        let code = if expected { 0 } else { 7 };
        verify(&bench, "openssl.swu", &["--trust", "signer.pem"]).exits(code);
        swupdate_says(expected, &bench, "signer.pem", "openssl.swu");
    }
    // swupdate takes this one with `--cert-purpose codeSigning`, and we say so.
    signer_of_openssl(&bench, &openssl, "codeSigning");
    openssl_bundle(&bench, &openssl, &[]);
    verify(&bench, "openssl.swu", &["--trust", "signer.pem"]).exits(0).says("--cert-purpose codeSigning");
    // A bare key as anchor: the certificate in the message is judged all the same.
    bench.tool(&openssl, &["pkey", "-in", "signer.key", "-pubout", "-out", "signer.pub"]);
    verify(&bench, "openssl.swu", &["--trust", "signer.pub"]).exits(0);
    verify(&bench, "openssl.swu", &["--trust", "update.pub"]).exits(7);
    verify(&bench, "openssl.swu", &["--trust", "update.pem"]).exits(7);
}

/// RSA and RSA-PSS: a bare signature that OpenSSL checks, and a swupdate built for it.
fn bare_signatures(form: &str, options: &[&str], variable: &str) {
    let padding = if form == "rsa-pss" { ", padding: pss" } else { "" };
    let bench = signed(bench(&format!("  update: {{ algorithm: rsa4096, format: {form}{padding} }}\n")));
    verify(&bench, "out.swu", &[]).exits(0).says(&format!("form {form}"));
    verify(&bench, "out.swu", &["--trust", "update.pub"]).exits(0);
    let members = unpack(&bench.read("out.swu"));
    bench.write("d", &members[0].data);
    bench.write("d.sig", &members[1].data);
    if let Some(openssl) = find_tool("openssl") {
        let head = ["dgst", "-sha256", "-verify", "update.pub", "-signature", "d.sig"];
        let check = [&head[..], options, &["d"]].concat();
        bench.tool(&openssl, &check);
        bench.write("d", [&members[0].data[..], b" "].concat());
        assert_ne!(bench.try_tool(&openssl, &check).code, 0);
    }
    tamper(&bench, "signature.swu", |m| m[1].data[100] ^= 1);
    tamper(&bench, "version.swu", |m| m[0].replace("1.0.0", "9.0.0"));
    tamper(&bench, "payload.swu", |m| m[2].data[7] ^= 1);
    for name in ["signature.swu", "version.swu", "payload.swu"] {
        verify(&bench, name, &[]).exits(7);
    }
    if let Some(program) = optional_tool(variable) {
        assert!(swupdate(&program, &bench, "update.pub", "out.swu"));
        for name in ["signature.swu", "version.swu", "payload.swu"] {
            assert!(!swupdate(&program, &bench, "update.pub", name), "{name}");
        }
    }
}

#[test]
fn rsa_signatures_are_judged_by_openssl_and_swupdate() {
    bare_signatures("rsa", &[], "SWUPDATE_RSA");
}

#[test]
fn pss_signatures_are_judged_by_openssl_and_swupdate() {
    bare_signatures("rsa-pss", &["-sigopt", "rsa_padding_mode:pss"], "SWUPDATE_PSS");
}

#[test]
fn ecdsa_signatures_of_every_length_leave_the_payloads_in_place() {
    let bench = bench("  update: { algorithm: ecdsa-p256, format: cms }\n");
    for _ in 0..6 {
        sign(&bench, "out.swu").exits(0);
        verify(&bench, "out.swu", &[]).exits(0).says("ecdsa-sha256");
        swupdate_says(true, &bench, "update.pem", "out.swu");
        assert_eq!(unpack(&bench.read("out.swu"))[2].data, bench.read("rootfs.img"));
    }
}

#[test]
fn release_bundles_carry_the_chain_to_a_root() {
    let Some(openssl) = find_tool("openssl") else { return };
    let Some(token) = TestToken::softhsm() else { return };
    let bench = &token.bench;
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    for (name, file, text) in [
        ("authority", "ca.ext", "basicConstraints=critical,CA:TRUE\n"),
        ("signer", "leaf.ext", "extendedKeyUsage=emailProtection\nkeyUsage=critical,digitalSignature\n"),
    ] {
        bench.write(file, format!("[{name}]\n{text}"));
    }
    let openssl = |line: &str| bench.tool(&openssl, &line.split(' ').collect::<Vec<_>>());
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 9");
    openssl("req -new -newkey rsa:2048 -nodes -keyout inter.key -out inter.csr -subj /CN=inter");
    let ca = "-CA root.pem -CAkey root.key -CAcreateserial -days 9 -extfile ca.ext -extensions authority";
    openssl(&format!("x509 -req -in inter.csr -out inter.pem {ca}"));
    let ca = "-CA inter.pem -CAkey inter.key -set_serial 7 -days 9 -extfile leaf.ext -extensions signer";
    openssl(&format!("x509 -new -force_pubkey k.pem -subj /CN=leaf -out leaf.pem {ca}"));
    bench.write(
        "hsmsign.yaml",
        format!(
            "version: 1\nproduct: test\nroles:\n  update: {{ algorithm: rsa2048 }}\nrelease:\n  rehearsal: true\n  \
             keys:\n    update:\n      token: hsm\n      uri: \"pkcs11:token=hsm;object=k\"\n      \
             pins: [\"{pin}\"]\n      certificate: leaf.pem\n      chain: [inter.pem]\n"
        ),
    );
    bench.write("sw-description", DESCRIPTION);
    bench.write("rootfs.img", "image");
    bench.write("app.bin", "app");
    let sign = ["sign", "swu", "--description", "sw-description", "--image", "rootfs.img", "app.bin"];
    token.hsmsign(&[&sign[..], &["-o", "out.swu"]].concat()).exits(0).says("REHEARSAL");
    // 2022.12 takes intermediates from its key file alone, newer ones from the message too.
    bench.write("both.pem", [bench.read("root.pem"), bench.read("inter.pem")].concat());
    swupdate_says(true, bench, "both.pem", "out.swu");
    if let Some(program) = optional_tool("SWUPDATE_CMS") {
        assert!(swupdate(&program, bench, "root.pem", "out.swu"));
    }
    for trust in [&[][..], &["--trust", "root.pem"], &["--trust", "inter.pem"], &["--trust", "leaf.pem"]] {
        token.hsmsign(&[&["verify", "swu", "out.swu"], trust].concat()).exits(0);
    }
    // Without the intermediate nothing leads to the root; swupdate wants it in the message or in its file.
    let policy = String::from_utf8(bench.read("hsmsign.yaml")).unwrap();
    bench.write("hsmsign.yaml", policy.replace("chain: [inter.pem]", "chain: []"));
    token.hsmsign(&[&sign[..], &["-o", "short.swu"]].concat()).exits(0);
    swupdate_says(false, bench, "root.pem", "short.swu");
    verify(bench, "short.swu", &["--trust", "root.pem"]).exits(7).says("not acceptable");
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

#[test]
fn what_does_not_fit_together_is_refused_and_leaves_nothing() {
    let bench = cms();
    let directory = bench.path("d");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("app.bin"), b"x").unwrap();
    File::create(bench.path("huge.img")).unwrap().set_len(1 << 32).unwrap();
    bench.write("unnamed", b"x");
    let other = "0".repeat(63) + "1";
    let entry = |entry: &str| format!("software = {{ images: ( {{ {entry} }} ); }};");
    for (name, text) in [
        ("huge", entry("filename = \"huge.img\";")),
        ("wrong", entry(&format!("filename = \"app.bin\";\n sha256 = \"{other}\";"))),
        ("variable", entry("filename = \"app.bin\"; version = \"@@VERSION@@\";")),
        ("include", "@include \"other\"\n".to_owned() + &entry("filename = \"app.bin\";")),
        ("broken", entry("filename = \"app.bin\"; (")),
    ] {
        bench.write(name, text);
    }
    bench.write("no.swu", b"old");
    let before = bench.files();
    for (description, images, code, reason) in [
        ("sw-description", &["rootfs.img"][..], 6, "line 7: `app.bin` is named, but not given"),
        (
            "sw-description",
            &["rootfs.img", "app.bin", "unnamed"],
            6,
            "`unnamed` is not named in sw-description",
        ),
        ("sw-description", &["rootfs.img", "app.bin", "d/app.bin"], 6, "two files are named `app.bin`"),
        ("sw-description", &["rootfs.img", "gone"], 8, "gone"),
        ("sw-description", &["rootfs.img", "d"], 8, "not a regular file"),
        ("gone", &["rootfs.img"], 8, "gone"),
        ("huge", &["huge.img"], 6, "`huge.img` has 4294967296 bytes"),
        ("wrong", &["app.bin"], 6, "line 2: the sha256 of `app.bin` is 0000"),
        ("variable", &["app.bin"], 6, "placeholder `@@VERSION@@` is not filled in"),
        ("include", &["app.bin"], 6, "line 1: `@include`"),
        ("broken", &["app.bin"], 6, "line 1: expected a setting"),
        ("rootfs.img", &["app.bin"], 6, "rootfs.img"),
    ] {
        let head = ["sign", "swu", "--description", description, "-o", "no.swu", "--image"];
        let outcome = bench.hsmsign(&[&head[..], images].concat()).exits(code).says(reason);
        assert_eq!(bench.files(), before, "{outcome:?}");
        assert_eq!(bench.read("no.swu"), b"old");
    }
    // Outputs that are inputs.
    sign(&bench, "rootfs.img").exits(2).says("would be overwritten");
    sign(&bench, "sw-description").exits(2).says("would be overwritten");
    bench.hsmsign(&["sign", "swu", "-o", "no.swu"]).exits(2);
    bench.hsmsign(&["sign", "swu", "x", "--description", "sw-description", "-o", "no.swu"]).exits(2);
    bench
        .hsmsign(&["--mode", "off", "sign", "swu", "--description", "sw-description", "-o", "no.swu"])
        .exits(4)
        .says("mode is `off`");
    assert_eq!(bench.files(), before);
}

#[test]
fn truncated_bundles_are_malformed() {
    let bench = signed(cms());
    let bytes = bench.read("out.swu");
    let last = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
    for len in [0, 1, 109, 110, 125, 500, 2000, 4096, last / 2, last - 200, last - 1] {
        bench.write("short.swu", &bytes[..len]);
        verify(&bench, "short.swu", &[]).exits(6);
        bench.hsmsign(&["sign", "swu", "short.swu", "-o", "no.swu"]).exits(6);
    }
    assert!(!bench.path("no.swu").exists());
}

#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    let bench = cms();
    bench.write("out.swu", b"old");
    let before = bench.files();
    let mut command = Command::new("sh");
    // Writing past the limit fails as on a full disk, once the signal that would come is ignored.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let program = bench.command(&[
        "sign",
        "swu",
        "--description",
        "sw-description",
        "--image",
        "rootfs.img",
        "app.bin",
        "-o",
        "out.swu",
    ]);
    command.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    command.current_dir(bench.directory()).stdin(Stdio::null());
    command.env("HSMSIGN_DEV_DIR", bench.path(".hsmsign"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("cannot write `out.swu`"), "{stderr}");
    assert_eq!(bench.read("out.swu"), b"old");
    assert_eq!(bench.files(), before);
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    let bench = cms();
    bench.write("big", "software = { images: ( { filename = \"big.img\"; } ); };");
    File::create(bench.path("big.img")).unwrap().set_len(48 << 20).unwrap();
    let arguments = ["sign", "swu", "--description", "big", "--image", "big.img", "-o", "out.swu"];
    bench.write("out.swu", b"old");
    let start = Instant::now();
    bench.hsmsign(&arguments).exits(0);
    let took = start.elapsed();
    let new = bench.read("out.swu");
    for step in 1..12 {
        bench.write("out.swu", b"old");
        let mut child = bench.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * step / 12);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = bench.read("out.swu");
        assert!(found == b"old" || found == new, "after {:?}", took * step / 12);
    }
    // What is left are temporary files that nobody takes for bundles.
    for name in bench.files() {
        assert!(!name.ends_with(".swu") || name == "out.swu", "{name}");
    }
    bench.hsmsign(&arguments).exits(0);
    assert_eq!(bench.read("out.swu"), new);
    assert!(took < Duration::from_secs(60));
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

#[test]
fn a_policy_that_swupdate_cannot_follow_is_told_before_work() {
    let bench = cms();
    let policy =
        "version: 1\nproduct: test\nroles:\n  update: { algorithm: rsa2048, hash: sha512, format: rsa }\n";
    bench.write("hsmsign.yaml", policy);
    sign(&bench, "no.swu").exits(3);
    assert!(!bench.path("no.swu").exists());
    if find_tool("swupdate").is_none() {
        skip("swupdate is the judge of this file");
    }
}
