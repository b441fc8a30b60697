//! Bounded random access to an artifact's bytes.

use std::{ops::Range, sync::Arc};

/// Bytes that can be read at any place, such as a file of hundreds of MiB.
///
/// Sources are shared between hashing threads.
pub trait Source: Sync {
    /// The artifact's length in bytes, fixed when the source was opened.
    fn len_bytes(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if that reaches past the end or the file cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// The bytes of `range`, which may be no longer than `limit_bytes`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] as for [`read_at`](Self::read_at), or if the range is longer than the limit:
    /// sizes found in an artifact are never trusted.
    fn read_range(&self, range: Range<u64>, limit_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let wanted = range.end.checked_sub(range.start).ok_or(ReadError::OutOfRange {
            start: range.start,
            end: range.end,
            len_bytes: self.len_bytes(),
        })?;
        if range.end > self.len_bytes() {
            return Err(ReadError::OutOfRange {
                start: range.start,
                end: range.end,
                len_bytes: self.len_bytes(),
            });
        }
        let wanted = usize::try_from(wanted)
            .ok()
            .filter(|w| *w <= limit_bytes)
            .ok_or(ReadError::TooLong { start: range.start, wanted, limit_bytes })?;
        let mut buffer = vec![0; wanted];
        self.read_at(range.start, &mut buffer)?;
        Ok(buffer)
    }
}

/// Some bytes of another source, as if the rest were not there.
#[derive(Clone)]
pub struct Section<'a> {
    source: Whole<'a>,
    range: Range<u64>,
}

#[derive(Clone)]
enum Whole<'a> {
    Borrowed(&'a dyn Source),
    Shared(Arc<dyn Source + Send>),
}

impl Whole<'_> {
    fn get(&self) -> &dyn Source {
        match self {
            Self::Borrowed(source) => *source,
            Self::Shared(source) => source.as_ref(),
        }
    }
}

impl<'a> Section<'a> {
    /// The bytes of `range`, as far as `source` has them.
    #[must_use]
    pub fn new(source: &'a dyn Source, range: Range<u64>) -> Self {
        let end = range.end.min(source.len_bytes());
        Self { source: Whole::Borrowed(source), range: range.start.min(end)..end }
    }

    /// The same, of a source that nobody else has to keep.
    #[must_use]
    pub fn shared(source: Arc<dyn Source + Send>, range: Range<u64>) -> Self {
        let end = range.end.min(source.len_bytes());
        Self { source: Whole::Shared(source), range: range.start.min(end)..end }
    }

    /// A part of it.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        let absolute = |offset: u64| self.range.start.saturating_add(offset).min(self.range.end);
        Self {
            source: self.source.clone(),
            range: absolute(range.start)..absolute(range.end.max(range.start)),
        }
    }

    /// Its first bytes, at most `len_bytes`.
    #[must_use]
    pub fn head(&self, len_bytes: u64) -> Self {
        self.part(0..len_bytes)
    }

    /// Whether it is as long as another.
    #[must_use]
    pub fn same_length(&self, other: &Self) -> bool {
        self.len_bytes() == other.len_bytes()
    }
}

impl Source for Section<'_> {
    fn len_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.len_bytes() {
            return Err(ReadError::OutOfRange { start: offset, end, len_bytes: self.len_bytes() });
        }
        self.source.get().read_at(self.range.start + offset, buffer)
    }
}

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The artifact points past its own end.
    #[error("bytes {start:#x}..{end:#x} lie outside its {len_bytes:#x} bytes")]
    OutOfRange {
        /// First byte wanted.
        start: u64,
        /// One past the last byte wanted.
        end: u64,
        /// The artifact's length.
        len_bytes: u64,
    },
    /// The artifact claims an unreasonable size.
    #[error("{wanted} bytes at {start:#x} exceed the limit of {limit_bytes} bytes")]
    TooLong {
        /// First byte wanted.
        start: u64,
        /// How many were wanted.
        wanted: u64,
        /// How many are allowed there.
        limit_bytes: usize,
    },
    /// The operating system says no.
    #[error("cannot read at {offset:#x}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
}

impl ReadError {
    /// Whether the operating system failed, rather than the artifact pointing nowhere.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

impl Source for &[u8] {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.saturating_add(buffer.len() as u64);
        let bytes = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(start, end)| self.get(start..end))
            .ok_or(ReadError::OutOfRange { start: offset, end, len_bytes: self.len_bytes() })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn len_bytes(&self) -> u64 {
        self.as_slice().len_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.as_slice().read_at(offset, buffer)
    }
}
