//! Edits of the tree, each where libfdt would make it.

use super::{Fdt, FdtError, Node, NodeId, Property, Value, parse::is_name};

impl Fdt<'_> {
    /// Sets a property: in place if the node has it, else as the node's first one.
    ///
    /// An equal value changes nothing, so that padding bytes of the source stay.
    ///
    /// # Errors
    ///
    /// [`FdtError::BadName`]; [`FdtError::Read`] if the old value cannot be compared.
    pub fn set(&mut self, id: NodeId, name: &str, value: impl Into<Vec<u8>>) -> Result<(), FdtError> {
        let value = value.into();
        if let Some(old) = self.property(id, name) {
            if old.value.len_bytes() == value.len() as u64
                && self.value_bytes(&old.value, value.len())? == value
            {
                return Ok(());
            }
            if let Some(old) = self.node_mut(id).properties.iter_mut().find(|p| p.name == name) {
                old.value = Value::Bytes(value);
                old.tag = None;
            }
            return Ok(());
        }
        let name_offset = self.intern(name)?;
        let property = Property {
            name: name.to_owned(),
            name_offset,
            value: Value::Bytes(value),
            nops_before: 0,
            tag: None,
        };
        self.node_mut(id).properties.insert(0, property);
        Ok(())
    }

    /// Sets a property to one NUL-terminated string.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_string(&mut self, id: NodeId, name: &str, value: &str) -> Result<(), FdtError> {
        self.set(id, name, [value.as_bytes(), &[0]].concat())
    }

    /// Sets a property to a list of NUL-terminated strings.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_strings<S: AsRef<str>>(
        &mut self,
        id: NodeId,
        name: &str,
        values: &[S],
    ) -> Result<(), FdtError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| [v.as_ref().as_bytes(), &[0]].concat()).collect();
        self.set(id, name, bytes)
    }

    /// Sets a property to one 32-bit number.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_u32(&mut self, id: NodeId, name: &str, value: u32) -> Result<(), FdtError> {
        self.set(id, name, value.to_be_bytes())
    }

    /// Deletes a property; whether there was one. Its name stays in the strings block, as with libfdt.
    pub fn delete_property(&mut self, id: NodeId, name: &str) -> bool {
        let node = self.node_mut(id);
        let Some(index) = node.properties.iter().position(|p| p.name == name) else { return false };
        let nops = node.properties.remove(index).nops_before;
        let first_child = node.children.first().copied();
        if let Some(next) = node.properties.get_mut(index) {
            next.nops_before = next.nops_before.saturating_add(nops);
        } else if let Some(child) = first_child {
            let child = self.node_mut(child);
            child.nops_before = child.nops_before.saturating_add(nops);
        } else {
            node.nops_at_end = node.nops_at_end.saturating_add(nops);
        }
        true
    }

    /// Adds an empty subnode as the first one.
    ///
    /// # Errors
    ///
    /// [`FdtError::NodeExists`], [`FdtError::BadName`].
    pub fn add_node(&mut self, parent: NodeId, name: &str) -> Result<NodeId, FdtError> {
        if !is_name(name) {
            return Err(FdtError::BadName { name: name.to_owned() });
        }
        if let Some(found) = self.child(parent, name) {
            return Err(FdtError::NodeExists { path: self.path(found) });
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            name: name.to_owned(),
            parent: Some(parent),
            properties: Vec::new(),
            children: Vec::new(),
            nops_before: 0,
            nops_at_end: 0,
            begin: None,
            end: None,
        });
        self.node_mut(parent).children.insert(0, id);
        Ok(id)
    }

    /// Deletes a node with everything in it; the root stays.
    pub fn delete_node(&mut self, id: NodeId) {
        let Some(parent) = self.node(id).parent else { return };
        let nops = self.node(id).nops_before;
        let siblings = &mut self.node_mut(parent).children;
        let Some(index) = siblings.iter().position(|child| *child == id) else { return };
        siblings.remove(index);
        match siblings.get(index).copied() {
            Some(next) => {
                let next = self.node_mut(next);
                next.nops_before = next.nops_before.saturating_add(nops);
            }
            None => {
                let parent = self.node_mut(parent);
                parent.nops_at_end = parent.nops_at_end.saturating_add(nops);
            }
        }
    }

    /// Offset of `name` in the strings block: the first place where it stands, be it the tail of a
    /// longer name, else appended.
    fn intern(&mut self, name: &str) -> Result<u32, FdtError> {
        if !is_name(name) {
            return Err(FdtError::BadName { name: name.to_owned() });
        }
        let wanted = [name.as_bytes(), &[0]].concat();
        let found = self.strings.windows(wanted.len()).position(|w| w == wanted);
        let offset = found.unwrap_or_else(|| {
            let end = self.strings.len();
            self.strings.extend(wanted);
            end
        });
        u32::try_from(offset).map_err(|_| FdtError::TooLarge { needed: offset as u64 })
    }
}
