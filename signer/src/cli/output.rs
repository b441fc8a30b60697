//! Results on stdout, everything else on stderr.

use super::options::Global;
use crate::{
    error::Error,
    report::{Report, Verdict},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// Where and how a command speaks.
#[derive(Debug)]
pub struct Output {
    json: bool,
    verbosity: i8,
}

impl Output {
    /// As the options say.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let verbosity = if global.quiet { -1 } else { i8::try_from(global.verbose).unwrap_or(i8::MAX) };
        Self { json: global.json, verbosity }
    }

    /// Whether results are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people, on stderr.
    pub fn note(&self, line: impl std::fmt::Display) {
        if self.verbosity >= 0 {
            stderr_line(format_args!("{line}"));
        }
    }

    /// A line for people who asked for more.
    pub fn detail(&self, line: impl std::fmt::Display) {
        if self.verbosity >= 1 {
            stderr_line(format_args!("{line}"));
        }
    }

    /// A warning; `-q` does not silence it.
    pub fn warn(&self, line: impl std::fmt::Display) {
        stderr_line(format_args!("warning: {line}"));
    }

    /// An error with its hint.
    pub fn error(&self, error: &Error) {
        stderr_line(format_args!("error: {error}"));
        if let Some((file, place)) = error.place() {
            stderr_text(&place.render(file), &['\n', '\t']);
        }
        if let Some(hint) = error.hint() {
            stderr_line(format_args!("hint: {hint}"));
        }
    }

    /// A command's result: `human` lines, or `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if stdout cannot be written.
    pub fn result<T: Serialize>(&self, value: &T, human: impl FnOnce() -> String) -> Result<(), Error> {
        let mut text = if self.json {
            serde_json::to_string_pretty(value).map_err(|e| Error::Internal(e.to_string()))?
        } else {
            human()
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        std::io::stdout().write_all(text.as_bytes()).map_err(Error::file("write", "standard output".as_ref()))
    }

    /// Prints a report; a failed check is an error.
    ///
    /// # Errors
    ///
    /// [`Error::Verification`] naming the first failed check.
    pub fn report(&self, report: &Report) -> Result<(), Error> {
        self.result(report, || render(report))?;
        match report.failure() {
            None => Ok(()),
            Some(check) => Err(Error::Verification {
                subject: report.artifact.clone(),
                reason: format!("{}: {}", check.place, check.detail),
            }),
        }
    }

    /// Bytes done, where nobody knows how many there will be: drawn on a terminal, absent from logs.
    #[must_use]
    pub fn progress_unbounded(&self, what: &str) -> ProgressBar {
        let bar = self.progress(what, 0);
        bar.unset_length();
        if let Ok(style) = ProgressStyle::with_template("{msg} {bytes} {bytes_per_sec}") {
            bar.set_style(style);
        }
        bar
    }

    /// A progress bar over bytes: drawn on a terminal, absent from logs.
    #[must_use]
    pub fn progress(&self, what: &str, total_bytes: u64) -> ProgressBar {
        let quiet = self.verbosity < 0 || self.json || !std::io::stderr().is_terminal();
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(total_bytes), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }
}

/// A closed stderr is no reason to fail.
fn stderr_line(line: std::fmt::Arguments<'_>) {
    stderr_text(&line.to_string(), &[]);
}

fn stderr_text(text: &str, keep: &[char]) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text, keep));
}

/// `text` with unsafe characters escaped, but for those in `keep`: names and hints come from artifacts, and
/// must neither steer a terminal nor forge a line of a report.
pub(super) fn printable(text: &str, keep: &[char]) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) && !keep.contains(&character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Control characters, and what changes the direction in which a line is read
/// (Unicode Standard Annex #9, section 2): either can make a line look like another one.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = match check.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        text.push_str(&format!("{mark} {}\n", printable(&format!("{}: {}", check.place, check.detail), &[])));
    }
    for signed in &report.signed_by {
        let line = format!("signed {} by {} ({})", signed.place, signed.fingerprint, signed.algorithm);
        text.push_str(&format!("{}\n", printable(&line, &[])));
    }
    text
}
