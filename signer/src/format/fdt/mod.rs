//! Flattened device trees: a strict reader over a [`Source`](super::Source) and an editor that yields edits.
//!
//! Only the structure is held in memory. Property values stay where they are, so a FIT with hundreds
//! of MiB of embedded data costs as little as one without. Names, order, padding and string offsets of
//! what is not edited are kept, and what is added goes where libfdt would put it, so results equal
//! those of U-Boot's tools.
//!
//! Source: Devicetree Specification v0.4, chapter 5 (flattened devicetree format).

mod edit;
mod error;
mod header;
mod parse;
mod tree;
mod window;
mod write;

pub use error::{FdtError, Problem};
pub use tree::{Fdt, Node, NodeId, Property, Value};
pub use write::{Chunk, Extent, Tail, Token};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Deepest nesting accepted; U-Boot's signature code stops at 32, real trees stay below 16.
pub const MAX_DEPTH: usize = 64;
/// Most nodes accepted; the largest kernel trees have some 10,000.
pub const MAX_NODES: usize = 1 << 16;
/// Most properties accepted.
pub const MAX_PROPERTIES: usize = 1 << 18;
/// Longest node or property name, in bytes.
pub const MAX_NAME_LEN_BYTES: usize = 255;
/// Largest strings block, in bytes.
pub const MAX_STRINGS_LEN_BYTES: usize = 1 << 20;
/// Largest memory reservation block, in bytes (16 an entry).
pub const MAX_RESERVATIONS_LEN_BYTES: usize = 1 << 16;

/// `offset` rounded up to a multiple of `alignment`, a power of two; saturates.
pub(crate) fn align_up(offset: u64, alignment: u64) -> u64 {
    let mask = alignment.saturating_sub(1);
    offset.saturating_add(mask) & !mask
}
