//! The keys that an agent holds: opened and judged before it is ready, and again after a token was lost.

use crate::{
    agent::protocol::KeyReply,
    audit::{Head, Requester},
    config::{HostToken, ReleaseKey},
    crypto::{Fingerprint, Signature},
    error::Error,
    key::release::{self, ReleaseAccess, ReleaseTokens},
    policy::{Certificates, Exception, Refusal, ReleasePolicy},
    request::{Answer as _, Request},
    vocabulary::Role,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Keys that threads share.
pub trait Vault: Send + Sync {
    /// Signs for `requester`, and has it on record before it returns. With the signature comes the audit log's head
    /// at its record.
    ///
    /// # Errors
    ///
    /// As [`Answer::answer`](crate::request::Answer::answer).
    fn sign(&self, request: &Request, requester: &Requester) -> Result<(Signature, Head), Error>;

    /// Opens a token's keys again after its sessions died: it may have been taken out and put back.
    ///
    /// # Errors
    ///
    /// Whatever keeps a key from being used, as in the beginning.
    fn reopen(&self, token: &str) -> Result<(), Error>;
}

/// A role's key, as clients and people are told of it.
#[derive(Clone, Debug)]
pub struct ServedRole {
    /// What its token says of it.
    pub key: KeyReply,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The policy's name for its token.
    pub token: String,
    /// What the policy lets pass by name.
    pub exceptions: Vec<Exception>,
}

/// How one role's key is reached.
#[derive(Clone, Debug)]
pub struct VaultAccess {
    /// Which key.
    pub key: ReleaseKey,
    /// How this host reaches its token.
    pub host: HostToken,
    /// What the policy's certificate files hold.
    pub certificates: Option<Certificates>,
}

/// Release keys in the tokens of this host.
pub struct ReleaseVault {
    policy: ReleasePolicy,
    accesses: BTreeMap<Role, VaultAccess>,
    keys: RwLock<BTreeMap<Role, Arc<release::ReleaseKey>>>,
    // Dropped last: the keys hold its tokens.
    tokens: ReleaseTokens,
}

impl ReleaseVault {
    /// Opens every role's key. Returns them with what is told of each.
    ///
    /// # Errors
    ///
    /// The first key that cannot be used, or that the policy refuses.
    pub fn open(
        policy: ReleasePolicy,
        accesses: BTreeMap<Role, VaultAccess>,
        tokens: ReleaseTokens,
    ) -> Result<(Self, BTreeMap<Role, ServedRole>), Error> {
        let vault = Self { policy, accesses, keys: RwLock::default(), tokens };
        let mut served = BTreeMap::new();
        for (role, access) in &vault.accesses {
            let full = vault.access(*role, access);
            vault.open_key(*role, access)?;
            let found = vault.tokens.inspect(&full)?;
            let told = ServedRole {
                key: KeyReply::new(*role, &found.token, &found.key),
                fingerprint: Fingerprint::of(&found.key.public_key),
                token: access.key.token.clone(),
                exceptions: found.judgement.exceptions,
            };
            served.insert(*role, told);
        }
        Ok((vault, served))
    }

    fn access(&self, role: Role, access: &VaultAccess) -> ReleaseAccess<'_> {
        let VaultAccess { key, host, certificates } = access.clone();
        ReleaseAccess { policy: &self.policy, role, key, host, certificates }
    }

    fn open_key(&self, role: Role, access: &VaultAccess) -> Result<(), Error> {
        let key = Arc::new(self.tokens.key(&self.access(role, access))?);
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(role, key);
        Ok(())
    }
}

impl Vault for ReleaseVault {
    fn sign(&self, request: &Request, requester: &Requester) -> Result<(Signature, Head), Error> {
        let key = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&request.role).cloned();
        let key = key.ok_or(Refusal::NoReleaseKey(request.role))?;
        debug_assert_eq!(key.identity().role, request.role);
        key.answer_for(request, requester)
    }

    fn reopen(&self, token: &str) -> Result<(), Error> {
        self.tokens.give_up(token);
        let of_token = self.accesses.iter().filter(|(_, access)| access.key.token == token);
        of_token.into_iter().try_for_each(|(role, access)| self.open_key(*role, access))
    }
}
