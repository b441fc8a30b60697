//! dm-verity: superblocks, images with a hash area behind them, and descriptions.

#![no_main]

use hsmsign::{
    format::verity::{Description, Superblock, Tree, Work, check, find_appended},
};
use libfuzzer_sys::fuzz_target;
use std::num::NonZeroUsize;

fuzz_target!(|bytes: &[u8]| {
    let work = Work { threads: NonZeroUsize::MIN, progress: &|_| {} };
    let mut trees = Vec::new();
    if let Ok(superblock) = Superblock::read(&bytes, 0) {
        let again = Superblock::from_bytes(&superblock.to_bytes()).expect("what was read is written readably");
        assert_eq!(again, superblock);
        trees.extend(Tree::new(superblock.parameters, superblock.data_blocks, 0));
    }
    trees.extend(find_appended(&bytes).expect("memory can be read"));
    if let Ok(description) = Description::parse(bytes) {
        trees.push(description.tree().expect("parsing checked it"));
    }
    for tree in trees {
        let root = tree.parameters.hash.digest(b"");
        let found = check(&bytes, &bytes, &tree, &root, work);
        assert!(!found.is_ok_and(|f| f.is_good()), "no block has the digest of nothing");
    }
});
