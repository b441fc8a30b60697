//! What can keep a key from standing in a control tree.

use super::{MAX_TREE_BYTES, RsaNumbersError, appended::AppendedError};
use crate::format::{ReadError, fdt::FdtError};

/// Why a file is not a control tree, or cannot hold a key.
#[derive(Debug, thiserror::Error)]
pub enum ControlDtbError {
    /// The bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The tree is malformed.
    #[error(transparent)]
    Fdt(#[from] FdtError),
    /// No tree behind a program.
    #[error(transparent)]
    Appended(#[from] AppendedError),
    /// Numbers that U-Boot cannot use.
    #[error(transparent)]
    Numbers(#[from] RsaNumbersError),
    /// A key type that U-Boot has no name for.
    #[error("U-Boot has no name for keys of this type and size")]
    UnsupportedKey,
    /// Larger than any control tree.
    #[error("a control tree of {0} bytes; at most {MAX_TREE_BYTES} are accepted")]
    TooLarge(u64),
    /// A FIT where a control tree is wanted.
    #[error("this is a FIT image (it has `/images`), not a control device tree")]
    IsFit,
    /// A node that U-Boot may take for `/signature`.
    #[error("U-Boot may take `{0}` for `/signature`, because libfdt ignores unit addresses")]
    UnitAddress(String),
    /// A node where a key should go is something else.
    #[error("`{0}` has subnodes, so it is no key node")]
    NotAKey(String),
}

impl ControlDtbError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fdt(e) => e.hint(),
            Self::Appended(AppendedError::None | AppendedError::Malformed { .. }) => Some(
                "give the binary that ends in its control tree (U-Boot with CONFIG_OF_SEPARATE: \
                 `u-boot.bin` or `u-boot-dtb.bin`, not `u-boot-nodtb.bin`), or the tree with `--control-dtb`"
                    .into(),
            ),
            Self::Appended(AppendedError::Ambiguous { .. } | AppendedError::TooMany) => {
                Some("sign the separate tree with `--control-dtb`, then append it to the binary".into())
            }
            Self::Appended(AppendedError::Bare) => Some("give it with `--control-dtb`".into()),
            Self::IsFit => {
                Some("the control tree is the one U-Boot itself was built with (`u-boot.dtb`)".into())
            }
            Self::UnitAddress(_) => {
                Some("rename or remove that node; it belongs into no control tree".into())
            }
            Self::UnsupportedKey => {
                Some("use RSA with 2048, 3072 or 4096 bits, or ECDSA on P-256 or P-384".into())
            }
            Self::Appended(AppendedError::Read(_))
            | Self::Read(_)
            | Self::Numbers(_)
            | Self::TooLarge(_)
            | Self::NotAKey(_) => None,
        }
    }

    /// Whether the operating system could not read, rather than the tree being malformed.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Io { .. })
                | Self::Fdt(FdtError::Read(ReadError::Io { .. }))
                | Self::Appended(AppendedError::Read(ReadError::Io { .. }))
        )
    }
}
