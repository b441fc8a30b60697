//! The edited tree as a stream of tags, and as edits of its source.

use super::{BEGIN_NODE, END, END_NODE, Fdt, FdtError, NOP, NodeId, PROP, Property, Value, align_up};
use crate::format::{Edit, Edits};
use std::{borrow::Cow, ops::Range};

/// One tag of the structure block.
#[derive(Clone, Copy, Debug)]
pub enum Token<'t> {
    /// A node begins.
    Begin(NodeId),
    /// A property of a node.
    Property(NodeId, &'t Property),
    /// A NOP tag directly in a node; `None` before the root.
    Nop(Option<NodeId>),
    /// Something of a node is left out here, by its [`Extent`].
    LeftOut(NodeId),
    /// A node ends.
    End(NodeId),
    /// The end of the block.
    Finish,
}

/// How much of a node is visited; its begin and end always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Properties and subnodes.
    Whole,
    /// Subnodes alone.
    Subnodes,
    /// Nothing in it.
    Shell,
}

/// Bytes of the structure block as it will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<'t> {
    /// As they stand in the source.
    Source(Range<u64>),
    /// Edited.
    Bytes(Cow<'t, [u8]>),
}

impl Chunk<'_> {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Source(range) => range.end - range.start,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// What happens to bytes that follow the tree in its file, when the tree grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// They move, by a multiple of `alignment` (a power of two, at least 4), as `data-offset` of external FIT data wants:
    /// it counts from the end of the tree rounded up to 4.
    Moves {
        /// The multiple.
        alignment: u64,
    },
    /// They stay, as `data-position` of external FIT data wants.
    Stays {
        /// The tree may grow up to here.
        free_until: u64,
    },
}

impl Fdt<'_> {
    /// Calls `visit` for each tag of the edited tree in order, with its bytes (a tag may come in several chunks).
    ///
    /// # Errors
    ///
    /// Whatever `visit` returns.
    pub fn tags<'t, E>(
        &'t self,
        visit: &mut dyn FnMut(Token<'t>, Chunk<'t>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.tags_within(&|_| Extent::Whole, visit)
    }

    /// The same, but of each node only what `extent` says; what is left out comes as [`Token::LeftOut`].
    ///
    /// # Errors
    ///
    /// Whatever `visit` returns.
    pub fn tags_within<'t, E>(
        &'t self,
        extent: &dyn Fn(NodeId) -> Extent,
        visit: &mut dyn FnMut(Token<'t>, Chunk<'t>) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..self.nops_before_root {
            visit(Token::Nop(None), word(NOP))?;
        }
        self.node_tags(Self::ROOT, extent, visit)?;
        visit(Token::Finish, Chunk::Source(self.header.structure.end - 4..self.header.structure.end))
    }

    fn node_tags<'t, E>(
        &'t self,
        id: NodeId,
        extent: &dyn Fn(NodeId) -> Extent,
        visit: &mut dyn FnMut(Token<'t>, Chunk<'t>) -> Result<(), E>,
    ) -> Result<(), E> {
        let node = self.node(id);
        let (properties, children) = match extent(id) {
            Extent::Whole => (node.properties.as_slice(), node.children.as_slice()),
            Extent::Subnodes => (&[][..], node.children.as_slice()),
            Extent::Shell => (&[][..], &[][..]),
        };
        let begin = match &node.begin {
            Some(range) => Chunk::Source(range.clone()),
            None => {
                let mut bytes = BEGIN_NODE.to_be_bytes().to_vec();
                bytes.extend_from_slice(node.name.as_bytes());
                bytes.push(0);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                Chunk::Bytes(bytes.into())
            }
        };
        visit(Token::Begin(id), begin)?;
        if properties.len() < node.properties.len() || children.len() < node.children.len() {
            visit(Token::LeftOut(id), Chunk::Bytes(Vec::new().into()))?;
        }
        for property in properties {
            for _ in 0..property.nops_before {
                visit(Token::Nop(Some(id)), word(NOP))?;
            }
            let token = Token::Property(id, property);
            match (&property.tag, &property.value) {
                (Some(range), _) => visit(token, Chunk::Source(range.clone()))?,
                (None, Value::Source(range)) => {
                    visit(token, Chunk::Bytes(property_header(property).into()))?;
                    visit(token, Chunk::Source(range.clone()))?;
                    visit(token, padding(property.value.len_bytes()))?;
                }
                (None, Value::Bytes(bytes)) => {
                    visit(token, Chunk::Bytes(property_header(property).into()))?;
                    visit(token, Chunk::Bytes(bytes.into()))?;
                    visit(token, padding(property.value.len_bytes()))?;
                }
            }
        }
        for child in children {
            for _ in 0..self.node(*child).nops_before {
                visit(Token::Nop(Some(id)), word(NOP))?;
            }
            self.node_tags(*child, extent, visit)?;
        }
        for _ in 0..node.nops_at_end {
            visit(Token::Nop(Some(id)), word(NOP))?;
        }
        visit(Token::End(id), node.end.clone().map_or(word(END_NODE), Chunk::Source))
    }

    /// `totalsize` after the edits, in bytes: as before if there is room, else as little more as possible.
    ///
    /// # Errors
    ///
    /// As [`edits`](Self::edits).
    pub fn new_total_size(&self, tail: Tail) -> Result<u64, FdtError> {
        Ok(self.plan(tail)?.header.total)
    }

    /// The edits of the source that make it the edited tree.
    ///
    /// Free space at the end of the tree is used first. When the tree must grow, `tail` says what
    /// becomes of the bytes that follow it.
    ///
    /// # Errors
    ///
    /// [`FdtError::NoRoom`] if the tail stays and is in the way; [`FdtError::TooLarge`].
    pub fn edits(&self, tail: Tail) -> Result<Edits, FdtError> {
        let plan = self.plan(tail)?;
        let edits: Vec<Edit> =
            plan.edits.into_iter().filter(|e| !(e.range.is_empty() && e.bytes.is_empty())).collect();
        if edits.is_empty() {
            return Ok(Edits::default());
        }
        let header = Edit { range: 0..super::header::HEADER_LEN_BYTES, bytes: plan.header.to_bytes() };
        let all = std::iter::once(header).chain(edits).collect();
        Edits::new(all).ok_or(FdtError::TooLarge { needed: plan.header.total })
    }

    fn plan(&self, tail: Tail) -> Result<Plan, FdtError> {
        let blocks = self.header.blocks();
        let mut header = self.header.clone();
        let mut edits = Vec::new();
        // How far the blocks so far have moved the ones behind them.
        let mut read = super::header::HEADER_LEN_BYTES;
        let mut written = read;
        for (name, range, alignment) in blocks {
            written += range.start - read;
            let aligned = align_up(written, alignment);
            let mut block = Splice::new(range.start);
            block.bytes(&vec![0; usize::try_from(aligned - written).unwrap_or(0)]);
            let new_len = match name {
                "structure" => self.splice_structure(&mut block),
                "strings" => self.splice_strings(&mut block),
                _ => {
                    block.copy(range.clone());
                    range.end - range.start
                }
            };
            let new = aligned..aligned + new_len;
            match name {
                "structure" => header.structure = new.clone(),
                "strings" => header.strings = new.clone(),
                _ => header.reservations = new.clone(),
            }
            edits.extend(block.finish(range.end));
            read = range.end;
            written = new.end;
        }
        edits.extend(self.fit_tail(&mut header, read, written, tail)?);
        Ok(Plan { header, edits })
    }

    /// Sets the new total size and makes the free space behind the last block, which ended at `read`
    /// and will end at `written`.
    fn fit_tail(
        &self,
        header: &mut super::header::Header,
        read: u64,
        written: u64,
        tail: Tail,
    ) -> Result<Option<Edit>, FdtError> {
        let old_total = self.header.total;
        if written == read {
            return Ok(None);
        }
        let grown = written > old_total;
        let (free, filled) = match tail {
            Tail::Moves { alignment } => {
                if grown {
                    header.total = old_total + align_up(written - old_total, alignment.max(4));
                }
                // The tail begins at the size rounded up to 4; both ends are rounded alike.
                let followed = self.source.len_bytes() > old_total;
                let end = |total| if followed { align_up(total, 4) } else { total };
                (read..end(old_total).min(self.source.len_bytes()), end(header.total))
            }
            Tail::Stays { free_until } => {
                if grown {
                    header.total = align_up(written, 4);
                    if header.total > free_until.min(self.source.len_bytes()) {
                        return Err(FdtError::NoRoom { needed: header.total, room: free_until });
                    }
                }
                (read..header.total, header.total)
            }
        };
        if header.total > u64::from(u32::MAX >> 1) {
            return Err(FdtError::TooLarge { needed: header.total });
        }
        let zeros = usize::try_from(filled.saturating_sub(written)).unwrap_or(0);
        Ok(Some(Edit { range: free, bytes: vec![0; zeros] }))
    }

    fn splice_structure(&self, splice: &mut Splice) -> u64 {
        let mut len = 0;
        let walked: Result<(), std::convert::Infallible> = self.tags(&mut |_, chunk| {
            len += chunk.len_bytes();
            match chunk {
                Chunk::Source(range) => splice.copy(range),
                Chunk::Bytes(bytes) => splice.bytes(&bytes),
            }
            Ok(())
        });
        match walked {
            Ok(()) => len,
        }
    }

    fn splice_strings(&self, splice: &mut Splice) -> u64 {
        let range = self.header.strings.clone();
        let old_len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        splice.copy(range);
        splice.bytes(self.strings.get(old_len..).unwrap_or_default());
        self.strings.len() as u64
    }
}

struct Plan {
    header: super::header::Header,
    edits: Vec<Edit>,
}

/// Turns "copy this, write that" in ascending order into edits of what lies between the copies.
struct Splice {
    /// One past the last byte copied.
    at: u64,
    pending: Vec<u8>,
    edits: Vec<Edit>,
}

impl Splice {
    fn new(start: u64) -> Self {
        Self { at: start, pending: Vec::new(), edits: Vec::new() }
    }

    fn copy(&mut self, range: Range<u64>) {
        self.flush(range.start);
        self.at = range.end;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    fn flush(&mut self, until: u64) {
        if self.at != until || !self.pending.is_empty() {
            self.edits.push(Edit { range: self.at..until, bytes: std::mem::take(&mut self.pending) });
        }
    }

    fn finish(mut self, end: u64) -> Vec<Edit> {
        self.flush(end);
        self.edits
    }
}

fn word(tag: u32) -> Chunk<'static> {
    Chunk::Bytes(tag.to_be_bytes().to_vec().into())
}

fn property_header(property: &Property) -> Vec<u8> {
    let len = u32::try_from(property.value.len_bytes()).unwrap_or(u32::MAX);
    [PROP, len, property.name_offset].into_iter().flat_map(u32::to_be_bytes).collect()
}

fn padding(len: u64) -> Chunk<'static> {
    let zeros: &'static [u8] = match len % 4 {
        1 => &[0; 3],
        2 => &[0; 2],
        3 => &[0; 1],
        _ => &[],
    };
    Chunk::Bytes(zeros.into())
}

const _: () = assert!(END == 9);
