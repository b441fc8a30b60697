//! Computing a hash area.

use super::{
    Superblock, Tree, VerityError, Work,
    engine::{Pass, is_zero},
};
use crate::{
    crypto::{Digest, Hasher},
    format::Source,
};

/// Where a hash area is written, at any place and from several threads, and read back.
///
/// Bytes that were never written read as zeros, up to `len_bytes`.
pub trait HashArea: Source {
    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says, such as a full disk.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()>;
}

/// Computes superblock and hash tree of `data` into `area`, and returns the root hash.
///
/// `data` is read once, as far as `tree` protects it; what its last block lacks is taken as zero. Level for
/// level, hash blocks are written to `area` and read back, so memory is a few MiB for images of any size. If
/// `copy_data` is set, the data is written to `area` too, at the same offsets, except for zeros.
///
/// # Errors
///
/// [`VerityError::Read`] and [`VerityError::Write`].
///
/// Source: Linux `Documentation/admin-guide/device-mapper/verity.rst`, section "Hash Tree".
pub fn build(
    data: &dyn Source,
    area: &dyn HashArea,
    tree: &Tree,
    work: Work<'_>,
    copy_data: bool,
) -> Result<Digest, VerityError> {
    let write = |offset, bytes: &[u8]| area.write_at(offset, bytes).map_err(VerityError::Write);
    if tree.parameters.uuid.is_some() {
        let superblock = Superblock { parameters: tree.parameters.clone(), data_blocks: tree.data_blocks };
        write(tree.hash_offset_bytes, &superblock.to_bytes())?;
    }
    let copy =
        |offset, bytes: &[u8]| if copy_data && !is_zero(bytes) { write(offset, bytes) } else { Ok(()) };
    let mut top = data_pass(data, tree);
    for (height, level) in tree.levels().iter().enumerate() {
        let offset = tree.block_offset_bytes(level.first_block);
        let emit = |first, blocks: &[u8]| write(offset + tree.block_offset_bytes(first), blocks);
        if height == 0 {
            top.run(work, &copy, &emit)?;
        } else {
            // The tree's own blocks are a hundredth of the data: not worth a progress bar.
            top.run(Work { progress: &|_| {}, ..work }, &|_, _| Ok(()), &emit)?;
        }
        top = level_pass(area, tree, height).unwrap_or(top);
    }
    if tree.levels().is_empty() {
        top.run(work, &copy, &|_, _| Ok(()))?;
    }
    root_hash(&top)
}

/// The blocks of data as input of the lowest level.
pub(super) fn data_pass<'a>(data: &'a dyn Source, tree: &'a Tree) -> Pass<'a> {
    Pass {
        parameters: &tree.parameters,
        input: data,
        offset_bytes: 0,
        end_bytes: data.len_bytes().min(tree.data_len_bytes()),
        block_len_bytes: tree.parameters.data_block_size.bytes_usize(),
        blocks: tree.data_blocks,
    }
}

/// The blocks of the level at `height` as input of the one above.
pub(super) fn level_pass<'a>(area: &'a dyn Source, tree: &'a Tree, height: usize) -> Option<Pass<'a>> {
    let level = tree.levels().get(height)?;
    Some(Pass {
        parameters: &tree.parameters,
        input: area,
        offset_bytes: tree.block_offset_bytes(level.first_block),
        end_bytes: tree.block_offset_bytes(level.first_block.saturating_add(level.blocks)),
        block_len_bytes: tree.parameters.hash_block_size.bytes_usize(),
        blocks: level.blocks,
    })
}

/// The digest of the topmost block, which is the only one of `top`.
pub(super) fn root_hash(top: &Pass<'_>) -> Result<Digest, VerityError> {
    let there = top.end_bytes.saturating_sub(top.offset_bytes).min(top.block_len_bytes as u64);
    let mut block = top.input.read_range(top.offset_bytes..top.offset_bytes + there, top.block_len_bytes)?;
    block.resize(top.block_len_bytes, 0);
    let mut hasher = Hasher::new(top.parameters.hash);
    hasher.update(&top.parameters.salt);
    hasher.update(&block);
    Ok(hasher.finish())
}

/// The root hash that the topmost block in an existing hash area has; `None` if there is no tree because one
/// data block is all there is. Says nothing about what lies below it.
///
/// # Errors
///
/// [`VerityError::Read`].
pub fn stored_root_hash(area: &dyn Source, tree: &Tree) -> Result<Option<Digest>, VerityError> {
    let top = tree.levels().len().checked_sub(1).and_then(|height| level_pass(area, tree, height));
    top.as_ref().map(root_hash).transpose()
}
