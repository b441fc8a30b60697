//! What can be wrong with a cpio archive, or keep one from being made.

use crate::format::ReadError;

/// Why an archive cannot be read, or a member cannot stand in one.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// The bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file ends where a header or its trailer should stand.
    #[error("ends at {offset:#x} without the trailer; it is truncated or no cpio archive")]
    Truncated {
        /// Where something is missing.
        offset: u64,
    },
    /// Neither `070701` nor `070702`.
    #[error("no newc or crc header at {offset:#x}")]
    Magic {
        /// Where the header should be.
        offset: u64,
    },
    /// A header field is not eight hexadecimal digits.
    #[error("header at {offset:#x}: `{field}` is not hexadecimal")]
    Field {
        /// Where the header is.
        offset: u64,
        /// Which field.
        field: &'static str,
    },
    /// A name that swupdate refuses, or that could lead out of a directory.
    #[error("member at {offset:#x}: {0}", .problem.describe())]
    Name {
        /// Where the header is.
        offset: u64,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// A symbolic link, directory or device.
    #[error("member `{name}` is no regular file (mode {mode:o})")]
    NotAFile {
        /// The member.
        name: String,
        /// Its mode.
        mode: u32,
    },
    /// Two members of one name.
    #[error("member `{name}` is there twice")]
    Duplicate {
        /// The member.
        name: String,
    },
    /// More members than any bundle has.
    #[error("more than {limit} members")]
    TooMany {
        /// How many are read at most.
        limit: usize,
    },
    /// Bytes between members that should be zero.
    #[error("padding before {offset:#x} is not zero")]
    Padding {
        /// Where the padding ends.
        offset: u64,
    },
    /// Something after the trailer.
    #[error("there are bytes other than zeros after the trailer, from {offset:#x} on")]
    TrailingBytes {
        /// Where the first one is.
        offset: u64,
    },
    /// Longer than an archive can say.
    #[error(
        "`{name}` has {len_bytes} bytes; a cpio archive holds files of at most {} bytes (4 GiB - 1)",
        u32::MAX
    )]
    TooLarge {
        /// The member.
        name: String,
        /// How long it is.
        len_bytes: u64,
    },
    /// A name for a new member that could not be read back.
    #[error("`{name}` cannot be a member's name: {}", .problem.describe())]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
}

/// What is wrong with a member's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// No name, or longer than swupdate reads.
    Length,
    /// Not UTF-8, control characters, or no NUL at its end and only there.
    Characters,
    /// A slash, `.` or `..`.
    Path,
    /// The name that ends an archive.
    Trailer,
}

impl NameProblem {
    const fn describe(self) -> &'static str {
        match self {
            Self::Length => "its name is empty or longer than 254 bytes",
            Self::Characters => "its name is not NUL-terminated printable UTF-8",
            Self::Path => "its name is a path; swupdate takes bare file names only",
            Self::Trailer => "its name is reserved for the end of the archive",
        }
    }
}

impl CpioError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Magic { offset: 0 } => {
                Some("a swupdate bundle is a cpio archive in `newc` or `crc` format".into())
            }
            Self::NotAFile { .. } => {
                Some("archive what the link points to (`cpio -L`), or let hsmsign make the bundle".into())
            }
            Self::TooLarge { .. } => Some(
                "compress the image (`compressed = \"zstd\"` in sw-description), split it, or use a delta update"
                    .into(),
            ),
            Self::TrailingBytes { .. } | Self::Padding { .. } => {
                Some("nothing signs these bytes; make the bundle anew with `sign swu --description`".into())
            }
            _ => None,
        }
    }

    /// Whether the operating system could not read, rather than the archive being malformed.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read(ReadError::Io { .. }))
    }
}
