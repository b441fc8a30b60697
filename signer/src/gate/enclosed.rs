//! What lies on FAT file systems and in compressed files: taken out, to be judged as if it lay in the directory.

use super::{
    Gate, Unreadable,
    bundle::MAX_WITHIN,
    compression::{self, MAX_UNPACKED_LEN_BYTES, too_long},
    kind::{Compression, Kind},
    outcome::ProblemKind,
    recognise::unpacked_name,
};
use crate::{
    content::{Obstacle, SharedSource, Window, each_fat_file, fat_stray_byte},
    format::{FormatError, ReadError, Section, Source as _},
    io::{Added, Keeper},
};
use std::{
    io::{self, Read},
    ops::{ControlFlow, Range},
    sync::Arc,
};

/// How much of what is taken out stays in memory.
const IN_MEMORY_LEN_BYTES: usize = 16 << 20;

/// What is known of something that was opened, or would have to be.
#[derive(Default)]
pub(super) struct Enclosure {
    /// What lies in it.
    pub(super) members: Vec<usize>,
    /// The entry that has the very bytes that this one unpacks to.
    pub(super) twin: Option<usize>,
    /// Why it could not be opened, or not to its end.
    pub(super) obstacle: Option<String>,
    /// Where it holds something that lies in no file.
    pub(super) stray: Option<u64>,
}

impl Gate<'_> {
    /// Makes entries of the files on a FAT file system.
    pub(super) fn open_fat(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let Some(window) = entry.window.clone() else { return Ok(()) };
        let path = entry.path.clone();
        let mut keeper = Keeper::new(IN_MEMORY_LEN_BYTES, MAX_UNPACKED_LEN_BYTES);
        let mut files: Vec<(String, Range<u64>)> = Vec::new();
        let mut obstacle = None;
        let mut failed = None;
        let mut keep = |file: &str, bytes: Result<&mut dyn Read, Obstacle>| {
            let told = match bytes.map(|bytes| keeper.add(bytes)) {
                Ok(Ok(Added::At(range))) if files.len() < MAX_WITHIN => {
                    files.push((file.trim_start_matches('/').to_owned(), range));
                    return ControlFlow::Continue(());
                }
                Ok(Ok(Added::At(_) | Added::TooMany)) => "there is too much on it".to_owned(),
                Ok(Ok(Added::Unreadable(e))) => format!("{file}: {e}"),
                Ok(Err(e)) => {
                    failed = Some(e);
                    return ControlFlow::Break(());
                }
                Err(e) => format!("{file}: {e}"),
            };
            obstacle = Some(told);
            ControlFlow::Break(())
        };
        let opened = each_fat_file(&window, MAX_WITHIN + 1, &mut keep);
        if let Some(e) = failed {
            return Err(unkept(path, e));
        }
        let obstacle = obstacle.or(opened.err().map(|e| e.to_string()));
        let kept: SharedSource = Arc::new(keeper.finish());
        let stray = fat_stray_byte(&window).map_err(|e| unkept(path.clone(), e))?;
        let mut enclosure = Enclosure { obstacle, stray, ..Enclosure::default() };
        for (file, range) in files {
            let section = Section::shared(Arc::clone(&kept), range.clone());
            let window = Window::new(Arc::clone(&kept)).part(range.start, range.end - range.start);
            enclosure.members.extend(self.put_within(
                index,
                format!("{path}:{file}"),
                section,
                Some(window),
            )?);
        }
        self.enclosures.insert(index, enclosure);
        Ok(())
    }

    /// Finds what has the bytes that a compressed file holds, or unpacks it if what it holds can be judged by itself.
    pub(super) fn open_compressed(
        &mut self,
        index: usize,
        compression: Compression,
        inner: &Kind,
    ) -> Result<(), Unreadable> {
        if matches!(inner, Kind::ByProduct(_)) {
            return Ok(());
        }
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let (source, path) = (entry.source.clone(), entry.path.clone());
        let mut enclosure = Enclosure::default();
        match self.digests.unpacked(index, &source, compression) {
            Ok((digest, len_bytes)) => {
                enclosure.twin = self.of_digest(&digest, len_bytes)?;
                if enclosure.twin.is_none() && is_judged_by_itself(inner) {
                    let mut keeper = Keeper::new(IN_MEMORY_LEN_BYTES, MAX_UNPACKED_LEN_BYTES);
                    let added = compression::all(&source, compression, |bytes| keeper.add(bytes));
                    match added.map_err(|e| unkept(path.clone(), e))? {
                        Added::At(range) => {
                            let kept: SharedSource = Arc::new(keeper.finish());
                            let section = Section::shared(Arc::clone(&kept), range);
                            let file = path.rsplit(['/', ':']).next().unwrap_or(&path);
                            let name = format!("{path}:{}", unpacked_name(file));
                            let member = self.put_within(index, name, section, Some(Window::new(kept)))?;
                            enclosure.members.extend(member);
                            for member in &enclosure.members {
                                if let Some(entry) = self.entries.get_mut(*member) {
                                    entry.wrapper = Some(path.clone());
                                }
                            }
                        }
                        Added::TooMany => enclosure.obstacle = Some(too_long()),
                        Added::Unreadable(e) => enclosure.obstacle = Some(e.to_string()),
                    }
                }
            }
            Err(reason) => enclosure.obstacle = Some(reason),
        }
        self.enclosures.insert(index, enclosure);
        Ok(())
    }

    /// An entry of the directory that has that digest and length.
    fn of_digest(
        &mut self,
        digest: &crate::crypto::Digest,
        len_bytes: u64,
    ) -> Result<Option<usize>, Unreadable> {
        for other in 0..self.entries.len() {
            let Some(entry) = self.entries.get(other) else { continue };
            if entry.container.is_some() || entry.source.len_bytes() != len_bytes {
                continue;
            }
            let (source, failed) = (entry.source.clone(), entry.unreadable::<ReadError>());
            if self.digests.get_or(other, &source).map_err(failed)? == *digest {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// The container around an entry whose bytes as a whole are signed or covered, and these with them. What lies directly in
    /// a bundle is judged with the bundle.
    pub(super) fn signed_around(&self, index: usize) -> Option<String> {
        let container = |at: usize| self.entries.get(at).and_then(|e| e.container);
        let mut at =
            container(index).filter(|at| self.entries.get(*at).is_some_and(|e| e.kind != Kind::Bundle));
        while let Some(around) = at {
            let entry = self.entries.get(around)?;
            if entry.problems.is_empty() && (entry.is_covered() || self.is_signed_bundle(around)) {
                return Some(entry.path.clone());
            }
            at = container(around);
        }
        None
    }

    fn is_signed_bundle(&self, index: usize) -> bool {
        self.bundles.iter().any(|facts| facts.entry == index && facts.good)
    }

    /// Whether an entry lies on a file system that a device reads, compressed or not: whatever that is, the device may take it.
    pub(super) fn is_on_fat(&self, index: usize) -> bool {
        let Some(entry) = self.entries.get(index).filter(|e| e.source.len_bytes() > 0) else { return false };
        let mut at = entry.container;
        while let Some(container) = at.and_then(|at| self.entries.get(at)) {
            match container.kind {
                Kind::FileSystem(super::kind::FAT) => return true,
                Kind::Compressed(..) => at = container.container,
                _ => return false,
            }
        }
        false
    }

    /// Something beside an entry on a FAT file system, or in a compressed file, that has the same bytes and may ship.
    pub(super) fn same_beside(&mut self, index: usize) -> Result<Option<(String, String)>, Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        if !entry.container.is_some_and(|container| self.enclosures.contains_key(&container)) {
            return Ok(None);
        }
        let (source, failed) = (entry.source.clone(), entry.unreadable::<ReadError>());
        let digest = self.digests.get_or(index, &source).map_err(failed)?;
        let beside = self.of_digest(&digest, source.len_bytes())?.and_then(|other| self.entries.get(other));
        let beside = beside.filter(|other| other.may_ship());
        Ok(beside.map(|other| (other.path.clone(), format!("the same bytes as {}", other.path))))
    }

    /// Tells of a container that was not opened to its end.
    pub(super) fn not_opened(&mut self, index: usize, obstacle: &str) {
        self.problem(index, ProblemKind::CannotCheck, None, format!("cannot be looked into: {obstacle}"));
    }
}

/// Whether something of that kind is judged as a whole, by its own signature or by what lies in it. The others are covered or not,
/// and for that their digest is enough.
fn is_judged_by_itself(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Kernel(_)
            | Kind::Initramfs
            | Kind::LegacyImage
            | Kind::Environment
            | Kind::Firmware(_)
            | Kind::RootHash
    )
}

/// There was no place to keep what was taken out.
fn unkept(path: String, error: io::Error) -> Unreadable {
    Unreadable { path, source: FormatError::Read(ReadError::Io { offset: 0, source: error }) }
}
