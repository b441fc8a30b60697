//! Why something was not looked into.

use super::Kind;
use std::io;

/// Why something was not looked into, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It looks like a container and is none, or a damaged one.
    #[error("{kind} that cannot be read: {detail}")]
    Malformed {
        /// What it looks like.
        kind: Kind,
        /// What is wrong, as the reader says.
        detail: String,
    },
    /// It is a container that hsmsign cannot open.
    #[error("{kind}: hsmsign cannot look into it ({detail})")]
    Unsupported {
        /// What it is.
        kind: Kind,
        /// What it would take.
        detail: String,
    },
    /// It needs a password.
    #[error("{kind}: encrypted")]
    Encrypted {
        /// What it is.
        kind: Kind,
    },
    /// A limit was reached; what lies behind was not looked at.
    #[error("{0}")]
    Limit(Limit),
    /// The operating system could not read it.
    #[error("cannot be read: {0}")]
    Read(String),
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Containers in containers.
    #[error("more than {0} containers inside each other")]
    Depth(usize),
    /// Bytes that came out of containers.
    #[error("more than {0} bytes come out of it")]
    Bytes(u64),
    /// Files and directories.
    #[error("more than {0} entries come out of it")]
    Entries(u64),
    /// Bytes that need random access and had to be kept.
    #[error("more than {0} bytes would have to be kept")]
    Kept(u64),
    /// Bytes of one header, such as a name.
    #[error("a header of more than {0} bytes")]
    Header(u64),
}

impl Limit {
    /// As an error that passes through readers of libraries.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl Obstacle {
    /// What an error while reading a `kind` means.
    pub(super) fn from_io(error: &io::Error, kind: Kind) -> Self {
        let inner = error.get_ref();
        if let Some(limit) = inner.and_then(find) {
            return Self::Limit(limit);
        }
        if error.raw_os_error().is_some() {
            return Self::Read(error.to_string());
        }
        if error.kind() == io::ErrorKind::OutOfMemory {
            return Self::Unsupported { kind, detail: "unpacking it takes too much memory".into() };
        }
        Self::Malformed { kind, detail: one_line(&error.to_string()) }
    }
}

/// The limit among the causes of `error`: libraries wrap the errors of readers below them.
fn find(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Limit> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(limit) = error.downcast_ref::<Limit>() {
            return Some(*limit);
        }
        // An `io::Error` that wraps another skips it as its source.
        at = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// A library's message on one line.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
