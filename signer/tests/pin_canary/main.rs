//! The release PIN is nowhere (invariant 6): a canary. Every release command is run with a known PIN, and everything
//! that it starts, writes and says is searched for it.

#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;
mod everywhere;
mod factory;

use common::{Bench, SIGN, find_tool, quirky::quirky, run, token::PIN, token::set_mode};
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
    let inner = quirky.token.command(&SIGN);
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

/// Each for itself, as a core is also kept from being written where only one of them works.
#[test]
fn neither_a_core_nor_a_tracer_of_the_same_user_gets_at_memory() {
    let Some(quirky) = quirky() else { return };
    let (Some(prlimit), Some(setpriv)) = (find_tool("prlimit"), find_tool("setpriv")) else { return };
    let bench = &quirky.token.bench;
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    bench.write("told", "");
    bench.write("told.hang-login", "");
    // Root without its capabilities is as any user here.
    let bounded = |command: &mut Command| {
        match rustix::process::geteuid().is_root() {
            true => command.arg(&setpriv).args(["--bounding-set", "-all", "--inh-caps", "-all"]),
            false => command.arg("env"),
        };
    };
    let unlimited = || {
        let mut command = Command::new(&prlimit);
        command.arg("--core=unlimited");
        bounded(&mut command);
        command
            .current_dir(bench.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let reads_environ = |pid: u32| {
        let mut reader = unlimited();
        run(reader.arg("cat").arg(format!("/proc/{pid}/environ"))).code == 0
    };
    let core_limit = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
    };
    let mut sleeper = unlimited().args(["sleep", "60"]).spawn().unwrap();
    let inner = quirky.token.command(&SIGN);
    let mut command = unlimited();
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    let mut child = command.env("QUIRKS", "switched").spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(bench.path("told")).unwrap().contains("login") {
        assert!(Instant::now() < patience && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let seen = [&sleeper, &child].map(|process| (reads_environ(process.id()), core_limit(process.id())));
    for process in [&mut sleeper, &mut child] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let [(sleeper_read, sleeper_core), (read, core)] = seen;
    if !sleeper_read || !sleeper_core.contains("unlimited") {
        return common::skip(&format!(
            "processes are kept apart here anyway: {sleeper_read}, {sleeper_core}"
        ));
    }
    assert!(!read, "another process read its environment");
    assert!(
        !core.contains("unlimited") && core.split_whitespace().filter(|word| *word == "0").count() == 2,
        "{core}"
    );
}
