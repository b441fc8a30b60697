//! Errors, exit codes and hints.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What the process tells its caller; stable from the first release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Internal fault: our bug.
    Internal = 1,
    /// Wrong use of the command line.
    Usage = 2,
    /// Configuration; also `doctor` with findings.
    Configuration = 3,
    /// Refused by policy; also `keys check`.
    Refused = 4,
    /// Token, PIN or agent.
    Token = 5,
    /// Malformed artifact.
    Malformed = 6,
    /// Verification failed; also `scan` with findings.
    Verification = 7,
    /// File access.
    File = 8,
}

/// Everything that can end a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault in hsmsign itself.
    #[error("internal fault: {0}")]
    Internal(String),
    /// Wrong use of the command line.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// Configuration files, environment, or host set-up.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The policy says no.
    #[error(transparent)]
    Refused(#[from] crate::policy::Refusal),
    /// Token, PIN or agent.
    #[error(transparent)]
    Key(#[from] crate::key::KeyError),
    /// A signature cannot go on record.
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// The agent, or the way to it.
    #[error(transparent)]
    Agent(#[from] crate::agent::AgentError),
    /// A malformed artifact.
    #[error("`{}`: {source}", file.display())]
    Malformed {
        /// The artifact.
        file: PathBuf,
        /// What is wrong with it.
        source: crate::format::FormatError,
    },
    /// Verification failed; the report has been printed.
    #[error("verification of `{subject}` failed: {reason}")]
    Verification {
        /// What was verified.
        subject: String,
        /// The first failed check.
        reason: String,
    },
    /// Told to end by a signal, before a token made what was asked for.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// `scan` found something; the findings have been printed.
    #[error("{0}")]
    Findings(String),
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `create`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err`: a file that could not be read, written, ….
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err`: a malformed artifact.
    pub fn malformed<E: Into<crate::format::FormatError>>(file: &Path) -> impl FnOnce(E) -> Self {
        let file = file.to_owned();
        move |source| Self::Malformed { file, source: source.into() }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Internal(_) => Exit::Internal,
            Self::Usage { .. } => Exit::Usage,
            Self::Config(_) => Exit::Configuration,
            Self::Refused(_) => Exit::Refused,
            // A URI stands in the policy.
            Self::Key(crate::key::KeyError::Uri { .. }) => Exit::Configuration,
            // Where a process cannot end by the signal itself.
            Self::Key(_) | Self::Interrupted { .. } => Exit::Token,
            Self::Audit(_) => Exit::File,
            Self::Agent(e) => e.exit(),
            Self::Malformed { source, .. } if source.is_read() => Exit::File,
            Self::Malformed { .. } => Exit::Malformed,
            Self::Verification { .. } | Self::Findings(_) => Exit::Verification,
            Self::File { .. } => Exit::File,
        }
    }

    /// Where in which file, for errors that have such a place.
    #[must_use]
    pub fn place(&self) -> Option<(&Path, &crate::config::Place)> {
        match self {
            Self::Config(crate::config::ConfigError::Invalid { file, fault }) => Some((file, &fault.place)),
            _ => None,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Internal(_) => {
                Some("this is a bug in hsmsign; please report it with the command line".into())
            }
            Self::Usage { hint, .. } => hint.clone(),
            Self::Config(e) => e.hint(),
            Self::Refused(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Audit(e) => e.hint(),
            Self::Agent(e) => e.hint(),
            Self::Malformed { source, .. } => source.hint(),
            Self::File { action, path, source } => file_hint(action, path, source.kind()),
            Self::Verification { .. } | Self::Interrupted { .. } => None,
            Self::Findings(_) => {
                Some("what is meant to be there goes on the allow-list, see docs/scan.md".into())
            }
        }
    }
}

/// What helps against an output that cannot be written; why an input cannot be read is plain.
fn file_hint(action: &str, path: &Path, kind: ErrorKind) -> Option<String> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded if path != Path::new("standard output") => {
            Some(format!("make room in `{}`; no output was replaced", directory.display()))
        }
        ErrorKind::NotFound if action == "create" => {
            Some(format!("make the directory `{}` first", directory.display()))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if action == "create" => Some(format!(
            "an output is written beside its place and then renamed, so `{}` has to be writable",
            directory.display()
        )),
        _ => None,
    }
}
