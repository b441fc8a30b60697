//! dm-verity hash areas compared byte by byte with `veritysetup format`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // helpers of tests are tests

mod common;

use common::find_tool;
use hsmsign::{
    crypto::HashAlgorithm,
    format::verity::{BlockSize, Parameters, Tree, Uuid, Work, build},
    io::{FileArea, FileSource},
};
use std::{fs::File, num::NonZeroUsize, path::Path, process::Command};

const UUID: &str = "6f1b2c3d-4e5f-8071-92a3-b4c5d6e7f809";

/// Data in which blocks differ, some of them all zero.
fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..len)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (i / 5000) % 3 == 1 { 0 } else { state.to_be_bytes()[0] }
        })
        .collect()
}

struct Case {
    hash: HashAlgorithm,
    data_block: u64,
    hash_block: u64,
    salt: &'static str,
    superblock: bool,
    blocks: u64,
}

impl Case {
    fn parameters(&self) -> Parameters {
        Parameters {
            hash: self.hash,
            data_block_size: BlockSize::new(self.data_block).unwrap(),
            hash_block_size: BlockSize::new(self.hash_block).unwrap(),
            salt: hsmsign::format::verity::parse_salt(self.salt).unwrap(),
            uuid: self.superblock.then(|| UUID.parse::<Uuid>().unwrap()),
        }
    }

    /// Arguments of `veritysetup format` that say the same.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--hash={}", self.hash),
            format!("--data-block-size={}", self.data_block),
            format!("--hash-block-size={}", self.hash_block),
            format!("--data-blocks={}", self.blocks),
            format!("--salt={}", self.salt),
        ];
        arguments.push(if self.superblock { format!("--uuid={UUID}") } else { "--no-superblock".into() });
        arguments
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for hash in HashAlgorithm::ALL {
        for (data_block, hash_block) in
            [(512, 512), (512, 4096), (1024, 1024), (4096, 512), (4096, 4096), (4096, 16384), (65536, 4096)]
        {
            for blocks in [2, 16, 17, 129, 700] {
                let superblock = blocks % 2 == 1;
                let salt = if blocks == 17 { "-" } else { "00ff10a5c3" };
                cases.push(Case { hash, data_block, hash_block, salt, superblock, blocks });
            }
        }
    }
    let salt: &str = Box::leak("a7".repeat(256).into_boxed_str());
    cases.push(Case {
        hash: HashAlgorithm::Sha256,
        data_block: 4096,
        hash_block: 4096,
        salt,
        superblock: true,
        blocks: 1000,
    });
    cases
}

/// Runs `veritysetup format` and returns its root hash.
fn format(data: &Path, hash: &Path, more: &[String]) -> Option<String> {
    let output = Command::new(find_tool("veritysetup")?)
        .arg("format")
        .arg(data)
        .arg(hash)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|l| l.strip_prefix("Root hash:").map(|h| h.trim().to_owned()))
}

fn ours(image: &Path, output: &Path, tree: &Tree, copy_data: bool) -> String {
    let source = FileSource::open(image).unwrap();
    let file = File::options().read(true).write(true).create(true).truncate(true).open(output).unwrap();
    let area = FileArea::new(&file, tree.end_bytes()).unwrap();
    let work = Work { threads: NonZeroUsize::new(3).unwrap(), progress: &|_| {} };
    build(&source, &area, tree, work, copy_data).unwrap().to_hex()
}

#[test]
fn separate_hash_files_equal_veritysetups() {
    let directory = tempfile::tempdir().unwrap();
    let [image, theirs, our] = ["image", "theirs", "ours"].map(|n| directory.path().join(n));
    for case in cases() {
        let len = case.blocks * case.data_block;
        std::fs::write(&image, data(usize::try_from(len).unwrap())).unwrap();
        File::create(&theirs).unwrap();
        let Some(expected) = format(&image, &theirs, &case.arguments()) else { return };
        let tree = Tree::separate(case.parameters(), len).unwrap();
        assert_eq!(ours(&image, &our, &tree, false), expected, "{:?}", case.arguments());
        assert!(std::fs::read(&our).unwrap() == std::fs::read(&theirs).unwrap(), "{:?}", case.arguments());
    }
}

#[test]
fn appended_hash_areas_equal_veritysetups() {
    let directory = tempfile::tempdir().unwrap();
    let [image, theirs, our] = ["image", "theirs", "ours"].map(|n| directory.path().join(n));
    for case in cases() {
        let len = case.blocks * case.data_block;
        let bytes = data(usize::try_from(len).unwrap());
        std::fs::write(&image, &bytes).unwrap();
        std::fs::write(&theirs, &bytes).unwrap();
        let tree = Tree::appended(case.parameters(), len).unwrap();
        let mut arguments = case.arguments();
        arguments.push(format!("--hash-offset={}", tree.hash_offset_bytes));
        let Some(expected) = format(&theirs, &theirs, &arguments) else { return };
        assert_eq!(ours(&image, &our, &tree, true), expected, "{arguments:?}");
        assert!(std::fs::read(&our).unwrap() == std::fs::read(&theirs).unwrap(), "{arguments:?}");
    }
}

/// veritysetup drops an incomplete last block; we pad it, as the device that holds the image will.
#[test]
fn incomplete_blocks_are_padded_with_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let [image, theirs, our] = ["image", "theirs", "ours"].map(|n| directory.path().join(n));
    let hash = HashAlgorithm::Sha256;
    let case = Case { hash, data_block: 4096, hash_block: 4096, salt: "-", superblock: true, blocks: 13 };
    let mut bytes = data(12 * 4096 + 1);
    std::fs::write(&image, &bytes).unwrap();
    let tree = Tree::appended(case.parameters(), bytes.len() as u64).unwrap();
    bytes.resize(13 * 4096, 0);
    std::fs::write(&theirs, &bytes).unwrap();
    let arguments = [case.arguments(), vec![format!("--hash-offset={}", tree.hash_offset_bytes)]].concat();
    let Some(expected) = format(&theirs, &theirs, &arguments) else { return };
    assert_eq!(ours(&image, &our, &tree, true), expected);
    assert!(std::fs::read(&our).unwrap() == std::fs::read(&theirs).unwrap());
}
