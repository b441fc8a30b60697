//! Hashing many blocks on all cores, in bounded memory.

use super::{Parameters, VerityError};
use crate::{crypto::HashAlgorithm, format::Source};
use sha2::digest::Output;
use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// How much a thread reads at once, unless one block is larger. It stays in the core's cache.
const READ_LEN_BYTES: usize = 256 * 1024;
/// How much data a thread takes on at once, if as much fits into whole hash blocks.
const UNIT_LEN_BYTES: u64 = 2 * 1024 * 1024;

/// How a computation runs.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// How many threads share it.
    pub threads: NonZeroUsize,
    /// Told how many bytes have been hashed since it was last told.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// Told of bytes as they were read, and where.
pub(super) type Seen<'a> = dyn Fn(u64, &[u8]) -> Result<(), VerityError> + Sync + 'a;
/// Given finished hash blocks, and the number of the first within its level.
pub(super) type Emit<'a> = dyn Fn(u64, &[u8]) -> Result<(), VerityError> + Sync + 'a;

/// Blocks of one size whose digests fill one level of the tree.
pub(super) struct Pass<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) input: &'a dyn Source,
    /// Where the first block begins.
    pub(super) offset_bytes: u64,
    /// Where the input ends; what a block lacks there is zero.
    pub(super) end_bytes: u64,
    pub(super) block_len_bytes: usize,
    pub(super) blocks: u64,
}

impl Pass<'_> {
    /// Hashes all blocks. `seen` gets each piece of the input once, `emit` each hash block once, in no order
    /// and from several threads.
    pub(super) fn run(&self, work: Work<'_>, seen: &Seen<'_>, emit: &Emit<'_>) -> Result<(), VerityError> {
        match self.parameters.hash {
            HashAlgorithm::Sha256 => self.run_with::<sha2::Sha256>(work, seen, emit),
            HashAlgorithm::Sha384 => self.run_with::<sha2::Sha384>(work, seen, emit),
            HashAlgorithm::Sha512 => self.run_with::<sha2::Sha512>(work, seen, emit),
        }
    }

    fn run_with<D: sha2::Digest + Clone + Sync>(
        &self,
        work: Work<'_>,
        seen: &Seen<'_>,
        emit: &Emit<'_>,
    ) -> Result<(), VerityError> {
        let per_block = u64::try_from(self.parameters.digests_per_block()).unwrap_or(u64::MAX);
        let per_hash_block_bytes = per_block.saturating_mul(self.block_len_bytes as u64).max(1);
        let unit_hash_blocks = (UNIT_LEN_BYTES / per_hash_block_bytes).max(1);
        let hash_blocks = self.blocks.div_ceil(per_block);
        let units = hash_blocks.div_ceil(unit_hash_blocks);
        let hasher = BlockHasher::<D>::new(self.parameters, self.block_len_bytes);

        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let failure = Mutex::new(None);
        let worker = || {
            let mut buffers = Buffers::default();
            while !stop.load(Ordering::Relaxed) {
                let unit = next.fetch_add(1, Ordering::Relaxed);
                if unit >= units {
                    break;
                }
                let first = unit * unit_hash_blocks;
                let last = (first + unit_hash_blocks).min(hash_blocks);
                let blocks = first * per_block..last.saturating_mul(per_block).min(self.blocks);
                let done = self
                    .hash_range(&hasher, blocks, &mut buffers, work, seen)
                    .and_then(|()| emit(first, &buffers.hash_blocks));
                if let Err(error) = done {
                    stop.store(true, Ordering::Relaxed);
                    if let Ok(mut failure) = failure.lock() {
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        let helpers = u64::try_from(work.threads.get()).unwrap_or(u64::MAX).min(units).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(worker);
            }
            worker();
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(poisoned) => poisoned.into_inner().map_or(Ok(()), Err),
        }
    }

    /// Puts the digests of `blocks` into `buffers.hash_blocks`, padded to whole hash blocks.
    fn hash_range<D: sha2::Digest + Clone>(
        &self,
        hasher: &BlockHasher<D>,
        blocks: std::ops::Range<u64>,
        buffers: &mut Buffers,
        work: Work<'_>,
        seen: &Seen<'_>,
    ) -> Result<(), VerityError> {
        let slot = self.parameters.digest_slot_bytes();
        let blocks_per_read = (READ_LEN_BYTES / self.block_len_bytes).max(1) as u64;
        buffers.hash_blocks.clear();
        let mut block = blocks.start;
        while block < blocks.end {
            let count = blocks_per_read.min(blocks.end - block);
            let bytes = self.read(block, count, &mut buffers.input, seen)?;
            for block in bytes.chunks_exact(self.block_len_bytes) {
                let digest = hasher.digest(block);
                buffers.hash_blocks.extend_from_slice(&digest);
                let filled = buffers.hash_blocks.len() + slot - digest.len();
                buffers.hash_blocks.resize(filled, 0);
            }
            (work.progress)(bytes.len() as u64);
            block += count;
        }
        let whole = buffers.hash_blocks.len().next_multiple_of(self.parameters.hash_block_size.bytes_usize());
        buffers.hash_blocks.resize(whole, 0);
        Ok(())
    }

    /// Reads `count` blocks from number `block` on, zero-padded past the input's end.
    fn read<'b>(
        &self,
        block: u64,
        count: u64,
        buffer: &'b mut Vec<u8>,
        seen: &Seen<'_>,
    ) -> Result<&'b [u8], VerityError> {
        let block_len_bytes = self.block_len_bytes as u64;
        let offset = self.offset_bytes.saturating_add(block.saturating_mul(block_len_bytes));
        let wanted = usize::try_from(count * block_len_bytes).unwrap_or(usize::MAX);
        let there = usize::try_from(self.end_bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(wanted);
        buffer.resize(wanted, 0);
        let (filled, rest) = buffer.split_at_mut(there);
        self.input.read_at(offset, filled)?;
        rest.fill(0);
        seen(offset, filled)?;
        Ok(buffer)
    }
}

#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    hash_blocks: Vec<u8>,
}

/// Digests of salted blocks.
struct BlockHasher<D: sha2::Digest> {
    /// The state after the salt.
    salted: D,
    /// The digest of a block of zeros: file systems are full of them.
    of_zeros: Output<D>,
}

impl<D: sha2::Digest + Clone> BlockHasher<D> {
    fn new(parameters: &Parameters, block_len_bytes: usize) -> Self {
        let salted = D::new_with_prefix(&parameters.salt);
        let of_zeros = salted.clone().chain_update(vec![0; block_len_bytes]).finalize();
        Self { salted, of_zeros }
    }

    fn digest(&self, block: &[u8]) -> Output<D> {
        if is_zero(block) {
            self.of_zeros.clone()
        } else {
            self.salted.clone().chain_update(block).finalize()
        }
    }
}

/// Whether all bytes are zero: the first is, and each equals the one before it. Comparing slices is fast in
/// builds without optimisation too, and ends at the first difference.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes.get(..rest.len()) == Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        assert!(is_zero(&[]) && is_zero(&[0]) && is_zero(&[0; 4096]));
        for place in [0, 1, 2048, 4095] {
            let mut bytes = [0; 4096];
            bytes[place] = 0x80;
            assert!(!is_zero(&bytes), "{place}");
        }
    }
}
