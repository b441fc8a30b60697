//! ext2, ext3 and ext4 file systems.

use super::{
    Kind, Obstacle, Window,
    body::Body,
    guard::guarded,
    obstacle::one_line,
    walk::{Opened, Walk, member},
};
use crate::format::Source as _;
use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, PathBuf};
use std::{
    io::{self, Read},
    rc::Rc,
};

/// Deepest directory. A damaged file system may have a directory in itself.
const MAX_DEPTH: usize = 128;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let superblock = Superblock::read(window).ok_or_else(|| malformed("it ends amid its superblock"))?;
    superblock.check(window)?;
    let most = superblock.most_directories(window);
    guarded(|| file_system(walk, location, depth, window, most)).map_err(malformed)??;
    if let Some(end) = superblock.len_bytes() {
        walk.behind(location, depth, window, end);
    }
    Ok(())
}

fn malformed(detail: impl Into<String>) -> Obstacle {
    Obstacle::Malformed { kind: Kind::Ext4, detail: detail.into() }
}

/// What the superblock says of sizes. The library makes room for what it says, and follows directories by path, so that
/// one in itself has no end.
///
/// Source: Linux `Documentation/filesystems/ext4/super.rst`.
struct Superblock {
    inodes: u64,
    blocks: u64,
    block_len_bytes: u64,
    blocks_per_group: u64,
    descriptor_len_bytes: u64,
}

impl Superblock {
    fn read(window: &Window) -> Option<Self> {
        let superblock = window.read_range(1024..2048, 1024).ok()?;
        let field = |offset: usize| superblock.get(offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        const INCOMPAT_64BIT: u32 = 0x80;
        let wide = field(96)? & INCOMPAT_64BIT != 0;
        let high = if wide { u64::from(field(336)?) } else { 0 };
        Some(Self {
            inodes: field(0)?.into(),
            blocks: high << 32 | u64::from(field(4)?),
            block_len_bytes: 1024_u64.checked_shl(field(24)?)?,
            blocks_per_group: field(32)?.into(),
            descriptor_len_bytes: if wide { u64::from(field(252)? >> 16).max(32) } else { 32 },
        })
    }

    fn len_bytes(&self) -> Option<u64> {
        self.blocks.checked_mul(self.block_len_bytes)
    }

    /// Whether there is room for the descriptors of all its groups.
    fn check(&self, window: &Window) -> Opened {
        let groups = self.blocks.div_ceil(self.blocks_per_group.max(1));
        if groups.saturating_mul(self.descriptor_len_bytes) > window.len_bytes() {
            return Err(malformed(format!("{groups} groups of blocks, which it has no room for")));
        }
        Ok(())
    }

    /// A directory is an inode, and has a block.
    fn most_directories(&self, window: &Window) -> u64 {
        self.inodes.min(window.len_bytes() / self.block_len_bytes)
    }
}

fn file_system(
    walk: &mut Walk<'_>,
    location: &str,
    depth: usize,
    window: &Window,
    most_directories: u64,
) -> Opened {
    let mut opened = 0;
    let system = Ext4::load(Box::new(At(window.clone()))).map_err(obstacle)?;
    let mut directories = vec![(PathBuf::new("/"), 0)];
    while let Some((directory, level)) = directories.pop() {
        opened += 1;
        if opened > most_directories {
            return Err(malformed("more directories than it has room for: one lies in itself"));
        }
        let place = |path: &PathBuf| member(location, &path.display().to_string());
        let entries = match system.read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) => {
                walk.report(&place(&directory), obstacle(e));
                continue;
            }
        };
        for entry in entries {
            if !walk.count() {
                return Ok(());
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    // What follows in this directory cannot be found any more.
                    walk.report(&place(&directory), obstacle(e));
                    break;
                }
            };
            if [b".".as_slice(), b".."].contains(&entry.file_name().as_ref()) {
                continue;
            }
            let path = entry.path();
            let file = match entry.file_type() {
                Ok(FileType::Directory) if level < MAX_DEPTH => {
                    directories.push((path, level + 1));
                    continue;
                }
                Ok(FileType::Directory) => {
                    walk.report(&place(&path), malformed(format!("directories more than {MAX_DEPTH} deep")));
                    continue;
                }
                Ok(FileType::Regular) => system.open(&path),
                Ok(_) => continue,
                Err(e) => Err(e),
            };
            match file {
                Ok(file) => {
                    let budget = Rc::clone(&walk.budget);
                    let mut bytes = budget.metered(Bytes(file));
                    walk.body(&place(&path), depth, Body::Stream(&mut bytes));
                }
                Err(e) => walk.report(&place(&path), obstacle(e)),
            }
        }
    }
    Ok(())
}

fn obstacle(error: Ext4Error) -> Obstacle {
    let kind = Kind::Ext4;
    match error {
        Ext4Error::Encrypted => Obstacle::Encrypted { kind },
        Ext4Error::Incompatible(_) => Obstacle::Unsupported { kind, detail: one_line(&error.to_string()) },
        Ext4Error::Io(e) => match e.downcast::<io::Error>() {
            Ok(e) => Obstacle::from_io(&e, kind),
            Err(e) => malformed(one_line(&e.to_string())),
        },
        e => malformed(one_line(&e.to_string())),
    }
}

struct At(Window);

impl Ext4Read for At {
    fn read(
        &mut self,
        start_byte: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read_at(start_byte, buffer)?)
    }
}

/// The library yields at most one block at a time.
struct Bytes(File);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_bytes(rest).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}
