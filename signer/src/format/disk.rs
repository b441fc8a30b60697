//! Partition tables: MBR and GPT.
//!
//! Source: UEFI Specification 2.10, chapter 5.

use super::{ReadError, Source};
use std::ops::Range;

const SECTOR_LEN_BYTES: u64 = 512;
/// Most partitions that are looked at.
const MAX_PARTITIONS: usize = 128;
/// A GPT's header, of which the rest of its sector is reserved.
const GPT_HEADER_LEN_BYTES: u64 = 92;
/// A GPT's partition entry; headers may name more, which is reserved.
const ENTRY_LEN_BYTES: usize = 128;
/// The type of the one partition in the MBR of a GPT disk.
const PROTECTIVE: u8 = 0xee;

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: usize,
    /// Where it lies.
    pub range: Range<u64>,
}

/// Whether the first bytes of something are a partition table with a partition in it.
pub(crate) fn is_disk(head: &[u8]) -> bool {
    let is_gpt = head.get(512..520) == Some(b"EFI PART");
    let used = |e: &[u8]| e.get(4).is_some_and(|kind| *kind != 0) && le32(e, 8) > 0 && le32(e, 12) > 0;
    entries(head).is_some_and(|entries| is_gpt || entries.into_iter().any(used))
}

/// The first byte behind the tables at the beginning of a disk.
pub(crate) fn first_free_byte(head: &[u8]) -> u64 {
    let sectors = if head.get(512..520) == Some(b"EFI PART") { 34 } else { 1 };
    sectors * SECTOR_LEN_BYTES
}

/// The four entries of an MBR.
fn entries(head: &[u8]) -> Option<Vec<&[u8]>> {
    if head.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let entries: Vec<&[u8]> = head.get(446..510)?.chunks(16).collect();
    entries.iter().all(|e| matches!(e.first(), Some(0 | 0x80))).then_some(entries)
}

/// The partitions of a disk, or `None` if there is no partition table. `head` is the beginning of `source`.
///
/// # Errors
///
/// [`ReadError`] if the disk cannot be read.
pub(crate) fn partitions(source: &dyn Source, head: &[u8]) -> Result<Option<Vec<Partition>>, ReadError> {
    let Some(entries) = entries(head) else { return Ok(None) };
    if entries.iter().any(|e| e.get(4) == Some(&PROTECTIVE)) && head.get(512..520) == Some(b"EFI PART") {
        return gpt(source, head).map(Some);
    }
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let start = u64::from(le32(entry, 8)) * SECTOR_LEN_BYTES;
        let len = u64::from(le32(entry, 12)) * SECTOR_LEN_BYTES;
        // Extended partitions hold further tables; their own bytes say so, nothing here follows them.
        if entry.get(4).is_some_and(|kind| *kind != 0) && len > 0 && start < source.len_bytes() {
            found.push(Partition { number: index + 1, range: start..start.saturating_add(len) });
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

fn gpt(source: &dyn Source, head: &[u8]) -> Result<Vec<Partition>, ReadError> {
    let array = Array::read(source, head.get(512..).unwrap_or_default())?;
    let partition = |(index, entry): (usize, &[u8])| {
        let start = le64(entry, 32).saturating_mul(SECTOR_LEN_BYTES);
        let end = le64(entry, 40).saturating_add(1).saturating_mul(SECTOR_LEN_BYTES);
        Partition { number: index + 1, range: start..end.max(start) }
    };
    Ok(array.used().map(partition).collect())
}

/// A GPT's array of partition entries (UEFI 2.10, section 5.3.3).
struct Array {
    at: u64,
    entry_len_bytes: usize,
    bytes: Vec<u8>,
}

impl Array {
    /// The one that a header names.
    fn read(source: &dyn Source, header: &[u8]) -> Result<Self, ReadError> {
        let at = le64(header, 72).saturating_mul(SECTOR_LEN_BYTES).min(source.len_bytes());
        let count = usize::try_from(le32(header, 80)).unwrap_or(0).min(MAX_PARTITIONS);
        let entry_len_bytes = usize::try_from(le32(header, 84)).unwrap_or(0).clamp(ENTRY_LEN_BYTES, 4096);
        let end = at.saturating_add((count * entry_len_bytes) as u64).min(source.len_bytes());
        let bytes = source.read_range(at..end, MAX_PARTITIONS * 4096)?;
        Ok(Self { at, entry_len_bytes, bytes })
    }

    /// The entries that have a type, with their index.
    fn used(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let used = |entry: &[u8]| entry.get(..16).is_some_and(|kind| kind != [0; 16]);
        self.bytes.chunks(self.entry_len_bytes).enumerate().filter(move |(_, entry)| used(entry))
    }
}

/// Where the tables themselves are: the MBR's with disk signature and end mark and, on a GPT disk, its two headers and those of
/// their entries that stand for a partition. What else lies there is reserved, and zero.
///
/// # Errors
///
/// [`ReadError`] if the disk cannot be read.
pub(crate) fn tables(source: &dyn Source) -> Result<Vec<Range<u64>>, ReadError> {
    let mut tables = Vec::new();
    tables.push(440..SECTOR_LEN_BYTES);
    let backup = source.len_bytes().saturating_sub(SECTOR_LEN_BYTES);
    if gpt_tables(source, SECTOR_LEN_BYTES, &mut tables)? {
        gpt_tables(source, backup, &mut tables)?;
    }
    Ok(tables)
}

/// Adds a GPT's header at `at` and its entries. Whether there is one.
fn gpt_tables(source: &dyn Source, at: u64, tables: &mut Vec<Range<u64>>) -> Result<bool, ReadError> {
    let end = at.saturating_add(SECTOR_LEN_BYTES).min(source.len_bytes());
    let header = source.read_range(at.min(end)..end, 512)?;
    if header.get(..8) != Some(b"EFI PART") {
        return Ok(false);
    }
    tables.push(at..at + GPT_HEADER_LEN_BYTES);
    let array = Array::read(source, &header)?;
    for (index, _) in array.used() {
        let start = array.at + (index * array.entry_len_bytes) as u64;
        tables.push(start..start + ENTRY_LEN_BYTES as u64);
    }
    Ok(true)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
