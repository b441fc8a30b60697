//! What can be wrong with a dm-verity image, its parameters or its root hash's signature.

use crate::format::{ReadError, cms::CmsError};

/// Why a hash area cannot be made, read or accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// Data or hash area cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The hash area cannot be written, such as on a full disk.
    #[error("cannot write the hash area: {0}")]
    Write(std::io::Error),
    /// A block size veritysetup does not take.
    #[error("block size {0} is not a power of two from 512 to 524288")]
    BlockSize(u64),
    /// A salt that is too long for the superblock.
    #[error("a salt of {0} bytes exceeds 256 bytes")]
    SaltTooLong(usize),
    /// A salt that is not hexadecimal.
    #[error("salt `{0}` is neither hexadecimal nor `-`")]
    SaltNotHex(String),
    /// Not a UUID.
    #[error("`{0}` is not a UUID")]
    Uuid(String),
    /// There is nothing to protect.
    #[error("the image is empty")]
    Empty,
    /// The image or its claimed size exceeds what offsets can express.
    #[error("an image of {0} blocks is too large")]
    TooLarge(u64),
    /// A hash area without superblock that does not begin on a hash block.
    #[error("hash area at {offset_bytes} does not begin on a hash block of {hash_block_size} bytes")]
    Misaligned {
        /// Where it should begin.
        offset_bytes: u64,
        /// The block size.
        hash_block_size: u32,
    },
    /// No superblock where one must be.
    #[error("no dm-verity superblock at {0:#x}")]
    NoSuperblock(u64),
    /// No hash area was found behind the data.
    #[error("no dm-verity hash area at its end")]
    NoHashArea,
    /// A superblock with a field this program, or the kernel, does not take.
    #[error("superblock: {field} {value} is not supported")]
    Superblock {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// Data area and superblock contradict each other.
    #[error("the superblock is for {claimed_bytes} bytes of data, but there are {found_bytes}")]
    DataSize {
        /// By the superblock.
        claimed_bytes: u64,
        /// In the file.
        found_bytes: u64,
    },
    /// The hash area ends before the tree does.
    #[error("the hash tree needs {needed_bytes} bytes, but the file has {found_bytes}")]
    Truncated {
        /// By the parameters.
        needed_bytes: u64,
        /// In the file.
        found_bytes: u64,
    },
    /// Not a root hash for these parameters.
    #[error("`{0}` is not a root hash: lower-case hexadecimal of the digest and nothing else is expected")]
    RootHash(String),
    /// An algorithm the kernel's PKCS#7 does not know.
    #[error("the kernel's PKCS#7 parser knows no RSASSA-PSS, so root hashes cannot be signed with it")]
    Pss,
    /// The signature cannot be made or is not acceptable.
    #[error(transparent)]
    Signature(#[from] CmsError),
    /// A signature whose form the kernel refuses.
    #[error("the kernel refuses a root hash signature {0}")]
    KernelForm(&'static str),
    /// A description (`.verity.json`) that cannot be used.
    #[error("description: {0}")]
    Description(String),
}

impl VerityError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pss => Some("write `padding: pkcs1-v1.5` for role `rootfs`, or use ECDSA".into()),
            Self::NoHashArea => Some(
                "it is unsigned, cut short, or has its tree elsewhere: name that with `--hash-file`; a tree \
                 without superblock needs its `.verity.json` beside it"
                    .into(),
            ),
            Self::SaltNotHex(_) => Some("`--salt -` means no salt".into()),
            Self::Signature(e) => e.hint(),
            _ => None,
        }
    }
}
