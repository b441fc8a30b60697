//! A file as a [`Source`].

use crate::{
    error::Error,
    format::{ReadError, Source},
};
use rustix::fs::OFlags;
use std::{
    fs::File,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A regular file, opened once; its length is fixed then.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    len_bytes: u64,
}

impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it cannot be opened or is not a regular file (a FIFO would block, a
    /// directory has no bytes).
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without NONBLOCK a FIFO that nobody writes would block here, before it is seen to be one.
        let flags = OFlags::NONBLOCK.union(OFlags::CLOEXEC).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path);
        let file = file.map_err(Error::file("open", path))?;
        let metadata = file.metadata().map_err(Error::file("read", path))?;
        if !metadata.is_file() {
            return Err(Error::file("read", path)(std::io::Error::other("not a regular file")));
        }
        Ok(Self { file, path: path.to_owned(), len_bytes: metadata.len() })
    }

    /// All bytes of a file that is small by nature, such as a certificate: at most 1 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::File`] as for [`open`](Self::open), and if it is longer.
    pub fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
        Self::open(path)?.read_whole(1 << 20)
    }

    /// All its bytes, if they are no more than `limit_bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if they are more, or cannot be read.
    pub fn read_whole(&self, limit_bytes: usize) -> Result<Vec<u8>, Error> {
        let bytes = self.read_range(0..self.len_bytes, limit_bytes).map_err(|e| match e {
            ReadError::TooLong { wanted, limit_bytes, .. } => std::io::Error::other(format!(
                "it is {wanted} bytes long, and at most {limit_bytes} are expected"
            )),
            ReadError::Io { source, .. } => source,
            e => std::io::Error::other(e),
        });
        bytes.map_err(Error::file("read", &self.path))
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its first `len_bytes`, or all of it if it is shorter.
    #[must_use]
    pub fn prefix(&self, len_bytes: u64) -> Prefix<'_> {
        Prefix { source: self, len_bytes: len_bytes.min(self.len_bytes) }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Source for FileSource {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(offset, buffer, self.len_bytes)?;
        self.file.read_exact_at(buffer, offset).map_err(|source| ReadError::Io { offset, source })
    }
}

/// The beginning of a file, as if the rest were not there.
#[derive(Debug)]
pub struct Prefix<'a> {
    source: &'a FileSource,
    len_bytes: u64,
}

impl Source for Prefix<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(offset, buffer, self.len_bytes)?;
        self.source.read_at(offset, buffer)
    }
}

/// That `buffer`, read from `offset` on, lies within the first `len_bytes`.
fn check_range(offset: u64, buffer: &[u8], len_bytes: u64) -> Result<(), ReadError> {
    let end = offset.saturating_add(buffer.len() as u64);
    if end > len_bytes { Err(ReadError::OutOfRange { start: offset, end, len_bytes }) } else { Ok(()) }
}
