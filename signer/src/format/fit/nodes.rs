//! Which nodes a configuration's signature must cover.

use super::{
    FitError, MAX_SIGNED_NODES, MAX_SIGNED_PATHS_LEN_BYTES, Problem,
    image::Fit,
    properties::{IMAGE_REFERENCES, NO_IMAGE_REFERENCES},
};
use crate::format::fdt::{Fdt, NodeId};

/// Longest value of a configuration's property that is read, in bytes.
const MAX_REFERENCES_LEN_BYTES: usize = 64 << 10;

/// Images that one property of a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct References {
    pub(super) property: String,
    pub(super) images: Vec<NodeId>,
}

impl Fit<'_> {
    /// Every image that a configuration names, by property; an image named twice comes twice.
    ///
    /// U-Boot takes any property for a reference whose value is a string list with an image's name
    /// in it, except three.
    pub(super) fn references(&self, configuration: NodeId) -> Result<Vec<References>, FitError> {
        let mut all = Vec::new();
        let mut count = 0;
        for property in self.fdt.node(configuration).properties() {
            let name = property.name();
            if NO_IMAGE_REFERENCES.contains(&name) {
                continue;
            }
            let is_reference = IMAGE_REFERENCES.contains(&name);
            let bytes = self.fdt.value_bytes(property.value(), MAX_REFERENCES_LEN_BYTES)?;
            let Some(list) = bytes.strip_suffix(&[0]) else {
                if is_reference {
                    return Err(self.problem(configuration, Problem::NotStrings(name.to_owned())));
                }
                continue;
            };
            let mut images = Vec::new();
            for image in list.split(|b| *b == 0) {
                let image = String::from_utf8_lossy(image);
                match self.image_named(&image) {
                    Some(_) if count == MAX_SIGNED_NODES => {
                        let problem =
                            Problem::TooMany { what: "nodes to be signed", limit: MAX_SIGNED_NODES };
                        return Err(self.problem(configuration, problem));
                    }
                    Some(id) => {
                        count += 1;
                        images.push(id);
                    }
                    None if is_reference => {
                        let (property, image) = (name.to_owned(), image.into_owned());
                        let problem = Problem::DanglingReference { property, image };
                        return Err(self.problem(configuration, problem));
                    }
                    None => {}
                }
            }
            if !images.is_empty() {
                all.push(References { property: name.to_owned(), images });
            }
        }
        if all.is_empty() {
            return Err(self.problem(configuration, Problem::NoImage));
        }
        Ok(all)
    }

    /// The nodes that U-Boot hashes for a configuration: the root, the configuration, and of each image
    /// that it names the image, its hashes, and its `cipher` and `dm-verity` nodes. Each comes once.
    pub(super) fn signed_nodes(&self, configuration: NodeId) -> Result<Vec<NodeId>, FitError> {
        let mut list = vec![Fdt::ROOT, configuration];
        for image in self.references(configuration)?.into_iter().flat_map(|r| r.images) {
            list.push(image);
            list.extend(self.subnodes(image, "hash"));
            list.extend(["cipher", "dm-verity"].iter().filter_map(|name| self.fdt.child(image, name)));
            if list.len() > MAX_SIGNED_NODES {
                let problem = Problem::TooMany { what: "nodes to be signed", limit: MAX_SIGNED_NODES };
                return Err(self.problem(configuration, problem));
            }
        }
        let paths_len: usize = list.iter().map(|id| self.fdt.path(*id).len() + 1).sum();
        if paths_len > MAX_SIGNED_PATHS_LEN_BYTES {
            let limit = MAX_SIGNED_PATHS_LEN_BYTES;
            return Err(
                self.problem(configuration, Problem::TooMany { what: "bytes of paths to be signed", limit })
            );
        }
        let mut seen = std::collections::HashSet::new();
        list.retain(|id| seen.insert(*id));
        Ok(list)
    }
}
