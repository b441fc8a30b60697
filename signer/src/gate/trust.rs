//! Whose keys may sign what ships, and what is known of all others.

use super::keys::FoundKey;
use crate::{
    crypto::{Fingerprint, PublicKey},
    format::{cms::KnownSigner, swu},
    key::certificate,
    policy::{ExampleKeys, TrustedKey},
    vocabulary::{Mode, Role},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// What one role trusts.
#[derive(Clone, Debug, Default)]
pub struct RoleTrust {
    /// Keys that may sign, as far as they are at hand.
    pub keys: Vec<TrustedKey>,
    /// Fingerprints of keys that may sign. A key that turns up in the directory and has one of them counts as
    /// trusted: the fingerprint is all that makes it so.
    pub pins: BTreeSet<Fingerprint>,
    /// Certificates, DER, of those who issue the role's certificates.
    pub issuers: Vec<Vec<u8>>,
}

/// Whom the gate trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// By role.
    pub roles: BTreeMap<Role, RoleTrust>,
    /// Whether dev keys are among them: then what a release gate refuses is told and lets pass.
    pub dev: bool,
    /// Development keys that are known by name.
    pub known_dev: BTreeSet<Fingerprint>,
    /// Public example keys.
    pub examples: ExampleKeys,
    /// The time at which certificates are judged.
    pub at: SystemTime,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its private half is public.
    Example(String),
    /// It may sign for these roles.
    Trusted(Vec<Role>),
    /// It issued certificates of these roles.
    Issuer(Vec<Role>),
    /// It is for development, and not trusted.
    Development(String),
    /// Nothing.
    Unknown,
}

impl Trust {
    /// What is known of a key. Being an example outweighs everything, and being trusted the marks of development.
    #[must_use]
    pub fn standing(&self, found: &FoundKey) -> Standing {
        let fingerprint = Fingerprint::of(&found.key);
        if let Some(seen) = self.examples.find(&fingerprint) {
            return Standing::Example(format!("its private half is public: {seen}"));
        }
        let trusted: Vec<Role> =
            Role::ALL.into_iter().filter(|role| self.is_trusted(*role, &found.key)).collect();
        if !trusted.is_empty() {
            return Standing::Trusted(trusted);
        }
        if self.known_dev.contains(&fingerprint) {
            return Standing::Development("it lies in this project's dev directory".into());
        }
        let Some(der) = &found.certificate else { return Standing::Unknown };
        if certificate::is_development(der) {
            return Standing::Development("its certificate says so".into());
        }
        let issued = |role: &Role| self.roles.get(role).is_some_and(|r| r.issuers.contains(der));
        let roles: Vec<Role> = Role::ALL.into_iter().filter(issued).collect();
        if roles.is_empty() { Standing::Unknown } else { Standing::Issuer(roles) }
    }

    /// Whether a key may sign for `role`.
    #[must_use]
    pub fn is_trusted(&self, role: Role, key: &PublicKey) -> bool {
        self.roles.get(&role).is_some_and(|trust| {
            trust.pins.contains(&Fingerprint::of(key)) || trust.keys.iter().any(|t| t.public_key == *key)
        })
    }

    /// Takes a key that turned up in the directory into the roles that pin it.
    pub fn adopt(&mut self, found: &FoundKey, place: &str) {
        let fingerprint = Fingerprint::of(&found.key);
        for trust in self.roles.values_mut() {
            let known = trust.keys.iter().any(|t| t.public_key == found.key);
            if known || !trust.pins.contains(&fingerprint) {
                continue;
            }
            trust.keys.push(TrustedKey {
                public_key: found.key.clone(),
                certificate: found.certificate.clone(),
                chain: Vec::new(),
                mode: Some(Mode::Release),
                origin: format!("pinned key, found in {place}"),
            });
        }
    }

    /// The keys that are trusted for `role`.
    #[must_use]
    pub fn keys(&self, role: Role) -> Vec<PublicKey> {
        self.role_keys(role).iter().map(|t| t.public_key.clone()).collect()
    }

    /// The same, as signers of CMS messages.
    #[must_use]
    pub fn known_signers(&self, role: Role) -> Vec<KnownSigner<'_>> {
        self.role_keys(role).iter().map(known_signer).collect()
    }

    /// The same, as signers of bundles.
    #[must_use]
    pub fn bundle_signers(&self) -> Vec<swu::Trusted<'_>> {
        self.role_keys(Role::Update).iter().map(bundle_signer).collect()
    }

    fn role_keys(&self, role: Role) -> &[TrustedKey] {
        self.roles.get(&role).map(|t| t.keys.as_slice()).unwrap_or_default()
    }
}

fn known_signer(t: &TrustedKey) -> KnownSigner<'_> {
    KnownSigner { public_key: &t.public_key, certificate: t.certificate.as_deref() }
}

fn bundle_signer(t: &TrustedKey) -> swu::Trusted<'_> {
    swu::Trusted {
        public_key: &t.public_key,
        certificate: t.certificate.as_deref(),
        chain: &t.chain,
        origin: &t.origin,
    }
}
