//! Every mistake in a configuration file is named with its key, place and remedy.

use super::{Config, Fault, HostConfig, PinSource, UpdateFormat};
use crate::{
    crypto::{HashAlgorithm, KeyType, Scheme},
    vocabulary::Role,
};
use proptest::prelude::*;
use std::path::Path;

const GOOD: &str = "\
version: 1
product: acme-gateway
roles:
  bootloader: { algorithm: rsa4096 }
  fit:        { algorithm: rsa2048, padding: pss }
  update:     { algorithm: ecdsa-p384 }
release:
  keys:
    fit:
      token: boot
      uri: \"pkcs11:token=ACME%20Boot;object=fit-2026\"
      pins: [\"sha256:6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f6b1f\"]
      serial: 0042
      certificate: certs/fit.pem
      chain: [certs/ca.pem]
      accept: [imported]
  rehearsal: true
";

fn rendered(fault: &Fault) -> String {
    let mut text = format!("error: {fault}\n{}\n", fault.place.render(Path::new("hsmsign.yaml")));
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

fn error_of(text: &str) -> String {
    rendered(&Config::parse(text).expect_err(text))
}

/// Replaces `from` in the good file and expects exactly this complaint.
fn complaint(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    error_of(&GOOD.replacen(from, to, 1))
}

#[test]
fn a_good_file_is_read() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.product, "acme-gateway");
    assert_eq!(config.roles.get(Role::Fit).scheme, Scheme::RsaPss);
    assert_eq!(config.roles.get(Role::Rootfs).key_type, KeyType::Rsa2048);
    assert_eq!(config.roles.get(Role::Update).hash, HashAlgorithm::Sha384);
    assert_eq!(config.roles.get(Role::Update).update_format, Some(UpdateFormat::Cms));
    let release = config.release.unwrap();
    assert!(release.rehearsal);
    let key = &release.keys[&Role::Fit];
    assert_eq!(key.serial.as_deref(), Some("0042"), "not the number 34");
    assert!(key.accept_imported);
}

#[test]
fn the_shortest_file_and_a_byte_order_mark_are_read() {
    let shortest = Config::parse("version: 1\nproduct: a\n").unwrap();
    assert_eq!(shortest.roles, super::Roles::default());
    assert_eq!(Config::parse("\u{feff}version: 1\r\nproduct: a\r\n").unwrap(), shortest);
}

#[test]
fn exceptions_of_the_gate_are_read() {
    let with = |allow: &str| format!("version: 1\nproduct: a\ngate:\n  allow:\n{allow}");
    let good = "    - { path: boot/*.bin, reason: \"signed by the SoC maker's tool\" }\n    - path: tee.bin\n      reason: in the ROM's own format\n";
    let config = Config::parse(&with(good)).unwrap();
    let [first, second] = config.gate.allow.as_slice() else { panic!("{:?}", config.gate) };
    assert!(first.path.matches("boot/bl31.bin") && !first.path.matches("bl31.bin"));
    assert_eq!(second.reason, "in the ROM's own format");
    assert!(Config::parse("version: 1\nproduct: a\n").unwrap().gate.allow.is_empty());
    for (bad, expected) in [
        ("    - { path: '*', reason: because it is so }\n", "matches everything"),
        ("    - { path: ../x, reason: because it is so }\n", "not a path below"),
        ("    - { path: tee.bin, reason: todo }\n", "not a reason"),
        ("    - { path: tee.bin }\n", "missing key `reason`"),
        ("    - { path: tee.bin, why: because it is so }\n", "unknown key `why`"),
        ("    - tee.bin\n", "wrong type"),
        (&format!("{good}    - {{ path: tee.bin, reason: because it is so }}\n"), "stands twice"),
    ] {
        let error = error_of(&with(bad));
        assert!(error.contains(expected) && error.contains("hsmsign.yaml:"), "{bad}: {error}");
    }
}

#[test]
fn complaints() {
    let mut all = String::new();
    for (from, to) in [
        ("algorithm: rsa2048", "algoritm: rsa2048"),
        ("rsa4096", "rsa1024"),
        ("product: acme-gateway\n", ""),
        ("product: acme-gateway", "product: [acme]"),
        ("version: 1", "version: one"),
        ("version: 1", "version: 2"),
        ("rehearsal: true", "rehearsal: yes"),
        ("  bootloader:", "  kernel:"),
        ("  bootloader:", "  fit: { algorithm: rsa2048 }\n  bootloader:"),
        ("6b1f\"]", "6b1\"]"),
        ("[\"sha256:", "[\"sha1:"),
        (";object=fit-2026", ";object=fit-2026?pin-value=123456"),
        (";object=fit-2026", ";object=fit-2026?module-path=/usr/lib/x.so"),
        (";object=fit-2026", ""),
        ("serial: 0042", "pin: 123456"),
        ("certs/fit.pem", "/home/me/fit.pem"),
        ("[imported]", "[exported]"),
        ("padding: pss", "padding: pss, format: cms"),
        ("ecdsa-p384", "ecdsa-p384, padding: pss"),
        ("ecdsa-p384", "ecdsa-p384, format: rsa"),
        ("  update: ", "  rootfs:     { algorithm: rsa2048, padding: pss }\n  update: "),
        ("token: boot", "token: ../boot"),
        ("  keys:", "\tkeys:"),
        ("release:", "---\nrelease:"),
        ("product: acme-gateway", "product: 'acme"),
        ("product: acme-gateway", "product: !secret acme"),
    ] {
        all.push_str(&format!("## {} -> {}\n{}\n", from.trim(), to.trim(), complaint(from, to)));
    }
    let expected = include_str!("../../tests/vectors/config-complaints.txt");
    if all != expected {
        let actual = std::env::temp_dir().join("config-complaints.txt");
        std::fs::write(&actual, &all).unwrap();
        panic!("complaints differ from tests/vectors/config-complaints.txt; see {}", actual.display());
    }
}

#[test]
fn no_complaint_shows_a_pin() {
    for (from, to) in [
        ("serial: 0042", "pin: 123456"),
        (";object=fit-2026", ";object=fit-2026?pin-value=123456"),
        (";object=fit-2026", ";object=fit-2026;pin-value=123456"),
        ("serial: 0042", "pin: '123456"),
        ("serial: 0042", "pin:\n        123456: x"),
        ("serial: 0042", "pin-value: 123456"),
        ("{ algorithm: rsa4096 }", "{pin:123456}"),
        ("{ algorithm: rsa4096 }", "{algorithm: rsa4096, pin:123456: a}"),
        ("{ algorithm: rsa4096 }", "{pin:123456: a, pin:123456: b}"),
        ("rsa4096 }", "[pin, 123456] }"),
        ("product: acme-gateway", "product: acme\npin: 12:3456: a"),
        ("rehearsal: true", "rehearsal: true\n  PIN: 123456"),
    ] {
        let complaint = complaint(from, to);
        assert!(!complaint.contains("123456"), "{complaint}");
    }
}

#[test]
fn empty_files_say_what_to_do() {
    for text in ["", "\n", "# nothing\n", "---\n", "~", "\u{feff}"] {
        let error = error_of(text);
        assert!(error.contains("the file is empty"), "{text:?}: {error}");
        assert!(error.contains("hsmsign init"), "{error}");
    }
}

#[test]
fn hostile_files_end_in_an_error_soon() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..40 {
        let before = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(",")));
    }
    let huge = format!("product: {}\n", "x".repeat(1 << 20));
    let deep = "[".repeat(100_000);
    let started = std::time::Instant::now();
    for text in [bomb.as_str(), &huge, &deep, "a: &a [*a]", "a: *b", "\0", "a: \u{7}", "? [a]\n: b", "1: 2"] {
        assert!(Config::parse(text).is_err());
    }
    assert!(started.elapsed().as_secs() < 20);
}

const HOST: &str = "\
version: 1
tokens:
  boot:
    module: /usr/lib/pkcs11.so
    pin: { file: /etc/hsmsign/boot }
  update:
    module: /usr/lib/pkcs11.so
    pin: prompt
  far:
    agent: /run/hsmsign/agent.sock
audit: { directory: /var/log/hsmsign }
agent:
  socket: /run/hsmsign/agent.sock
  users: [build, 1000]
  queue_len: 100
  sessions: 4
  signatures_per_minute: 600
  signatures: { fit: 20, update: 0 }
  sign_seconds: 60
  idle_minutes: 30
  lifetime_minutes: 600
blocklists: [/etc/hsmsign/blocked.tsv]
";

#[test]
fn good_host_settings_are_read() {
    let host = HostConfig::parse(HOST).unwrap();
    assert_eq!(host.tokens["boot"].pin, PinSource::File("/etc/hsmsign/boot".into()));
    assert_eq!(host.tokens["update"].pin, PinSource::Prompt);
    assert_eq!(host.tokens["far"].agent.as_deref(), Some("/run/hsmsign/agent.sock".as_ref()));
    assert_eq!(host.agent.users, ["build", "1000"]);
    assert_eq!(host.agent.signatures, [(Role::Fit, 20), (Role::Update, 0)].into());
    assert_eq!(host.agent.lifetime_minutes, Some(600));
    assert!(HostConfig::parse("version: 1\n").unwrap().tokens.is_empty());
}

#[test]
fn host_complaints_show_no_pin() {
    for (from, to, expected) in [
        ("{ file: /etc/hsmsign/boot }", "123456", "the PIN itself never stands"),
        ("{ file: /etc/hsmsign/boot }", "\"123456\"", "the PIN itself never stands"),
        ("{ file: /etc/hsmsign/boot }", "s123456", "the PIN itself never stands"),
        ("{ file: /etc/hsmsign/boot }", "[123456]", "wrong form"),
        ("{ file: /etc/hsmsign/boot }", "{ value: 123456 }", "unknown key `value`"),
        ("{ file: /etc/hsmsign/boot }", "{ 123456: file }", "unknown key"),
        ("{ file: /etc/hsmsign/boot }", "{ fd: 123456 }", "wrong form"),
        ("{ file: /etc/hsmsign/boot }", "{ file: 123456 }", "absolute path"),
        ("{ file: /etc/hsmsign/boot }", "\n      fd: 3\n      value: 123456", "unknown key"),
        ("{ file: /etc/hsmsign/boot }", "{ fd: 1 }", "standard streams"),
        ("{ file: /etc/hsmsign/boot }", "{ file: /a, fd: 3 }", "exactly one"),
        ("pin: {", "pin_value: 123456\n    pin: {", "unknown key `pin_value`"),
        ("  boot:", "  update: { module: /x }\n  boot:", "duplicate key `update`"),
        ("module: /usr", "module: usr", "not an absolute path"),
        ("agent: /run", "pin: prompt #", "neither `module` nor `agent`"),
        ("socket: /run", "socket: run", "not an absolute path"),
        ("users: [build", "users: [\"a b\"", "login name"),
        ("users: [build", "users: [-1", "login name or a user number"),
        ("1000]", "4294967296]", "not a user number"),
        ("signatures: { fit: 20", "signatures: { fits: 20", "unknown key `fits`"),
        ("signatures: { fit: 20", "signatures: { fit: 20, fit: 30", "duplicate key"),
        ("queue_len: 100", "queue_len: 0", "agent.queue_len"),
        ("idle_minutes", "idle_hours", "unknown key `idle_hours`"),
    ] {
        assert!(HOST.contains(from), "{from}");
        let complaint = rendered(&HostConfig::parse(&HOST.replacen(from, to, 1)).expect_err(to));
        assert!(complaint.contains(expected), "{to}: {complaint}");
        assert!(!complaint.contains("123456"), "{to}: {complaint}");
    }
}

proptest! {
    #[test]
    fn no_damage_elsewhere_brings_a_pin_to_light(
        at in 0..HOST.len(), with in "[ \\n\\t'\"\\[\\]{}:,#&*!|>-]{1,3}", form in 0usize..4,
    ) {
        let key = HOST.find("pin: {").unwrap();
        let secret = ["pin: 98765432", "pin: '98765432'", "pin: { value: 98765432 }", "pin:\n      98765432"];
        // The key itself stays: without it nobody could tell that a PIN follows.
        prop_assume!(at <= key || at > key + 3);
        let text = format!("{}{with}{}", &HOST[..at], &HOST[at..]);
        let text = text.replacen("pin: { file: /etc/hsmsign/boot }", secret[form], 1);
        if let Err(fault) = HostConfig::parse(&text) {
            prop_assert!(!rendered(&fault).contains("98765432"), "{}\n{}", text, rendered(&fault));
        }
    }

    #[test]
    fn any_damage_of_host_settings_gives_settings_or_a_fault(
        at in 0..HOST.len(), with in ".{0,3}", len in 0usize..20,
    ) {
        let end = (at + len).min(HOST.len());
        let _ = HostConfig::parse(&format!("{}{with}{}", &HOST[..at], &HOST[end..]));
    }

    #[test]
    fn any_text_gives_a_config_or_a_fault(text in ".{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn any_damage_gives_a_config_or_a_fault(at in 0..GOOD.len(), with in ".{0,3}", len in 0usize..20) {
        let end = (at + len).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(fault) = Config::parse(&text) {
            prop_assert!(!fault.message.is_empty());
            prop_assert!(fault.place.line <= text.lines().count() + 1);
            let _ = rendered(&fault);
        }
    }
}

#[test]
fn brackets_without_end_cost_nothing() {
    for bracket in ["[", "{a: ", "[# ]\n"] {
        let start = std::time::Instant::now();
        let error = error_of(&format!("version: 1\nproduct: {}", bracket.repeat(40_000)));
        assert!(error.contains("more than 8192 `[` and `{`"), "{error}");
        // It took minutes; what is left is counting.
        assert!(start.elapsed() < std::time::Duration::from_secs(30));
        let error = error_of(&format!("version: 1\nproduct: {}", bracket.repeat(300)));
        assert!(error.contains("recursion limit exceeded"), "{error}");
    }
}
