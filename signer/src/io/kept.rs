//! Bytes of a stream that have to be read again.

use crate::format::{ReadError, Source};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::unix::fs::FileExt as _,
};

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
