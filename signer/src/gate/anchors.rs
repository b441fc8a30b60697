//! Keys and certificates that lie in files of their own, and those that a device would trust.

use super::{
    Gate, Standing, Unreadable,
    keys::{self, FoundKey},
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::format::{Source as _, bootloader::u_boot_fit::control_trees, cms::Message, fit::Fit};

/// Longest file of keys that is read.
const MAX_LEN_BYTES: usize = 1 << 20;

impl Gate<'_> {
    /// Takes every key of the directory that is pinned into the trusted ones: a policy that pins a key without
    /// giving its certificate tells no more than its fingerprint.
    pub(super) fn adopt_keys(&mut self) -> Result<(), Unreadable> {
        let mut found: Vec<(FoundKey, String)> = Vec::new();
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let place = entry.path.clone();
            let bare = |key| FoundKey { key, certificate: None };
            let of_tree =
                |tree: &[u8]| super::control::keys_of(tree).into_iter().map(|(_, _, key)| bare(key));
            let more: Vec<FoundKey> = match &entry.kind {
                Kind::Certificates | Kind::PublicKey => keys::in_file(&self.small(index)?),
                Kind::ControlTree | Kind::Program { .. } => {
                    self.control_tree_bytes(index)?.map(|tree| of_tree(&tree).collect()).unwrap_or_default()
                }
                Kind::Fit => {
                    let trees = Fit::parse(&entry.source).ok().and_then(|fit| control_trees(&fit).ok());
                    trees.unwrap_or_default().iter().flat_map(|(_, tree)| of_tree(tree)).collect()
                }
                _ => continue,
            };
            found.extend(more.into_iter().map(|key| (key, place.clone())));
        }
        for facts in &self.bundles {
            let place = self.entries.get(facts.entry).map(|e| e.path.clone()).unwrap_or_default();
            let message = facts.bundle.signature.as_deref().and_then(|der| Message::parse(der).ok());
            for der in message.iter().flat_map(Message::certificates) {
                found.extend(keys::of_der(der).map(|key| (key, place.clone())));
            }
        }
        for (key, place) in found {
            self.trust.adopt(&key, &place);
        }
        Ok(())
    }

    /// Judges private keys, and certificates and public keys that lie beside the artifacts.
    pub(super) fn key_files(&mut self) -> Result<(), Unreadable> {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            match entry.kind.inner() {
                Kind::PrivateKey => {
                    self.problem(index, ProblemKind::PrivateKey, None, "a private key lies in the directory");
                }
                Kind::Certificates | Kind::PublicKey if entry.state.is_none() => {
                    let place = entry.path.clone();
                    let found = keys::in_file(&self.small(index)?);
                    let mut trusted = Vec::new();
                    for key in &found {
                        self.anchor(index, &place, key, None);
                        if let Standing::Trusted(roles) = self.trust.standing(key) {
                            trusted.extend(roles);
                        }
                    }
                    let Some(entry) = self.entries.get_mut(index) else { continue };
                    let roles: Vec<String> = trusted.iter().map(ToString::to_string).collect();
                    let detail = match roles.as_slice() {
                        [] => "public, of no key that the policy knows".to_owned(),
                        _ => format!("public, of the trusted key of role {}", roles.join(", ")),
                    };
                    entry.settle(State::ByProduct, detail);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A file of keys as a whole; empty if it is longer than any such file is.
    fn small(&self, index: usize) -> Result<Vec<u8>, Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(Vec::new()) };
        match entry.source.read_range(0..entry.source.len_bytes(), MAX_LEN_BYTES) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.is_io() => Err(entry.unreadable()(e)),
            Err(_) => Ok(Vec::new()),
        }
    }
}
