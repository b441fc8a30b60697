//! Puts a role's public key into a control tree on disk, in place.

use crate::{
    error::Error,
    format::control_dtb::{KeyEntry, Location, Placed, Required, put_key_in_file},
    io::{AtomicFile, FileSource},
    request::Identity,
};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A control tree with a key in it, written beside the old one and not yet in its place.
pub(super) struct PendingTree {
    path: PathBuf,
    file: Option<AtomicFile>,
    placed: Placed,
}

/// What became of a control tree.
#[derive(Debug, serde::Serialize)]
pub(super) struct TreeResult {
    /// The file.
    pub(super) file: String,
    /// The key that stands there now: SubjectPublicKeyInfo SHA-256.
    pub(super) fingerprint: String,
    /// What became of its key nodes.
    #[serde(flatten)]
    pub(super) placed: Placed,
}

impl PendingTree {
    /// Writes the new tree of `path` into a temporary file. A symbolic link stays one.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if there is no control tree, [`Error::File`] if it cannot be read or written.
    pub(super) fn write(
        path: &Path,
        location: Location,
        identity: &Identity,
        required: Required,
    ) -> Result<Self, Error> {
        let real_path = path.canonicalize().map_err(Error::file("open", path))?;
        let source = FileSource::open(&real_path)?;
        let (edits, placed) = put_key_in_file(
            &source,
            location,
            &entry(identity, required),
            &|hint| Identity::parse_hint(hint).is_some(),
            &|hint| supersedes(identity, hint),
        )
        .map_err(Error::malformed(path))?;
        let file = if placed.changed {
            let metadata = source.file().metadata().map_err(Error::file("read", path))?;
            let mut file = AtomicFile::create_with_mode(&real_path, metadata.permissions().mode() & 0o777)?;
            file.write_edited(&source, &edits)?;
            Some(file)
        } else {
            None
        };
        Ok(Self { path: path.to_owned(), file, placed })
    }

    /// Puts the new tree in place.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; the old tree then still stands.
    pub(super) fn commit(self, identity: &Identity) -> Result<TreeResult, Error> {
        if let Some(file) = self.file {
            file.commit()?;
        }
        Ok(TreeResult {
            file: self.path.display().to_string(),
            fingerprint: identity.public_key.fingerprint(),
            placed: self.placed,
        })
    }
}

/// A role's key as it stands in control trees.
pub(super) fn entry(identity: &Identity, required: Required) -> KeyEntry<'_> {
    KeyEntry {
        hint: &identity.key_name_hint,
        public_key: &identity.public_key,
        hash: identity.algorithm.hash,
        required,
    }
}

/// Whether the key of that hint gives way: one of the other mode, or an older one of the same role
/// (RSA and ECDSA keys have differently named nodes).
pub(super) fn supersedes(identity: &Identity, hint: &str) -> bool {
    Identity::parse_hint(hint).is_some_and(|(mode, role)| mode != identity.mode || role == identity.role)
}

impl TreeResult {
    /// Says what happened, one line each.
    pub(super) fn tell(&self, output: &super::Output) {
        let Self { file, placed, .. } = self;
        for node in &placed.removed {
            output.note(format_args!("{file}: removed `{node}`"));
        }
        if placed.changed {
            output.note(format_args!("{file}: wrote `{}`", placed.node));
        } else {
            output.note(format_args!("{file}: `{}` was there already", placed.node));
        }
        for key in &placed.foreign {
            let required = match &key.required {
                Some(what) => format!("required = `{what}`, so images need its signature as well"),
                None => "not required".into(),
            };
            output.warn(format_args!(
                "{file}: left `{}`, a key that hsmsign did not write ({required})",
                key.node
            ));
        }
    }
}
