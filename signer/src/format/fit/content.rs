//! What a FIT carries, for those who look at more than its signatures.

use super::{image::Fit, properties as p};
use std::ops::Range;

/// An image of a FIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageData {
    /// Its node's path.
    pub path: String,
    /// Where its data lies in the FIT's source.
    pub range: Range<u64>,
    /// Property `compression`; empty if there is none.
    pub compression: String,
    /// Property `type`, such as `kernel`.
    pub kind: String,
    /// Property `os`, such as `linux`.
    pub os: String,
    /// Whether its data is encrypted.
    pub encrypted: bool,
}

impl Fit<'_> {
    /// Every image whose data lies in the file, in order.
    #[must_use]
    pub fn image_data(&self) -> Vec<ImageData> {
        let text = |id, name| self.fdt.string(id, name).ok().flatten().unwrap_or_default();
        let data = |id| {
            let range = self.data(id).ok()?.range;
            Some(ImageData {
                path: self.fdt.path(id),
                range,
                compression: text(id, p::COMPRESSION),
                kind: text(id, "type"),
                os: text(id, "os"),
                encrypted: self.fdt.child(id, "cipher").is_some(),
            })
        };
        self.images().into_iter().filter_map(data).collect()
    }

    /// The hints of all signatures that were made, in order: which keys the FIT says it is signed by, empty where
    /// a signature names none. Nothing covers them.
    #[must_use]
    pub fn key_name_hints(&self) -> Vec<String> {
        let nodes = self.images().into_iter().chain(self.configurations());
        let signatures = nodes.flat_map(|id| self.subnodes(id, "signature"));
        let made = signatures.filter(|id| self.fdt.property(*id, p::VALUE).is_some());
        made.map(|id| self.fdt.string(id, p::KEY_NAME_HINT).ok().flatten().unwrap_or_default()).collect()
    }
}
