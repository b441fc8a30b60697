//! What signing changes in an artifact: replaced ranges, everything else copied.

use super::{ReadError, Source};
use std::ops::Range;

/// One range of the input that gives way to other bytes; an empty range inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The input's bytes that are replaced.
    pub range: Range<u64>,
    /// What stands there instead, of any length.
    pub bytes: Vec<u8>,
}

/// Edits of one artifact, in order and without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Vec<Edit>);

/// A piece of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Copied from the input.
    Copy(Range<u64>),
    /// New bytes.
    Bytes(&'a [u8]),
}

impl Edits {
    /// Puts `edits` in order; `None` if two of them overlap.
    #[must_use]
    pub fn new(mut edits: Vec<Edit>) -> Option<Self> {
        edits.sort_by_key(|e| (e.range.start, e.range.end));
        let mut reached = 0;
        for edit in &edits {
            if edit.range.start < reached || edit.range.end < edit.range.start {
                return None;
            }
            reached = edit.range.end;
        }
        Some(Self(edits))
    }

    /// The edits in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Edit] {
        &self.0
    }

    /// The output of an input of `len_bytes`, piece by piece.
    pub fn pieces(&self, len_bytes: u64) -> impl Iterator<Item = Piece<'_>> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|e| e.range.end));
        let ends = self.0.iter().map(|e| e.range.start).chain(std::iter::once(len_bytes));
        let bytes = self.0.iter().map(|e| Some(e.bytes.as_slice())).chain(std::iter::once(None));
        starts.zip(ends).zip(bytes).flat_map(|((start, end), bytes)| {
            [(start < end).then_some(Piece::Copy(start..end)), bytes.map(Piece::Bytes)].into_iter().flatten()
        })
    }

    /// The output as one vector, for small artifacts and tests.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the source cannot be read or the output exceeds `limit_bytes`.
    pub fn apply(&self, source: &dyn Source, limit_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let mut output = Vec::new();
        for piece in self.pieces(source.len_bytes()) {
            match piece {
                Piece::Copy(range) => {
                    let room = limit_bytes.saturating_sub(output.len());
                    output.extend(source.read_range(range, room)?);
                }
                Piece::Bytes(bytes) => output.extend_from_slice(bytes),
            }
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(range: Range<u64>, bytes: &[u8]) -> Edit {
        Edit { range, bytes: bytes.to_vec() }
    }

    #[test]
    fn replaces_inserts_and_appends() {
        let edits = Edits::new(vec![edit(6..6, b"!"), edit(0..1, b"J"), edit(2..2, b"--")]).unwrap();
        assert_eq!(edits.apply(&b"jagged".as_slice(), 100).unwrap(), b"Ja--gged!");
    }

    #[test]
    fn refuses_overlap() {
        assert!(Edits::new(vec![edit(0..4, b""), edit(3..5, b"")]).is_none());
    }

    #[test]
    fn an_edit_past_the_end_is_an_error() {
        let edits = Edits::new(vec![edit(9..10, b"x")]).unwrap();
        assert!(edits.apply(&b"short".as_slice(), 100).is_err());
    }
}
