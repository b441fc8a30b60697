//! A part of something that can be read at any place.

use crate::format::{ReadError, Source};
use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

/// Bytes at any place, shared with the libraries that read file systems.
pub type SharedSource = Arc<dyn Source + Send>;

/// A range of a [`SharedSource`], as if the rest were not there.
#[derive(Clone)]
pub struct Window {
    source: SharedSource,
    start: u64,
    len_bytes: u64,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("start", &self.start)
            .field("len_bytes", &self.len_bytes)
            .finish_non_exhaustive()
    }
}

impl Window {
    /// All of `source`.
    #[must_use]
    pub fn new(source: SharedSource) -> Self {
        let len_bytes = source.len_bytes();
        Self { source, start: 0, len_bytes }
    }

    /// The `len_bytes` at `offset`, as far as they are there.
    #[must_use]
    pub fn part(&self, offset: u64, len_bytes: u64) -> Self {
        let offset = offset.min(self.len_bytes);
        let len_bytes = len_bytes.min(self.len_bytes - offset);
        Self { source: Arc::clone(&self.source), start: self.start + offset, len_bytes }
    }

    /// Everything from `offset` on.
    #[must_use]
    pub fn from(&self, offset: u64) -> Self {
        self.part(offset, u64::MAX)
    }

    /// Its bytes from the beginning.
    #[must_use]
    pub fn reader(&self) -> WindowReader {
        WindowReader { window: self.clone(), position: 0 }
    }
}

impl Source for Window {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.len_bytes {
            return Err(ReadError::OutOfRange { start: offset, end, len_bytes: self.len_bytes });
        }
        self.source.read_at(self.start + offset, buffer)
    }
}

/// Reads a window from one end to the other, or at any place.
#[derive(Clone, Debug)]
pub struct WindowReader {
    window: Window,
    position: u64,
}

impl Read for WindowReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.window.len_bytes.saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..count) else { return Ok(0) };
        self.window.read_at(self.position, buffer).map_err(|e| match e {
            ReadError::Io { source, .. } => source,
            e => io::Error::new(io::ErrorKind::UnexpectedEof, e),
        })?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for WindowReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.window.len_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
