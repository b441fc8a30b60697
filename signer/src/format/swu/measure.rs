//! One pass over payloads: hash, checksum and, on the way, copy.

use crate::{
    crypto::{Digest, HashAlgorithm, Hasher},
    format::{ReadError, Source, cpio::Sum},
};
use std::{
    io,
    num::NonZeroUsize,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
};

/// How much is read at once; stays in a core's cache.
const CHUNK_LEN_BYTES: usize = 256 * 1024;
/// Chunks on their way to the hashing thread.
const CHUNKS_UNDER_WAY: usize = 8;
/// From this length on, hashing is worth a thread of its own.
const MIN_PIPELINE_LEN_BYTES: u64 = 4 << 20;

/// A file that is or becomes a member.
#[derive(Clone)]
pub struct Payload<'a> {
    /// Its name in the bundle.
    pub name: String,
    /// Where its bytes are.
    pub source: &'a dyn Source,
    /// Which of them.
    pub range: Range<u64>,
    /// The checksum that an archive has for it.
    pub checksum: Option<u32>,
}

impl Payload<'_> {
    /// Its length.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// What one pass found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// SHA-256 of the bytes.
    pub sha256: Digest,
    /// Their wrapping sum.
    pub checksum: u32,
}

/// Given a payload's number, an offset within it, and the bytes that stand there.
pub type Copy<'a> = dyn Fn(usize, u64, &[u8]) -> io::Result<()> + Sync + 'a;

/// How a pass runs.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// How many payloads are read at once.
    pub threads: NonZeroUsize,
    /// Told how many bytes have been read since it was last told.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Where the bytes go that were hashed.
    pub copy: &'a Copy<'a>,
}

/// Why a pass ended early.
#[derive(Debug)]
pub enum Fault {
    /// A payload could not be read.
    Read {
        /// Its number.
        index: usize,
        /// Why.
        source: ReadError,
    },
    /// The copy could not be written.
    Write(io::Error),
}

/// Reads each payload once. What is hashed is what `work.copy` got, whatever happens to the file meanwhile.
///
/// # Errors
///
/// [`Fault`], the first one that occurred.
pub fn measure(payloads: &[Payload<'_>], work: Work<'_>) -> Result<Vec<Measured>, Fault> {
    let mut order: Vec<_> = payloads.iter().enumerate().collect();
    // The longest first, so that no thread is left with it at the end.
    order.sort_by_key(|(_, p)| std::cmp::Reverse(p.len_bytes()));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new((vec![None; payloads.len()], None));
    let worker = || {
        while let Some((index, payload)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let result = one(*index, payload, work, &stop);
            let Ok(mut done) = done.lock() else { break };
            let (measured, fault) = &mut *done;
            match result {
                Ok(found) => {
                    if let Some(slot) = measured.get_mut(*index) {
                        *slot = found;
                    }
                }
                Err(e) => {
                    stop.store(true, Ordering::Relaxed);
                    fault.get_or_insert(e);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..work.threads.get().min(payloads.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let (measured, fault) = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match (fault, measured.into_iter().collect::<Option<Vec<_>>>()) {
        (Some(fault), _) => Err(fault),
        (None, Some(measured)) => Ok(measured),
        // A worker ended without result or fault: it cannot, but a signature must not rest on that.
        (None, None) => Err(Fault::Write(io::Error::other("a payload was not read"))),
    }
}

/// `None` if another payload's fault stopped it.
fn one(
    index: usize,
    payload: &Payload<'_>,
    work: Work<'_>,
    stop: &AtomicBool,
) -> Result<Option<Measured>, Fault> {
    if payload.len_bytes() < MIN_PIPELINE_LEN_BYTES {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        let mut buffer = Vec::new();
        let mut reader = Reader::new(index, payload, work, stop);
        while reader.next(&mut buffer)? {
            hasher.update(&buffer);
        }
        return Ok(reader.finish(hasher.finish()));
    }
    let (full, to_hash) = sync_channel::<Vec<u8>>(CHUNKS_UNDER_WAY);
    let (empty, to_fill) = sync_channel::<Vec<u8>>(CHUNKS_UNDER_WAY);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hasher = Hasher::new(HashAlgorithm::Sha256);
            for chunk in to_hash {
                hasher.update(&chunk);
                let _ = empty.try_send(chunk);
            }
            hasher.finish()
        });
        let mut reader = Reader::new(index, payload, work, stop);
        let result = loop {
            let mut buffer = to_fill.try_recv().unwrap_or_default();
            match reader.next(&mut buffer) {
                Ok(true) if full.send(buffer).is_ok() => {}
                Ok(_) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        drop(full);
        let digest = hashing.join();
        result?;
        Ok(digest.ok().and_then(|digest| reader.finish(digest)))
    })
}

/// Goes through one payload.
struct Reader<'a> {
    index: usize,
    payload: &'a Payload<'a>,
    work: Work<'a>,
    stop: &'a AtomicBool,
    offset: u64,
    sum: Sum,
}

impl<'a> Reader<'a> {
    fn new(index: usize, payload: &'a Payload<'a>, work: Work<'a>, stop: &'a AtomicBool) -> Self {
        Self { index, payload, work, stop, offset: 0, sum: Sum::default() }
    }

    /// Reads, sums and copies the next chunk; false at the end.
    fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Fault> {
        let left = self.payload.len_bytes() - self.offset;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LEN_BYTES);
        if len == 0 || self.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        buffer.resize(len, 0);
        let at = self.payload.range.start + self.offset;
        self.payload
            .source
            .read_at(at, buffer)
            .map_err(|source| Fault::Read { index: self.index, source })?;
        self.sum.update(buffer);
        (self.work.copy)(self.index, self.offset, buffer).map_err(Fault::Write)?;
        (self.work.progress)(len as u64);
        self.offset += len as u64;
        Ok(true)
    }

    /// The result, if every byte was read.
    fn finish(self, sha256: Digest) -> Option<Measured> {
        (self.offset == self.payload.len_bytes()).then(|| Measured { sha256, checksum: self.sum.value() })
    }
}
