//! The structure block: walked once, checked as it goes.

use super::{
    BEGIN_NODE, END, END_NODE, Fdt, FdtError, MAX_DEPTH, MAX_NAME_LEN_BYTES, MAX_NODES, MAX_PROPERTIES,
    MAX_STRINGS_LEN_BYTES, NOP, Node, NodeId, PROP, Problem, Property, Value, align_up, header::Header,
    window::Window,
};
use crate::format::Source;
use std::collections::HashSet;

impl<'a> Fdt<'a> {
    /// Reads the tree at the start of `source`; what follows it is left alone.
    ///
    /// Memory grows with the number of nodes and properties, which is limited, not with their values.
    ///
    /// # Errors
    ///
    /// [`FdtError`] naming the offset, for anything that two readers could take differently: blocks
    /// that overlap, are misaligned or out of bounds, missing terminators, duplicate names, properties
    /// after subnodes, nesting deeper than [`MAX_DEPTH`], and so on.
    pub fn parse(source: &'a dyn Source) -> Result<Self, FdtError> {
        let header = Header::read(source)?;
        let strings = source.read_range(header.strings.clone(), MAX_STRINGS_LEN_BYTES)?;
        let window = Window::new(source, header.structure.end);
        let tree = Self { source, header, strings, nodes: Vec::new(), nops_before_root: 0 };
        let at = tree.header.structure.start;
        Walk { tree, window, at, open: Vec::new(), nops: 0, properties: 0 }.run()
    }
}

struct Walk<'a> {
    tree: Fdt<'a>,
    window: Window<'a>,
    /// Offset of the next tag.
    at: u64,
    /// Nodes that have begun and not ended, with the names used in them.
    open: Vec<Open>,
    /// NOP tags since the last other tag.
    nops: u32,
    properties: usize,
}

struct Open {
    id: NodeId,
    properties: HashSet<u32>,
    property_names: HashSet<String>,
    children: HashSet<String>,
}

impl<'a> Walk<'a> {
    fn run(mut self) -> Result<Fdt<'a>, FdtError> {
        loop {
            let start = self.at;
            let tag = self.window.u32(start)?.ok_or_else(|| self.problem(start, Problem::Truncated))?;
            match tag {
                BEGIN_NODE => self.begin(start)?,
                PROP => self.property(start)?,
                END_NODE => self.end(start)?,
                NOP => {
                    if self.open.is_empty() && !self.tree.nodes.is_empty() {
                        return Err(self.problem(start, Problem::Misplaced("a NOP tag")));
                    }
                    self.count(start)?;
                    self.nops += 1;
                    self.at += 4;
                }
                END => return self.finish(start),
                other => return Err(self.problem(start, Problem::UnknownTag(other))),
            }
        }
    }

    fn begin(&mut self, start: u64) -> Result<(), FdtError> {
        let is_root = self.open.is_empty();
        if is_root && !self.tree.nodes.is_empty() {
            return Err(self.problem(start, Problem::Misplaced("a second root node")));
        }
        if self.open.len() >= MAX_DEPTH {
            let limit = MAX_DEPTH;
            return Err(self.problem(start, Problem::TooMany { what: "levels of nodes", limit }));
        }
        if self.tree.nodes.len() >= MAX_NODES {
            return Err(self.problem(start, Problem::TooMany { what: "nodes", limit: MAX_NODES }));
        }
        let bytes = self.window.up_to(start + 4, MAX_NAME_LEN_BYTES + 1)?;
        let name = bytes.iter().position(|b| *b == 0).and_then(|len| bytes.get(..len));
        let Some(name) = name.map(<[u8]>::to_vec) else {
            return Err(self.problem(start, Problem::Name("the node's name is too long or not terminated")));
        };
        if is_root != name.is_empty() {
            return Err(self.problem(start, Problem::Name("the root node alone has an empty name")));
        }
        let name = match String::from_utf8(name) {
            Ok(name) if name.is_empty() || is_name(&name) => name,
            _ => return Err(self.problem(start, Problem::Name("the node's name holds odd characters"))),
        };
        self.at = align_up(start + 4 + name.len() as u64 + 1, 4);
        if self.at > self.tree.header.structure.end {
            return Err(self.problem(start, Problem::Truncated));
        }
        let id = NodeId(self.tree.nodes.len());
        let nops = std::mem::take(&mut self.nops);
        let parent = self.open.last().map(|o| o.id);
        if let Some(open) = self.open.last_mut() {
            if !open.children.insert(name.clone()) {
                return Err(self.problem(start, Problem::DuplicateNode(name)));
            }
            let parent = open.id;
            self.tree.node_mut(parent).children.push(id);
        } else {
            self.tree.nops_before_root = nops;
        }
        self.tree.nodes.push(Node {
            name,
            parent,
            properties: Vec::new(),
            children: Vec::new(),
            nops_before: if is_root { 0 } else { nops },
            nops_at_end: 0,
            begin: Some(start..self.at),
            end: None,
        });
        self.open.push(Open {
            id,
            properties: HashSet::new(),
            property_names: HashSet::new(),
            children: HashSet::new(),
        });
        Ok(())
    }

    fn property(&mut self, start: u64) -> Result<(), FdtError> {
        let end = self.tree.header.structure.end;
        if self.open.is_empty() {
            return Err(self.problem(start, Problem::Misplaced("a property outside any node")));
        }
        let truncated = self.problem(start, Problem::Truncated);
        let (Some(len), Some(name_offset)) = (self.window.u32(start + 4)?, self.window.u32(start + 8)?)
        else {
            return Err(truncated);
        };
        let value = start + 12..start + 12 + u64::from(len);
        self.at = align_up(value.end, 4);
        if self.at > end {
            return Err(truncated);
        }
        self.count(start)?;
        let name = self
            .name_at(name_offset)
            .ok_or_else(|| self.problem(start, Problem::NameOffset(name_offset)))?
            .to_owned();
        let nops_before = std::mem::take(&mut self.nops);
        let Some(open) = self.open.last_mut() else { return Err(truncated) };
        if !open.children.is_empty() {
            return Err(self.problem(start, Problem::PropertyAfterSubnode(name)));
        }
        if !open.properties.insert(name_offset) || !open.property_names.insert(name.clone()) {
            return Err(self.problem(start, Problem::DuplicateProperty(name)));
        }
        let (id, tag) = (open.id, Some(start..self.at));
        let property = Property { name, name_offset, value: Value::Source(value), nops_before, tag };
        self.tree.node_mut(id).properties.push(property);
        Ok(())
    }

    /// NOP tags count as properties, so that neither can exhaust memory.
    fn count(&mut self, start: u64) -> Result<(), FdtError> {
        self.properties += 1;
        if self.properties > MAX_PROPERTIES {
            let limit = MAX_PROPERTIES;
            return Err(self.problem(start, Problem::TooMany { what: "properties", limit }));
        }
        Ok(())
    }

    fn end(&mut self, start: u64) -> Result<(), FdtError> {
        let Some(open) = self.open.pop() else {
            return Err(self.problem(start, Problem::Misplaced("the end of a node")));
        };
        self.at += 4;
        let nops = std::mem::take(&mut self.nops);
        let node = self.tree.node_mut(open.id);
        node.nops_at_end = nops;
        node.end = Some(start..start + 4);
        Ok(())
    }

    fn finish(mut self, start: u64) -> Result<Fdt<'a>, FdtError> {
        if !self.open.is_empty() || self.tree.nodes.is_empty() {
            return Err(self.problem(start, Problem::Misplaced("the end tag")));
        }
        let end = start + 4;
        if self.tree.header.structure_is_open {
            self.tree.header.structure.end = end;
        } else if self.tree.header.structure.end != end {
            return Err(self.problem(start, Problem::TrailingBytes));
        }
        Ok(self.tree)
    }

    fn name_at(&self, offset: u32) -> Option<&str> {
        let bytes = self.tree.strings.get(usize::try_from(offset).ok()?..)?;
        let bytes = bytes.get(..bytes.len().min(MAX_NAME_LEN_BYTES + 1))?;
        let len = bytes.iter().position(|b| *b == 0)?;
        std::str::from_utf8(bytes.get(..len)?).ok().filter(|name| is_name(name))
    }

    fn problem(&self, offset: u64, problem: Problem) -> FdtError {
        FdtError::Structure { offset, problem }
    }
}

/// Whether `name` can be the name of a node or property: visible ASCII that cannot be mistaken for a path.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'\\')
}
