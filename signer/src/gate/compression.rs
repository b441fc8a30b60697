//! Looking into compressed data, in bounded memory.

use super::kind::Compression;
use crate::{
    crypto::{Digest, HashAlgorithm, Hasher},
    format::{ReadError, Source},
};
use flate2::read::MultiGzDecoder;
use std::io::{self, Read};

/// Most bytes that one file may unpack to; beyond, it counts as one that cannot be looked into.
pub(super) const MAX_UNPACKED_LEN_BYTES: u64 = 8 << 30;
const CHUNK_LEN_BYTES: usize = 256 << 10;

/// The first bytes of what `source` unpacks to, at most `limit_bytes`.
///
/// # Errors
///
/// What is wrong with it, if not a single byte can be unpacked.
pub(super) fn beginning(
    source: &dyn Source,
    compression: Compression,
    limit_bytes: u64,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match reader(source, compression).take(limit_bytes).read_to_end(&mut bytes) {
        Err(e) if bytes.is_empty() => Err(e.to_string()),
        // What comes before the damage still tells what it is.
        _ => Ok(bytes),
    }
}

/// SHA-256 and length of what `source` unpacks to.
///
/// # Errors
///
/// What is wrong with it, or that it unpacks to more than is looked into.
pub(super) fn digest(source: &dyn Source, compression: Compression) -> Result<(Digest, u64), String> {
    let mut reader = reader(source, compression);
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    let mut buffer = vec![0; CHUNK_LEN_BYTES];
    let mut len_bytes = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(|e| e.to_string())?;
        if count == 0 {
            return Ok((hasher.finish(), len_bytes));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        len_bytes += count as u64;
        if len_bytes > MAX_UNPACKED_LEN_BYTES {
            return Err(format!("it unpacks to more than {} GiB", MAX_UNPACKED_LEN_BYTES >> 30));
        }
    }
}

fn reader<'a>(source: &'a dyn Source, compression: Compression) -> Box<dyn Read + 'a> {
    let bytes = io::BufReader::with_capacity(CHUNK_LEN_BYTES, Bytes { source, offset: 0 });
    match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
    }
}

/// Reads a source from its beginning.
struct Bytes<'a> {
    source: &'a dyn Source,
    offset: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len_bytes().saturating_sub(self.offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..len) else { return Ok(0) };
        self.source.read_at(self.offset, buffer).map_err(|e| match e {
            ReadError::Io { source, .. } => source,
            e => io::Error::other(e),
        })?;
        self.offset += len as u64;
        Ok(len)
    }
}
