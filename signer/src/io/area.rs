//! A file being written as a dm-verity hash area.

use crate::format::{ReadError, Source, verity::HashArea};
use std::{fs::File, io, os::unix::fs::FileExt as _};

/// An output file of fixed length, written at any place and read back.
#[derive(Debug)]
pub struct FileArea<'a> {
    file: &'a File,
    len_bytes: u64,
}

impl<'a> FileArea<'a> {
    /// Sets the length of `file`, which must be open for reading and writing. What it gains is zero.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says, such as a file too large for the file system.
    pub fn new(file: &'a File, len_bytes: u64) -> io::Result<Self> {
        file.set_len(len_bytes)?;
        Ok(Self { file, len_bytes })
    }
}

impl Source for FileArea<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| ReadError::Io { offset, source })
    }
}

impl HashArea for FileArea<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}
