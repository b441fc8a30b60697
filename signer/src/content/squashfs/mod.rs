//! squashfs 4.0 file systems.
//!
//! The library reads the superblock, blocks of metadata and files' data. The way from the root directory down is ours: the
//! library's own recurses, so that a directory in itself takes the stack and the program with it, and finds inodes
//! by number, where Linux takes them from the place that an entry names.

mod contents;
mod decompressor;
mod directory;
mod inode;
mod metadata;

use super::{
    Kind, Obstacle, Window,
    body::Body,
    guard::guarded,
    obstacle::one_line,
    walk::{Opened, Walk, member},
};
use backhand::{BackhandError, SuperBlock};
use contents::Contents;
use directory::Listing;
use inode::Inode;
use metadata::{Metadata, Place};
use std::{collections::HashSet, rc::Rc};

/// Deepest directory.
const MAX_DEPTH: usize = 128;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let used = guarded(|| file_system(walk, location, depth, window)).map_err(malformed)??;
    walk.behind(location, depth, window, used);
    Ok(())
}

/// Returns how many bytes the file system has.
fn file_system(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Result<u64, Obstacle> {
    let (mut metadata, superblock) = Metadata::open(window)?;
    let mut contents = Contents::new(window, superblock);
    let mut seen = HashSet::new();
    let mut directories = vec![(Place::of_inode(superblock.root_inode), String::new(), 0)];
    while let Some((directory, path, level)) = directories.pop() {
        let here = member(location, &path);
        let mut listing = match listing(&mut metadata, &mut seen, directory, level) {
            Ok(listing) => listing,
            // Without its root there is no file system.
            Err(e) if level == 0 => return Err(e),
            Err(e) => {
                walk.report(&here, e);
                continue;
            }
        };
        loop {
            let (name, place) = match listing.next(&mut metadata) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(e) => {
                    // What follows in this directory cannot be found any more.
                    walk.report(&here, e);
                    break;
                }
            };
            if !walk.count() {
                return Ok(superblock.bytes_used);
            }
            let path = format!("{path}/{name}");
            match Inode::read(&mut metadata, place) {
                Ok(Inode::Directory(_)) => directories.push((place, path, level + 1)),
                Ok(Inode::File(file)) => {
                    let budget = Rc::clone(&walk.budget);
                    let opened = file
                        .blocks(&mut metadata, &budget)
                        .and_then(|file| contents.open(&mut metadata, file));
                    match opened {
                        Ok(file) => {
                            let mut bytes = budget.metered(file.reader());
                            walk.body(&member(location, &path), depth, Body::Stream(&mut bytes));
                        }
                        Err(e) => walk.report(&member(location, &path), e),
                    }
                }
                Ok(Inode::Other) => {}
                Err(e) => walk.report(&member(location, &path), e),
            }
        }
    }
    Ok(superblock.bytes_used)
}

/// The entries of the directory whose inode is at `place`, unless it was `seen`: a directory has one parent.
fn listing(
    metadata: &mut Metadata,
    seen: &mut HashSet<Place>,
    place: Place,
    level: usize,
) -> Result<Listing, Obstacle> {
    if level > MAX_DEPTH {
        return Err(malformed(format!("directories more than {MAX_DEPTH} deep")));
    }
    if !seen.insert(place) {
        return Err(malformed("a directory that lies in itself, or in two others"));
    }
    match Inode::read(metadata, place)? {
        Inode::Directory(directory) => Ok(Listing::new(&directory, metadata.superblock())),
        _ => Err(malformed("its root is no directory")),
    }
}

fn malformed(detail: impl Into<String>) -> Obstacle {
    Obstacle::Malformed { kind: Kind::Squashfs, detail: detail.into() }
}

fn obstacle(error: BackhandError) -> Obstacle {
    let kind = Kind::Squashfs;
    match error {
        BackhandError::StdIo(e) => Obstacle::from_io(&e, kind),
        BackhandError::UnsupportedCompression(_) | BackhandError::UnsupportedSquashfsVersion(..) => {
            Obstacle::Unsupported { kind, detail: one_line(&error.to_string()) }
        }
        e => malformed(one_line(&e.to_string())),
    }
}

/// Where the inode and directory tables begin.
fn tables(superblock: &SuperBlock) -> (u64, u64) {
    (superblock.inode_table, superblock.dir_table)
}
