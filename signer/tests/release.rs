//! Release mode against every key, token and PIN that it must not use (invariants 3, 6, 8 and 9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    SIGN, find_tool,
    token::{PIN, TestToken, set_mode},
};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    x509::{X509, X509NameBuilder, extension::BasicConstraints},
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

const URI: &str = "pkcs11:token=hsm;object=k";

/// A token with key `k`, pinned for role `fit`. Returns it with the key's fingerprint.
fn token() -> Option<(TestToken, String)> {
    let token = TestToken::softhsm()?;
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", URI, &[&pin], "");
    Some((token, pin))
}

fn change(token: &TestToken, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(token.bench.read(file)).unwrap();
    assert!(text.contains(from), "{text}");
    token.bench.write(file, text.replace(from, to));
}

#[track_caller]
fn signed_nothing(token: &TestToken) {
    assert!(!token.bench.path("signature").exists());
    let left: Vec<_> = token.bench.files().into_iter().filter(|f| f.contains(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_rehearsal_signs_and_says_so_each_time() {
    let Some((token, pin)) = token() else { return };
    for quiet in [&[][..], &["-q"]] {
        token.hsmsign(&[quiet, &SIGN[..]].concat()).exits(0).says("REHEARSAL").says("SoftHSM v2");
    }
    let Some(openssl) = find_tool("openssl") else { return };
    token.bench.tool(&openssl, &["dgst", "-sha256", "-verify", "k.pem", "-signature", "signature", "input"]);
    assert!(!token.bench.path(".hsmsign").exists(), "release mode makes no dev keys");
    let _ = pin;
}

#[test]
fn without_rehearsal_nothing_is_asked_of_the_token() {
    let Some((token, _)) = token() else { return };
    change(&token, "hsmsign.yaml", "rehearsal: true", "rehearsal: false");
    // Not even its PIN is read.
    fs::remove_file(token.bench.path("pin")).unwrap();
    token.sign().exits(4).says("is a software token").says("SoftHSM").says("rehearsal");
    signed_nothing(&token);
}

#[test]
fn a_key_that_is_not_pinned_is_refused() {
    let Some((token, pin)) = token() else { return };
    token.generate("rsa:2048", "other", &[]);
    let other = token.public_key("other");
    token.policy("algorithm: rsa2048", URI, &[&other], "");
    token.sign().exits(4).says("not pinned").says(&pin);
    token.policy("algorithm: rsa2048", URI, &[], "");
    token.sign().exits(4).says("not pinned");
    signed_nothing(&token);
    // During a rotation two are.
    token.policy("algorithm: rsa2048", URI, &[&other, &pin], "");
    token.sign().exits(0);
}

#[test]
fn another_key_under_the_right_label_is_refused() {
    let Some((token, pin)) = token() else { return };
    token.sign().exits(0);
    fs::remove_file(token.bench.path("signature")).unwrap();
    for kind in ["privkey", "pubkey"] {
        token.logged_in(&["--delete-object", "--type", kind, "--label", "k"]).exits(0);
    }
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let outcome = token.sign().exits(4).says("not pinned");
    assert!(!outcome.stderr.contains(&pin), "{}", outcome.stderr);
    signed_nothing(&token);
}

#[test]
fn a_short_key_is_refused_though_it_is_pinned() {
    let Some((token, _)) = token() else { return };
    token.generate("rsa:1024", "short", &[]);
    let pin = token.public_key("short");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=short", &[&pin], "");
    token.sign().exits(4).says("1024 bits are fewer than 2048");
    signed_nothing(&token);
}

#[test]
fn a_software_token_is_refused_without_rehearsal_also_behind_p11_kit() {
    for token in [TestToken::softhsm(), TestToken::p11_kit()].into_iter().flatten() {
        token.bench.write("input", "what is signed");
        token.generate("rsa:2048", "k", &["--id", "01"]);
        let pin = token.public_key("k");
        token.policy("algorithm: rsa2048", URI, &[&pin], "");
        token.sign().exits(0).says("REHEARSAL").says("SoftHSM v2");
        fs::remove_file(token.bench.path("signature")).unwrap();
        change(&token, "hsmsign.yaml", "rehearsal: true", "rehearsal: false");
        // Before its PIN is read.
        fs::remove_file(token.bench.path("pin")).unwrap();
        token.sign().exits(4);
        let outcome = token.hsmsign(&["keys", "check"]).exits(4);
        assert!(outcome.stdout.contains("is a software token (SoftHSM)"), "{}", outcome.stdout);
        signed_nothing(&token);
    }
}

/// A certificate for the key in `k.pem`, issued by a fresh authority, valid for these days from now.
fn certify(token: &TestToken, key: &[u8], days: std::ops::Range<i64>) {
    let issuer = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "test").unwrap();
    let name = name.build();
    let mut authority = X509NameBuilder::new().unwrap();
    authority.append_entry_by_text("CN", "authority").unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&authority.build()).unwrap();
    builder.set_pubkey(&PKey::public_key_from_pem(key).unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(now + days.start * 86_400).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + days.end * 86_400).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
    builder.sign(&issuer, MessageDigest::sha256()).unwrap();
    token.bench.write("c.pem", builder.build().to_pem().unwrap());
}

#[test]
fn a_certificate_out_of_its_time_or_of_another_key_is_refused() {
    let Some((token, pin)) = token() else { return };
    token.policy("algorithm: rsa2048", URI, &[&pin], "      certificate: c.pem\n");
    let own = token.bench.read("k.pem");
    let other = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap().public_key_to_pem().unwrap();
    for (key, days, why) in [
        (&own, -20..-10, "expired at"),
        (&own, 10..20, "is not valid before"),
        (&other, -10..10, "is for another key"),
    ] {
        certify(&token, key, days);
        token.sign().exits(4).says(why);
        signed_nothing(&token);
    }
}

#[test]
fn another_tokens_serial_number_is_refused_before_its_pin_is_read() {
    let Some((token, pin)) = token() else { return };
    token.policy("algorithm: rsa2048", URI, &[&pin], "      serial: \"0123456789abcdef\"\n");
    fs::remove_file(token.bench.path("pin")).unwrap();
    token.sign().exits(4).says("serial number").says("0123456789abcdef");
    signed_nothing(&token);
}

#[test]
fn a_key_of_another_type_than_the_policys_is_refused() {
    let Some((token, pin)) = token() else { return };
    for role in ["algorithm: rsa4096", "algorithm: ecdsa-p256"] {
        token.policy(role, URI, &[&pin], "");
        token.sign().exits(4);
    }
    signed_nothing(&token);
}

#[test]
fn a_key_that_can_leave_or_was_outside_is_refused() {
    let Some((token, _)) = token() else { return };
    let openssl = find_tool("openssl").unwrap();
    token.bench.tool(&openssl, &["genrsa", "-out", "imported.key", "2048"]);
    token.bench.tool(&openssl, &["rsa", "-in", "imported.key", "-outform", "der", "-out", "imported.der"]);
    token
        .bench
        .tool(&openssl, &["rsa", "-in", "imported.key", "-pubout", "-outform", "der", "-out", "pub.der"]);
    let write = |file: &str, kind: &str, more: &[&str]| {
        let path = token.bench.path(file);
        let arguments = ["--write-object", path.to_str().unwrap(), "--type", kind, "--label", "imported"];
        token.logged_in(&[&arguments[..], more].concat()).exits(0);
    };
    write("imported.der", "privkey", &["--usage-sign", "--sensitive"]);
    write("pub.der", "pubkey", &["--usage-sign"]);
    let pin = token.public_key("imported");
    let uri = "pkcs11:token=hsm;object=imported";
    token.policy("algorithm: rsa2048", uri, &[&pin], "");
    token.sign().exits(4).says("CKA_");
    signed_nothing(&token);
    // A wrapped copy in a backup token looks like this; it is named, and loud.
    token.policy("algorithm: rsa2048", uri, &[&pin], "      accept: [imported]\n");
    token.sign().exits(0).says("was not born in this token");

    // An exception for imported keys does not cover one that can leave.
    token.generate("rsa:2048", "loose", &["--extractable"]);
    let pin = token.public_key("loose");
    let uri = "pkcs11:token=hsm;object=loose";
    token.policy("algorithm: rsa2048", uri, &[&pin], "      accept: [imported]\n");
    token.sign().exits(4).says("CKA_EXTRACTABLE");
}

#[test]
fn uris_with_pins_and_modules_are_refused_without_showing_them() {
    let Some((token, pin)) = token() else { return };
    for query in ["?pin-value=secret", "?module-path=/secret.so", "?pin-source=secret", ";slot-id=7"] {
        token.policy("algorithm: rsa2048", &format!("{URI}{query}"), &[&pin], "");
        let outcome = token.sign().exits(3);
        if query.contains("pin-value") {
            assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
        }
    }
    signed_nothing(&token);
}

#[test]
fn pin_files_that_others_can_reach_are_refused() {
    let Some((token, _)) = token() else { return };
    let pin = token.bench.path("pin");
    for mode in [0o644, 0o660, 0o604] {
        set_mode(&pin, mode);
        token.sign().exits(5).says("its mode is");
    }
    set_mode(&pin, 0o600);
    fs::rename(&pin, token.bench.path("real")).unwrap();
    symlink(token.bench.path("real"), &pin).unwrap();
    token.sign().exits(5).says("no PIN for token `hsm`");
    signed_nothing(&token);
}

#[test]
fn a_wrong_pin_is_tried_once_and_not_shown() {
    let Some((token, _)) = token() else { return };
    token.bench.write("pin", "wrong-secret");
    let outcome = token.sign().exits(5).says("refused the PIN (C_Login: CKR_PIN_INCORRECT)");
    assert!(!outcome.stderr.contains("wrong-secret"), "{}", outcome.stderr);
    signed_nothing(&token);
}

#[test]
fn a_pin_comes_through_a_descriptor_or_a_credential() {
    let Some((token, _)) = token() else { return };
    let pin = token.bench.path("pin");
    let file = format!("file: {}", pin.display());
    change(&token, "host.yaml", &file, "fd: 3");
    let mut shell = Command::new("/bin/sh");
    let program = token.command(&[]).get_program().to_owned();
    shell.args(["-c", "exec 3< pin; exec \"$0\" \"$@\""]).arg(program);
    shell.args(["--mode", "release", "--host-config", "host.yaml"]);
    shell.args(SIGN);
    shell.current_dir(token.bench.directory()).envs(token.environment.clone());
    assert!(shell.status().unwrap().success());
    fs::remove_file(token.bench.path("signature")).unwrap();
    token.sign().exits(5).says("file descriptor 3");

    change(&token, "host.yaml", "fd: 3", "credential: boot");
    token.sign().exits(5).says("CREDENTIALS_DIRECTORY");
    fs::create_dir(token.bench.path("credentials")).unwrap();
    fs::rename(&pin, token.bench.path("credentials/boot")).unwrap();
    let mut command = token.command(&SIGN);
    command.env("CREDENTIALS_DIRECTORY", token.bench.path("credentials"));
    assert!(command.status().unwrap().success());
}

#[test]
fn a_prompt_without_terminal_is_an_error() {
    let Some((token, _)) = token() else { return };
    let file = format!("{{ file: {} }}", token.bench.path("pin").display());
    change(&token, "host.yaml", &file, "prompt");
    // A session of its own has no terminal.
    let setsid = find_tool("setsid").unwrap();
    let inner = token.command(&["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "x"]);
    let mut command = Command::new(setsid);
    command.arg("-w").arg(inner.get_program()).args(inner.get_args());
    command.current_dir(token.bench.directory()).envs(token.environment.clone());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no terminal to ask on"));
}

#[test]
fn a_pin_typed_on_a_terminal_is_taken_and_not_echoed() {
    let Some((token, _)) = token() else { return };
    let Some(script) = find_tool("script") else { return };
    let file = format!("{{ file: {} }}", token.bench.path("pin").display());
    change(&token, "host.yaml", &file, "prompt");
    let inner = token.command(&SIGN);
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    let line: Vec<_> = words.iter().map(|w| format!("'{}'", w.to_str().unwrap())).collect();
    let mut command = Command::new(script);
    command.args(["-qec", &line.join(" "), "typescript"]).current_dir(token.bench.directory());
    command.envs(token.environment.clone()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    // Typed with a slip of the finger, once the question stands there.
    std::thread::sleep(std::time::Duration::from_millis(700));
    keyboard.write_all(format!("{PIN}x\x7f\r").as_bytes()).unwrap();
    let status = child.wait().unwrap();
    let shown = String::from_utf8_lossy(&token.bench.read("typescript")).into_owned();
    assert!(status.success(), "{shown}");
    assert!(shown.contains("PIN of token `hsm`") && !shown.contains(PIN), "{shown}");
}

#[test]
fn the_pin_is_in_no_argument_variable_or_output() {
    let Some((token, _)) = token() else { return };
    let Some(strace) = find_tool("strace") else { return };
    let inner =
        token.command(&["-vv", "sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "x"]);
    let mut command = Command::new(strace);
    command.args([
        "-f",
        "-s",
        "4096",
        "-v",
        "-e",
        "trace=execve,write,sendto,?open,openat,prctl,prlimit64",
        "-o",
        "trace",
    ]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(token.bench.directory());
    let output = command.envs(token.environment.clone()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let trace = String::from_utf8_lossy(&token.bench.read("trace")).into_owned();
    assert!(trace.contains("execve(") && !trace.contains(PIN));
    // No core dump, and no other process of the user may look in, before the PIN is read.
    let at = |what: &str| trace.find(what).unwrap_or_else(|| panic!("no {what} in {trace}"));
    let read = at(token.bench.path("pin").to_str().unwrap());
    assert!(at("PR_SET_DUMPABLE, SUID_DUMP_DISABLE") < read);
    assert!(at("RLIMIT_CORE, {rlim_cur=0, rlim_max=0}") < read);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(PIN));
}

#[test]
fn a_module_that_others_could_have_written_is_not_loaded() {
    let Some((token, _)) = token() else { return };
    let copy = token.bench.path("module.so");
    fs::copy(&token.module, &copy).unwrap();
    let real = token.module.canonicalize().unwrap();
    change(&token, "host.yaml", real.to_str().unwrap(), copy.to_str().unwrap());
    set_mode(&copy, 0o666);
    token.sign().exits(5).says("others can write");
    set_mode(&copy, 0o644);
    token.sign().exits(0);
}

#[test]
fn a_token_that_host_settings_do_not_know_is_named() {
    let Some((token, _)) = token() else { return };
    change(&token, "hsmsign.yaml", "token: hsm\n", "token: bot\n");
    token.sign().exits(3).says("unknown token `bot`").says("`hsm`");
}

#[test]
fn release_mode_accepts_no_dev_signature() {
    let Some((token, _)) = token() else { return };
    token
        .bench
        .hsmsign(&["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "dev.sig"])
        .exits(0);
    token
        .hsmsign(&[
            "verify",
            "blob",
            "input",
            "--role",
            "fit",
            "--format",
            "raw",
            "--signature",
            "dev.sig",
            "--trust",
            "k.pem",
        ])
        .exits(7);
}
