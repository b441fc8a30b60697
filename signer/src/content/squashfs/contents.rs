//! Files' data, which the library reads.

use super::{
    decompressor::Decompressor,
    inode::{File, data_size, le32, le64},
    malformed,
    metadata::{Metadata, Place},
    obstacle,
};
use crate::{
    content::{Obstacle, Window, guard::Whole},
    format::Source as _,
};
use backhand::{
    FilesystemReader, Fragment, Id, Inode, Squashfs, SquashfsFileReader, SuperBlock,
    kind::Kind as Flavour,
    v4::inode::{BasicDirectory, ExtendedFile, InodeHeader, InodeId, InodeInner},
};
use std::{
    collections::HashMap,
    io::{BufReader, Read},
};

/// How many fragments are held unpacked, at most 1 MiB each: files that lie beside each other share them.
const MAX_SYSTEMS: usize = 16;
const FRAGMENT_LEN_BYTES: usize = 16;
const FRAGMENTS_IN_BLOCK: u32 = 512;

/// Opens files. The library keeps every fragment that it unpacked as long as its file system lives, so each fragment has a
/// file system of its own, without directories.
pub(super) struct Contents {
    window: Window,
    superblock: SuperBlock,
    systems: HashMap<Option<u32>, FilesystemReader<'static>>,
}

/// A file that can be read.
pub(super) struct Opened<'a> {
    system: &'a FilesystemReader<'static>,
    file: SquashfsFileReader,
}

impl Contents {
    pub(super) fn new(window: &Window, superblock: SuperBlock) -> Self {
        Self { window: window.clone(), superblock, systems: HashMap::new() }
    }

    /// Opens a file whose blocks are known.
    pub(super) fn open(&mut self, metadata: &mut Metadata, file: File) -> Result<Opened<'_>, Obstacle> {
        let number = file.fragment.map(|(number, _)| number);
        if !self.systems.contains_key(&number) {
            if self.systems.len() >= MAX_SYSTEMS {
                self.systems.clear();
            }
            let fragment = number.map(|number| self.fragment(metadata, number)).transpose()?;
            let system = self.system(fragment)?;
            self.systems.insert(number, system);
        }
        let system = self.systems.get(&number).ok_or_else(|| malformed("no fragment"))?;
        let file = SquashfsFileReader::Extended(ExtendedFile {
            blocks_start: file.start,
            file_size: file.len_bytes,
            sparse: 0,
            link_count: 1,
            // The one fragment of its file system.
            frag_index: if number.is_some() { 0 } else { u32::MAX },
            block_offset: file.fragment.map_or(0, |(_, offset)| offset),
            xattr_index: u32::MAX,
            block_sizes: file.blocks,
        });
        Ok(Opened { system, file })
    }

    /// Source: Linux `fs/squashfs/fragment.c`.
    fn fragment(&self, metadata: &mut Metadata, number: u32) -> Result<Fragment, Obstacle> {
        if number >= self.superblock.frag_count {
            return Err(malformed(format!("a file in fragment {number}, which is not there")));
        }
        let index = self.superblock.frag_table.saturating_add(u64::from(number / FRAGMENTS_IN_BLOCK) * 8);
        let mut block = [0; 8];
        self.window.read_at(index, &mut block).map_err(|e| malformed(e.to_string()))?;
        let in_block = usize::try_from(number % FRAGMENTS_IN_BLOCK).unwrap_or(0);
        let mut place = Place { block: u64::from_le_bytes(block), offset: in_block * FRAGMENT_LEN_BYTES };
        let mut entry = [0; FRAGMENT_LEN_BYTES];
        metadata.read(0, &mut place, &mut entry)?;
        let size = data_size(le32(&entry, 8), self.superblock.block_size)?;
        Ok(Fragment::new(le64(&entry, 0), size, 0))
    }

    fn system(&self, fragment: Option<Fragment>) -> Result<FilesystemReader<'static>, Obstacle> {
        let header = InodeHeader::default();
        let root =
            BasicDirectory { block_index: 0, link_count: 2, file_size: 3, block_offset: 0, parent_inode: 0 };
        let system = Squashfs {
            kind: Flavour::new_v4(&Decompressor),
            superblock: self.superblock,
            compression_options: None,
            inodes: Default::default(),
            root_inode: Inode::new(InodeId::BasicDirectory, header, InodeInner::BasicDirectory(root)),
            dir_blocks: Default::default(),
            fragments: fragment.map(|fragment| vec![fragment]),
            export: None,
            id: Id::root(),
            file: Box::new(BufReader::new(self.window.reader())),
        };
        system.into_filesystem_reader().map_err(obstacle)
    }
}

impl Opened<'_> {
    pub(super) fn reader(&self) -> impl Read {
        Whole::new(self.system.file(&self.file).reader(), self.file.file_len() as u64)
    }
}
