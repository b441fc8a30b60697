//! SIGTERM and SIGINT while a release token is open, against a module that tells of its C_Finalize.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    SIGN,
    quirky::{Quirky, quirky},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A command whose module hangs where `hangs` says.
struct Hanging {
    quirky: Quirky,
    hangs: &'static str,
    child: Child,
}

impl Hanging {
    /// Signs with a module that hangs at `hangs`, until it does; `wrap` may change the command.
    fn start(hangs: &'static str, told: &str, wrap: impl FnOnce(Command) -> Command) -> Option<Self> {
        let quirky = quirky()?;
        quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
        let bench = &quirky.token.bench;
        let _ = fs::remove_file(bench.path("told"));
        bench.write(&format!("told.{hangs}"), "");
        let mut command = wrap(quirky.token.command(&SIGN));
        command.env("QUIRKS", "switched").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(File::create(bench.path("stderr")).unwrap());
        let child = command.spawn().unwrap();
        let hanging = Self { quirky, hangs, child };
        hanging.wait_for("told", told);
        Some(hanging)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.quirky.token.bench.path(name)).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, name: &str, text: &str) {
        let begun = Instant::now();
        while !self.text(name).contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no `{text}` in `{}`", self.text(name));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets the module go on.
    fn go_on(&self) {
        fs::remove_file(self.quirky.token.bench.path(&format!("told.{}", self.hangs))).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end: {}", self.text("stderr"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What `command` runs, as `program` executes it in its own place.
fn through(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args());
    outer.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// A shell without job control starts what runs in the background, as these tests may, with SIGINT ignored.
fn heard(command: Command) -> Command {
    through("env", &["--default-signal=INT,TERM"], &command)
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_module_is_finalized_before_a_signal_ends_the_command() {
    for signal in [Signal::TERM, Signal::INT] {
        let Some(mut hanging) = Hanging::start("hang-login", "login", heard) else { return };
        hanging.signal(signal);
        hanging.wait_for("stderr", "ending when the token has answered");
        hanging.go_on();
        assert_eq!(hanging.ends().signal(), Some(signal.as_raw()), "{}", hanging.text("stderr"));
        hanging.quirky.signed_nothing();
        hanging.quirky.left_in_order();
        assert!(hanging.text(".state/hsmsign/audit/log.jsonl").is_empty());
    }
}

#[test]
fn a_signature_that_was_begun_is_finished() {
    let Some(mut hanging) = Hanging::start("hang", "hangs", heard) else { return };
    hanging.signal(Signal::TERM);
    hanging.wait_for("stderr", "ending when the token has answered");
    hanging.go_on();
    assert!(hanging.ends().success(), "{}", hanging.text("stderr"));
    hanging.quirky.accepted("r");
}

#[test]
fn a_second_signal_ends_the_command_at_once() {
    let Some(mut hanging) = Hanging::start("hang", "hangs", heard) else { return };
    hanging.signal(Signal::INT);
    hanging.wait_for("stderr", "ending when the token has answered");
    hanging.signal(Signal::TERM);
    assert_eq!(hanging.ends().signal(), Some(Signal::TERM.as_raw()));
    assert!(!hanging.text("told").contains("finalized"));
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let in_shell = |command: Command| through("/bin/sh", &["-c", "trap '' INT; exec \"$@\"", "sh"], &command);
    let Some(mut hanging) = Hanging::start("hang", "hangs", in_shell) else { return };
    hanging.signal(Signal::INT);
    hanging.go_on();
    assert!(hanging.ends().success());
    assert!(!hanging.text("stderr").contains("ending when"), "{}", hanging.text("stderr"));
}
