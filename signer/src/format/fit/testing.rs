//! Small FITs for unit tests.

use crate::format::fdt::{
    Fdt, NodeId,
    testing::{edited, empty},
};

/// Where a sample FIT keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Offset,
    Position,
}

/// What a sample image holds.
pub(crate) fn payload(name: &str) -> Vec<u8> {
    match name {
        "fdt-1" | "fdt-2" => edited(&empty(0), |fdt| fdt.set_string(Fdt::ROOT, "model", name).unwrap()),
        _ => name.repeat(1001).into_bytes(),
    }
}

const IMAGES: [&str; 5] = ["fdt-1", "fdt-2", "kernel-1", "kernel-2", "ramdisk-1"];

/// Two configurations that share a ramdisk, hashes without value, and no signature nodes.
pub(crate) fn unsigned(kind: Kind) -> Vec<u8> {
    let mut tree = edited(&empty(0), |fdt| {
        fdt.set_u32(Fdt::ROOT, "timestamp", 1_700_000_000).unwrap();
        fdt.set_string(Fdt::ROOT, "description", "sample").unwrap();
        let configurations = fdt.add_node(Fdt::ROOT, "configurations").unwrap();
        let images = fdt.add_node(Fdt::ROOT, "images").unwrap();
        fdt.set_string(configurations, "default", "conf-1").unwrap();
        for number in ["2", "1"] {
            let node = fdt.add_node(configurations, &format!("conf-{number}")).unwrap();
            fdt.set_string(node, "ramdisk", "ramdisk-1").unwrap();
            fdt.set_string(node, "fdt", &format!("fdt-{number}")).unwrap();
            fdt.set_string(node, "kernel", &format!("kernel-{number}")).unwrap();
        }
        let mut offset = 0_u32;
        for name in IMAGES {
            let len = u32::try_from(payload(name).len()).unwrap();
            let node = fdt.add_node(images, name).unwrap();
            let hash = fdt.add_node(node, "hash-1").unwrap();
            fdt.set_string(hash, "algo", "sha256").unwrap();
            match kind {
                Kind::Embedded => fdt.set(node, "data", payload(name)).unwrap(),
                Kind::Offset => fdt.set_u32(node, "data-offset", offset).unwrap(),
                Kind::Position => fdt.set_u32(node, "data-position", 0x2000 + offset).unwrap(),
            }
            if kind != Kind::Embedded {
                fdt.set_u32(node, "data-size", len).unwrap();
            }
            offset += len.next_multiple_of(8);
        }
    });
    // As `mkimage -E -B 0x40` makes it.
    tree.resize(tree.len().next_multiple_of(64), 0);
    let total = u32::try_from(tree.len()).unwrap();
    tree[4..8].copy_from_slice(&total.to_be_bytes());
    if kind == Kind::Position {
        tree.resize(0x2000, 0);
    }
    if kind != Kind::Embedded {
        for name in IMAGES {
            tree.extend(payload(name));
            tree.resize(tree.len().next_multiple_of(8), 0);
        }
    }
    tree
}

/// The node at `path`.
pub(crate) fn node(fdt: &Fdt<'_>, path: &str) -> NodeId {
    fdt.find(path).unwrap_or_else(|| panic!("no {path}"))
}
