//! Dev mode: one SoftHSMv2 token, no release key.

use super::{Authorized, Dev, ExampleKeys, KeyFacts, ModuleFacts, Refusal, TokenFacts};
use crate::{
    config::{RoleSettings, Roles},
    crypto::{Fingerprint, PublicKey},
    vocabulary::Role,
};
use std::collections::BTreeSet;

/// What dev mode may do. It knows of the release section only which keys to refuse.
#[derive(Clone, Debug)]
pub struct DevPolicy {
    roles: Roles,
    release_pins: BTreeSet<Fingerprint>,
}

impl DevPolicy {
    pub(super) fn new(roles: Roles, release_pins: BTreeSet<Fingerprint>) -> Self {
        Self { roles, release_pins }
    }

    /// What `role` signs with.
    #[must_use]
    pub fn role(&self, role: Role) -> &RoleSettings {
        self.roles.get(role)
    }

    /// Whether a loaded module is SoftHSMv2: asked before any of its tokens is opened.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotSoftHsm`] if it reports itself as something else.
    pub fn permit_module(module: &ModuleFacts) -> Result<(), Refusal> {
        if module.manufacturer == "SoftHSM" && module.description.starts_with("Implementation of PKCS11") {
            return Ok(());
        }
        Err(Refusal::NotSoftHsm {
            what: format!("module `{}`", module.path.display()),
            reported: format!("{} {}", module.manufacturer, module.description),
        })
    }

    /// Whether a public key from the dev directory may count as `role`'s.
    ///
    /// # Errors
    ///
    /// [`Refusal::ReleaseKeyInDev`] if it is pinned for release.
    pub fn permit_public_key(&self, role: Role, key: &PublicKey) -> Result<Fingerprint, Refusal> {
        let fingerprint = Fingerprint::of(key);
        if self.release_pins.contains(&fingerprint) {
            return Err(Refusal::ReleaseKeyInDev { role, fingerprint });
        }
        Ok(fingerprint)
    }

    /// Release pins that are public example keys, and where those were seen: told in dev mode already, so that nobody
    /// learns it on the day of a release.
    #[must_use]
    pub fn pinned_examples(&self) -> Vec<(Fingerprint, String)> {
        let examples = ExampleKeys::default();
        self.release_pins.iter().filter_map(|pin| Some((*pin, examples.find(pin)?.to_owned()))).collect()
    }

    /// Whether a key in a token may sign for `role`; `own_token` is the label that belongs to the
    /// workspace's dev directory.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if it is another token, or a key that is pinned for release, or not the type of
    /// key that the role asks for.
    pub fn authorize(
        &self,
        role: Role,
        own_token: &str,
        token: &TokenFacts,
        key: &KeyFacts,
    ) -> Result<Authorized<Dev>, Refusal> {
        if token.manufacturer != "SoftHSM project" || token.model != "SoftHSM v2" {
            return Err(Refusal::NotSoftHsm {
                what: format!("token `{}`", token.label),
                reported: format!("{} {}", token.manufacturer, token.model),
            });
        }
        if token.label != own_token {
            return Err(Refusal::ForeignDevToken { label: token.label.clone(), own: own_token.into() });
        }
        let fingerprint = self.permit_public_key(role, &key.public_key)?;
        let settings = self.role(role);
        super::release::check_key_type(role, settings.key_type, &key.public_key)?;
        Ok(Authorized::new(role, settings.algorithm(), fingerprint, Vec::new()))
    }
}
