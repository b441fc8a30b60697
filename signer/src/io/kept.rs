//! Bytes of a stream that have to be read again.

use crate::format::{ReadError, Source};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    ops::Range,
    os::unix::fs::FileExt as _,
};

const CHUNK_LEN_BYTES: usize = 256 << 10;

/// All bytes of a stream: in memory, or in a temporary file that has no name, so that it is gone with the
/// process.
#[derive(Debug)]
pub struct Kept {
    place: Place,
    len_bytes: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(File),
}

impl Kept {
    /// Reads `reader` to its end. More than `memory_bytes` go into a file.
    ///
    /// Returns `None` if there are more than `limit_bytes`.
    ///
    /// # Errors
    ///
    /// Whatever `reader` says, and of the file what the operating system says.
    pub fn all(reader: &mut dyn Read, memory_bytes: usize, limit_bytes: u64) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let mut reader = reader.take(limit_bytes.saturating_add(1));
        reader.by_ref().take(memory_bytes as u64).read_to_end(&mut bytes)?;
        if bytes.len() < memory_bytes {
            let len_bytes = bytes.len() as u64;
            return Ok((len_bytes <= limit_bytes).then_some(Self { place: Place::Memory(bytes), len_bytes }));
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&bytes)?;
        let len_bytes = bytes.len() as u64 + io::copy(&mut reader, &mut file)?;
        Ok((len_bytes <= limit_bytes).then_some(Self { place: Place::File(file), len_bytes }))
    }
}

/// Keeps the bytes of several readers, one behind the other.
#[derive(Debug)]
pub struct Keeper {
    memory_bytes: usize,
    limit_bytes: u64,
    bytes: Vec<u8>,
    file: Option<File>,
    len_bytes: u64,
}

/// What became of a reader's bytes.
#[derive(Debug)]
pub enum Added {
    /// They were kept there.
    At(Range<u64>),
    /// There are more than may be kept.
    TooMany,
    /// They could not be read.
    Unreadable(io::Error),
}

impl Keeper {
    /// More than `memory_bytes` go into a file; no more than `limit_bytes` are kept.
    #[must_use]
    pub fn new(memory_bytes: usize, limit_bytes: u64) -> Self {
        Self { memory_bytes, limit_bytes, bytes: Vec::new(), file: None, len_bytes: 0 }
    }

    /// Reads `reader` to its end.
    ///
    /// # Errors
    ///
    /// What the operating system says of the file.
    pub fn add(&mut self, reader: &mut dyn Read) -> io::Result<Added> {
        let start = self.len_bytes;
        let mut buffer = vec![0; CHUNK_LEN_BYTES];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(Added::At(start..self.len_bytes)),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Added::Unreadable(e)),
            };
            if self.len_bytes + count as u64 > self.limit_bytes {
                return Ok(Added::TooMany);
            }
            self.write(buffer.get(..count).unwrap_or_default())?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len_bytes += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.memory_bytes {
            let mut file = tempfile::tempfile()?;
            file.write_all(&std::mem::take(&mut self.bytes))?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// All that was kept.
    #[must_use]
    pub fn finish(self) -> Kept {
        let place = self.file.map_or(Place::Memory(self.bytes), Place::File);
        Kept { place, len_bytes: self.len_bytes }
    }
}

impl Source for Kept {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match &self.place {
            Place::Memory(bytes) => bytes.read_at(offset, buffer),
            Place::File(file) => {
                let end = offset.saturating_add(buffer.len() as u64);
                if end > self.len_bytes {
                    return Err(ReadError::OutOfRange { start: offset, end, len_bytes: self.len_bytes });
                }
                file.read_exact_at(buffer, offset).map_err(|source| ReadError::Io { offset, source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_kept_one_behind_the_other() {
        for memory_bytes in [0, 5, 100] {
            let mut keeper = Keeper::new(memory_bytes, 10);
            assert!(matches!(keeper.add(&mut b"one".as_slice()).unwrap(), Added::At(r) if r == (0..3)));
            assert!(matches!(keeper.add(&mut b"".as_slice()).unwrap(), Added::At(r) if r == (3..3)));
            assert!(matches!(keeper.add(&mut b"eleven".as_slice()).unwrap(), Added::At(r) if r == (3..9)));
            assert!(matches!(keeper.add(&mut b"xx".as_slice()).unwrap(), Added::TooMany));
            assert_eq!(keeper.finish().read_range(0..9, 9).unwrap(), b"oneeleven");
        }
    }

    #[test]
    fn what_is_kept_reads_back_from_memory_and_from_a_file() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for memory_bytes in [10, 99_999, 100_000, 200_000] {
            let kept = Kept::all(&mut bytes.as_slice(), memory_bytes, 100_000).unwrap().unwrap();
            assert_eq!(kept.read_range(0..100_000, 100_000).unwrap(), bytes);
            assert!(kept.read_at(99_999, &mut [0; 2]).is_err());
            assert!(Kept::all(&mut bytes.as_slice(), memory_bytes, 99_999).unwrap().is_none());
        }
    }
}
