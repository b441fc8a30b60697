//! Puts a public key into a control tree.

use super::{ControlDtbError, KeyEntry, MAX_TREE_BYTES, appended};
use crate::format::{
    Edit, Edits, Source,
    fdt::{Fdt, NodeId, Tail},
};
use std::ops::Range;

/// Where in a file its control tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// The file is the tree (`u-boot.dtb`).
    Whole,
    /// The tree follows a program (`u-boot.bin`).
    Appended,
}

impl Location {
    /// The range of the tree in `source`, as its header gives it.
    ///
    /// # Errors
    ///
    /// [`ControlDtbError`] if there is no well-formed tree of bounded size.
    pub fn range(self, source: &dyn Source) -> Result<Range<u64>, ControlDtbError> {
        match self {
            Self::Whole => {
                let total_bytes = Fdt::parse(source)?.total_size();
                if total_bytes > MAX_TREE_BYTES as u64 {
                    return Err(ControlDtbError::TooLarge(total_bytes));
                }
                Ok(0..total_bytes)
            }
            Self::Appended => {
                let parses = |tree: &[u8]| Fdt::parse(&tree).map(drop).map_err(|e| e.to_string());
                Ok(appended::find(source, parses)?)
            }
        }
    }

    /// The bytes of the tree in `source`.
    ///
    /// # Errors
    ///
    /// As for [`range`](Self::range).
    pub fn read(self, source: &dyn Source) -> Result<Vec<u8>, ControlDtbError> {
        Ok(source.read_range(self.range(source)?, MAX_TREE_BYTES)?)
    }
}

/// What became of the tree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Placed {
    /// Path of the key node.
    pub node: String,
    /// Whether anything changed; not if the same key stood there already.
    pub changed: bool,
    /// Key nodes that gave way.
    pub removed: Vec<String>,
    /// Key nodes that were left although they are not ours.
    pub foreign: Vec<ForeignKey>,
    /// `totalsize` before and after, in bytes.
    pub total_bytes: (u64, u64),
}

/// A key node that hsmsign did not write.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ForeignKey {
    /// Its path.
    pub node: String,
    /// Its property `required`, if it has one.
    pub required: Option<String>,
}

/// Puts `entry` into the tree `tree`, which is nothing but the tree; returns the new tree.
///
/// A key node of the same name is overwritten. Any other whose hint `is_ours` claims gives way if
/// `supersedes` says so; the rest stays as it is, byte by byte. The tree grows only when its own
/// free space does not suffice.
///
/// # Errors
///
/// [`ControlDtbError`] if `tree` is malformed or is a FIT.
///
/// Source: U-Boot `lib/rsa/rsa-sign.c`, `lib/ecdsa/ecdsa-libcrypto.c`.
pub fn put_key(
    tree: &[u8],
    entry: &KeyEntry<'_>,
    is_ours: &dyn Fn(&str) -> bool,
    supersedes: &dyn Fn(&str) -> bool,
) -> Result<(Vec<u8>, Placed), ControlDtbError> {
    let mut fdt = Fdt::parse(&tree)?;
    if fdt.find("/images").is_some() {
        return Err(ControlDtbError::IsFit);
    }
    refuse_ambiguous_signature(&fdt)?;
    let signature = match fdt.child(Fdt::ROOT, "signature") {
        Some(node) => node,
        None => fdt.add_node(Fdt::ROOT, "signature")?,
    };
    let node_name = entry.node_name();
    let (mut removed, mut foreign) = (Vec::new(), Vec::new());
    let others: Vec<NodeId> =
        fdt.children(signature).filter(|(_, n)| n.name() != node_name).map(|(id, _)| id).collect();
    for id in others {
        let name = hint_of(&fdt, id);
        if is_ours(&name) && supersedes(&name) {
            removed.push(fdt.path(id));
            fdt.delete_node(id);
        } else if !is_ours(&name) {
            let required = fdt.string(id, "required").ok().flatten();
            foreign.push(ForeignKey { node: fdt.path(id), required });
        }
    }
    let node = match fdt.child(signature, &node_name) {
        Some(node) if !fdt.node(node).children().is_empty() => {
            return Err(ControlDtbError::NotAKey(fdt.path(node)));
        }
        Some(node) => node,
        None => fdt.add_node(signature, &node_name)?,
    };
    write_properties(&mut fdt, node, entry)?;

    let path = fdt.path(node);
    let tail = Tail::Moves { alignment: 4 };
    let new = fdt.edits(tail)?.apply(&tree, MAX_TREE_BYTES)?;
    let placed = Placed {
        node: path,
        changed: new != tree,
        removed,
        foreign,
        total_bytes: (fdt.total_size(), fdt.new_total_size(tail)?),
    };
    Ok((new, placed))
}

/// U-Boot looks `/signature` up with libfdt, which also finds `/signature@…` if that comes first.
pub(super) fn refuse_ambiguous_signature(fdt: &Fdt<'_>) -> Result<(), ControlDtbError> {
    match fdt.children(Fdt::ROOT).find(|(_, node)| node.name().starts_with("signature@")) {
        Some((id, _)) => Err(ControlDtbError::UnitAddress(fdt.path(id))),
        None => Ok(()),
    }
}

/// Sets what belongs there, in mkimage's order, and drops what an older key of that name left.
fn write_properties(fdt: &mut Fdt<'_>, node: NodeId, entry: &KeyEntry<'_>) -> Result<(), ControlDtbError> {
    let properties = entry.properties()?;
    let stale: Vec<String> = fdt.node(node).properties().iter().map(|p| p.name().to_owned()).collect();
    for name in stale {
        if !properties.iter().any(|(known, _)| *known == name) {
            fdt.delete_property(node, &name);
        }
    }
    for (name, value) in properties {
        fdt.set(node, name, value)?;
    }
    Ok(())
}

/// The hint of a key node: its node's name is what U-Boot's lookup uses, so it rules.
pub(super) fn hint_of(fdt: &Fdt<'_>, id: NodeId) -> String {
    let name = fdt.node(id).name();
    name.strip_prefix("key-").unwrap_or(name).to_owned()
}

/// Puts `entry` into the control tree of a file; returns the edits of that file.
///
/// Padding behind the tree gives way to its growth, so a padded file keeps its length as long as
/// it can.
///
/// # Errors
///
/// As for [`put_key`] and [`Location::range`].
pub fn put_key_in_file(
    source: &dyn Source,
    location: Location,
    entry: &KeyEntry<'_>,
    is_ours: &dyn Fn(&str) -> bool,
    supersedes: &dyn Fn(&str) -> bool,
) -> Result<(Edits, Placed), ControlDtbError> {
    let range = location.range(source)?;
    let tree = source.read_range(range.clone(), MAX_TREE_BYTES)?;
    let (new, placed) = put_key(&tree, entry, is_ours, supersedes)?;
    if !placed.changed {
        return Ok((Edits::default(), placed));
    }
    let growth = (new.len() as u64).saturating_sub(tree.len() as u64);
    let room = padding_after(source, range.end, growth)?;
    let edit = Edit { range: range.start..range.end + room, bytes: new };
    let edits = Edits::new(vec![edit]).unwrap_or_default();
    Ok((edits, placed))
}

/// How many of the `wanted` bytes from `offset` on are padding.
fn padding_after(source: &dyn Source, offset: u64, wanted: u64) -> Result<u64, ControlDtbError> {
    let end = source.len_bytes().min(offset.saturating_add(wanted));
    let bytes = source.read_range(offset..end.max(offset), MAX_TREE_BYTES)?;
    let first = bytes.first().copied().filter(|b| matches!(b, 0x00 | 0xff));
    Ok(bytes.iter().take_while(|b| Some(**b) == first).count() as u64)
}
