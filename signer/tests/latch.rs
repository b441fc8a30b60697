//! One wrong PIN, not three (invariant 7), on tokens that count: the quirky module keeps a counter of three in a
//! file that all processes share, and Kryoptic really locks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    Outcome, SIGN, find_tool,
    quirky::{Quirky, quirky},
    run,
    token::{PIN, TestToken, set_mode},
};
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The quirky token with key `r` in the policy, and a wrong PIN.
fn with_wrong_pin() -> Option<Quirky> {
    let quirky = quirky()?;
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    set_pin(&quirky.token, "not-the-pin");
    Some(quirky)
}

fn set_pin(token: &TestToken, pin: &str) {
    let path = token.bench.write("pin", format!("{pin}\n"));
    set_mode(&path, 0o600);
}

/// Tries that the token has left.
fn tries(quirky: &Quirky) -> String {
    fs::read_to_string(quirky.token.bench.path("tries")).unwrap_or_else(|_| "3".into())
}

/// Starts this many signing processes at once, and waits for all.
fn at_once(token: &TestToken, count: usize, quirks: &str) -> Vec<Outcome> {
    let started: Vec<_> = (0..count)
        .map(|n| {
            let mut command = token.command(&SIGN[..8]);
            command.arg(format!("signature-{n}")).env("QUIRKS", quirks);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outcome = |child: std::process::Child| {
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    started.into_iter().map(outcome).collect()
}

#[test]
fn twenty_processes_with_a_wrong_pin_cost_one_try() {
    let Some(quirky) = with_wrong_pin() else { return };
    // Mute: the token's own flags say nothing, so the latch alone keeps the others back.
    let outcomes = at_once(&quirky.token, 20, "slow-login,mute");
    let refused =
        outcomes.iter().filter(|o| o.stderr.contains("refused the PIN (C_Login: CKR_PIN_INCORRECT)"));
    assert_eq!(refused.count(), 1);
    for outcome in outcomes {
        outcome.exits(5).says("CKR_PIN_INCORRECT").says("keys unlatch");
    }
    assert_eq!((tries(&quirky).as_str(), quirky.logins()), ("2", 1));
    // Who comes later does not even read the PIN.
    fs::remove_file(quirky.token.bench.path("pin")).unwrap();
    quirky.sign("mute").exits(5).says("is not tried").says("CKR_PIN_INCORRECT").says("pin (");
    assert_eq!(quirky.logins(), 0);
    // A person mends it.
    set_pin(&quirky.token, PIN);
    quirky.sign("mute").exits(5).says("is not tried");
    run(quirky.token.command(&["keys", "unlatch"]).env("QUIRKS", "mute"))
        .exits(0)
        .says("token `hsm`")
        .says("may be tried once more")
        .says("CKR_PIN_INCORRECT");
    quirky.sign("mute").exits(0);
    quirky.accepted("r");
    assert_eq!(tries(&quirky), "3");
    // And nothing is left of it.
    quirky.sign("mute").exits(0);
}

#[test]
fn an_unlatched_token_costs_one_try_again() {
    let Some(quirky) = with_wrong_pin() else { return };
    quirky.sign("mute").exits(5);
    quirky.token.hsmsign(&["keys", "unlatch", "--token", "hsm"]).exits(0);
    for outcome in at_once(&quirky.token, 5, "mute") {
        outcome.exits(5);
    }
    assert_eq!(tries(&quirky), "1");
    // Now its next refusal would be its last, and no word of a person changes that.
    quirky.token.hsmsign(&["keys", "unlatch", "--role", "fit"]).exits(0);
    quirky.sign("").exits(5).says("one more wrong PIN would lock it");
    assert_eq!((tries(&quirky).as_str(), quirky.logins()), ("1", 0));
}

#[test]
fn a_wrong_pin_tried_by_another_program_is_noticed() {
    let Some(quirky) = with_wrong_pin() else { return };
    quirky.token.pkcs11_tool(&["--token-label", "hsm", "--login", "--pin", "wrong", "--list-objects"]);
    assert_eq!(tries(&quirky), "2");
    set_pin(&quirky.token, PIN);
    quirky
        .sign("")
        .exits(5)
        .says("a wrong PIN was tried since its last login")
        .says("keys unlatch --token hsm");
    assert_eq!(quirky.logins(), 0);
    quirky.token.hsmsign(&["keys", "unlatch"]).exits(0).says("nothing was noted");
    quirky.sign("").exits(0);
    quirky.sign("").exits(0);
}

#[test]
fn a_module_that_has_no_word_for_it_latches_by_its_flags() {
    let Some(quirky) = with_wrong_pin() else { return };
    quirky.sign("vague").exits(5).says("CKR_FUNCTION_FAILED");
    quirky.sign("mute").exits(5).says("is not tried").says("CKR_FUNCTION_FAILED");
    assert_eq!((tries(&quirky).as_str(), quirky.logins()), ("2", 0));
}

#[test]
fn an_error_that_costs_no_try_does_not_latch() {
    let Some(quirky) = with_wrong_pin() else { return };
    set_pin(&quirky.token, PIN);
    quirky.sign("removed").exits(5).says("CKR_DEVICE_REMOVED");
    quirky.sign("").exits(0);
}

#[test]
fn a_process_killed_while_it_logs_in_latches() {
    let Some(quirky) = with_wrong_pin() else { return };
    let _ = fs::remove_file(quirky.token.bench.path("told"));
    let mut child =
        quirky.token.command(&SIGN).env("QUIRKS", "slow-login,mute").stderr(Stdio::null()).spawn().unwrap();
    let told = quirky.token.bench.path("told");
    let patience = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&told).unwrap_or_default().contains("login") {
        assert!(Instant::now() < patience && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    quirky.sign("mute").exits(5).says("was killed while it logged in");
    assert_eq!(quirky.logins(), 0);
    set_pin(&quirky.token, PIN);
    quirky.token.hsmsign(&["keys", "unlatch"]).exits(0).says("was killed");
    quirky.sign("mute").exits(0);
}

#[test]
fn a_key_that_takes_a_pin_each_time_latches_too() {
    let Some(quirky) = with_wrong_pin() else { return };
    set_pin(&quirky.token, PIN);
    quirky.token.generate("rsa:2048", "each", &["--always-auth"]);
    let pin = quirky.token.public_key("each");
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=each", &[&pin], "");
    quirky.sign("context-refused,mute").exits(5).says("CKR_PIN_INCORRECT");
    quirky.sign("mute").exits(5).says("is not tried");
    assert_eq!(quirky.logins(), 0);
    quirky.token.hsmsign(&["keys", "unlatch"]).exits(0);
    quirky.sign("mute").exits(0);
}

#[test]
fn a_latch_that_cannot_be_trusted_or_written_keeps_the_pin_back() {
    let Some(quirky) = with_wrong_pin() else { return };
    let latch = quirky.token.bench.path(".state/hsmsign/latch");
    fs::create_dir_all(latch.parent().unwrap()).unwrap();
    fs::write(&latch, "").unwrap();
    quirky.sign("mute").exits(5).says("PIN latch");
    fs::remove_file(&latch).unwrap();
    std::os::unix::fs::symlink("/tmp", &latch).unwrap();
    quirky.sign("mute").exits(5).says("symbolic link");
    assert_eq!((tries(&quirky).as_str(), quirky.logins()), ("3", 0));
    // Host settings may name another place.
    let host = String::from_utf8(quirky.token.bench.read("host.yaml")).unwrap();
    let place = quirky.token.bench.path("elsewhere");
    quirky.token.bench.write("host.yaml", format!("{host}latch: {{ directory: {} }}\n", place.display()));
    quirky.sign("mute").exits(5).says("CKR_PIN_INCORRECT");
    assert!(place.is_dir());
}

#[test]
fn a_pin_that_is_typed_latches_as_well() {
    let Some(quirky) = with_wrong_pin() else { return };
    let Some(script) = find_tool("script") else { return };
    let host = String::from_utf8(quirky.token.bench.read("host.yaml")).unwrap();
    let file = format!("{{ file: {} }}", quirky.token.bench.path("pin").display());
    quirky.token.bench.write("host.yaml", host.replace(&file, "prompt"));
    let inner = quirky.token.command(&SIGN);
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    let line: Vec<_> = words.iter().map(|w| format!("'{}'", w.to_str().unwrap())).collect();
    let attempt = || {
        let mut command = Command::new(&script);
        command.args(["-qec", &line.join(" "), "typescript"]).current_dir(quirky.token.bench.directory());
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("QUIRKS", "mute").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let _ = keyboard.write_all(b"wrong\r");
        child.wait().unwrap();
        String::from_utf8_lossy(&quirky.token.bench.read("typescript")).into_owned()
    };
    assert!(attempt().contains("CKR_PIN_INCORRECT"));
    let second = attempt();
    assert!(second.contains("is not tried") && !second.contains("PIN of token"), "{second}");
    assert_eq!(tries(&quirky), "2");
}

#[test]
fn twenty_processes_cost_one_try_of_a_token_that_locks() {
    let Some(token) = TestToken::kryoptic() else { return };
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "k", &[]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    // How many it takes on its own, so that the test means something.
    let wrong =
        || token.pkcs11_tool(&["--token-label", "hsm", "--login", "--pin", "wrong-pin", "--list-objects"]);
    set_pin(&token, "not-the-pin");
    for outcome in at_once(&token, 20, "") {
        outcome.exits(5).says("keys unlatch");
    }
    let mut more = 0;
    while !wrong().stderr.contains("CKR_PIN_LOCKED") {
        more += 1;
        assert!(more < 50, "it never locks");
    }
    // A fresh one of the same make tells how many wrong PINs lock it.
    let fresh = TestToken::kryoptic().unwrap();
    let mut all = 0;
    while !fresh
        .pkcs11_tool(&["--token-label", "hsm", "--login", "--pin", "wrong-pin", "--list-objects"])
        .stderr
        .contains("CKR_PIN_LOCKED")
    {
        all += 1;
    }
    assert_eq!(more + 1, all, "twenty processes took more than one try");
}
