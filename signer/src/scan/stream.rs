//! One pass over a file in large pieces, with enough of the past and the future around every place.

use super::markers::{Marker, Markers};
use std::io::{self, Read};

/// How much is read at once.
const PIECE_LEN_BYTES: usize = 1 << 20;
/// What is certain to be there behind a marker: the longest PEM block that is looked at fits.
pub(super) const AHEAD_LEN_BYTES: usize = 64 << 10;
/// What is certain to be there before a marker.
pub(super) const BEHIND_LEN_BYTES: usize = 4 << 10;

/// A marker and what is around it.
pub(super) struct Place<'a> {
    /// A piece of the file.
    pub(super) bytes: &'a [u8],
    /// Where in `bytes` the marker is.
    pub(super) at: usize,
    /// How long it is.
    pub(super) len: usize,
    /// Which one.
    pub(super) marker: Marker,
    /// Where in the file `bytes` begin.
    pub(super) offset: u64,
}

impl<'a> Place<'a> {
    /// What comes before the marker.
    pub(super) fn before(&self) -> &'a [u8] {
        self.bytes.get(..self.at).unwrap_or_default()
    }

    /// The marker and what comes behind it.
    pub(super) fn at_marker(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What comes behind the marker.
    pub(super) fn behind(&self) -> &'a [u8] {
        self.at_marker().get(self.len..).unwrap_or_default()
    }
}

/// Shows `see` every marker in `reader`; it returns how many bytes from there on are not to be looked at. Shows
/// `first` the beginning of the file before that, and whether that is all of it.
///
/// `buffer` is working space, kept by the caller so that it is not allocated anew for each file. Returns the
/// file's length in bytes.
pub(super) fn search(
    reader: &mut dyn Read,
    markers: &Markers,
    buffer: &mut Vec<u8>,
    first: &mut dyn FnMut(&[u8], bool),
    see: &mut dyn FnMut(&Place<'_>) -> usize,
) -> io::Result<u64> {
    if buffer.len() < PIECE_LEN_BYTES {
        buffer.resize(PIECE_LEN_BYTES, 0);
    }
    // `buffer[..filled]` are the bytes of the file from `offset` on.
    let (mut filled, mut offset, mut next) = (0_usize, 0_u64, 0_u64);
    loop {
        let (count, error) = fill(reader, buffer.get_mut(filled..).unwrap_or_default());
        filled += count;
        let ends = filled < buffer.len();
        let bytes = buffer.get(..filled).unwrap_or_default();
        if offset == 0 {
            first(bytes, ends);
        }
        let certain = if ends { filled } else { filled - AHEAD_LEN_BYTES };
        let mut at = usize::try_from(next - offset).unwrap_or(usize::MAX);
        while let Some((start, len, marker)) = markers.find(bytes, at.min(filled)) {
            if start >= certain {
                break;
            }
            let covered = see(&Place { bytes, at: start, len, marker, offset });
            at = start.saturating_add(covered.max(1));
        }
        if let Some(error) = error {
            return Err(error);
        }
        if ends {
            return Ok(offset + filled as u64);
        }
        // A marker that begins before `certain` has been seen, or is covered.
        next = offset + at.max(certain) as u64;
        let drop = certain.saturating_sub(BEHIND_LEN_BYTES);
        buffer.copy_within(drop..filled, 0);
        filled -= drop;
        offset += drop as u64;
    }
}

/// Reads until `buffer` is full or nothing more comes. What came before an error counts.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (filled, Some(e)),
        }
    }
    (filled, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads in pieces of odd sizes.
    struct Crumbs<'a>(&'a [u8], usize);

    impl Read for Crumbs<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn found(bytes: &[u8], crumb: usize) -> Vec<(u64, usize, usize)> {
        let mut places = Vec::new();
        let markers = Markers::new();
        let length =
            search(&mut Crumbs(bytes, crumb), &markers, &mut Vec::new(), &mut |_, _| {}, &mut |place| {
                places.push((place.offset + place.at as u64, place.before().len(), place.behind().len()));
                0
            });
        assert_eq!(length.unwrap(), bytes.len() as u64);
        places
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Wherever a piece ends, every marker is found, with as much around it as is promised.
        #[test]
        fn markers_are_found_wherever_pieces_end(
            near in proptest::collection::vec((0_usize..3, -40_i64..40), 1..6),
            crumb in 1000_usize..2_000_000,
        ) {
            let step = (PIECE_LEN_BYTES - AHEAD_LEN_BYTES) as i64;
            let mut bytes = vec![b'.'; 3 * PIECE_LEN_BYTES];
            let borders = [step, PIECE_LEN_BYTES as i64, 2 * step - BEHIND_LEN_BYTES as i64];
            let mut expected = Vec::new();
            for (border, shift) in near {
                let at = usize::try_from(borders[border] + shift).unwrap();
                if bytes[at - 20..at + 20].iter().all(|b| *b == b'.') {
                    bytes[at..at + 9].copy_from_slice(b"pin-value");
                    expected.push(at as u64);
                }
            }
            expected.sort_unstable();
            let places = found(&bytes, crumb);
            prop_assert_eq!(places.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), expected);
            for (at, before, behind) in places {
                prop_assert!(before as u64 >= at.min(BEHIND_LEN_BYTES as u64));
                prop_assert!(behind + 9 >= AHEAD_LEN_BYTES.min(bytes.len() - usize::try_from(at).unwrap()));
            }
        }
    }
}
