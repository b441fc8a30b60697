//! Where the levels of a hash tree lie.

use super::{Parameters, SUPERBLOCK_LEN_BYTES, VerityError};

/// One level of the tree: consecutive hash blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Its first block, in hash blocks from the beginning of the hash device.
    pub first_block: u64,
    /// How many blocks it has.
    pub blocks: u64,
}

/// A hash tree's parameters and extent, all of which follow from an image's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// What it is made with.
    pub parameters: Parameters,
    /// How many data blocks it protects; at least one.
    pub data_blocks: u64,
    /// Where the hash area begins on the hash device: at the superblock, or without one at the tree.
    pub hash_offset_bytes: u64,
    /// The first block of the tree, in hash blocks from the beginning of the hash device.
    pub hash_start_block: u64,
    /// The levels, the one over the data first. Empty if one data block is all there is: its digest is the
    /// root hash. On the device the topmost level comes first.
    levels: Vec<Level>,
    /// One past the last byte of the hash area.
    end_bytes: u64,
}

impl Tree {
    /// Lays out the tree for `data_blocks` with the hash area at `hash_offset_bytes` of the hash device.
    ///
    /// # Errors
    ///
    /// [`VerityError::Empty`] without data, [`VerityError::TooLarge`] if offsets exceed 63 bits (so that
    /// they fit a file), [`VerityError::Misaligned`] as for [`VerityError`].
    pub fn new(
        parameters: Parameters,
        data_blocks: u64,
        hash_offset_bytes: u64,
    ) -> Result<Self, VerityError> {
        if data_blocks == 0 {
            return Err(VerityError::Empty);
        }
        let too_large = || VerityError::TooLarge(data_blocks);
        let block_bytes = parameters.hash_block_size.bytes_u64();
        let hash_start_block = if parameters.uuid.is_some() {
            let end = hash_offset_bytes.checked_add(SUPERBLOCK_LEN_BYTES).ok_or_else(too_large)?;
            end.div_ceil(block_bytes)
        } else if hash_offset_bytes.is_multiple_of(block_bytes) {
            hash_offset_bytes / block_bytes
        } else {
            return Err(VerityError::Misaligned {
                offset_bytes: hash_offset_bytes,
                hash_block_size: parameters.hash_block_size.bytes(),
            });
        };

        let per_block = u64::try_from(parameters.digests_per_block()).map_err(|_| too_large())?;
        let mut sizes = Vec::new();
        let mut below = data_blocks;
        while below > 1 {
            below = below.div_ceil(per_block);
            sizes.push(below);
        }
        let mut position = hash_start_block;
        let mut levels = Vec::with_capacity(sizes.len());
        for blocks in sizes.into_iter().rev() {
            levels.push(Level { first_block: position, blocks });
            position = position.checked_add(blocks).ok_or_else(too_large)?;
        }
        levels.reverse();

        let fits = |blocks: u64, size: u64| {
            blocks.checked_mul(size).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(too_large)
        };
        fits(data_blocks, parameters.data_block_size.bytes_u64())?;
        let end_bytes = fits(position, block_bytes)?;
        Ok(Self { parameters, data_blocks, hash_offset_bytes, hash_start_block, levels, end_bytes })
    }

    /// The tree for an image of `image_len_bytes`, which is padded to whole data blocks, with the hash area
    /// in a file of its own.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn separate(parameters: Parameters, image_len_bytes: u64) -> Result<Self, VerityError> {
        let data_blocks = image_len_bytes.div_ceil(parameters.data_block_size.bytes_u64());
        Self::new(parameters, data_blocks, 0)
    }

    /// The same with the hash area behind the image, on the next whole hash block.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn appended(parameters: Parameters, image_len_bytes: u64) -> Result<Self, VerityError> {
        let data_blocks = image_len_bytes.div_ceil(parameters.data_block_size.bytes_u64());
        let hash_block_bytes = parameters.hash_block_size.bytes_u64();
        let offset = data_blocks
            .checked_mul(parameters.data_block_size.bytes_u64())
            .and_then(|bytes| bytes.checked_next_multiple_of(hash_block_bytes))
            .ok_or(VerityError::TooLarge(data_blocks))?;
        Self::new(parameters, data_blocks, offset)
    }

    /// The levels, the one over the data first.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// One past the last byte of the hash area.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// Bytes of data it protects.
    #[must_use]
    pub fn data_len_bytes(&self) -> u64 {
        self.data_blocks.saturating_mul(self.parameters.data_block_size.bytes_u64())
    }

    /// Offset of a hash block on the hash device.
    #[must_use]
    pub(super) fn block_offset_bytes(&self, block: u64) -> u64 {
        block.saturating_mul(self.parameters.hash_block_size.bytes_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::HashAlgorithm,
        format::verity::{BlockSize, Uuid},
    };

    fn parameters(uuid: Option<Uuid>) -> Parameters {
        Parameters {
            hash: HashAlgorithm::Sha256,
            data_block_size: BlockSize::DEFAULT,
            hash_block_size: BlockSize::DEFAULT,
            salt: Vec::new(),
            uuid,
        }
    }

    #[test]
    fn the_topmost_level_comes_first() {
        let tree = Tree::separate(parameters(Some(Uuid([0; 16]))), 129 * 4096).unwrap();
        let expected = [Level { first_block: 2, blocks: 2 }, Level { first_block: 1, blocks: 1 }];
        assert_eq!(tree.levels(), expected);
        assert_eq!(tree.end_bytes(), 4 * 4096);
    }

    #[test]
    fn one_block_has_no_levels() {
        let tree = Tree::separate(parameters(None), 1).unwrap();
        assert_eq!((tree.data_blocks, tree.levels().len(), tree.end_bytes()), (1, 0, 0));
    }

    #[test]
    fn huge_sizes_are_refused_not_wrapped() {
        for data_blocks in [u64::MAX, u64::MAX / 4096, 1 << 51] {
            let tree = Tree::new(parameters(None), data_blocks, 0);
            assert!(matches!(tree, Err(VerityError::TooLarge(_))), "{data_blocks}");
        }
        assert!(matches!(Tree::separate(parameters(None), 0), Err(VerityError::Empty)));
        assert!(Tree::new(parameters(Some(Uuid([0; 16]))), 1, u64::MAX - 3).is_err());
    }
}
