//! What can be wrong with a flattened device tree.

use crate::format::ReadError;

/// Why bytes are not a usable flattened device tree, or an edit is impossible.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    /// The bytes could not be read, or the file ends too early.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The first four bytes are something else.
    #[error("not a flattened device tree: it starts with {found:#010x}, not 0xd00dfeed")]
    NotFdt {
        /// What stands there.
        found: u32,
    },
    /// A format version other than 16 and 17.
    #[error("device tree format version {version} (compatible with {last_compatible}) is not supported")]
    Version {
        /// Its version.
        version: u32,
        /// The oldest version it claims to be compatible with.
        last_compatible: u32,
    },
    /// The header claims more bytes than there are, or fewer than a header has.
    #[error("its header says {total} bytes, but {available} are there")]
    TotalSize {
        /// `totalsize`.
        total: u64,
        /// What the file has.
        available: u64,
    },
    /// A block lies where it cannot.
    #[error("its {block} block at {start:#x}..{end:#x} {problem}")]
    Block {
        /// Which block.
        block: &'static str,
        /// Its first byte.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The structure block is malformed.
    #[error("structure at {offset:#x}: {problem}")]
    Structure {
        /// Offset of the tag in the file.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// An edit named a node that is there already.
    #[error("node `{path}` exists already")]
    NodeExists {
        /// The node.
        path: String,
    },
    /// An edit named something that cannot be a name.
    #[error("`{name}` cannot be a name in a device tree")]
    BadName {
        /// The name.
        name: String,
    },
    /// A value is not what its property must hold.
    #[error("property `{name}` of `{path}` is not {expected}")]
    BadValue {
        /// The node.
        path: String,
        /// The property.
        name: String,
        /// What it must be: `a string`, `a 32-bit number`, ….
        expected: &'static str,
    },
    /// The edited tree does not fit before what follows it in the file.
    #[error("the device tree needs {needed} bytes, but only {room} are free before the data that follows it")]
    NoRoom {
        /// Bytes the tree needs.
        needed: u64,
        /// Bytes it has.
        room: u64,
    },
    /// The edited tree would exceed what the format can say.
    #[error("the device tree would grow to {needed} bytes, beyond the format's 2 GiB")]
    TooLarge {
        /// Bytes the tree needs.
        needed: u64,
    },
}

/// What is wrong at one place of the structure block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A tag that does not exist.
    #[error("unknown tag {0:#x}")]
    UnknownTag(u32),
    /// A tag that cannot stand here.
    #[error("{0} cannot stand here")]
    Misplaced(&'static str),
    /// The block ends within a tag or before its end tag.
    #[error("the block ends too early")]
    Truncated,
    /// The end tag is followed by more.
    #[error("the end tag is not the last of the block")]
    TrailingBytes,
    /// A name that is empty, too long, unterminated or holds odd characters.
    #[error("{0}")]
    Name(&'static str),
    /// A property's name offset points outside the strings block or at an unterminated string.
    #[error("name offset {0:#x} does not point at a string of the strings block")]
    NameOffset(u32),
    /// Two siblings of one name: tools would disagree which one is meant.
    #[error("a second node `{0}` beside the first")]
    DuplicateNode(String),
    /// Two properties of one name: tools would disagree which one is meant.
    #[error("a second property `{0}` beside the first")]
    DuplicateProperty(String),
    /// A property behind a subnode, which libfdt does not see.
    #[error("property `{0}` stands after a subnode")]
    PropertyAfterSubnode(String),
    /// More nesting, nodes or properties than any real tree has.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
}

impl FdtError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFdt { .. } => {
                Some("check that the file is a FIT or device tree blob (`fdtdump FILE` reads those)".into())
            }
            Self::Version { .. } => {
                Some("convert it with `dtc -I dtb -O dtb`, which writes version 17".into())
            }
            Self::TotalSize { .. } => Some("the file is truncated; make or copy it again".into()),
            Self::NoRoom { .. } => Some(
                "data with `data-position` cannot move; make the FIT with a larger `mkimage -p`, or \
                 without `-p`"
                    .into(),
            ),
            Self::Block { .. } | Self::Structure { .. } => {
                Some("the device tree is damaged or was made to mislead; make it again".into())
            }
            Self::Read(_)
            | Self::NodeExists { .. }
            | Self::BadName { .. }
            | Self::BadValue { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}
