//! Finds the control tree behind a U-Boot binary (`u-boot.bin` = `u-boot-nodtb.bin` + tree).
//!
//! U-Boot looks for it at its own end, which the binary alone does not tell (`_end`, U-Boot
//! `lib/fdtdec.c`). So we look for the one tree that reaches the end of the file, give or take
//! padding. A magic number inside code or data proves nothing: the header must be plausible, the
//! whole tree must parse, and there must be no second one.

use super::MAX_TREE_BYTES;
use crate::format::{ReadError, Source};
use std::ops::Range;

/// First four bytes of a tree (Devicetree Specification v0.4, section 5.2).
const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// Length of a version 17 header.
const HEADER_BYTES: usize = 40;
/// Binaries are scanned in pieces of this size.
const CHUNK_BYTES: u64 = 1 << 20;
/// How many headers that reach the end of the file are looked into before we give up. Honest
/// binaries have one; each costs reading a tree.
const MAX_CANDIDATES: usize = 16;

/// Why no tree was found behind a binary.
#[derive(Debug, thiserror::Error)]
pub enum AppendedError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing at the end.
    #[error("no device tree ends where the file ends")]
    None,
    /// Something that looks like one, and is not.
    #[error("the device tree at {offset:#x} is malformed: {reason}")]
    Malformed {
        /// Where it starts.
        offset: u64,
        /// Why it does not count.
        reason: String,
    },
    /// Two trees that both reach the end.
    #[error("device trees at {first:#x} and {second:#x} both end where the file ends")]
    Ambiguous {
        /// Start of one.
        first: u64,
        /// Start of the other.
        second: u64,
    },
    /// Many headers, as in a file made to keep us busy.
    #[error("more than {MAX_CANDIDATES} headers of device trees point to the file's end")]
    TooMany,
    /// The file is nothing but a tree.
    #[error("the file is a device tree itself, with no program before it")]
    Bare,
}

/// Finds the one tree at the end of `source` and returns its bytes' range, as its header gives it.
///
/// After the tree only padding may follow: nothing, or bytes that are all 0x00 or all 0xff.
/// `check` parses a candidate and says what is wrong with it.
///
/// # Errors
///
/// [`AppendedError`] if there is no such tree, or more than one.
pub fn find(
    source: &dyn Source,
    check: impl Fn(&[u8]) -> Result<(), String>,
) -> Result<Range<u64>, AppendedError> {
    let content_end = content_end(source)?;
    let mut found: Option<Range<u64>> = None;
    let mut malformed = None;
    let mut candidates = 0;
    for offset in magic_offsets(source) {
        let offset = offset?;
        let Some(end) = tree_end(source, offset)? else { continue };
        if end < content_end || end > source.len_bytes() {
            continue;
        }
        candidates += 1;
        if candidates > MAX_CANDIDATES {
            return Err(AppendedError::TooMany);
        }
        match check(&source.read_range(offset..end, MAX_TREE_BYTES)?) {
            Ok(()) => match &found {
                Some(first) => {
                    return Err(AppendedError::Ambiguous { first: first.start, second: offset });
                }
                None => found = Some(offset..end),
            },
            Err(reason) => malformed = Some(AppendedError::Malformed { offset, reason }),
        }
    }
    match found {
        Some(range) if range.start == 0 => Err(AppendedError::Bare),
        Some(range) => Ok(range),
        None => Err(malformed.unwrap_or(AppendedError::None)),
    }
}

/// Where the run of equal padding bytes begins that ends the file; its length if there is none.
fn content_end(source: &dyn Source) -> Result<u64, ReadError> {
    let mut end = source.len_bytes();
    let mut padding = None;
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        let chunk = read_chunk(source, start..end)?;
        let byte = match padding {
            Some(byte) => byte,
            None => match chunk.last() {
                Some(byte @ (0x00 | 0xff)) => *padding.insert(*byte),
                _ => return Ok(end),
            },
        };
        if let Some(last) = chunk.iter().rposition(|b| *b != byte) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Every offset at which the magic number stands, in order.
fn magic_offsets(source: &dyn Source) -> impl Iterator<Item = Result<u64, ReadError>> {
    let len_bytes = source.len_bytes();
    let overlap = MAGIC.len() as u64 - 1;
    let mut start = 0;
    let chunks = std::iter::from_fn(move || {
        (start + overlap < len_bytes).then(|| {
            let range = start..len_bytes.min(start + CHUNK_BYTES + overlap);
            start += CHUNK_BYTES;
            range
        })
    });
    chunks.flat_map(|range| {
        let base = range.start;
        let (offsets, error) = match read_chunk(source, range) {
            Ok(chunk) => (positions(&chunk), None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        offsets.into_iter().map(move |at| Ok(base + at)).chain(error)
    })
}

fn positions(chunk: &[u8]) -> Vec<u64> {
    chunk.windows(MAGIC.len()).zip(0..).filter(|(window, _)| *window == MAGIC).map(|(_, at)| at).collect()
}

fn read_chunk(source: &dyn Source, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
    source.read_range(range, usize::try_from(2 * CHUNK_BYTES).unwrap_or(usize::MAX))
}

/// Where the tree at `offset` would end, or `None` if its header cannot be one.
fn tree_end(source: &dyn Source, offset: u64) -> Result<Option<u64>, ReadError> {
    let header_end = offset.saturating_add(HEADER_BYTES as u64);
    if header_end > source.len_bytes() {
        return Ok(None);
    }
    let header = source.read_range(offset..header_end, HEADER_BYTES)?;
    let total_bytes = header
        .get(4..8)
        .and_then(|b| <[u8; 4]>::try_from(b).ok())
        .map_or(0, |b| u64::from(u32::from_be_bytes(b)));
    let plausible = (HEADER_BYTES as u64..=MAX_TREE_BYTES as u64).contains(&total_bytes);
    Ok(plausible.then(|| offset.saturating_add(total_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header that claims `total` bytes, filled up with `fill`.
    fn tree(total: u32, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; total as usize];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&total.to_be_bytes());
        bytes
    }

    fn code(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    fn any_tree(_: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn find_in(parts: &[&[u8]]) -> Result<Range<u64>, AppendedError> {
        find(&parts.concat(), any_tree)
    }

    #[test]
    fn finds_a_tree_at_any_offset_with_any_padding() {
        for at in [1, 4, 1000, (1 << 20) - 2, 1 << 20, (1 << 20) + 1] {
            let program = code(at);
            let expected = at as u64..at as u64 + 64;
            for padding in [&[][..], &[0; 7], &[0xff; 5000]] {
                assert_eq!(find_in(&[&program, &tree(64, 7), padding]).unwrap(), expected);
            }
        }
    }

    #[test]
    fn padding_may_be_longer_than_a_chunk_and_the_tree_may_end_in_zeros() {
        let padding = vec![0xff; (2 << 20) + 3];
        assert_eq!(find_in(&[&code(100), &tree(64, 0), &padding]).unwrap(), 100..164);
        assert_eq!(find_in(&[&code(100), &tree(64, 0), &vec![0; 3 << 20]]).unwrap(), 100..164);
    }

    #[test]
    fn a_tree_within_the_program_does_not_count() {
        let result = find_in(&[&code(10), &tree(64, 1), &code(10)]);
        assert!(matches!(result, Err(AppendedError::None)), "{result:?}");
        // ... nor does it hide the one at the end.
        assert_eq!(find_in(&[&code(10), &tree(64, 1), &code(10), &tree(80, 2)]).unwrap(), 84..164);
    }

    #[test]
    fn mixed_padding_is_no_padding() {
        let result = find_in(&[&code(10), &tree(64, 1), &[0, 0xff, 0, 0]]);
        assert!(matches!(result, Err(AppendedError::None)), "{result:?}");
    }

    #[test]
    fn two_trees_that_reach_the_end_are_ambiguous() {
        let inner = tree(64, 1);
        let mut outer = tree(200, 2);
        outer[136..].copy_from_slice(&inner);
        let result = find_in(&[&code(8), &outer]);
        assert!(matches!(result, Err(AppendedError::Ambiguous { first: 8, second: 144 })), "{result:?}");
        // If the inner one is no tree, nothing is ambiguous.
        let only_outer = |bytes: &[u8]| if bytes.len() == 200 { Ok(()) } else { Err("bad".to_owned()) };
        assert_eq!(find(&[code(8), outer].concat(), only_outer).unwrap(), 8..208);
    }

    #[test]
    fn a_malformed_tree_is_named() {
        let result = find(&[code(8), tree(64, 1)].concat(), |_| Err("cut off".to_owned()));
        assert!(matches!(result, Err(AppendedError::Malformed { offset: 8, .. })), "{result:?}");
    }

    #[test]
    fn a_bare_tree_is_refused() {
        assert!(matches!(find_in(&[&tree(64, 1)]), Err(AppendedError::Bare)));
    }

    #[test]
    fn a_crowd_of_headers_is_refused() {
        let mut file = code(8);
        for left in (1..=100_u32).rev() {
            file.extend(tree(40, 3));
            let at = file.len() - 36;
            file[at..at + 4].copy_from_slice(&(left * 40).to_be_bytes());
        }
        let result = find(&file, |_| Err("bad".to_owned()));
        assert!(matches!(result, Err(AppendedError::TooMany)), "{result:?}");
    }

    #[test]
    fn sizes_beyond_the_file_or_the_limit_do_not_count() {
        for total in [0, 39, 65, u32::MAX] {
            let mut last = tree(64, 1);
            last[4..8].copy_from_slice(&total.to_be_bytes());
            assert!(matches!(find_in(&[&code(8), &last]), Err(AppendedError::None)), "{total}");
        }
        for file in [&[][..], &MAGIC, &MAGIC[..3]] {
            assert!(matches!(find(&file, any_tree), Err(AppendedError::None)));
        }
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(
            mut bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..300),
            at in proptest::collection::vec((0..300_usize, any::<u8>()), 0..6),
        ) {
            for (offset, total) in at {
                if let Some(place) = bytes.get_mut(offset..offset + 8) {
                    place.copy_from_slice(&[0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, total]);
                }
            }
            if let Ok(range) = find(&bytes, any_tree) {
                prop_assert!(range.start > 0 && range.end <= bytes.len() as u64);
            }
        }
    }
}
