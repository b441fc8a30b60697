//! Small trees for unit tests.

use super::{Fdt, Tail};

/// An empty tree as `dtc` writes it, followed by `spare` free bytes.
pub(crate) fn empty(spare: u32) -> Vec<u8> {
    let words = [0xd00d_feed, 72 + spare, 56, 72, 40, 17, 16, 0, 0, 16, 0, 0, 0, 0, 1, 0, 2, 9];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    bytes.resize(bytes.len() + spare as usize, 0);
    bytes
}

/// `bytes` as changed by `edit`.
pub(crate) fn edited(bytes: &[u8], edit: impl FnOnce(&mut Fdt<'_>)) -> Vec<u8> {
    let mut fdt = Fdt::parse(&bytes).unwrap();
    edit(&mut fdt);
    fdt.edits(Tail::Moves { alignment: 4 }).unwrap().apply(&bytes, 1 << 30).unwrap()
}

/// A tree with the shape of a FIT.
pub(crate) fn sample() -> Vec<u8> {
    edited(&empty(0), |fdt| {
        fdt.set_string(Fdt::ROOT, "description", "sample").unwrap();
        fdt.set_u32(Fdt::ROOT, "#address-cells", 1).unwrap();
        let images = fdt.add_node(Fdt::ROOT, "images").unwrap();
        for name in ["fdt-1", "kernel"] {
            let image = fdt.add_node(images, name).unwrap();
            fdt.set(image, "data", name.repeat(100)).unwrap();
            let hash = fdt.add_node(image, "hash-1").unwrap();
            fdt.set_string(hash, "algo", "sha256").unwrap();
        }
    })
}
