//! The tree in memory: names, order and places; values stay in the source.

use super::{FdtError, header::Header};
use crate::format::Source;
use std::ops::Range;

/// A node of one [`Fdt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

/// A device tree read from a source, with edits made so far.
#[derive(Clone)]
pub struct Fdt<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) header: Header,
    /// The strings block, and names appended to it.
    pub(super) strings: Vec<u8>,
    /// Deleted nodes stay here, but nothing refers to them. The first is the root.
    pub(super) nodes: Vec<Node>,
    /// NOP tags before the root.
    pub(super) nops_before_root: u32,
}

/// A node: properties first, then subnodes.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) name: String,
    pub(super) parent: Option<NodeId>,
    pub(super) properties: Vec<Property>,
    pub(super) children: Vec<NodeId>,
    /// NOP tags between what precedes the node in its parent and the node.
    pub(super) nops_before: u32,
    /// NOP tags before its end tag.
    pub(super) nops_at_end: u32,
    /// Begin tag with the name, in the source.
    pub(super) begin: Option<Range<u64>>,
    /// End tag, in the source.
    pub(super) end: Option<Range<u64>>,
}

/// A property of a node.
#[derive(Clone, Debug)]
pub struct Property {
    pub(super) name: String,
    pub(super) name_offset: u32,
    pub(super) value: Value,
    /// NOP tags between what precedes the property and the property.
    pub(super) nops_before: u32,
    /// The whole tag (12 bytes of header, value, padding) in the source, while unedited.
    pub(super) tag: Option<Range<u64>>,
}

/// Where a property's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In the source, as it was read.
    Source(Range<u64>),
    /// Set by an edit.
    Bytes(Vec<u8>),
}

impl Value {
    /// Its length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Source(range) => range.end - range.start,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl Property {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Offset of its name in the strings block, in bytes.
    #[must_use]
    pub fn name_offset(&self) -> u32 {
        self.name_offset
    }

    /// Where its value is.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl Node {
    /// Its name with the unit address, if any; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node it stands in.
    #[must_use]
    pub fn parent(&self) -> Option<NodeId> {
        self.parent
    }

    /// Its properties in order.
    #[must_use]
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// Its subnodes in order.
    #[must_use]
    pub fn children(&self) -> &[NodeId] {
        &self.children
    }

    /// Offset of its begin tag in the source; `None` for a node that was added.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.begin.as_ref().map(|b| b.start)
    }
}

impl std::fmt::Debug for Fdt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fdt")
            .field("header", &self.header)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl<'a> Fdt<'a> {
    /// The root node.
    pub const ROOT: NodeId = NodeId(0);

    /// What the tree was read from.
    #[must_use]
    pub fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// `totalsize` of the source, in bytes, whatever edits were made.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.header.total
    }

    /// The strings block, with names appended by edits.
    #[must_use]
    pub fn strings(&self) -> &[u8] {
        &self.strings
    }

    /// A node.
    #[must_use]
    #[allow(clippy::indexing_slicing, reason = "ids come from this arena, which never shrinks")]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    #[allow(clippy::indexing_slicing, reason = "ids come from this arena, which never shrinks")]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// Subnodes of a node with their ids, in order.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = (NodeId, &Node)> {
        self.node(id).children.iter().map(|child| (*child, self.node(*child)))
    }

    /// The subnode of exactly that name (libfdt would also take `name@…`).
    #[must_use]
    pub fn child(&self, id: NodeId, name: &str) -> Option<NodeId> {
        self.children(id).find(|(_, node)| node.name == name).map(|(child, _)| child)
    }

    /// The node at `path`, such as `/configurations/conf-1`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let rest = path.strip_prefix('/')?;
        rest.split('/').filter(|name| !name.is_empty()).try_fold(Self::ROOT, |id, name| self.child(id, name))
    }

    /// The path of a node; `/` for the root.
    #[must_use]
    pub fn path(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut at = id;
        while let Some(parent) = self.node(at).parent {
            names.push(self.node(at).name.as_str());
            at = parent;
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// Every node, parents before children, in the order of the tree.
    #[must_use]
    pub fn walk(&self) -> Vec<NodeId> {
        let mut order = Vec::new();
        let mut stack = vec![Self::ROOT];
        while let Some(id) = stack.pop() {
            order.push(id);
            stack.extend(self.node(id).children.iter().rev());
        }
        order
    }

    /// The property of that name.
    #[must_use]
    pub fn property(&self, id: NodeId, name: &str) -> Option<&Property> {
        self.node(id).properties.iter().find(|p| p.name == name)
    }

    /// The bytes of a value no longer than `limit_bytes`.
    ///
    /// # Errors
    ///
    /// [`FdtError::Read`] if it is longer or cannot be read.
    pub fn value_bytes(&self, value: &Value, limit_bytes: usize) -> Result<Vec<u8>, FdtError> {
        match value {
            Value::Source(range) => Ok(self.source.read_range(range.clone(), limit_bytes)?),
            Value::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// The bytes of a property no longer than `limit_bytes`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`FdtError::Read`] if it is longer or cannot be read.
    pub fn bytes(&self, id: NodeId, name: &str, limit_bytes: usize) -> Result<Option<Vec<u8>>, FdtError> {
        self.property(id, name).map(|p| self.value_bytes(&p.value, limit_bytes)).transpose()
    }

    /// A property that holds one string; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`FdtError::BadValue`] if it holds anything but one NUL-terminated UTF-8 string.
    pub fn string(&self, id: NodeId, name: &str) -> Result<Option<String>, FdtError> {
        match self.strings_of(id, name)?.as_deref() {
            None => Ok(None),
            Some([one]) => Ok(Some(one.clone())),
            Some(_) => Err(self.bad_value(id, name, "a string")),
        }
    }

    /// A property that holds a list of strings; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`FdtError::BadValue`] if it is not a sequence of NUL-terminated UTF-8 strings.
    pub fn strings_of(&self, id: NodeId, name: &str) -> Result<Option<Vec<String>>, FdtError> {
        let Some(bytes) = self.bytes(id, name, MAX_STRING_LIST_LEN_BYTES)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| self.bad_value(id, name, "a string list"))?;
        if text.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let text = text.strip_suffix('\0').ok_or_else(|| self.bad_value(id, name, "a string list"))?;
        Ok(Some(text.split('\0').map(str::to_owned).collect()))
    }

    /// A property that holds one 32-bit number; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`FdtError::BadValue`] if it is not four bytes long.
    pub fn u32(&self, id: NodeId, name: &str) -> Result<Option<u32>, FdtError> {
        let Some(property) = self.property(id, name) else { return Ok(None) };
        if property.value.len_bytes() != 4 {
            return Err(self.bad_value(id, name, "a 32-bit number"));
        }
        let bytes = self.value_bytes(&property.value, 4)?;
        Ok(bytes.try_into().ok().map(u32::from_be_bytes))
    }

    /// For a property that is not what it must be.
    #[must_use]
    pub fn bad_value(&self, id: NodeId, name: &str, expected: &'static str) -> FdtError {
        FdtError::BadValue { path: self.path(id), name: name.to_owned(), expected }
    }
}

/// Longest string list that is read, in bytes.
const MAX_STRING_LIST_LEN_BYTES: usize = 64 << 10;
