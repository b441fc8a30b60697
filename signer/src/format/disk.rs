//! Partition tables: MBR and GPT.
//!
//! Source: UEFI Specification 2.10, chapter 5.

use super::{ReadError, Source};
use std::ops::Range;

const SECTOR_LEN_BYTES: u64 = 512;
/// Most partitions that are looked at.
const MAX_PARTITIONS: usize = 128;
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
    let header = head.get(512..).unwrap_or_default();
    let table = le64(header, 72).saturating_mul(SECTOR_LEN_BYTES);
    let count = usize::try_from(le32(header, 80)).unwrap_or(0).min(MAX_PARTITIONS);
    let entry_len = usize::try_from(le32(header, 84)).unwrap_or(0).clamp(128, 4096);
    let wanted = (count * entry_len) as u64;
    let end = table.saturating_add(wanted).min(source.len_bytes());
    let bytes = source.read_range(table.min(end)..end, MAX_PARTITIONS * 4096)?;
    let mut found = Vec::new();
    for (index, entry) in bytes.chunks(entry_len).enumerate() {
        if entry.get(..16).is_none_or(|kind| kind == [0; 16]) {
            continue;
        }
        let start = le64(entry, 32).saturating_mul(SECTOR_LEN_BYTES);
        let end = le64(entry, 40).saturating_add(1).saturating_mul(SECTOR_LEN_BYTES);
        found.push(Partition { number: index + 1, range: start..end.max(start) });
    }
    Ok(found)
}

/// Where the tables themselves are: the MBR's with disk signature and end mark and, on a GPT disk, both of its
/// headers with their entries (33 sectors each, as every tool makes them).
///
/// # Errors
///
/// [`ReadError`] if the disk cannot be read.
pub(crate) fn tables(source: &dyn Source) -> Result<Vec<Range<u64>>, ReadError> {
    const GPT_LEN_BYTES: u64 = 33 * SECTOR_LEN_BYTES;
    let mut tables = Vec::new();
    tables.push(440..SECTOR_LEN_BYTES);
    let len = source.len_bytes();
    let mark = SECTOR_LEN_BYTES..len.min(SECTOR_LEN_BYTES + 8);
    if mark.end > mark.start && source.read_range(mark, 8)? == b"EFI PART" {
        tables.push(SECTOR_LEN_BYTES..SECTOR_LEN_BYTES + GPT_LEN_BYTES);
        tables.push(len.saturating_sub(GPT_LEN_BYTES)..len);
    }
    Ok(tables)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
