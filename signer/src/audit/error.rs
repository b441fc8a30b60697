//! What keeps a record from being written.

use super::Head;
use std::path::{Path, PathBuf};

/// What keeps a record from being written. Nothing is signed then.
///
/// It can be cloned, since one failed write ends many requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The directory or a file in it could be changed by others, or is not what it should be.
    #[error("audit log: `{}` {reason}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file operation failed.
    #[error("audit log: cannot {action} `{}`: {reason}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        reason: String,
    },
    /// Another process holds the log's lock for too long.
    #[error("audit log: `{}` has been locked by another process for {seconds} seconds", path.display())]
    Locked {
        /// The log.
        path: PathBuf,
        /// How long this one waited.
        seconds: u64,
    },
    /// Records are missing at the end.
    #[error(
        "audit log `{}`: records are missing: it ends with record {}, and its head names record {}",
        path.display(), found.sequence, head.sequence
    )]
    Truncated {
        /// The log.
        path: PathBuf,
        /// Where it ends.
        found: Head,
        /// Where it should end.
        head: Head,
    },
    /// The last record is not the one that was written.
    #[error("audit log `{}`: record {sequence} is not the one that was written", path.display())]
    Edited {
        /// The log.
        path: PathBuf,
        /// Its number.
        sequence: u64,
    },
    /// The head file is missing or unreadable though there are records.
    #[error("audit log: `{}` {reason}", path.display())]
    Head {
        /// The head file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that cannot be written.
    #[error("audit log: {0}")]
    Record(String),
}

impl AuditError {
    /// For `map_err`: a file operation that failed.
    pub(super) fn file<E: Into<std::io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, reason: source.into().to_string() }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unsafe { .. } => {
                "the directory and its files must belong to you or root, and nobody else may write them".into()
            }
            Self::File { .. } => {
                "nothing is signed without a record; name another place with `audit: { directory: PATH }` in the \
                 host settings, or make room"
                    .into()
            }
            Self::Locked { .. } => "look for a process of hsmsign that hangs".into(),
            Self::Truncated { .. } | Self::Edited { .. } | Self::Head { .. } => {
                "`hsmsign audit verify` says more; bring the log back from a copy, or move its directory away to \
                 begin a new one"
                    .into()
            }
            Self::Record(_) => return None,
        })
    }
}
