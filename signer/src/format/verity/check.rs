//! Comparing a hash area with its data and a root hash.

use super::{
    Tree, VerityError, Work,
    build::{data_pass, level_pass, root_hash},
};
use crate::{crypto::Digest, format::Source};
use std::{collections::BTreeSet, sync::Mutex};

/// How many places of a kind are named.
const NAMED: usize = 8;

/// What does not fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether the topmost block (or the only data block) has the expected root hash.
    pub root_matches: bool,
    /// How many data blocks differ from their digests in the tree.
    pub bad_data_blocks: u64,
    /// The first of them, at most eight, by number from the beginning of the data.
    pub first_bad_data_blocks: Vec<u64>,
    /// How many hash blocks differ from their digests in the level above.
    pub bad_hash_blocks: u64,
    /// The first of them, at most eight, by number from the beginning of the hash device.
    pub first_bad_hash_blocks: Vec<u64>,
}

impl Findings {
    /// Whether every byte is as the root hash says.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.root_matches && self.bad_data_blocks == 0 && self.bad_hash_blocks == 0
    }
}

/// Checks all data blocks and hash blocks against `root`. `data` and `area` may be the same file.
///
/// Data and every level are read once; memory does not depend on the image's size.
///
/// # Errors
///
/// [`VerityError::Read`]; [`VerityError::Truncated`] if `area` ends before the tree does and
/// [`VerityError::DataSize`] if `data` lacks whole blocks. What does not match is no error but in the
/// [`Findings`].
pub fn check(
    data: &dyn Source,
    area: &dyn Source,
    tree: &Tree,
    root: &Digest,
    work: Work<'_>,
) -> Result<Findings, VerityError> {
    if area.len_bytes() < tree.end_bytes() && !tree.levels().is_empty() {
        return Err(VerityError::Truncated { needed_bytes: tree.end_bytes(), found_bytes: area.len_bytes() });
    }
    let data_block_bytes = tree.parameters.data_block_size.bytes_u64();
    if data.len_bytes().div_ceil(data_block_bytes) < tree.data_blocks {
        return Err(VerityError::DataSize {
            claimed_bytes: tree.data_len_bytes(),
            found_bytes: data.len_bytes(),
        });
    }
    let (bad_data, bad_hashes) = (Bad::default(), Bad::default());
    let mut below = data_pass(data, tree);
    let mut first_below = 0;
    for (height, level) in tree.levels().iter().enumerate() {
        let bad = if height == 0 { &bad_data } else { &bad_hashes };
        let offset = tree.block_offset_bytes(level.first_block);
        let per_block = tree.parameters.digests_per_block() as u64;
        let slot = tree.parameters.digest_slot_bytes();
        let digest_len = tree.parameters.hash.digest_len_bytes();
        let blocks = below.blocks;
        let compare = |first: u64, computed: &[u8]| {
            let start = offset + tree.block_offset_bytes(first);
            let stored = area.read_range(start..start + computed.len() as u64, computed.len())?;
            if computed == stored {
                return Ok(());
            }
            let slots = computed.chunks(slot).zip(stored.chunks(slot));
            for (number, (computed, stored)) in (first * per_block..).zip(slots) {
                if computed == stored {
                    continue;
                }
                if number < blocks && computed.get(..digest_len) != stored.get(..digest_len) {
                    bad.add(first_below + number);
                } else {
                    // What pads a digest or the block is zero in every tree. Digests of further blocks there
                    // would mean that the number of data blocks was lowered, which the root hash does not cover.
                    bad_hashes.add(level.first_block + number / per_block);
                }
            }
            Ok(())
        };
        let work = if height == 0 { work } else { Work { progress: &|_| {}, ..work } };
        below.run(work, &|_, _| Ok(()), &compare)?;
        below = level_pass(area, tree, height).unwrap_or(below);
        first_below = level.first_block;
    }
    let root_matches = root_hash(&below)? == *root;
    let (bad_data_blocks, first_bad_data_blocks) = bad_data.into_parts();
    let (bad_hash_blocks, first_bad_hash_blocks) = bad_hashes.into_parts();
    Ok(Findings {
        root_matches,
        bad_data_blocks,
        first_bad_data_blocks,
        bad_hash_blocks,
        first_bad_hash_blocks,
    })
}

/// Counts blocks and keeps the numbers of the first.
#[derive(Default)]
struct Bad(Mutex<(u64, BTreeSet<u64>)>);

impl Bad {
    fn add(&self, block: u64) {
        let mut found = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.0 += 1;
        found.1.insert(block);
        if found.1.len() > NAMED {
            found.1.pop_last();
        }
    }

    fn into_parts(self) -> (u64, Vec<u64>) {
        let (count, first) = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        (count, first.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::HashAlgorithm,
        format::{
            ReadError,
            verity::{BlockSize, HashArea, Parameters, Uuid, build},
        },
    };
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    /// A hash area in memory.
    struct Memory(Mutex<Vec<u8>>);

    impl Source for Memory {
        fn len_bytes(&self) -> u64 {
            self.0.lock().unwrap().len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.0.lock().unwrap().read_at(offset, buffer)
        }
    }

    impl HashArea for Memory {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            let offset = usize::try_from(offset).unwrap();
            self.0.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    fn work(threads: usize) -> Work<'static> {
        Work { threads: NonZeroUsize::new(threads).unwrap(), progress: &|_| {} }
    }

    fn parameters(hash: HashAlgorithm, data: u64, hash_block: u64, salt: Vec<u8>) -> Parameters {
        Parameters {
            hash,
            data_block_size: BlockSize::new(data).unwrap(),
            hash_block_size: BlockSize::new(hash_block).unwrap(),
            salt,
            uuid: Some(Uuid([9; 16])),
        }
    }

    /// The image with its hash area behind it, the tree and the root hash.
    fn appended(data: &Vec<u8>, parameters: Parameters, threads: usize) -> (Vec<u8>, Tree, Digest) {
        let tree = Tree::appended(parameters, data.len() as u64).unwrap();
        let area = Memory(Mutex::new(vec![0; usize::try_from(tree.end_bytes()).unwrap()]));
        let root = build(data, &area, &tree, work(threads), true).unwrap();
        (area.0.into_inner().unwrap(), tree, root)
    }

    #[test]
    fn root_hash_of_one_block_is_its_digest() {
        let data = vec![5; 4096];
        let (_, _, root) = appended(&data, parameters(HashAlgorithm::Sha256, 4096, 4096, vec![1]), 1);
        assert_eq!(root, HashAlgorithm::Sha256.digest(&[vec![1], data].concat()));
    }

    #[test]
    fn a_tampered_data_block_is_named() {
        let data: Vec<u8> = (0..300 * 512u32).map(|i| (i % 251) as u8).collect();
        let p = parameters(HashAlgorithm::Sha256, 512, 512, vec![]);
        let (mut image, tree, root) = appended(&data, p, 2);
        assert_eq!(image[..data.len()], data);
        assert!(check(&image, &image, &tree, &root, work(2)).unwrap().is_good());
        image[77 * 512 + 3] ^= 1;
        image[299 * 512 + 511] ^= 1;
        let findings = check(&image, &image, &tree, &root, work(2)).unwrap();
        assert_eq!((findings.bad_data_blocks, findings.first_bad_data_blocks), (2, vec![77, 299]));
        assert_eq!((findings.bad_hash_blocks, findings.root_matches), (0, true));
    }

    #[test]
    fn what_ends_too_early_is_an_error() {
        let data = vec![1; 300 * 512];
        let (image, tree, root) = appended(&data, parameters(HashAlgorithm::Sha256, 512, 512, vec![]), 1);
        let short = image[..image.len() - 1].to_vec();
        let error = check(&data, &short, &tree, &root, work(1)).unwrap_err();
        assert!(matches!(error, VerityError::Truncated { .. }));
        let error = check(&data[..299 * 512].to_vec(), &image, &tree, &root, work(1)).unwrap_err();
        assert!(matches!(error, VerityError::DataSize { .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn threads_make_no_difference_and_every_flip_is_found(
            len in 1usize..40_000, fill: u8, algorithm in 0usize..3, data_bits in 9u32..13, hash_bits in 9u32..13,
            salt in proptest::collection::vec(any::<u8>(), 0..40), place: prop::sample::Index, bit in 0u8..8,
        ) {
            let data: Vec<u8> = (0..len).map(|i| (i / 97).to_le_bytes()[0] ^ fill).collect();
            let p = parameters(HashAlgorithm::ALL[algorithm], 1 << data_bits, 1 << hash_bits, salt);
            let (mut image, tree, root) = appended(&data, p.clone(), 1);
            prop_assert_eq!(&appended(&data, p, 3), &(image.clone(), tree.clone(), root.clone()));
            prop_assert!(check(&image, &image, &tree, &root, work(2)).unwrap().is_good());
            let place = place.index(image.len());
            image[place] ^= 1 << bit;
            let good = check(&image, &image, &tree, &root, work(2)).unwrap().is_good();
            // Neither the superblock nor the gap before it is covered by the root hash.
            let tree_start = usize::try_from(tree.block_offset_bytes(tree.hash_start_block)).unwrap();
            let data_end = usize::try_from(tree.data_len_bytes()).unwrap();
            prop_assert_eq!(good, (data_end..tree_start).contains(&place));
        }
    }
}
