//! Directories' entries.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h` and `fs/squashfs/dir.c`.

use super::{
    inode::Directory,
    malformed,
    metadata::{Metadata, Place},
    tables,
};
use crate::content::Obstacle;
use backhand::SuperBlock;

/// A listing is three bytes shorter than its inode says, for `.` and `..`, which have no entries.
const WITHOUT_ENTRIES_LEN_BYTES: u32 = 3;
const HEADER_LEN_BYTES: u32 = 12;
const ENTRY_LEN_BYTES: u32 = 8;
/// Entries behind one header, less one.
const MAX_COUNT: u32 = 256;
/// `SQUASHFS_NAME_LEN`.
const MAX_NAME_LEN_BYTES: usize = 256;

/// A directory's entries, one after the other.
pub(super) struct Listing {
    table: u64,
    place: Place,
    left_bytes: u32,
    /// How many entries the present header still has.
    entries: u32,
    /// The block in which their inodes are.
    block: u64,
}

impl Listing {
    pub(super) fn new(directory: &Directory, superblock: &SuperBlock) -> Self {
        let (_, table) = tables(superblock);
        let left_bytes = directory.len_bytes.saturating_sub(WITHOUT_ENTRIES_LEN_BYTES);
        Self { table, place: directory.listing, left_bytes, entries: 0, block: 0 }
    }

    /// The next entry's name and where its inode is.
    pub(super) fn next(&mut self, metadata: &mut Metadata) -> Result<Option<(String, Place)>, Obstacle> {
        if self.entries == 0 {
            if self.left_bytes == 0 {
                return Ok(None);
            }
            let header: [u8; HEADER_LEN_BYTES as usize] = self.take(metadata)?;
            let [count, block, _] = words(header);
            if count >= MAX_COUNT {
                return Err(malformed("a directory with too many entries behind one header"));
            }
            (self.entries, self.block) = (count + 1, u64::from(block));
        }
        let entry: [u8; ENTRY_LEN_BYTES as usize] = self.take(metadata)?;
        let [offset, _, _, name_len] = halves(entry);
        let name_len_bytes = usize::from(name_len) + 1;
        if name_len_bytes > MAX_NAME_LEN_BYTES {
            return Err(malformed("a directory with a name that is too long"));
        }
        let mut name = vec![0; name_len_bytes];
        self.fill(metadata, &mut name)?;
        self.entries -= 1;
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok(Some((name, Place { block: self.block, offset: usize::from(offset) })))
    }

    fn take<const N: usize>(&mut self, metadata: &mut Metadata) -> Result<[u8; N], Obstacle> {
        let mut bytes = [0; N];
        self.fill(metadata, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, metadata: &mut Metadata, bytes: &mut [u8]) -> Result<(), Obstacle> {
        let left = u32::try_from(bytes.len()).ok().and_then(|len| self.left_bytes.checked_sub(len));
        self.left_bytes = left.ok_or_else(|| malformed("a directory that ends amid an entry"))?;
        metadata.read(self.table, &mut self.place, bytes)
    }
}

fn words(bytes: [u8; 12]) -> [u32; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
    words
}

fn halves(bytes: [u8; 8]) -> [u16; 4] {
    let mut halves = [0; 4];
    for (half, bytes) in halves.iter_mut().zip(bytes.chunks(2)) {
        *half = bytes.try_into().map_or(0, u16::from_le_bytes);
    }
    halves
}
