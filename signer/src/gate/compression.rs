//! Looking into compressed data, in bounded memory.

use super::kind::Compression;
use crate::{
    content::{HEAD_LEN_BYTES, Kind, unpack},
    crypto::{Digest, HashAlgorithm, Hasher},
    format::{ReadError, Source},
};
use std::io::{self, BufRead, Read};

/// Most bytes that one file may unpack to; beyond, it counts as one that cannot be looked into.
pub(super) const MAX_UNPACKED_LEN_BYTES: u64 = if cfg!(fuzzing) { 4 << 20 } else { 8 << 30 };
const CHUNK_LEN_BYTES: usize = 256 << 10;

impl Compression {
    /// How something is compressed that begins with `head`.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match Kind::of(head.get(..head.len().min(HEAD_LEN_BYTES)).unwrap_or_default())? {
            Kind::Gzip => Some(Self::Gzip),
            Kind::Xz => Some(Self::Xz),
            Kind::Lzma => Some(Self::Lzma),
            Kind::Zstd => Some(Self::Zstd),
            Kind::Bzip2 => Some(Self::Bzip2),
            Kind::Lz4 => Some(Self::Lz4),
            _ => None,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Gzip => Kind::Gzip,
            Self::Xz => Kind::Xz,
            Self::Lzma => Kind::Lzma,
            Self::Zstd => Kind::Zstd,
            Self::Bzip2 => Kind::Bzip2,
            Self::Lz4 => Kind::Lz4,
        }
    }
}

/// The first bytes of what `source` unpacks to, at most `limit_bytes`.
///
/// # Errors
///
/// What is wrong with it, if not a single byte can be unpacked.
pub(super) fn beginning(
    source: &dyn Source,
    compression: Compression,
    limit_bytes: u64,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = |decoder: &mut dyn Read| decoder.take(limit_bytes).read_to_end(&mut bytes);
    match unpack(compression.kind(), &mut reader(source), read) {
        Err(e) if bytes.is_empty() => Err(e),
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
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    let mut buffer = vec![0; CHUNK_LEN_BYTES];
    let mut len_bytes = 0;
    all(source, compression, |decoder| {
        loop {
            let count = decoder.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            len_bytes += count as u64;
            if len_bytes > MAX_UNPACKED_LEN_BYTES {
                return Err(io::Error::other(too_long()));
            }
        }
    })
    .map_err(|e| e.to_string())?;
    Ok((hasher.finish(), len_bytes))
}

/// Runs `read` over all that `source` unpacks to.
///
/// # Errors
///
/// What `read` says, what is wrong with `source`, or that something lies behind what was compressed: whoever unpacks it
/// would not see that, and nothing covers it.
pub(super) fn all<T>(
    source: &dyn Source,
    compression: Compression,
    read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> io::Result<T> {
    let mut reader = reader(source);
    let (result, ahead) = unpack(compression.kind(), &mut reader, read)?;
    let mut behind = ahead.chain(reader);
    loop {
        let rest = behind.fill_buf()?;
        let len = rest.len();
        if rest.iter().any(|b| *b != 0) {
            return Err(io::Error::other("something lies behind what is compressed"));
        }
        if len == 0 {
            return Ok(result);
        }
        behind.consume(len);
    }
}

/// That it unpacks to more than is looked into.
pub(super) fn too_long() -> String {
    format!("it unpacks to more than {} GiB", MAX_UNPACKED_LEN_BYTES >> 30)
}

fn reader(source: &dyn Source) -> io::BufReader<Bytes<'_>> {
    io::BufReader::with_capacity(CHUNK_LEN_BYTES, Bytes { source, offset: 0 })
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
