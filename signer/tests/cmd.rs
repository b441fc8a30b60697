//! Transcripts: what people see for a command, and the exit code that scripts see.
//!
//! A transcript in `tests/cmd/SUBJECT/NAME.txt` runs in a directory of its own:
//!
//! ```text
//! # a comment; `# needs: TOOL` skips the transcript where that program is missing
//! --- hsmsign.yaml        a file, up to the next line of three dashes
//! ---
//! $ hsmsign keys list     a command for sh, with the binary under test
//! > a line of stdout      `[DIR]`: the directory; `[HEX]`: 16 hexadecimal digits or more;
//! ! a line of stderr      `[..]`: anything
//! = 4                     the exit code, unless it is 0
//! ```
//!
//! With `HSMSIGN_TRANSCRIPTS=write` they are written anew, to be looked through before they are committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[test]
fn transcripts() {
    let mut files = transcripts_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd"));
    files.sort();
    assert!(files.len() > 10, "the transcripts are gone");
    let write = std::env::var_os("HSMSIGN_TRANSCRIPTS").is_some_and(|v| v == "write");
    let mut failed = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        if let Some(tool) = missing_tool(&expected) {
            assert!(std::env::var_os("CI").is_none(), "{tool} is missing");
            eprintln!("skipped {}: {tool} is missing", file.display());
            continue;
        }
        let actual = perform(&expected);
        if write && !same(&expected, &actual) {
            std::fs::write(&file, &actual).unwrap();
        } else if !same(&expected, &actual) {
            failed.push(format!("{}\n--- expected\n{expected}\n--- actual\n{actual}", file.display()));
        }
    }
    assert!(failed.is_empty(), "{} transcripts differ:\n{}", failed.len(), failed.join("\n\n"));
}

fn transcripts_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|p| p.is_dir());
    directories.iter().flat_map(|d| transcripts_below(d)).chain(files).collect()
}

/// The tool that a transcript's line `# needs: TOOL` names, if it is not there.
fn missing_tool(transcript: &str) -> Option<&str> {
    let tool = transcript.lines().find_map(|l| l.strip_prefix("# needs: "))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    (!std::env::split_paths(&path).any(|d| d.join(tool).exists())).then_some(tool)
}

/// Runs a transcript; returns it with what really happened.
fn perform(transcript: &str) -> String {
    let directory = tempfile::Builder::new().prefix("hsmsign-cmd-").tempdir().unwrap();
    let mut actual = String::new();
    let mut lines = transcript.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("--- ") {
            let content: String =
                lines.by_ref().take_while(|l| *l != "---").flat_map(|l| [l, "\n"]).collect();
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = content.replace("[DIR]", directory.path().to_str().unwrap());
            std::fs::write(path, text).unwrap();
            write!(actual, "--- {name}\n{content}---\n").unwrap();
        } else if let Some(command) = line.strip_prefix("$ ") {
            writeln!(actual, "$ {command}").unwrap();
            actual.push_str(&run(command, directory.path()));
        } else if !line.starts_with(['>', '!', '=']) {
            writeln!(actual, "{line}").unwrap();
        }
    }
    actual
}

fn run(command: &str, directory: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_hsmsign"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .env_clear()
        .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
        .env("HOME", directory)
        // Else root's would be the system's.
        .env("XDG_STATE_HOME", directory.join(".state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::new();
    for (mark, bytes) in [('>', output.stdout), ('!', output.stderr)] {
        for line in String::from_utf8_lossy(&bytes).lines() {
            writeln!(text, "{}", format!("{mark} {}", generalize(line, directory)).trim_end()).unwrap();
        }
    }
    match output.status.code() {
        Some(0) => {}
        code => writeln!(text, "= {}", code.unwrap_or(-1)).unwrap(),
    }
    text
}

/// Takes out what differs from run to run.
fn generalize(line: &str, directory: &Path) -> String {
    let line = line.replace(directory.to_str().unwrap(), "[DIR]");
    let mut text = String::new();
    let mut hex = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            hex.push(c);
            continue;
        }
        // A number in a file of the transcript, such as a row of zeros, tells more when it is shown.
        let random = hex.len() >= 16 && hex.chars().any(|d| !hex.starts_with(d));
        text.push_str(if random { "[HEX]" } else { &hex });
        hex.clear();
        text.push(c);
    }
    text.trim_end_matches('\n').to_owned()
}

fn same(expected: &str, actual: &str) -> bool {
    expected.lines().count() == actual.lines().count()
        && expected.lines().zip(actual.lines()).all(|(e, a)| fits(e, a))
}

/// Whether `actual` is `expected`, in which `[..]` stands for anything.
fn fits(expected: &str, actual: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == actual,
        Some((head, tail)) => actual.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| fits(tail, rest))
        }),
    }
}
