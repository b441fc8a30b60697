//! What a file system in the data asks of the block size.

use crate::format::Source;

/// The block size of an ext2, ext3 or ext4 file system in `data`, or `None` if it holds another.
///
/// dm-verity's devices have logical blocks as large as data blocks, and ext4 refuses to mount on logical
/// blocks that are larger than its own. mke2fs makes blocks of 1024 bytes in small file systems.
///
/// Source: Linux `Documentation/filesystems/ext4/super.rst`.
#[must_use]
pub fn ext_block_size(data: &dyn Source) -> Option<u64> {
    const SUPERBLOCK_OFFSET: u64 = 1024;
    let mut superblock = [0; 64];
    data.read_at(SUPERBLOCK_OFFSET, &mut superblock).ok()?;
    let log_block_size = u32::from_le_bytes(*superblock.get(24..)?.first_chunk()?);
    let magic = superblock.get(56..58)?;
    (magic == [0x53, 0xef] && log_block_size <= 6).then(|| 1024 << log_block_size)
}
