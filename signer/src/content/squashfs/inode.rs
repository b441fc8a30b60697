//! Inodes, as far as they lead to files' data.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h` and `fs/squashfs/inode.c`.

use super::{
    malformed,
    metadata::{Metadata, Place},
};
use crate::content::{Kind, Obstacle, limits::Budget, obstacle::Limit};
use backhand::DataSize;

/// `SQUASHFS_INVALID_FRAG`: none.
const NO_FRAGMENT: u32 = u32::MAX;
/// `SQUASHFS_COMPRESSED_BIT_BLOCK`: the block is stored as it is.
const STORED: u32 = 1 << 24;

/// What an entry of a directory leads to.
pub(super) enum Inode {
    Directory(Directory),
    File(File),
    /// A link, a device, a pipe or a socket: it has no data of its own.
    Other,
}

pub(super) struct Directory {
    /// Where its entries are, in the table of directories.
    pub(super) listing: Place,
    /// What the inode says; 3 more than its entries take.
    pub(super) len_bytes: u32,
}

pub(super) struct File {
    pub(super) len_bytes: u64,
    /// Where its first block is in the image.
    pub(super) start: u64,
    /// Number of the fragment that holds its end, and where in that.
    pub(super) fragment: Option<(u32, u32)>,
    /// Sizes of its blocks, once they were read; a size of 0 is a hole.
    pub(super) blocks: Vec<DataSize>,
    /// Where these sizes are.
    sizes: Place,
}

impl Inode {
    /// The inode at `place`.
    pub(super) fn read(metadata: &mut Metadata, place: Place) -> Result<Self, Obstacle> {
        let mut at = place;
        let header: [u8; 16] = metadata.inode(&mut at)?;
        Ok(match le16(&header, 0) {
            1 => {
                let inode: [u8; 16] = metadata.inode(&mut at)?;
                let listing = Place { block: le32(&inode, 0).into(), offset: le16(&inode, 10).into() };
                Self::Directory(Directory { listing, len_bytes: le16(&inode, 8).into() })
            }
            8 => {
                let inode: [u8; 24] = metadata.inode(&mut at)?;
                let listing = Place { block: le32(&inode, 8).into(), offset: le16(&inode, 18).into() };
                Self::Directory(Directory { listing, len_bytes: le32(&inode, 4) })
            }
            2 => {
                let inode: [u8; 16] = metadata.inode(&mut at)?;
                Self::File(File {
                    len_bytes: le32(&inode, 12).into(),
                    start: le32(&inode, 0).into(),
                    fragment: fragment(le32(&inode, 4), le32(&inode, 8)),
                    blocks: Vec::new(),
                    sizes: at,
                })
            }
            9 => {
                let inode: [u8; 40] = metadata.inode(&mut at)?;
                Self::File(File {
                    len_bytes: le64(&inode, 8),
                    start: le64(&inode, 0),
                    fragment: fragment(le32(&inode, 28), le32(&inode, 32)),
                    blocks: Vec::new(),
                    sizes: at,
                })
            }
            3..=7 | 10..=14 => Self::Other,
            kind => return Err(malformed(format!("an inode of type {kind}"))),
        })
    }
}

impl File {
    /// Reads the sizes of its blocks. What it says of its length is not trusted: sizes count as bytes that came out.
    pub(super) fn blocks(mut self, metadata: &mut Metadata, budget: &Budget) -> Result<Self, Obstacle> {
        let block_size = metadata.superblock().block_size;
        if self.len_bytes > budget.limits.expanded_bytes {
            return Err(Obstacle::Limit(Limit::Bytes(budget.limits.expanded_bytes)));
        }
        let count = match self.fragment {
            Some(_) => self.len_bytes / u64::from(block_size),
            None => self.len_bytes.div_ceil(u64::from(block_size)),
        };
        let mut at = self.sizes;
        for _ in 0..count {
            let size = u32::from_le_bytes(metadata.inode(&mut at)?);
            budget.spend(size_of::<DataSize>()).map_err(|e| Obstacle::from_io(&e, Kind::Squashfs))?;
            self.blocks.push(data_size(size, block_size)?);
        }
        Ok(self)
    }
}

/// The size of a block as it is stored, which is no more than that of one.
pub(super) fn data_size(size: u32, block_size: u32) -> Result<DataSize, Obstacle> {
    let len_bytes = size & !STORED;
    if len_bytes > block_size {
        return Err(malformed(format!("a block of {len_bytes} bytes, where {block_size} are the most")));
    }
    Ok(DataSize::new(len_bytes, size & STORED != 0))
}

fn fragment(number: u32, offset: u32) -> Option<(u32, u32)> {
    (number != NO_FRAGMENT).then_some((number, offset))
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
