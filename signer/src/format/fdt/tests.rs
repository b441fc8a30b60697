#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

use super::{
    Fdt, FdtError, Problem, Tail,
    testing::{edited, empty, sample},
};
use proptest::prelude::*;

fn problem(bytes: &[u8]) -> String {
    Fdt::parse(&bytes).unwrap_err().to_string()
}

/// Word `index` of a big-endian table replaced.
fn with_word(bytes: &[u8], index: usize, word: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index * 4..index * 4 + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

/// A tree with this structure block (words) and this strings block.
fn tree(structure: &[u32], strings: &[u8]) -> Vec<u8> {
    let len = structure.len() as u32 * 4;
    let head = [
        0xd00d_feed,
        56 + len + strings.len() as u32,
        56,
        56 + len,
        40,
        17,
        16,
        0,
        strings.len() as u32,
        len,
        0,
        0,
        0,
        0,
    ];
    let words = head.iter().chain(structure);
    words.flat_map(|w| w.to_be_bytes()).chain(strings.iter().copied()).collect()
}

const A: u32 = 0x6100_0000; // "a\0\0\0"

#[test]
fn reads_names_values_and_places() {
    let bytes = sample();
    let fdt = Fdt::parse(&bytes).unwrap();
    assert_eq!(fdt.string(Fdt::ROOT, "description").unwrap().unwrap(), "sample");
    assert_eq!(fdt.u32(Fdt::ROOT, "#address-cells").unwrap(), Some(1));
    let kernel = fdt.find("/images/kernel").unwrap();
    assert_eq!(fdt.path(kernel), "/images/kernel");
    assert_eq!(fdt.bytes(kernel, "data", 600).unwrap().unwrap(), "kernel".repeat(100).as_bytes());
    assert!(fdt.bytes(kernel, "data", 599).is_err(), "the limit holds");
    assert_eq!(fdt.find("/images/kern"), None);
    assert_eq!(fdt.walk().len(), 6);
}

#[test]
fn an_unedited_tree_needs_no_edits() {
    let bytes = sample();
    let fdt = Fdt::parse(&bytes).unwrap();
    assert!(fdt.edits(Tail::Moves { alignment: 4 }).unwrap().as_slice().is_empty());
}

#[test]
fn setting_an_equal_value_changes_nothing() {
    let bytes = sample();
    assert_eq!(edited(&bytes, |fdt| fdt.set_string(Fdt::ROOT, "description", "sample").unwrap()), bytes);
}

#[test]
fn free_space_is_used_before_the_tree_grows() {
    let bytes = empty(64);
    let grown = edited(&bytes, |fdt| fdt.set_u32(Fdt::ROOT, "a", 7).unwrap());
    assert_eq!(grown.len(), bytes.len());
    let fdt = Fdt::parse(&grown).unwrap();
    assert_eq!(fdt.u32(Fdt::ROOT, "a").unwrap(), Some(7));
    let grown = edited(&bytes, |fdt| fdt.set(Fdt::ROOT, "a", vec![1; 65]).unwrap());
    assert_eq!(grown.len(), bytes.len() + 12 + 68 + 2 - 64 + 2);
}

#[test]
fn names_are_found_as_tails_of_longer_names() {
    let bytes = edited(&empty(0), |fdt| {
        fdt.set_u32(Fdt::ROOT, "data-size", 1).unwrap();
        fdt.set_u32(Fdt::ROOT, "size", 2).unwrap();
    });
    let fdt = Fdt::parse(&bytes).unwrap();
    assert_eq!(fdt.strings(), b"data-size\0");
    assert_eq!(fdt.u32(Fdt::ROOT, "size").unwrap(), Some(2));
}

#[test]
fn deleting_what_was_added_leaves_only_strings() {
    let before = sample();
    let after = edited(&before, |fdt| {
        let node = fdt.add_node(Fdt::ROOT, "extra").unwrap();
        fdt.set_string(node, "algo", "x").unwrap();
        fdt.delete_node(node);
        fdt.set_u32(Fdt::ROOT, "description", 1).unwrap();
        fdt.set_string(Fdt::ROOT, "description", "sample").unwrap();
    });
    assert_eq!(after, before);
}

#[test]
fn bytes_behind_the_tree_move_by_the_alignment() {
    let mut bytes = empty(2);
    bytes.extend(b"\0\0external data");
    let mut fdt = Fdt::parse(&bytes).unwrap();
    fdt.set_u32(Fdt::ROOT, "a", 7).unwrap();
    let tail = Tail::Moves { alignment: 64 };
    assert_eq!(fdt.new_total_size(tail).unwrap(), 74 + 64);
    let output = fdt.edits(tail).unwrap().apply(&bytes, 1 << 20).unwrap();
    assert_eq!(&output[76 + 64..], b"external data");
    assert_eq!(output.len(), bytes.len() + 64);
}

#[test]
fn bytes_behind_the_tree_can_stay() {
    let mut bytes = empty(0);
    bytes.extend([0; 32]);
    bytes.extend(b"fixed");
    let mut fdt = Fdt::parse(&bytes).unwrap();
    fdt.set_u32(Fdt::ROOT, "a", 7).unwrap();
    let output = fdt.edits(Tail::Stays { free_until: 104 }).unwrap().apply(&bytes, 1 << 20).unwrap();
    assert_eq!((output.len(), &output[104..]), (bytes.len(), b"fixed".as_slice()));
    fdt.set(Fdt::ROOT, "a", vec![0; 32]).unwrap();
    assert!(matches!(fdt.edits(Tail::Stays { free_until: 104 }), Err(FdtError::NoRoom { .. })));
}

#[test]
fn refuses_bad_headers() {
    let good = sample();
    assert!(problem(b"\x7fELF").contains("0x7f454c46"));
    assert!(problem(&good[..39]).contains("39 are there"));
    assert!(problem(&good[..good.len() - 1]).contains("bytes, but"));
    assert!(problem(&with_word(&good, 5, 18)).contains("version 18"));
    assert!(problem(&with_word(&good, 5, 3)).contains("version 3"));
    assert!(problem(&with_word(&good, 2, 58)).contains("structure block"), "misaligned");
    assert!(problem(&with_word(&good, 2, 40)).contains("overlaps"));
    assert!(problem(&with_word(&good, 3, 0xffff_fff0)).contains("strings block"));
    assert!(problem(&with_word(&good, 3, 0)).contains("strings block"));
    assert!(problem(&with_word(&good, 4, 0xffff_fff8)).contains("memory reservation block"));
    assert!(problem(&with_word(&good, 8, 0xffff_ffff)).contains("strings block"));
    assert!(problem(&with_word(&good, 9, 0xffff_fffc)).contains("structure block"));
    assert!(problem(&with_word(&good, 13, 1)).contains("memory reservation block"), "no terminator");
}

#[test]
fn refuses_bad_structures() {
    for (structure, strings, expected) in [
        (vec![1, 0, 2], &b""[..], "ends too early"),
        (vec![1, 0, 9], b"", "the end tag cannot stand here"),
        (vec![1, 0, 2, 9, 9], b"", "not the last"),
        (vec![1, 0, 2, 4, 9], b"", "a NOP tag cannot stand here"),
        (vec![1, 0, 2, 1, 0, 2, 9], b"", "second root"),
        (vec![2, 9], b"", "the end of a node cannot stand here"),
        (vec![9], b"", "the end tag cannot stand here"),
        (vec![1, A, 2, 9], b"", "root node alone"),
        (vec![1, 0, 1, 0, 2, 2, 9], b"", "root node alone"),
        (vec![1, 0, 1, 0x612f_6200, 2, 2, 9], b"", "odd characters"),
        (vec![1, 0, 1, 0xff00_0000, 2, 2, 9], b"", "odd characters"),
        (vec![1, 0, 7, 2, 9], b"", "unknown tag 0x7"),
        (vec![3, 0, 0, 1, 0, 2, 9], b"a\0", "outside any node"),
        (vec![1, 0, 3, 0, 2, 2, 9], b"a\0", "name offset 0x2"),
        (vec![1, 0, 3, 0, 0, 2, 9], b"a", "name offset 0x0"),
        (vec![1, 0, 3, 0, 1, 2, 9], b"a\0", "name offset 0x1"),
        (vec![1, 0, 3, 0xffff_fff0, 0, 2, 9], b"a\0", "ends too early"),
        (vec![1, 0, 3, 0, 0, 3, 0, 0, 2, 9], b"a\0", "second property `a`"),
        (vec![1, 0, 3, 0, 0, 3, 0, 2, 2, 9], b"a\0a\0", "second property `a`"),
        (vec![1, 0, 1, A, 2, 1, A, 2, 2, 9], b"", "second node `a`"),
        (vec![1, 0, 1, A, 2, 3, 0, 0, 2, 9], b"a\0", "stands after a subnode"),
        (vec![1, 0x6161_6161, 0x6161_6161], b"", "not terminated"),
    ] {
        let found = problem(&tree(&structure, strings));
        assert!(found.contains(expected), "{structure:x?}: {found}");
        assert!(found.contains("structure at 0x"), "{found}");
    }
}

#[test]
fn refuses_deep_nesting_and_huge_counts() {
    let deep = |levels: usize| {
        let mut words = vec![1, 0];
        words.extend([1, A].repeat(levels - 1));
        words.extend(vec![2; levels]);
        words.push(9);
        tree(&words, b"")
    };
    assert!(Fdt::parse(&deep(super::MAX_DEPTH)).is_ok());
    assert!(problem(&deep(super::MAX_DEPTH + 1)).contains("levels of nodes"));
    let mut nops = vec![1, 0];
    nops.extend(vec![4; super::MAX_PROPERTIES + 1]);
    nops.extend([2, 9]);
    assert!(problem(&tree(&nops, b"")).contains("properties"));
}

#[test]
fn nops_survive_edits() {
    let bytes = tree(&[4, 1, 0, 4, 3, 0, 0, 4, 1, A, 4, 2, 4, 2, 9], b"a\0");
    let back = edited(&bytes, |fdt| fdt.set_u32(Fdt::ROOT, "b", 1).unwrap());
    let words: Vec<u32> =
        back[56..56 + 19 * 4].chunks(4).map(|w| u32::from_be_bytes(w.try_into().unwrap())).collect();
    assert_eq!(words, [4, 1, 0, 3, 4, 2, 1, 4, 3, 0, 0, 4, 1, A, 4, 2, 4, 2, 9]);
    let gone = edited(&bytes, |fdt| assert!(fdt.delete_property(Fdt::ROOT, "a")));
    assert_eq!(Fdt::parse(&gone).unwrap().walk().len(), 2);
}

#[test]
fn refuses_names_that_are_no_names() {
    let bytes = empty(0);
    let mut fdt = Fdt::parse(&bytes).unwrap();
    for name in ["", "a/b", "a b", "ä", &"x".repeat(256)] {
        assert!(matches!(fdt.add_node(Fdt::ROOT, name), Err(FdtError::BadName { .. })), "{name}");
        assert!(matches!(fdt.set_u32(Fdt::ROOT, name, 1), Err(FdtError::BadName { .. })), "{name}");
    }
    fdt.add_node(Fdt::ROOT, "a").unwrap();
    assert!(matches!(fdt.add_node(Fdt::ROOT, "a"), Err(FdtError::NodeExists { .. })));
    assert_eq!(Problem::Truncated.to_string(), "the block ends too early");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(flips in proptest::collection::vec((0_usize..2000, any::<u8>()), 1..8), cut in 0_usize..2000) {
        let mut bytes = sample();
        for (at, byte) in flips {
            if let Some(b) = bytes.get_mut(at) { *b = byte; }
        }
        bytes.truncate(bytes.len().saturating_sub(cut % 7 * cut));
        if let Ok(mut fdt) = Fdt::parse(&bytes) {
            fdt.set_u32(Fdt::ROOT, "new", 1).unwrap();
            let edits = fdt.edits(Tail::Moves { alignment: 4 }).unwrap();
            let output = edits.apply(&bytes, 1 << 20).unwrap();
            let again = Fdt::parse(&output).unwrap();
            prop_assert_eq!(again.u32(Fdt::ROOT, "new").unwrap(), Some(1));
        }
    }

    #[test]
    fn write_then_read_is_identity(
        properties in proptest::collection::btree_map("[a-z,#-]{1,12}", proptest::collection::vec(any::<u8>(), 0..40), 0..12),
        spare in 0_u32..200,
    ) {
        let bytes = edited(&empty(spare), |fdt| {
            let node = fdt.add_node(Fdt::ROOT, "node").unwrap();
            for (name, value) in &properties {
                fdt.set(node, name, value.clone()).unwrap();
            }
        });
        let fdt = Fdt::parse(&bytes).unwrap();
        let node = fdt.find("/node").unwrap();
        prop_assert_eq!(fdt.node(node).properties().len(), properties.len());
        for (name, value) in &properties {
            prop_assert_eq!(fdt.bytes(node, name, 40).unwrap().unwrap(), value.clone());
        }
        let emptied = edited(&bytes, |fdt| {
            let node = fdt.find("/node").unwrap();
            fdt.delete_node(node);
        });
        prop_assert_eq!(emptied.len(), bytes.len());
        prop_assert_eq!(Fdt::parse(&emptied).unwrap().walk().len(), 1);
    }
}
