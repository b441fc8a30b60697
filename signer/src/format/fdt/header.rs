//! The header, and where the blocks it names may lie.

use super::{FdtError, MAX_RESERVATIONS_LEN_BYTES, MAX_STRINGS_LEN_BYTES};
use crate::format::Source;
use std::ops::Range;

const MAGIC: u32 = 0xd00d_feed;
/// Length of a version 17 header in bytes; version 16 lacks the last field.
pub(super) const HEADER_LEN_BYTES: u64 = 40;

/// A checked header: ranges in the file, in bounds, aligned and disjoint.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) total: u64,
    pub(super) structure: Range<u64>,
    pub(super) strings: Range<u64>,
    pub(super) reservations: Range<u64>,
    pub(super) last_compatible: u32,
    pub(super) boot_cpu: u32,
    /// Version 16 does not say where its structure block ends.
    pub(super) structure_is_open: bool,
}

impl Header {
    pub(super) fn read(source: &dyn Source) -> Result<Self, FdtError> {
        let available = source.len_bytes();
        let bytes = source.read_range(0..HEADER_LEN_BYTES.min(available), 64)?;
        let mut words = bytes.chunks_exact(4).filter_map(|w| w.try_into().ok().map(u32::from_be_bytes));
        let mut word = || words.next().map(u64::from);
        let found = word().unwrap_or(0);
        if found != u64::from(MAGIC) {
            return Err(FdtError::NotFdt { found: u32::try_from(found).unwrap_or(0) });
        }
        let truncated = || FdtError::TotalSize { total: HEADER_LEN_BYTES, available };
        let total = word().ok_or_else(truncated)?;
        let structure = word().ok_or_else(truncated)?;
        let strings = word().ok_or_else(truncated)?;
        let reservations = word().ok_or_else(truncated)?;
        let version = small(word().ok_or_else(truncated)?);
        let last_compatible = small(word().ok_or_else(truncated)?);
        let boot_cpu = small(word().ok_or_else(truncated)?);
        let strings_len = word().ok_or_else(truncated)?;
        let structure_len = word().ok_or_else(truncated)?;
        if !(16..=17).contains(&version) || last_compatible > version {
            return Err(FdtError::Version { version, last_compatible });
        }
        if total > available || total < HEADER_LEN_BYTES {
            return Err(FdtError::TotalSize { total, available });
        }
        let structure_is_open = version == 16;
        let mut header = Self {
            total,
            structure: structure..structure + structure_len,
            strings: strings..strings + strings_len,
            reservations: reservations..reservations,
            last_compatible,
            boot_cpu,
            structure_is_open,
        };
        if structure_is_open {
            // It reaches at most to the next block; the walk finds its end.
            let next = [strings, reservations].into_iter().filter(|o| *o > structure).min();
            header.structure.end = next.unwrap_or(total);
        }
        header.reservations.end = header.reservations_end(source)?;
        header.check()?;
        Ok(header)
    }

    /// The memory reservation block ends with a pair of zeros.
    fn reservations_end(&self, source: &dyn Source) -> Result<u64, FdtError> {
        let start = self.reservations.start;
        let block = "memory reservation";
        let end = self.total.min(start.saturating_add(MAX_RESERVATIONS_LEN_BYTES as u64));
        if start >= end {
            return Err(FdtError::Block { block, start, end: start, problem: "lies outside the tree" });
        }
        let mut at = start;
        let bytes = source.read_range(start..end, MAX_RESERVATIONS_LEN_BYTES)?;
        for entry in bytes.chunks_exact(16) {
            at += 16;
            if entry.iter().all(|b| *b == 0) {
                return Ok(at);
            }
        }
        Err(FdtError::Block { block, start, end, problem: "has no terminating entry" })
    }

    fn check(&self) -> Result<(), FdtError> {
        let blocks = self.blocks();
        for (block, range, alignment) in &blocks {
            let error = |problem| FdtError::Block { block, start: range.start, end: range.end, problem };
            if range.start < HEADER_LEN_BYTES || range.end > self.total {
                return Err(error("lies outside the tree or in its header"));
            }
            if !range.start.is_multiple_of(*alignment) {
                return Err(error("is not aligned"));
            }
        }
        for pair in blocks.windows(2) {
            if let [(_, first, _), (block, second, _)] = pair
                && second.start < first.end
            {
                let (start, end) = (second.start, second.end);
                return Err(FdtError::Block { block, start, end, problem: "overlaps another block" });
            }
        }
        if self.strings.end - self.strings.start > MAX_STRINGS_LEN_BYTES as u64 {
            let (start, end) = (self.strings.start, self.strings.end);
            return Err(FdtError::Block { block: "strings", start, end, problem: "is larger than 1 MiB" });
        }
        Ok(())
    }

    /// Name, range and alignment of each block, in the order of the file.
    pub(super) fn blocks(&self) -> [(&'static str, Range<u64>, u64); 3] {
        let mut blocks = [
            ("memory reservation", self.reservations.clone(), 8),
            ("structure", self.structure.clone(), 4),
            ("strings", self.strings.clone(), 1),
        ];
        blocks.sort_by_key(|(_, range, _)| (range.start, range.end));
        blocks
    }

    /// A version 17 header.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [
            MAGIC,
            small(self.total),
            small(self.structure.start),
            small(self.strings.start),
            small(self.reservations.start),
            17,
            self.last_compatible,
            self.boot_cpu,
            small(self.strings.end - self.strings.start),
            small(self.structure.end - self.structure.start),
        ]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .collect()
    }
}

/// Words of the header are 32 bits wide; sizes are checked before they are written.
fn small(word: u64) -> u32 {
    u32::try_from(word).unwrap_or(u32::MAX)
}
