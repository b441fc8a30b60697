//! Blocks of metadata: inodes, directories, tables.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h` and `fs/squashfs/cache.c`, `squashfs_read_metadata`.

use super::{
    decompressor::{Decompressor, MAX_METADATA_LEN_BYTES},
    malformed, obstacle, tables,
};
use crate::content::{Obstacle, Window};
use backhand::{BufReadSeek, Squashfs, SuperBlock, kind::Kind as Flavour, v4::metadata::read_block};
use std::{
    collections::HashMap,
    io::{BufReader, Seek as _, SeekFrom},
};

/// How many unpacked blocks are held, 8 KiB each.
const MAX_BLOCKS: usize = 4096;

/// A byte in the metadata: where its block begins, from the table's beginning, and where it is in what that unpacks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: usize,
}

impl Place {
    /// Where an inode reference leads.
    pub(super) fn of_inode(reference: u64) -> Self {
        Self { block: reference >> 16, offset: usize::try_from(reference & 0xffff).unwrap_or(0) }
    }
}

/// Reads metadata at any place.
pub(super) struct Metadata {
    reader: Box<dyn BufReadSeek>,
    superblock: SuperBlock,
    flavour: Flavour,
    /// By where they begin: what they unpack to, and where the next begins.
    blocks: HashMap<u64, (Vec<u8>, u64)>,
}

impl Metadata {
    pub(super) fn open(window: &Window) -> Result<(Self, SuperBlock), Obstacle> {
        let flavour = Flavour::new_v4(&Decompressor);
        let mut reader: Box<dyn BufReadSeek> = Box::new(BufReader::new(window.reader()));
        let (superblock, _) =
            Squashfs::superblock_and_compression_options(&mut reader, &flavour).map_err(obstacle)?;
        Ok((Self { reader, superblock, flavour, blocks: HashMap::new() }, superblock))
    }

    pub(super) fn superblock(&self) -> &SuperBlock {
        &self.superblock
    }

    /// Fills `buffer` from `place`, which is counted from `table` on, and goes behind what was read.
    pub(super) fn read(&mut self, table: u64, place: &mut Place, buffer: &mut [u8]) -> Result<(), Obstacle> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let start = table.checked_add(place.block).ok_or_else(outside)?;
            let (bytes, next) = self.block(start)?;
            let Some(found) = bytes.get(place.offset..).filter(|found| !found.is_empty()) else {
                return Err(outside());
            };
            let count = found.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(found.get(..count).unwrap_or_default());
            rest = later;
            place.offset += count;
            if place.offset == bytes.len() {
                *place = Place { block: next.saturating_sub(table), offset: 0 };
            }
        }
        Ok(())
    }

    /// The same, of a known number of bytes in the inode table.
    pub(super) fn inode<const N: usize>(&mut self, place: &mut Place) -> Result<[u8; N], Obstacle> {
        let mut bytes = [0; N];
        let (inodes, _) = tables(&self.superblock);
        self.read(inodes, place, &mut bytes)?;
        Ok(bytes)
    }

    fn block(&mut self, start: u64) -> Result<(&[u8], u64), Obstacle> {
        if !self.blocks.contains_key(&start) {
            if self.blocks.len() >= MAX_BLOCKS {
                self.blocks.clear();
            }
            let seek = |e| obstacle(backhand::BackhandError::StdIo(e));
            self.reader.seek(SeekFrom::Start(start)).map_err(seek)?;
            let bytes = read_block(&mut self.reader, &self.superblock, &self.flavour).map_err(obstacle)?;
            if bytes.len() > MAX_METADATA_LEN_BYTES {
                return Err(malformed("a block of metadata that is longer than one may be"));
            }
            let next = self.reader.stream_position().map_err(seek)?;
            self.blocks.insert(start, (bytes, next));
        }
        self.blocks.get(&start).map(|(bytes, next)| (bytes.as_slice(), *next)).ok_or_else(outside)
    }
}

fn outside() -> Obstacle {
    malformed("a place that is outside of its metadata")
}
