//! What can be wrong with a bundle, or keep one from being made.

use super::{DESCRIPTION_NAME, Form, SIGNATURE_NAME};
use crate::{
    crypto::SignatureAlgorithm,
    format::{ReadError, cms::CmsError, cpio::CpioError, sw_description::DescriptionError},
};

/// Why a bundle cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SwuError {
    /// The bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The archive.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// The description.
    #[error("{DESCRIPTION_NAME}, {0}")]
    Description(#[from] DescriptionError),
    /// The CMS message that is its signature.
    #[error("{SIGNATURE_NAME}: {0}")]
    Cms(#[from] CmsError),
    /// A signature that is not in the form its algorithm demands.
    #[error(transparent)]
    Signature(#[from] crate::crypto::SignatureError),
    /// Not in swupdate's order.
    #[error("`{wanted}` must be member {place}, found {}", .found.as_ref().map_or("nothing".into(), |f| format!("`{f}`")))]
    Order {
        /// What should be there.
        wanted: &'static str,
        /// Which member, from 1.
        place: usize,
        /// What is there.
        found: Option<String>,
    },
    /// A file that the description does not name.
    #[error("`{0}` is not named in {DESCRIPTION_NAME}, so nothing would sign it")]
    Unreferenced(String),
    /// Two files of one name.
    #[error("two files are named `{0}`; a bundle can hold one of them")]
    Twice(String),
    /// A payload that differs from its checksum.
    #[error("`{name}` is damaged: its checksum is {written:#010x}, but its bytes sum up to {actual:#010x}")]
    Damaged {
        /// The member.
        name: String,
        /// What the archive says.
        written: u32,
        /// What its bytes sum up to.
        actual: u32,
    },
    /// An algorithm that swupdate does not take in this form.
    #[error("swupdate takes no {algorithm} signature in the form `{form}`")]
    Algorithm {
        /// The form.
        form: Form,
        /// The role's algorithm.
        algorithm: SignatureAlgorithm,
    },
    /// A certificate is needed.
    #[error("a CMS signature needs the key's certificate")]
    NoCertificate,
}

impl SwuError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(_) | Self::Signature(_) => None,
            Self::Cpio(e) => e.hint(),
            Self::Description(e) => e.hint(),
            Self::Cms(e) => e.hint(),
            Self::Order { .. } => Some(format!(
                "swupdate takes `{DESCRIPTION_NAME}`, `{SIGNATURE_NAME}`, then the files; make the bundle anew \
                 with `sign swu --description`"
            )),
            Self::Unreferenced(name) => Some(format!(
                "name `{name}` in {DESCRIPTION_NAME} (`filename = \"{name}\";`), or leave it out"
            )),
            Self::Twice(_) => Some("rename one of them, here and in sw-description".into()),
            Self::Damaged { .. } => Some("fetch or build the bundle anew".into()),
            Self::Algorithm { form: Form::Cms, .. } => None,
            Self::Algorithm { form: Form::Rsa, .. } => Some(
                "`format: rsa` is RSA PKCS#1 v1.5 with SHA-256; for anything else write `format: cms`".into(),
            ),
            Self::Algorithm { form: Form::RsaPss, .. } => Some(
                "`format: rsa-pss` is RSA-PSS with SHA-256; for anything else write `format: cms`".into(),
            ),
            Self::NoCertificate => {
                Some("give `certificate:` under the release key, or write `format: rsa` or `rsa-pss`".into())
            }
        }
    }

    /// Whether the operating system could not read, rather than the bundle being malformed.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Read(e) => e.is_io(),
            Self::Cpio(e) => e.is_read(),
            _ => false,
        }
    }
}
