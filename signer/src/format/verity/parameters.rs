//! What a hash tree is made with.

use super::{Uuid, VerityError};
use crate::crypto::HashAlgorithm;

/// Longest salt the superblock holds.
pub const MAX_SALT_LEN_BYTES: usize = 256;

/// A block size in bytes: a power of two from 512 to 524288, as veritysetup takes.
///
/// Kernels activate a data block size only up to their page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockSize(u32);

impl BlockSize {
    /// veritysetup's default.
    pub const DEFAULT: Self = Self(4096);

    /// Every block size, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (9..=19).map(|bits| Self(1 << bits))
    }

    /// Checks `bytes`.
    ///
    /// # Errors
    ///
    /// [`VerityError::BlockSize`] if it is none of [`all`](Self::all).
    pub fn new(bytes: u64) -> Result<Self, VerityError> {
        Self::all().find(|b| u64::from(b.0) == bytes).ok_or(VerityError::BlockSize(bytes))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// In bytes, for offsets.
    #[must_use]
    pub fn bytes_u64(self) -> u64 {
        u64::from(self.0)
    }

    /// In bytes, for buffers.
    #[must_use]
    pub fn bytes_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Display for BlockSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Parameters of a hash tree of format 1 (the salt precedes each block).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The hash function.
    pub hash: HashAlgorithm,
    /// Size of the blocks that are protected.
    pub data_block_size: BlockSize,
    /// Size of the blocks that the tree consists of.
    pub hash_block_size: BlockSize,
    /// Hashed before each block; empty for none, at most [`MAX_SALT_LEN_BYTES`].
    pub salt: Vec<u8>,
    /// The superblock's UUID; `None` for a hash area without superblock.
    pub uuid: Option<Uuid>,
}

impl Parameters {
    /// Bytes that each digest takes in a hash block: its length rounded up to a power of two.
    #[must_use]
    pub fn digest_slot_bytes(&self) -> usize {
        self.hash.digest_len_bytes().next_power_of_two()
    }

    /// Digests in a hash block.
    #[must_use]
    pub fn digests_per_block(&self) -> usize {
        self.hash_block_size.bytes_usize() / self.digest_slot_bytes()
    }
}

/// Reads veritysetup's form of a salt: hexadecimal, or `-` for none.
///
/// # Errors
///
/// [`VerityError::SaltNotHex`] or [`VerityError::SaltTooLong`].
pub fn parse_salt(text: &str) -> Result<Vec<u8>, VerityError> {
    let salt = match text {
        "-" => Vec::new(),
        "" => return Err(VerityError::SaltNotHex(String::new())),
        _ => hex::decode(text).map_err(|_| VerityError::SaltNotHex(text.to_owned()))?,
    };
    if salt.len() > MAX_SALT_LEN_BYTES { Err(VerityError::SaltTooLong(salt.len())) } else { Ok(salt) }
}
