//! What can be wrong with a `sw-description`.

/// Why a description cannot be read, or cannot be signed with the files at hand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DescriptionError {
    /// Longer than any description.
    #[error("{0} bytes are too long for a sw-description; at most {max} are read", max = super::MAX_LEN_BYTES)]
    TooLong(u64),
    /// Not text.
    #[error("not UTF-8 text from byte {0} on")]
    NotText(usize),
    /// Not libconfig, or not JSON.
    #[error("line {line}: expected {expected}, found {found}")]
    Syntax {
        /// Where.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Nested deeper than any description.
    #[error("line {line}: nested more than {max} levels deep", max = super::MAX_DEPTH)]
    Nesting {
        /// Where.
        line: usize,
    },
    /// A setting twice in one group: libconfig refuses it, JSON parsers take either.
    #[error("line {line}: `{name}` is set twice in one group")]
    Duplicate {
        /// Where the second one is.
        line: usize,
        /// Its name.
        name: String,
    },
    /// libconfig's `@include`, which reads a file of the device after the signature was checked.
    #[error("line {line}: `@include` reads a file that no signature covers")]
    Include {
        /// Where.
        line: usize,
    },
    /// No `software` group.
    #[error("there is no group `software`")]
    NoSoftware,
    /// A placeholder that hsmsign cannot fill in.
    #[error("line {line}: placeholder `{text}` is not filled in")]
    Placeholder {
        /// Where.
        line: usize,
        /// The placeholder.
        text: String,
    },
    /// A file name that swupdate cannot find in a bundle.
    #[error("line {line}: `{filename}` is not a bare file name")]
    Filename {
        /// Where.
        line: usize,
        /// The name.
        filename: String,
    },
    /// A sha256 that is neither digest nor placeholder.
    #[error("line {line}: the sha256 of `{filename}` is neither 64 hexadecimal digits nor a placeholder")]
    Sha256Form {
        /// Where.
        line: usize,
        /// The file.
        filename: String,
    },
    /// A file that has no sha256.
    #[error("line {line}: `{filename}` has no sha256")]
    Sha256Missing {
        /// Where.
        line: usize,
        /// The file.
        filename: String,
    },
    /// A sha256 of other bytes.
    #[error("line {line}: the sha256 of `{filename}` is {written}, but the file's is {actual}")]
    Sha256 {
        /// Where.
        line: usize,
        /// The file.
        filename: String,
        /// What the description says.
        written: String,
        /// What the file has.
        actual: String,
    },
    /// A size that is not the file's.
    #[error("line {line}: the size of `{filename}` is {written}, but the file has {actual} bytes")]
    Size {
        /// Where.
        line: usize,
        /// The file.
        filename: String,
        /// What the description says.
        written: u64,
        /// What the file has.
        actual: u64,
    },
    /// The hash of one file where that of another is wanted.
    #[error("line {line}: the sha256 of `{filename}` is to be that of `{other}`")]
    OtherFile {
        /// Where.
        line: usize,
        /// The entry's file.
        filename: String,
        /// The file that the placeholder names.
        other: String,
    },
    /// A file that was not given.
    #[error("line {line}: `{filename}` is named, but not given")]
    NotGiven {
        /// Where.
        line: usize,
        /// The file.
        filename: String,
    },
    /// A bug: what was filled in does not read back.
    #[error("the filled-in description does not read back as intended; this is a bug")]
    ReadBack,
}

impl DescriptionError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotText(_) => {
                Some("an encrypted sw-description cannot be signed; sign the plain one".into())
            }
            Self::Include { .. } => Some("put the included text in its place".into()),
            Self::Placeholder { .. } => Some(
                "hsmsign fills in sha256 and `$swupdate_get_size(FILE)`; let the build system, such as \
                 meta-swupdate, fill in the others first"
                    .into(),
            ),
            Self::Filename { .. } => {
                Some("swupdate looks files up by the names in the bundle, which have no directories".into())
            }
            Self::Sha256Form { .. } | Self::Sha256 { .. } => {
                Some("take the sha256 out, and the true one is filled in".into())
            }
            Self::Sha256Missing { .. } => {
                Some("sign the bundle with `hsmsign sign swu`, which fills it in".into())
            }
            Self::Size { .. } => Some("write `size = $swupdate_get_size(FILE);` or take it out".into()),
            Self::NotGiven { filename, .. } => Some(format!(
                "give it with `--image PATH/{filename}`, or take the entry out of sw-description"
            )),
            Self::TooLong(_)
            | Self::Syntax { .. }
            | Self::Nesting { .. }
            | Self::Duplicate { .. }
            | Self::NoSoftware
            | Self::OtherFile { .. }
            | Self::ReadBack => None,
        }
    }
}
