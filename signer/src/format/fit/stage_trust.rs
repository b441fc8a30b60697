//! `/firmware/hsmsign`: what the next stage trusts, written into the FIT's own device trees.

use super::{
    FitError, MAX_DEVICE_TREE_LEN_BYTES, MAX_DEVICE_TREES_LEN_BYTES, Problem, external::Places, image::Fit,
    properties as p,
};
use crate::format::{
    fdt::{Fdt, FdtError, NodeId, Tail},
    verity::{Description, Placement},
};
use std::collections::HashSet;

const FIRMWARE: &str = "firmware";
const NODE: &str = "hsmsign";
const UPDATE_CERTIFICATE: &str = "update-certificate";
const ROOT_HASH: &str = "root-hash";
/// Longest value that is read; a file of certificates has at most 1 MiB.
const MAX_VALUE_LEN_BYTES: usize = 1 << 20;

/// Trust anchors of the stage that a FIT starts.
///
/// Linux shows them under `/proc/device-tree/firmware/hsmsign`, one file for each property. The
/// configuration's signature covers the device tree, hence them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTrust {
    /// The root filesystem's dm-verity parameters: property names and values, in order.
    pub rootfs: Option<Vec<(String, Vec<u8>)>>,
    /// The certificate that update bundles are checked with, PEM.
    pub update_certificate: Option<Vec<u8>>,
}

impl StageTrust {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rootfs.is_none() && self.update_certificate.is_none()
    }

    /// The properties that describe a root filesystem, all of them strings, so that a boot script can
    /// read them without more than a shell.
    #[must_use]
    pub fn describe_rootfs(rootfs: &Description) -> Vec<(String, Vec<u8>)> {
        let placement = match rootfs.placement {
            Placement::Appended => "appended",
            Placement::Separate => "separate",
        };
        let properties = [
            ("version", rootfs.version.to_string()),
            (ROOT_HASH, rootfs.root_hash.clone()),
            ("hash-algorithm", rootfs.hash_algorithm.clone()),
            ("salt", rootfs.salt.clone()),
            ("uuid", rootfs.uuid.clone().unwrap_or_default()),
            ("data-block-size", rootfs.data_block_size_bytes.to_string()),
            ("hash-block-size", rootfs.hash_block_size_bytes.to_string()),
            ("data-blocks", rootfs.data_blocks.to_string()),
            ("placement", placement.to_owned()),
            ("hash-offset", rootfs.hash_offset_bytes.to_string()),
            ("hash-start-block", rootfs.hash_start_block.to_string()),
            ("dm-table", rootfs.dm_table.clone()),
        ];
        let terminated = |text: String| [text.as_bytes(), &[0]].concat();
        properties.into_iter().map(|(name, value)| (name.to_owned(), terminated(value))).collect()
    }

    /// The anchors that stand in `tree`, if it has the node.
    ///
    /// # Errors
    ///
    /// [`FdtError`] if it is no device tree, or a value is longer than any that hsmsign writes.
    pub fn read(tree: &[u8]) -> Result<Option<Self>, FdtError> {
        let fdt = Fdt::parse(&tree)?;
        let Some(node) = fdt.child(Fdt::ROOT, FIRMWARE).and_then(|id| fdt.child(id, NODE)) else {
            return Ok(None);
        };
        let mut trust = Self::default();
        let mut rootfs = Vec::new();
        for property in fdt.node(node).properties() {
            let value = fdt.value_bytes(property.value(), MAX_VALUE_LEN_BYTES)?;
            if property.name() == UPDATE_CERTIFICATE {
                trust.update_certificate = Some(value);
            } else {
                rootfs.push((property.name().to_owned(), value));
            }
        }
        trust.rootfs = (!rootfs.is_empty()).then_some(rootfs);
        Ok(Some(trust))
    }

    /// The root hash, hexadecimal, if a root filesystem is described.
    #[must_use]
    pub fn root_hash(&self) -> Option<String> {
        let (_, value) = self.rootfs.as_ref()?.iter().find(|(name, _)| name == ROOT_HASH)?;
        let text = value.strip_suffix(&[0]).unwrap_or(value);
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Where what is said of the root filesystem differs from `image`, for people; `None` if nowhere.
    ///
    /// The root hash does not cover the sizes: an image in which a level of the hash tree stands in the data's
    /// place has the same root hash.
    #[must_use]
    pub fn differs_from(&self, image: &Description) -> Option<String> {
        let Some(told) = &self.rootfs else {
            return Some("names no root filesystem (`sign fit --rootfs` does)".into());
        };
        let show =
            |value: &[u8]| String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
        Self::describe_rootfs(image).into_iter().find_map(|(name, value)| {
            match told.iter().find(|(other, _)| *other == name).map(|(_, found)| found) {
                Some(found) if *found == value => None,
                Some(found) => {
                    Some(format!("its `{name}` is `{}`, the image's is `{}`", show(found), show(&value)))
                }
                None => Some(format!("it lacks `{name}`")),
            }
        })
    }

    /// `tree` with these anchors; nothing else in it changes. What is not given stays as it was.
    ///
    /// # Errors
    ///
    /// [`FdtError`] if it is no device tree.
    pub fn write(&self, tree: &[u8]) -> Result<Vec<u8>, FdtError> {
        let mut fdt = Fdt::parse(&tree)?;
        let firmware = match fdt.child(Fdt::ROOT, FIRMWARE) {
            Some(node) => node,
            None => fdt.add_node(Fdt::ROOT, FIRMWARE)?,
        };
        let node = match fdt.child(firmware, NODE) {
            Some(node) => node,
            None => fdt.add_node(firmware, NODE)?,
        };
        // What is added comes first in its node, so the last goes in first.
        if let Some(certificate) = &self.update_certificate {
            fdt.set(node, UPDATE_CERTIFICATE, certificate.clone())?;
        }
        if let Some(rootfs) = &self.rootfs {
            let stale: Vec<String> = fdt
                .node(node)
                .properties()
                .iter()
                .map(|property| property.name().to_owned())
                .filter(|name| name != UPDATE_CERTIFICATE && rootfs.iter().all(|(new, _)| new != name))
                .collect();
            for name in stale {
                fdt.delete_property(node, &name);
            }
            for (name, value) in rootfs.iter().rev() {
                fdt.set(node, name, value.clone())?;
            }
        }
        let edits = fdt.edits(Tail::Moves { alignment: 4 })?;
        Ok(edits.apply(&tree, MAX_DEVICE_TREE_LEN_BYTES)?)
    }
}

/// What is to be changed in the device trees that a FIT carries, before they are hashed.
pub trait DeviceTreeEdit: std::fmt::Debug {
    /// Whether there is nothing to change, so that a FIT without device trees will do.
    fn is_empty(&self) -> bool;

    /// The new tree.
    ///
    /// # Errors
    ///
    /// Why `tree` cannot be changed so, for people.
    fn edit(&self, tree: &[u8]) -> Result<Vec<u8>, String>;
}

impl DeviceTreeEdit for StageTrust {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn edit(&self, tree: &[u8]) -> Result<Vec<u8>, String> {
        self.write(tree).map_err(|e| e.to_string())
    }
}

/// A device tree that was changed.
pub(super) struct EditedTree {
    pub(super) image: NodeId,
    pub(super) new: Vec<u8>,
}

impl Fit<'_> {
    /// The device trees of all configurations as `change` leaves them; overlays are left alone.
    pub(super) fn edit_device_trees(
        &self,
        change: &dyn DeviceTreeEdit,
        places: &Places,
    ) -> Result<Vec<EditedTree>, FitError> {
        let mut edited: Vec<EditedTree> = Vec::new();
        for (image, old) in self.device_trees()? {
            self.check_unshared(image, places)?;
            let new = change.edit(&old).map_err(|why| self.problem(image, Problem::NotDeviceTree(why)))?;
            edited.push(EditedTree { image, new });
        }
        if edited.is_empty() {
            return Err(FitError::node("/configurations", Problem::NoDeviceTree));
        }
        Ok(edited)
    }

    /// The images that configurations name as their device tree, each once; overlays follow the tree that they
    /// are applied to.
    fn device_tree_images(&self) -> Result<Vec<NodeId>, FitError> {
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for configuration in self.configurations() {
            let references = self.references(configuration)?;
            let first = references.iter().find(|r| r.property == p::FDT).and_then(|r| r.images.first());
            images.extend(first.copied().filter(|image| seen.insert(*image)));
        }
        Ok(images)
    }

    /// The device trees that configurations start their images with, each once; no overlays.
    ///
    /// # Errors
    ///
    /// [`FitError`] for one that is compressed, encrypted, or no device tree, and for more than
    /// [`MAX_DEVICE_TREES_LEN_BYTES`] in all: thousands of images may have the same external data.
    pub fn device_trees(&self) -> Result<Vec<(NodeId, Vec<u8>)>, FitError> {
        let mut trees: Vec<(NodeId, Vec<u8>)> = Vec::new();
        let mut left = MAX_DEVICE_TREES_LEN_BYTES as u64;
        for image in self.device_tree_images()? {
            let compression = self.fdt.string(image, p::COMPRESSION)?.unwrap_or_default();
            if !matches!(compression.as_str(), "" | "none") {
                let why = format!("its compression is `{compression}`");
                return Err(self.problem(image, Problem::NotDeviceTree(why)));
            }
            if self.fdt.child(image, "cipher").is_some() {
                return Err(self.problem(image, Problem::NotDeviceTree("it is encrypted".into())));
            }
            let range = self.data(image)?.range;
            left = left.checked_sub(range.end - range.start).ok_or_else(|| {
                let limit = MAX_DEVICE_TREES_LEN_BYTES;
                FitError::node("/images", Problem::TooMany { what: "bytes of device trees", limit })
            })?;
            let tree = self.fdt.source().read_range(range, MAX_DEVICE_TREE_LEN_BYTES)?;
            let not_a_tree = |e: FdtError| self.problem(image, Problem::NotDeviceTree(e.to_string()));
            if !is_overlay(&Fdt::parse(&tree).map_err(not_a_tree)?) {
                trees.push((image, tree));
            }
        }
        Ok(trees)
    }
}

/// Overlays consist of fragments, each with an `__overlay__` node.
fn is_overlay(fdt: &Fdt<'_>) -> bool {
    fdt.children(Fdt::ROOT).any(|(id, _)| fdt.child(id, "__overlay__").is_some())
}
