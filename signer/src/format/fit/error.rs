//! What keeps a FIT from being signed or verified.

use crate::format::{ReadError, fdt::FdtError};

/// Why a FIT cannot be signed or verified.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The bytes could not be read, or the file ends too early.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is no device tree, or one that readers could take differently.
    #[error(transparent)]
    Fdt(#[from] FdtError),
    /// A node is not what a FIT needs.
    #[error("`{path}` {problem}")]
    Node {
        /// The node.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Signatures and requests differ in number or length.
    #[error("signature {index} is {found} bytes long instead of {expected}")]
    SignatureLength {
        /// Which one.
        index: usize,
        /// Bytes planned for.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
}

/// What is wrong with one node of a FIT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A node every FIT has.
    #[error("is missing")]
    Missing,
    /// U-Boot refuses unit addresses in FITs: libfdt would take `x@1` for `x`.
    #[error("has an `@` in its name")]
    UnitAddress,
    /// Too deep or too long for U-Boot's buffers.
    #[error("lies deeper, or has a longer path, than U-Boot can walk")]
    TooDeep,
    /// Not a list of strings.
    #[error("has a property `{0}` that is no list of strings")]
    NotStrings(String),
    /// A configuration names an image that is not there.
    #[error("names an image `{image}` in `{property}` that is not there")]
    DanglingReference {
        /// The property.
        property: String,
        /// The image's name.
        image: String,
    },
    /// A configuration without any image.
    #[error("names no image")]
    NoImage,
    /// More than U-Boot handles, or than any honest FIT has.
    #[error("has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
    /// Neither `data`, `data-offset` nor `data-position`.
    #[error("has no data")]
    NoData,
    /// More than one of them, and tools differ in which they take.
    #[error("has both `{0}` and `{1}`")]
    TwoPlaces(&'static str, &'static str),
    /// External data whose numbers are missing or beyond what U-Boot can hold.
    #[error("has a `{0}` that is missing, malformed or 2 GiB and more")]
    BadNumber(&'static str),
    /// External data outside the file.
    #[error("has data at {start:#x}..{end:#x}, outside the file's {len_bytes:#x} bytes")]
    DataOutside {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the file.
        len_bytes: u64,
    },
    /// External data within the tree.
    #[error("has external data at {start:#x}, within the tree of {total:#x} bytes")]
    DataInTree {
        /// First byte.
        start: u64,
        /// Size of the tree.
        total: u64,
    },
    /// A `hash` node without algorithm.
    #[error("has no `algo`")]
    NoAlgorithm,
    /// A hash that nobody here can compute.
    #[error("has an unknown hash algorithm `{0}`")]
    UnknownHash(String),
    /// The data changed after it was hashed.
    #[error("does not match the image's data")]
    HashMismatch,
    /// Trust anchors were to be written into something else.
    #[error("holds no plain device tree: {0}")]
    NotDeviceTree(String),
    /// Trust anchors were to be written, but nowhere.
    #[error("names no device tree image that could hold the trust anchors")]
    NoDeviceTree,
    /// External data of two images overlaps, but is not the same.
    #[error("has external data that overlaps another image's in part")]
    Overlap,
    /// Several images have the same external data, and one of them was to change.
    #[error("shares external data with another image, so it cannot change alone")]
    SharedData,
    /// External data at a fixed position that would have to grow over what follows.
    #[error("has no room to grow: its data lies at a fixed position, with other data behind it")]
    NoRoom,
}

impl Problem {
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing => "a FIT has `/images` and `/configurations`; check that this is one",
            Self::UnitAddress => "rename it in the .its with `-` in place of `@`",
            Self::TooDeep | Self::TooMany { .. } => "make fewer or shorter nodes, or split the FIT",
            Self::NotStrings(_) | Self::DanglingReference { .. } | Self::NoImage => {
                "mend the configuration in the .its and make the FIT again"
            }
            Self::NoData
            | Self::TwoPlaces(..)
            | Self::BadNumber(_)
            | Self::DataOutside { .. }
            | Self::DataInTree { .. } => "the file is truncated or damaged; make or copy it again",
            Self::NoAlgorithm | Self::UnknownHash(_) => "use `algo = \"sha256\"` in the .its",
            Self::HashMismatch => "the data changed after the FIT was made; make the FIT again",
            Self::NotDeviceTree(_) => {
                "use an uncompressed device tree (`compression = \"none\"`) in the .its"
            }
            Self::NoDeviceTree => {
                "trust anchors are written into images named by `fdt`; add one to a configuration"
            }
            Self::SharedData | Self::Overlap => "give each image its own data",
            Self::NoRoom => "make the FIT without `mkimage -p`, or with embedded data",
        })
    }
}

impl FitError {
    /// For a node that is not what a FIT needs.
    pub(super) fn node(path: impl Into<String>, problem: Problem) -> Self {
        Self::Node { path: path.into(), problem }
    }

    /// Whether reading failed, rather than the FIT being wrong.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read(ReadError::Io { .. }) | Self::Fdt(FdtError::Read(ReadError::Io { .. })))
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fdt(e) => e.hint(),
            Self::Node { problem, .. } => problem.hint().map(str::to_owned),
            Self::Read(_) | Self::SignatureLength { .. } => None,
        }
    }
}
