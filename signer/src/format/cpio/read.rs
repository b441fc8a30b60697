//! Reading an archive's directory; payloads stay where they are.

use super::{
    CpioError, NameProblem,
    header::{HEADER_LEN_BYTES, Header, MAX_NAME_LEN_BYTES, TRAILER, check_name},
};
use crate::format::Source;
use std::{collections::HashSet, ops::Range};

/// More members than any bundle has; bounds memory.
const MAX_MEMBERS: usize = 4096;
/// How much is read at once when zeros are looked for.
const CHUNK_LEN_BYTES: usize = 64 * 1024;

/// One file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// A bare file name.
    pub name: String,
    /// Where its bytes are.
    pub data: Range<u64>,
    /// Wrapping sum of its bytes as the archive has it; `None` in newc format, which has none.
    pub checksum: Option<u32>,
}

/// Reads the directory of an archive in newc or crc format, or a mixture of both.
///
/// Members come in the order of the archive. Only what swupdate takes is accepted: bare names, each
/// once, regular files, a trailer. Stricter than swupdate: padding must be zero, and after the trailer
/// nothing but zeros may come.
///
/// # Errors
///
/// [`CpioError`] saying what is wrong and where.
///
/// Source: cpio(5); swupdate `core/cpio_utils.c`.
pub fn read(source: &dyn Source) -> Result<Vec<Member>, CpioError> {
    let mut members = Vec::new();
    let mut names = HashSet::new();
    let mut offset = 0;
    loop {
        let (name, header, data) = read_header(source, offset)?;
        if name == TRAILER {
            return match first_nonzero(source, data.start..source.len_bytes())? {
                None => Ok(members),
                Some(offset) => Err(CpioError::TrailingBytes { offset }),
            };
        }
        check_name(&name).map_err(|problem| CpioError::Name { offset, problem })?;
        if !header.is_regular() {
            return Err(CpioError::NotAFile { name, mode: header.mode });
        }
        if !names.insert(name.clone()) {
            return Err(CpioError::Duplicate { name });
        }
        if members.len() == MAX_MEMBERS {
            return Err(CpioError::TooMany { limit: MAX_MEMBERS });
        }
        offset = padded_end(source, data.end)?;
        members.push(Member { name, data, checksum: header.checksum });
    }
}

/// Name, header, and where the data is, which lies within the source.
fn read_header(source: &dyn Source, offset: u64) -> Result<(String, Header, Range<u64>), CpioError> {
    let mut bytes = [0; HEADER_LEN_BYTES];
    let name_offset = offset.saturating_add(HEADER_LEN_BYTES as u64);
    if name_offset > source.len_bytes() {
        return Err(CpioError::Truncated { offset: source.len_bytes() });
    }
    source.read_at(offset, &mut bytes)?;
    let header = Header::parse(&bytes, offset)?;
    let bad_name = |problem| CpioError::Name { offset, problem };
    let name_len_bytes = u64::from(header.name_len_bytes);
    if name_len_bytes < 2 || name_len_bytes > MAX_NAME_LEN_BYTES as u64 + 1 {
        return Err(bad_name(NameProblem::Length));
    }
    let name_end = name_offset.saturating_add(name_len_bytes);
    if name_end > source.len_bytes() {
        return Err(CpioError::Truncated { offset: source.len_bytes() });
    }
    let name = source.read_range(name_offset..name_end, MAX_NAME_LEN_BYTES + 1)?;
    let name = match name.split_last() {
        Some((0, name)) if !name.contains(&0) => String::from_utf8(name.to_vec()).ok(),
        _ => None,
    };
    let name = name.ok_or_else(|| bad_name(NameProblem::Characters))?;
    let start = padded_end(source, name_end)?;
    let end = start.saturating_add(u64::from(header.file_len_bytes));
    if end > source.len_bytes() {
        return Err(CpioError::Truncated { offset: source.len_bytes() });
    }
    Ok((name, header, start..end))
}

/// The next multiple of four after `end`, with nothing but zeros before it.
fn padded_end(source: &dyn Source, end: u64) -> Result<u64, CpioError> {
    let padded = end.next_multiple_of(4);
    if padded > source.len_bytes() {
        return Err(CpioError::Truncated { offset: source.len_bytes() });
    }
    match first_nonzero(source, end..padded)? {
        None => Ok(padded),
        Some(_) => Err(CpioError::Padding { offset: padded }),
    }
}

/// Where in `range` the first byte other than zero is.
fn first_nonzero(source: &dyn Source, range: Range<u64>) -> Result<Option<u64>, CpioError> {
    let mut offset = range.start;
    while offset < range.end {
        let end = range.end.min(offset + CHUNK_LEN_BYTES as u64);
        let bytes = source.read_range(offset..end, CHUNK_LEN_BYTES)?;
        if let Some(place) = bytes.iter().position(|b| *b != 0) {
            return Ok(Some(offset + place as u64));
        }
        offset = end;
    }
    Ok(None)
}
