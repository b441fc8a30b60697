//! The bytes that a configuration's signature covers.

use super::{FitError, Problem, image::Fit, properties::UNSIGNED};
use crate::{
    crypto::{Digest, HashAlgorithm, Hasher},
    format::fdt::{Chunk, FdtError, NodeId, Token},
    request::Request,
};
use std::{collections::HashSet, ops::Range};

/// Digest of what a signature covers.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) digest: Digest,
    /// The bytes, if they are few.
    pub(super) message: Option<Vec<u8>>,
}

/// How much of a node the signature covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coverage {
    /// Nothing.
    None,
    /// That it is there: its begin tag with the name, and its end tag.
    Shell,
    /// Its properties too, but for where data is, and data; and the shells of its subnodes.
    Full,
}

impl Fit<'_> {
    /// Digest of the listed nodes and the first `strings_len` bytes of the strings block, in the order of the tree.
    pub(super) fn region(
        &self,
        configuration: NodeId,
        list: &[NodeId],
        strings_len: usize,
        algorithm: HashAlgorithm,
    ) -> Result<Region, FitError> {
        let listed: HashSet<NodeId> = list.iter().copied().collect();
        let mut cover = Cover::new(algorithm);
        let mut open: Vec<Coverage> = Vec::new();
        self.fdt.tags(&mut |token, chunk| {
            let covered = match token {
                Token::Begin(id) => {
                    let inherited = match open.last() {
                        Some(Coverage::Full) => Coverage::Shell,
                        _ => Coverage::None,
                    };
                    let coverage = if listed.contains(&id) { Coverage::Full } else { inherited };
                    open.push(coverage);
                    coverage != Coverage::None
                }
                Token::Property(_, property) => {
                    open.last() == Some(&Coverage::Full) && !UNSIGNED.contains(&property.name())
                }
                Token::Nop(_) => open.last() == Some(&Coverage::Full),
                Token::End(_) => open.pop().is_some_and(|coverage| coverage != Coverage::None),
                Token::Finish => true,
            };
            if !covered {
                cover.adjacent = false;
                return Ok(());
            }
            if !cover.adjacent {
                cover.regions += 1;
                cover.adjacent = true;
            }
            match chunk {
                Chunk::Bytes(bytes) => cover.add(&bytes),
                Chunk::Source(range) => self.stream(range, &mut cover)?,
            }
            Ok::<(), FdtError>(())
        })?;
        // U-Boot reserves 20 regions and 7 for each path, and needs two for itself.
        let limit = 18 + 7 * list.len();
        if cover.regions > limit {
            return Err(self.problem(configuration, Problem::TooMany { what: "regions to be signed", limit }));
        }
        cover.add(self.fdt.strings().get(..strings_len).unwrap_or_default());
        Ok(Region { digest: cover.hasher.finish(), message: cover.message })
    }

    fn stream(&self, range: Range<u64>, cover: &mut Cover) -> Result<(), FdtError> {
        const PIECE_LEN_BYTES: u64 = 64 << 10;
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + PIECE_LEN_BYTES);
            cover.add(&self.fdt.source().read_range(at..end, 64 << 10)?);
            at = end;
        }
        Ok(())
    }

    /// How much of the strings block the names of all covered properties take, in bytes.
    pub(super) fn strings_needed(&self, list: &[NodeId]) -> usize {
        let properties = list.iter().flat_map(|id| self.fdt.node(*id).properties());
        properties
            .filter(|property| !UNSIGNED.contains(&property.name()))
            .map(|property| {
                let offset = usize::try_from(property.name_offset()).unwrap_or(usize::MAX);
                offset.saturating_add(property.name().len() + 1)
            })
            .max()
            .unwrap_or(0)
    }
}

struct Cover {
    hasher: Hasher,
    message: Option<Vec<u8>>,
    regions: usize,
    /// Whether the tag before was covered, so that this one belongs to the same region.
    adjacent: bool,
}

impl Cover {
    fn new(algorithm: HashAlgorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), message: Some(Vec::new()), regions: 0, adjacent: false }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(message) = &mut self.message {
            message.extend_from_slice(bytes);
            if message.len() > Request::MAX_MESSAGE_LEN_BYTES {
                self.message = None;
            }
        }
    }
}
