//! Signature nodes: which one is ours to replace, and what stands in it.

use super::{FitError, SIGNER_NAME, image::Fit, properties as p};
use crate::{
    crypto::{KeyType, Scheme},
    format::{control_dtb::crypto_name, fdt::NodeId},
    request::Identity,
    vocabulary::{Mode, Role},
};

/// What every signature node of one run says.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// `algo`, such as `sha256,rsa2048`.
    pub(super) algorithm: String,
    /// `padding`, where it is not U-Boot's default.
    pub(super) padding: Option<&'static str>,
    pub(super) hint: String,
    pub(super) role: Role,
    pub(super) mode: Mode,
    pub(super) timestamp: Option<u32>,
    /// How long a signature is, in bytes.
    pub(super) value_len: usize,
}

/// What a user should know about a plan, one sentence each.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// What was done.
    pub(super) notes: Vec<String>,
    /// What weakens the result.
    pub(super) warnings: Vec<String>,
}

/// How long a signature by a key is, in bytes.
pub(super) fn signature_len(key_type: KeyType) -> usize {
    match key_type {
        KeyType::Rsa2048 => 256,
        KeyType::Rsa3072 => 384,
        KeyType::Rsa4096 => 512,
        KeyType::EcdsaP256 => 64,
        KeyType::EcdsaP384 => 96,
    }
}

impl Style {
    /// `None` for a key of a size that FITs cannot name.
    pub(super) fn new(identity: &Identity, timestamp: Option<u32>) -> Option<Self> {
        let key_type = identity.public_key.key_type()?;
        Some(Self {
            algorithm: format!("{},{}", identity.algorithm.hash, crypto_name(key_type)),
            padding: (identity.algorithm.scheme == Scheme::RsaPss).then_some("pss"),
            hint: identity.key_name_hint.clone(),
            role: identity.role,
            mode: identity.mode,
            timestamp,
            value_len: signature_len(key_type),
        })
    }
}

/// How much a signature node is ours; the least is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// It names our key.
    OurKey,
    /// It is by a key of ours that gives way: the other mode's.
    OurOther,
    /// It is a placeholder, not signed yet.
    Nobody,
    /// It holds somebody else's signature.
    Foreign,
}

impl Fit<'_> {
    fn owner(&self, node: NodeId, style: &Style) -> Result<Owner, FitError> {
        let hint = self.fdt.string(node, p::KEY_NAME_HINT)?.unwrap_or_default();
        if hint == style.hint {
            return Ok(Owner::OurKey);
        }
        let signed = self.fdt.property(node, p::VALUE).is_some_and(|v| v.value().len_bytes() > 0);
        Ok(match Identity::parse_hint(&hint) {
            _ if !signed => Owner::Nobody,
            Some((mode, role)) if mode != style.mode || role == style.role => Owner::OurOther,
            _ => Owner::Foreign,
        })
    }

    /// The signature node of `parent` that this run fills; other signatures of ours are deleted there,
    /// foreign ones and placeholders stay. Without any of ours a node is added if `add` says so.
    pub(super) fn claim_signature(
        &mut self,
        parent: NodeId,
        style: &Style,
        add: bool,
        notes: &mut Notes,
    ) -> Result<Option<NodeId>, FitError> {
        let mut claimed: Option<(Owner, NodeId)> = None;
        let mut found = Vec::new();
        for node in self.subnodes(parent, "signature") {
            let owner = self.owner(node, style)?;
            found.push((owner, node));
            if owner != Owner::Foreign && claimed.is_none_or(|(best, _)| owner < best) {
                claimed = Some((owner, node));
            }
        }
        for (owner, node) in found {
            if claimed.is_some_and(|(_, id)| id == node) {
                continue;
            }
            let path = self.fdt.path(node);
            match owner {
                Owner::OurKey | Owner::OurOther => {
                    self.fdt.delete_node(node);
                    notes.notes.push(format!("`{path}`: another signature of ours, deleted"));
                }
                Owner::Nobody => {
                    notes.warnings.push(format!("`{path}`: a second placeholder, left unsigned"))
                }
                Owner::Foreign => {
                    let hint = self.fdt.string(node, p::KEY_NAME_HINT)?.unwrap_or_default();
                    notes
                        .warnings
                        .push(format!("`{path}`: left as it is, signed by somebody else's key `{hint}`"));
                }
            }
        }
        match claimed {
            Some((_, node)) => Ok(Some(node)),
            None if add => {
                let name = self.free_name(parent, "signature");
                let node = self.fdt.add_node(parent, &name)?;
                Ok(Some(node))
            }
            None => Ok(None),
        }
    }

    /// `prefix-1`, or the next number that is free.
    pub(super) fn free_name(&self, parent: NodeId, prefix: &str) -> String {
        let names = (1_u32..).map(|number| format!("{prefix}-{number}"));
        names.into_iter().find(|name| self.fdt.child(parent, name).is_none()).unwrap_or_default()
    }

    /// Fills a signature node but for the signature, in the order in which mkimage does.
    pub(super) fn fill_signature(&mut self, node: NodeId, style: &Style) -> Result<(), FitError> {
        self.fdt.set_string(node, p::KEY_NAME_HINT, &style.hint)?;
        self.fdt.set_string(node, p::ALGO, &style.algorithm)?;
        match style.padding {
            Some(padding) => self.fdt.set_string(node, p::PADDING, padding)?,
            None => {
                self.fdt.delete_property(node, p::PADDING);
            }
        }
        self.fdt.set(node, p::VALUE, vec![0; style.value_len])?;
        self.fdt.set_string(node, p::SIGNER_NAME, SIGNER_NAME)?;
        self.fdt.set_string(node, p::SIGNER_VERSION, env!("CARGO_PKG_VERSION"))?;
        match style.timestamp {
            Some(timestamp) => self.fdt.set_u32(node, p::TIMESTAMP, timestamp)?,
            // A time of an older signature would be a lie.
            None => {
                self.fdt.delete_property(node, p::TIMESTAMP);
            }
        }
        Ok(())
    }
}
