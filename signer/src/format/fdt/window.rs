//! A small sliding buffer, so that walking a structure block does not read the values in it.

use crate::format::{ReadError, Source};

const WINDOW_LEN_BYTES: u64 = 16 << 10;

pub(super) struct Window<'a> {
    source: &'a dyn Source,
    /// One past the last byte that may be read.
    end: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn Source, end: u64) -> Self {
        Self { source, end, start: 0, buffer: Vec::new() }
    }

    /// At most `len` bytes from `offset`, fewer only at the end.
    pub(super) fn up_to(&mut self, offset: u64, len: usize) -> Result<&[u8], ReadError> {
        let have = self.start..self.start + self.buffer.len() as u64;
        let want_end = offset.saturating_add(len as u64).min(self.end).max(offset);
        if offset < have.start || want_end > have.end {
            let fill_end = offset.saturating_add(WINDOW_LEN_BYTES.max(len as u64)).min(self.end).max(offset);
            self.buffer.resize(usize::try_from(fill_end - offset).unwrap_or(0), 0);
            self.start = offset;
            if !self.buffer.is_empty() {
                self.source.read_at(offset, &mut self.buffer)?;
            }
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = usize::try_from(want_end - self.start).unwrap_or(0);
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }

    /// The big-endian number at `offset`; `None` at the end.
    pub(super) fn u32(&mut self, offset: u64) -> Result<Option<u32>, ReadError> {
        Ok(self.up_to(offset, 4)?.try_into().ok().map(u32::from_be_bytes))
    }
}
