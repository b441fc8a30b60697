//! The bytes that a configuration's signature covers.

use super::{FitError, MAX_SIGNED_TAGS, Problem, image::Fit, properties::UNSIGNED};
use crate::{
    crypto::{Digest, HashAlgorithm, Hasher},
    format::fdt::{Chunk, Extent, Fdt, FdtError, NodeId, Token},
    request::Request,
};
use std::{collections::HashSet, ops::Range};

/// Digest of what a signature covers.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) digest: Digest,
    /// The bytes, if they are few.
    pub(super) message: Option<Vec<u8>>,
    /// How many tags it covers.
    pub(super) tags: usize,
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
        let mut above: HashSet<NodeId> = HashSet::new();
        for id in list {
            let mut parent = self.fdt.node(*id).parent();
            while let Some(id) = parent.filter(|id| above.insert(*id)) {
                parent = self.fdt.node(id).parent();
            }
        }
        // Nothing else in the tree costs anything, however much there is.
        let extent = |id: NodeId| match (listed.contains(&id), above.contains(&id)) {
            (true, _) => Extent::Whole,
            (false, true) => Extent::Subnodes,
            (false, false) => Extent::Shell,
        };
        let mut cover = Cover::new(algorithm);
        let mut open: Vec<Coverage> = Vec::new();
        self.fdt.tags_within(&extent, &mut |token, chunk| {
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
                Token::LeftOut(_) => false,
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
            cover.tags += 1;
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
        Ok(Region { digest: cover.hasher.finish(), message: cover.message, tags: cover.tags })
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

    /// To be asked before each region, of what the ones before covered: a signature may cover hundreds of
    /// thousands of properties of the root, and there may be thousands of signatures.
    pub(super) fn check_tags(&self, tags: usize) -> Result<(), FitError> {
        if tags <= MAX_SIGNED_TAGS {
            return Ok(());
        }
        let problem = Problem::TooMany { what: "tags that all signatures cover", limit: MAX_SIGNED_TAGS };
        Err(self.problem(Fdt::ROOT, problem))
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
    tags: usize,
    /// Whether the tag before was covered, so that this one belongs to the same region.
    adjacent: bool,
}

impl Cover {
    fn new(algorithm: HashAlgorithm) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            message: Some(Vec::new()),
            regions: 0,
            tags: 0,
            adjacent: false,
        }
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
