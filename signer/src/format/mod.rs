//! Artifact formats: bytes in, edits out.
//!
//! A format plans signing requests over a [`Source`], and attaches the answers as [`Edit`]s. It knows
//! nothing of keys, files or modes, so the same code signs, verifies and is fuzzed without a token.

pub mod bootloader;
pub mod cms;
pub mod control_dtb;
pub mod cpio;
pub mod disk;
pub mod fdt;
pub mod fit;
pub mod sw_description;
pub mod swu;

mod edit;
mod source;
pub mod verity;

pub use edit::{Edit, Edits, Piece};
pub use source::{ReadError, Section, Source};

/// Whatever is wrong with an artifact.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The bytes could not be read; the artifact may be sound.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A CMS message, or the certificate it is made for.
    #[error(transparent)]
    Cms(#[from] cms::CmsError),
    /// A control device tree.
    #[error(transparent)]
    ControlDtb(#[from] control_dtb::ControlDtbError),
    /// A cpio archive.
    #[error(transparent)]
    Cpio(#[from] cpio::CpioError),
    /// A flattened device tree.
    #[error(transparent)]
    Fdt(#[from] fdt::FdtError),
    /// A swupdate bundle.
    #[error(transparent)]
    Swu(#[from] swu::SwuError),
    /// A `sw-description`.
    #[error(transparent)]
    SwDescription(#[from] sw_description::DescriptionError),
    /// A dm-verity image.
    #[error(transparent)]
    Verity(#[from] verity::VerityError),
    /// A FIT image.
    #[error(transparent)]
    Fit(#[from] fit::FitError),
}

impl FormatError {
    /// Whether reading failed, rather than the artifact being malformed.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Read(e) => e.is_io(),
            Self::ControlDtb(e) => e.is_read(),
            Self::Cpio(e) => e.is_read(),
            Self::Swu(e) => e.is_read(),
            Self::Fdt(fdt::FdtError::Read(e)) => e.is_io(),
            Self::Verity(verity::VerityError::Read(e)) => e.is_io(),
            Self::Fit(e) => e.is_read(),
            _ => false,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::Cms(e) => e.hint(),
            Self::ControlDtb(e) => e.hint(),
            Self::Cpio(e) => e.hint(),
            Self::Fdt(e) => e.hint(),
            Self::SwDescription(e) => e.hint(),
            Self::Swu(e) => e.hint(),
            Self::Verity(e) => e.hint(),
            Self::Fit(e) => e.hint(),
        }
    }
}
