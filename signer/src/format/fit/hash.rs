//! Hashes of image data: which, over what, and all of them at once on all cores.

use super::{FitError, Problem, image::Fit, properties as p};
use crate::{
    crypto::{HashAlgorithm, Hasher},
    format::{ReadError, Source, fdt::NodeId},
};
use openssl::hash::MessageDigest;
use std::{
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Small enough to stay in a core's cache, so that data is read once from memory.
const BUFFER_LEN_BYTES: usize = 256 << 10;

/// Hash functions of FIT `hash` nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ImageHash {
    /// One that protects.
    Strong(HashAlgorithm),
    /// Broken: collisions are practical.
    Sha1,
    /// Broken.
    Md5,
    /// A checksum, never meant to protect.
    Crc32,
}

impl ImageHash {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "md5" => Some(Self::Md5),
            "crc32" => Some(Self::Crc32),
            _ => HashAlgorithm::from_name(name).map(Self::Strong),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Strong(algorithm) => algorithm.name(),
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Crc32 => "crc32",
        }
    }
}

/// A `hash*` node.
#[derive(Clone, Debug)]
pub(super) struct HashNode {
    pub(super) id: NodeId,
    pub(super) algorithm: ImageHash,
    /// The value that stands there; hash nodes of a FIT never finished have none.
    pub(super) value: Option<Vec<u8>>,
    /// `uboot-ignore`: U-Boot skips this hash.
    pub(super) ignored: bool,
}

impl HashNode {
    pub(super) fn read(fit: &Fit<'_>, id: NodeId) -> Result<Self, FitError> {
        let name = fit.fdt.string(id, p::ALGO)?.ok_or_else(|| fit.problem(id, Problem::NoAlgorithm))?;
        let algorithm =
            ImageHash::from_name(&name).ok_or_else(|| fit.problem(id, Problem::UnknownHash(name)))?;
        let value = fit.fdt.bytes(id, p::VALUE, MAX_VALUE_LEN_BYTES)?.filter(|value| !value.is_empty());
        // U-Boot ignores the hash for any nonzero number; whatever is no zero counts as one here.
        let ignored = fit.fdt.property(id, p::UBOOT_IGNORE).is_some()
            && !matches!(fit.fdt.u32(id, p::UBOOT_IGNORE), Ok(Some(0)));
        Ok(Self { id, algorithm, value, ignored })
    }

    /// Whether U-Boot checks it, and it protects.
    pub(super) fn protects(&self) -> bool {
        matches!(self.algorithm, ImageHash::Strong(_)) && !self.ignored
    }
}

const MAX_VALUE_LEN_BYTES: usize = 64 << 10;

/// What a hash is computed over.
#[derive(Clone, Debug)]
pub(super) enum Content<'c> {
    /// As it stands in the source.
    Source(Range<u64>),
    /// Changed by the plan.
    Bytes(&'c [u8]),
}

impl Content<'_> {
    pub(super) fn len_bytes(&self) -> u64 {
        match self {
            Self::Source(range) => range.end - range.start,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// One hash to compute.
#[derive(Clone, Debug)]
pub(super) struct Job<'c> {
    pub(super) content: Content<'c>,
    pub(super) algorithm: ImageHash,
}

/// A job's place in the list, and its hash.
type Done = (usize, Result<Vec<u8>, ReadError>);

/// Computes every job's hash, long ones first, as many at a time as there are cores.
///
/// `progress` is told of each piece hashed, in bytes.
pub(super) fn hash_all(
    source: &dyn Source,
    jobs: &[Job<'_>],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Vec<u8>>, FitError> {
    let mut order: Vec<(usize, &Job<'_>)> = jobs.iter().enumerate().collect();
    order.sort_by_key(|(_, job)| std::cmp::Reverse(job.content.len_bytes()));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Done>> = Mutex::default();
    let work = || {
        let mut buffer = vec![0; BUFFER_LEN_BYTES];
        while let Some((index, job)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hash = job.run(source, &mut buffer, progress);
            let failed = hash.is_err();
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*index, hash));
            if failed {
                return;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, hash)| Ok(hash?)).collect()
}

impl Job<'_> {
    fn run(
        &self,
        source: &dyn Source,
        buffer: &mut [u8],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<u8>, ReadError> {
        let mut state = State::new(self.algorithm)?;
        match &self.content {
            Content::Bytes(bytes) => state.update(bytes)?,
            Content::Source(range) => {
                let mut at = range.start;
                while at < range.end {
                    let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
                    let piece = buffer.get_mut(..len).unwrap_or_default();
                    source.read_at(at, piece)?;
                    state.update(piece)?;
                    at += len as u64;
                    progress(len as u64);
                }
            }
        }
        state.finish()
    }
}

enum State {
    Strong(Hasher),
    Weak(openssl::hash::Hasher),
    Crc32(crc32fast::Hasher),
}

/// OpenSSL in FIPS mode refuses MD5, for example.
fn unavailable(source: openssl::error::ErrorStack) -> ReadError {
    ReadError::Io { offset: 0, source: source.into() }
}

impl State {
    fn new(algorithm: ImageHash) -> Result<Self, ReadError> {
        let weak = |digest| openssl::hash::Hasher::new(digest).map(Self::Weak).map_err(unavailable);
        match algorithm {
            ImageHash::Strong(algorithm) => Ok(Self::Strong(Hasher::new(algorithm))),
            ImageHash::Sha1 => weak(MessageDigest::sha1()),
            ImageHash::Md5 => weak(MessageDigest::md5()),
            ImageHash::Crc32 => Ok(Self::Crc32(crc32fast::Hasher::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        match self {
            Self::Strong(hasher) => hasher.update(bytes),
            Self::Weak(hasher) => hasher.update(bytes).map_err(unavailable)?,
            Self::Crc32(hasher) => hasher.update(bytes),
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, ReadError> {
        Ok(match self {
            Self::Strong(hasher) => hasher.finish().as_bytes().to_vec(),
            Self::Weak(mut hasher) => hasher.finish().map_err(unavailable)?.to_vec(),
            Self::Crc32(hasher) => hasher.finalize().to_be_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_the_usual_check_string() {
        let source: &[u8] = b"xx123456789";
        let names = ["crc32", "md5", "sha1", "sha256"];
        let job = |name: &&str| Job {
            content: Content::Source(2..11),
            algorithm: ImageHash::from_name(name).unwrap(),
        };
        let jobs: Vec<Job<'_>> = names.iter().map(job).collect();
        let hashes: Vec<String> =
            hash_all(&source, &jobs, &|_| {}).unwrap().iter().map(hex::encode).collect();
        assert_eq!(hashes[0], "cbf43926");
        assert_eq!(hashes[1], "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(hashes[2], "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(hashes[3], "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    }

    #[test]
    fn a_read_error_is_an_error() {
        let source: &[u8] = b"short";
        let job = Job { content: Content::Source(0..9), algorithm: ImageHash::Crc32 };
        assert!(hash_all(&source, &[job.clone(), job], &|_| {}).is_err());
    }
}
