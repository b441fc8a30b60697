//! Shared by integration tests: the real binary with a private dev directory, and other people's tools.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

pub mod quirky;
pub mod token;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The plainest signature: of the file `input`, into the file `signature`.
pub const SIGN: [&str; 9] = ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];

/// A directory of its own in which programs run, with a dev token of its own.
pub struct Bench {
    directory: tempfile::TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("hsmsign-test-").tempdir().unwrap() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Names of its files, sorted, so that tests notice what was left behind. The dev directory and the state
    /// of release mode are left out.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".hsmsign" && name != ".state").collect();
        names.sort();
        names
    }

    /// The binary under test, in dev mode unless the arguments say otherwise.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsmsign"));
        command.current_dir(self.directory()).args(arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HSMSIGN_") {
                command.env_remove(name);
            }
        }
        command.env("HSMSIGN_DEV_DIR", self.path(".hsmsign"));
        // The audit log of release mode.
        command.env("XDG_STATE_HOME", self.path(".state"));
        command
    }

    /// Runs the binary under test.
    pub fn hsmsign<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        run(&mut self.command(arguments))
    }

    /// Runs another program here; it must succeed.
    pub fn tool<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Outcome {
        let outcome = self.try_tool(program, arguments);
        assert_eq!(outcome.code, 0, "{}: {outcome:?}", program.display());
        outcome
    }

    /// Runs another program here.
    pub fn try_tool<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Outcome {
        run(Command::new(program).current_dir(self.directory()).args(arguments).stdin(Stdio::null()))
    }
}

impl Outcome {
    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error or output says something.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stderr.contains(text) || self.stdout.contains(text);
        assert!(said, "no `{text}` in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

pub fn run(command: &mut Command) -> Outcome {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Finds a program. A missing one is told, and is a failure in CI.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("`{name}` is not installed"));
    }
    found
}

/// SoftHSMv2's module where the distribution puts it.
pub fn find_softhsm() -> Option<PathBuf> {
    let places = ["/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib64/pkcs11", "/usr/lib/pkcs11"];
    let found = places.map(|p| Path::new(p).join("libsofthsm2.so")).into_iter().find(|p| p.exists());
    if found.is_none() {
        skip("SoftHSMv2 is not installed");
    }
    found
}

/// A judge that no package has, named by an environment variable; without it its tests are skipped, in CI too.
pub fn optional_tool(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        eprintln!("SKIPPED: {variable} names no program");
    }
    found
}

/// Says why a test does nothing here; panics in CI.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("SKIPPED: {reason}");
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
