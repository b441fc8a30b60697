//! Disk images: whether what is on one, and what lies beside its partitions, is covered.

use super::{
    Gate, Unreadable,
    cover::{CHUNK_LEN_BYTES, digest_of, is_padding},
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::format::{
    ReadError, Section, Source as _,
    disk::{self, Partition},
    fit::ImageData,
};
use std::ops::Range;

const FIRST_LEN_BYTES: u64 = 4096;

impl<'a> Gate<'a> {
    /// A partition holds an image that lies beside the disk; partitions are larger than what is in them, and the
    /// rest is zeros. Anything else there could be what a device starts, behind the smallest of covered files.
    pub(super) fn on_disk(&mut self, index: usize) -> Result<Option<(String, String)>, Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        let container = entry.container.and_then(|c| self.entries.get(c));
        if !container.is_some_and(|c| matches!(c.kind, Kind::Disk(_))) {
            return Ok(None);
        }
        let (partition, path) = (entry.source.clone(), entry.path.clone());
        let failed = |e: ReadError| Unreadable { path: path.clone(), source: e.into() };
        for other in 0..self.entries.len() {
            let Some(entry) = self.entries.get(other) else { continue };
            let settled =
                matches!(entry.state, Some(State::Signed | State::Covered)) && entry.container.is_none();
            let (source, name) = (entry.source.clone(), entry.path.clone());
            let len = source.len_bytes();
            // Most differ in their first block, so that few are read as a whole.
            let first = |s: &Section<'a>| digest_of(&s.head(FIRST_LEN_BYTES));
            if !settled || len == 0 || len > partition.len_bytes() {
                continue;
            }
            if first(&source).map_err(failed)? == first(&partition.head(len)).map_err(failed)?
                && digest_of(&partition.head(len)).map_err(failed)?
                    == self.digests.get_or(other, &source).map_err(failed)?
                && is_padding(&partition.part(len..partition.len_bytes())).map_err(failed)?
            {
                return Ok(Some((name.clone(), format!("holds {name}, and zeros behind it"))));
            }
        }
        Ok(None)
    }

    /// A disk ships if every partition on it may.
    pub(super) fn settle_disk(&mut self, index: usize) -> Result<(), Unreadable> {
        // A partition for data that the device makes.
        for entry in self.entries.iter_mut().filter(|e| e.container == Some(index) && e.kind == Kind::Unknown)
        {
            let path = entry.path.clone();
            let failed = |e: ReadError| Unreadable { path, source: e.into() };
            if entry.is_open() && entry.problems.is_empty() && is_padding(&entry.source).map_err(failed)? {
                entry.settle(State::Covered, "holds nothing but zeros");
            }
        }
        let Some(disk) = self.entries.get(index) else { return Ok(()) };
        let within: Vec<_> = self.entries.iter().filter(|e| e.container == Some(index)).collect();
        let bad: Vec<String> = within
            .iter()
            .filter(|e| !matches!(e.state, Some(State::Signed | State::Covered | State::Part)))
            .map(|e| e.path.rsplit(':').next().unwrap_or_default().to_owned())
            .collect();
        let (count, in_parts) = (within.len(), within.iter().any(|e| e.state == Some(State::Part)));
        let path = disk.path.clone();
        let failed = |e: ReadError| Unreadable { path, source: e.into() };
        let stray = match &disk.kind {
            Kind::Disk(partitions) => first_stray_byte(&disk.source, partitions).map_err(failed)?,
            _ => None,
        };
        let Some(entry) = self.entries.get_mut(index) else { return Ok(()) };
        if count == 0 || !bad.is_empty() {
            let detail = format!("nothing that is signed covers {}", bad.join(", "));
            entry.problem(ProblemKind::CannotCheck, None, detail);
        } else if let Some(at) = stray {
            let detail = format!(
                "at byte {at} it holds something that is in no partition, and nothing signed covers it"
            );
            entry.problem(ProblemKind::CannotCheck, None, detail);
        } else if in_parts {
            entry.settle(State::Part, "judged by what is on it; nothing is beside its partitions");
        } else {
            entry.settle(
                State::Covered,
                "every partition on it is signed or covered, and nothing is beside them",
            );
        }
        Ok(())
    }
}

impl Gate<'_> {
    /// A device tree or FIT holds nothing but its blocks and `images`: what lies between or behind them no signature covers, and
    /// whoever copies the file to a device copies it as well.
    pub(super) fn nothing_beside(
        &mut self,
        index: usize,
        tree_len_bytes: u64,
        images: &[ImageData],
    ) -> Result<(), Unreadable> {
        let mut parts: Vec<_> = images.iter().map(|image| image.range.clone()).collect();
        parts.push(0..tree_len_bytes);
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let stray = first_byte_beside(&entry.source, parts).map_err(entry.unreadable::<ReadError>())?;
        if let Some(at) = stray {
            let detail = format!(
                "at byte {at} it holds something that is no part of it, and nothing signed covers it"
            );
            self.problem(index, ProblemKind::CannotCheck, None, detail);
        }
        Ok(())
    }
}

/// Where a disk first holds something that is in no partition and no table: boot code, a boot loader in a gap.
fn first_stray_byte(disk: &Section<'_>, partitions: &[Partition]) -> Result<Option<u64>, ReadError> {
    let mut known: Vec<_> = partitions.iter().map(|p| p.range.clone()).collect();
    known.extend(disk::tables(disk)?);
    first_byte_beside(disk, known)
}

/// The first byte of `disk` that is not zero, outside of what is `known`.
fn first_byte_beside(disk: &Section<'_>, mut known: Vec<Range<u64>>) -> Result<Option<u64>, ReadError> {
    known.sort_by_key(|range| range.start);
    let mut at = 0;
    for range in known.into_iter().chain(std::iter::once(disk.len_bytes()..u64::MAX)) {
        let mut start = at;
        while start < range.start.min(disk.len_bytes()) {
            let end = range.start.min(disk.len_bytes()).min(start + CHUNK_LEN_BYTES);
            let bytes = disk.read_range(start..end, usize::try_from(CHUNK_LEN_BYTES).unwrap_or(0))?;
            if let Some(offset) = bytes.iter().position(|b| *b != 0) {
                return Ok(Some(start + offset as u64));
            }
            start = end;
        }
        at = at.max(range.end);
    }
    Ok(None)
}
