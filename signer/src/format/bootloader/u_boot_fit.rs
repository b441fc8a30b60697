//! U-Boot proper as a FIT: the control trees that travel in it.

use crate::format::{
    control_dtb::{KeyEntry, Placed, put_key},
    fdt::NodeId,
    fit::{DeviceTreeEdit, Fit, FitError},
};
use std::cell::RefCell;

/// Puts a public key into each control tree that U-Boot's FIT carries.
pub struct PutKey<'a> {
    entry: KeyEntry<'a>,
    is_ours: &'a dyn Fn(&str) -> bool,
    supersedes: &'a dyn Fn(&str) -> bool,
    /// Paths of the images that are control trees.
    images: Vec<String>,
    placed: RefCell<Vec<Placed>>,
}

impl<'a> PutKey<'a> {
    /// For `fit`; what `is_ours` and `supersedes` mean, [`put_key`] says.
    ///
    /// # Errors
    ///
    /// [`FitError`] if a tree is compressed, encrypted, or none.
    pub fn new(
        fit: &Fit<'_>,
        entry: KeyEntry<'a>,
        is_ours: &'a dyn Fn(&str) -> bool,
        supersedes: &'a dyn Fn(&str) -> bool,
    ) -> Result<Self, FitError> {
        let images = control_trees(fit)?.into_iter().map(|(path, _)| path).collect();
        Ok(Self { entry, is_ours, supersedes, images, placed: RefCell::default() })
    }

    /// What became of each tree, with its image's path, in the order of configurations.
    #[must_use]
    pub fn into_placed(self) -> Vec<(String, Placed)> {
        self.images.into_iter().zip(self.placed.into_inner()).collect()
    }
}

impl DeviceTreeEdit for PutKey<'_> {
    /// U-Boot may as well have its control tree within its program, or beside the FIT.
    fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    fn edit(&self, tree: &[u8]) -> Result<Vec<u8>, String> {
        let (new, placed) =
            put_key(tree, &self.entry, self.is_ours, self.supersedes).map_err(|e| e.to_string())?;
        self.placed.borrow_mut().push(placed);
        Ok(new)
    }
}

impl std::fmt::Debug for PutKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutKey").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// The control trees in U-Boot's FIT, each with its image's path.
///
/// # Errors
///
/// [`FitError`] if one is compressed, encrypted, or no device tree.
pub fn control_trees(fit: &Fit<'_>) -> Result<Vec<(String, Vec<u8>)>, FitError> {
    let path = |(id, tree): (NodeId, Vec<u8>)| (fit.fdt.path(id), tree);
    Ok(fit.device_trees()?.into_iter().map(path).collect())
}
