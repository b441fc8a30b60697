//! A FIT's images and configurations, and where their data is.

use super::{
    FitError, MAX_DEPTH, MAX_HASHES, MAX_IMAGES, MAX_PATH_LEN_BYTES, MAX_SIGNATURES, Problem, hash::HashNode,
    properties as p,
};
use crate::format::{
    Source,
    fdt::{Fdt, NodeId, Value, align_up},
};
use std::{collections::HashMap, ops::Range};

/// A device tree that is a FIT.
#[derive(Clone, Debug)]
pub struct Fit<'a> {
    /// The tree.
    pub fdt: Fdt<'a>,
    /// `/images`.
    pub images: NodeId,
    /// `/configurations`, which FITs of a single script may lack.
    pub configurations: Option<NodeId>,
    /// `/images` by name.
    names: HashMap<String, NodeId>,
}

/// Where an image's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the `data` property.
    Embedded,
    /// Behind the tree, counted from its end (`data-offset`).
    Offset,
    /// Anywhere in the file (`data-position`).
    Position,
}

/// An image's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) place: Place,
    /// In the source.
    pub(super) range: Range<u64>,
}

impl<'a> Fit<'a> {
    /// Reads the structure of a FIT; data is neither read nor checked.
    ///
    /// # Errors
    ///
    /// [`FitError`] for what is no FIT or one that U-Boot cannot verify safely, such as names with `@`.
    pub fn parse(source: &'a dyn Source) -> Result<Self, FitError> {
        let fdt = Fdt::parse(source)?;
        for id in fdt.walk() {
            let path = fdt.path(id);
            if fdt.node(id).name().contains('@') {
                return Err(FitError::node(path, Problem::UnitAddress));
            }
            if path.len() > MAX_PATH_LEN_BYTES || path.split('/').count() > MAX_DEPTH {
                return Err(FitError::node(path, Problem::TooDeep));
            }
        }
        let images = fdt.find("/images").ok_or_else(|| FitError::node("/images", Problem::Missing))?;
        let configurations = fdt.find("/configurations");
        let names = fdt.children(images).map(|(id, node)| (node.name().to_owned(), id)).collect();
        let fit = Self { fdt, images, configurations, names };
        fit.check_counts()?;
        Ok(fit)
    }

    /// Work grows with the product of these, so a hostile FIT could keep us busy for hours.
    pub(super) fn check_counts(&self) -> Result<(), FitError> {
        let mut signatures = 0;
        for parent in [Some(self.images), self.configurations].into_iter().flatten() {
            let children = self.fdt.node(parent).children();
            if children.len() > MAX_IMAGES {
                let problem = Problem::TooMany { what: "subnodes", limit: MAX_IMAGES };
                return Err(self.problem(parent, problem));
            }
            for child in children {
                for prefix in ["hash", "signature"] {
                    let count = self.subnodes(*child, prefix).len();
                    if count > MAX_HASHES {
                        let what = "hash or signature nodes";
                        return Err(self.problem(*child, Problem::TooMany { what, limit: MAX_HASHES }));
                    }
                    if prefix == "signature" {
                        signatures += count;
                    }
                }
            }
        }
        if signatures > MAX_SIGNATURES {
            let problem = Problem::TooMany { what: "signature nodes in all", limit: MAX_SIGNATURES };
            return Err(FitError::node("/", problem));
        }
        Ok(())
    }

    /// The image of exactly that name.
    pub(super) fn image_named(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// Each image's node, in order.
    #[must_use]
    pub fn images(&self) -> Vec<NodeId> {
        self.fdt.node(self.images).children().to_vec()
    }

    /// Each configuration's node, in order.
    #[must_use]
    pub fn configurations(&self) -> Vec<NodeId> {
        self.configurations.map(|id| self.fdt.node(id).children().to_vec()).unwrap_or_default()
    }

    /// A node's name.
    pub(super) fn name(&self, id: NodeId) -> &str {
        self.fdt.node(id).name()
    }

    /// For a node that is not what a FIT needs.
    pub(super) fn problem(&self, id: NodeId, problem: Problem) -> FitError {
        FitError::node(self.fdt.path(id), problem)
    }

    /// Where `data-offset` counts from.
    pub(super) fn data_base(&self) -> u64 {
        align_up(self.fdt.total_size(), 4)
    }

    /// Where an image's data is, checked to lie in the file and outside the tree.
    pub(super) fn data(&self, image: NodeId) -> Result<Data, FitError> {
        let present: Vec<&'static str> = [p::DATA, p::DATA_OFFSET, p::DATA_POSITION]
            .into_iter()
            .filter(|name| self.fdt.property(image, name).is_some())
            .collect();
        let (place, start) = match present.as_slice() {
            [] => return Err(self.problem(image, Problem::NoData)),
            [p::DATA] => match self.fdt.property(image, p::DATA).map(|d| d.value()) {
                Some(Value::Source(range)) => {
                    return Ok(Data { place: Place::Embedded, range: range.clone() });
                }
                _ => return Err(self.problem(image, Problem::NoData)),
            },
            [p::DATA_OFFSET] => (Place::Offset, self.data_base() + self.number(image, p::DATA_OFFSET)?),
            [p::DATA_POSITION] => (Place::Position, self.number(image, p::DATA_POSITION)?),
            [first, second, ..] => {
                return Err(self.problem(image, Problem::TwoPlaces(first, second)));
            }
            [_] => return Err(self.problem(image, Problem::NoData)),
        };
        let end = start + self.number(image, p::DATA_SIZE)?;
        let (total, len_bytes) = (self.fdt.total_size(), self.fdt.source().len_bytes());
        if end > len_bytes {
            return Err(self.problem(image, Problem::DataOutside { start, end, len_bytes }));
        }
        if start < total {
            return Err(self.problem(image, Problem::DataInTree { start, total }));
        }
        Ok(Data { place, range: start..end })
    }

    /// Sizes and offsets are signed 32-bit numbers in U-Boot.
    fn number(&self, image: NodeId, name: &'static str) -> Result<u64, FitError> {
        match self.fdt.u32(image, name) {
            Ok(Some(number)) if number <= u32::MAX >> 1 => Ok(u64::from(number)),
            _ => Err(self.problem(image, Problem::BadNumber(name))),
        }
    }

    /// The `hash*` nodes of an image, in order.
    pub(super) fn hashes(&self, image: NodeId) -> Result<Vec<HashNode>, FitError> {
        self.subnodes(image, "hash").into_iter().map(|id| HashNode::read(self, id)).collect()
    }

    /// Subnodes whose names begin with `prefix`, in order.
    pub(super) fn subnodes(&self, id: NodeId, prefix: &str) -> Vec<NodeId> {
        let children = self.fdt.children(id);
        children.filter(|(_, node)| node.name().starts_with(prefix)).map(|(child, _)| child).collect()
    }
}
