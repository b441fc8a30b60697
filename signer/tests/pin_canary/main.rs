//! The release PIN is nowhere (invariant 6): a canary. Every release command is run with a known PIN, and everything
//! that it starts, writes and says is searched for it.

#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;
mod everywhere;
mod factory;

use common::{Bench, find_tool, quirky::quirky, run, token::PIN, token::set_mode};
use factory::{factory, files_with};
use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn a_wrong_pin_is_shown_and_noted_nowhere() {
    let Some(token) = factory() else { return };
    let path = token.bench.write("pin", "not-8642-at-all\n");
    set_mode(&path, 0o600);
    for line in
        ["sign blob kernel --role fit --format raw -o kernel.sig", "keys check", "keys unlatch", "doctor"]
    {
        let words: Vec<&str> = std::iter::once("-vv").chain(line.split(' ')).collect();
        let outcome = token.hsmsign(&words);
        assert!(!format!("{outcome:?}").contains("not-8642"), "{line}: {outcome:?}");
    }
    assert_eq!(files_with(token.bench.directory(), "not-8642-at-all"), [path]);
}

#[test]
fn a_dev_tokens_pin_stands_in_its_one_file() {
    if common::find_softhsm().is_none() {
        return;
    }
    let bench = Bench::new();
    bench.write("input", "what is signed");
    let words = ["-vv", "sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];
    let said = bench.hsmsign(&words).exits(0);
    let doctor = bench.hsmsign(&["-vv", "doctor"]);
    let path = bench.path(".hsmsign/pin");
    let pin = fs::read_to_string(&path).unwrap();
    assert!(pin.trim().len() >= 8);
    assert_eq!(files_with(bench.directory(), pin.trim()), [path]);
    assert!(!format!("{said:?}{doctor:?}").contains(pin.trim()));
}

#[test]
fn a_crash_after_the_pin_was_read_leaves_no_core() {
    let Some(quirky) = quirky() else { return };
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    let Some(prlimit) = find_tool("prlimit") else { return };
    let dumps = |command: &mut Command, ready: &dyn Fn() -> bool| {
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(Instant::now() < patience && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        run(Command::new("kill").args(["-ABRT", &child.id().to_string()])).exits(0);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "{status:?}");
        status.core_dumped()
    };
    // Where even a program that hides nothing leaves none, the test says nothing.
    let directory = quirky.token.bench.directory();
    let mut sleeper = Command::new(&prlimit);
    sleeper.args(["--core=unlimited", "sleep", "60"]).current_dir(directory);
    let started = Instant::now();
    if !dumps(&mut sleeper, &|| started.elapsed() > Duration::from_millis(300)) {
        eprintln!("SKIPPED: this machine writes no cores");
        return;
    }
    let inner = quirky.token.command(&[
        "sign",
        "blob",
        "input",
        "--role",
        "fit",
        "--format",
        "raw",
        "-o",
        "signature",
    ]);
    let mut command = Command::new(&prlimit);
    command.arg("--core=unlimited").arg(inner.get_program()).args(inner.get_args()).current_dir(directory);
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("QUIRKS", "slow-login");
    let _ = fs::remove_file(quirky.token.bench.path("told"));
    let told = quirky.token.bench.path("told");
    assert!(!dumps(&mut command, &|| fs::read_to_string(&told).unwrap_or_default().contains("login")));
    assert!(!files_with(directory, PIN).iter().any(|f| f.file_name().is_some_and(|n| n != "pin")));
}
