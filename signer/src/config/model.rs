//! What `hsmsign.yaml` says, checked and with defaults filled in.

use super::{Allowed, ScanAllowed};
use crate::{
    crypto::{Fingerprint, HashAlgorithm, KeyType, Scheme, SignatureAlgorithm},
    vocabulary::Role,
};
use std::{collections::BTreeMap, path::PathBuf};

/// The policy file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The product's name, for certificates, reports and derived salts.
    pub product: String,
    /// What each role signs with, in every mode.
    pub roles: Roles,
    /// Release keys; `None` where the file has no `release` section.
    pub release: Option<ReleaseSettings>,
    /// What the release gate lets pass by name.
    pub gate: GateSettings,
    /// What `scan` lets pass by name.
    pub scan: ScanSettings,
}

impl Default for Config {
    /// What dev mode works with where there is no file.
    fn default() -> Self {
        Self {
            product: "unnamed".into(),
            roles: Roles::default(),
            release: None,
            gate: GateSettings::default(),
            scan: ScanSettings::default(),
        }
    }
}

/// The settings of all roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    pub(super) bootloader: RoleSettings,
    pub(super) fit: RoleSettings,
    pub(super) rootfs: RoleSettings,
    pub(super) update: RoleSettings,
}

impl Roles {
    /// The settings of `role`.
    #[must_use]
    pub fn get(&self, role: Role) -> &RoleSettings {
        match role {
            Role::Bootloader => &self.bootloader,
            Role::Fit => &self.fit,
            Role::Rootfs => &self.rootfs,
            Role::Update => &self.update,
        }
    }

    pub(super) fn get_mut(&mut self, role: Role) -> &mut RoleSettings {
        match role {
            Role::Bootloader => &mut self.bootloader,
            Role::Fit => &mut self.fit,
            Role::Rootfs => &mut self.rootfs,
            Role::Update => &mut self.update,
        }
    }
}

impl Default for Roles {
    /// RSA-2048 with PKCS#1 v1.5 and SHA-256, which every verifier on a device knows; CMS for updates.
    fn default() -> Self {
        let settings = RoleSettings {
            key_type: KeyType::Rsa2048,
            scheme: Scheme::RsaPkcs1v15,
            hash: HashAlgorithm::Sha256,
            update_format: None,
        };
        let update = RoleSettings { update_format: Some(UpdateFormat::Cms), ..settings.clone() };
        Self { bootloader: settings.clone(), fit: settings.clone(), rootfs: settings, update }
    }
}

/// What one role signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSettings {
    /// Type and size of the key.
    pub key_type: KeyType,
    /// How a digest becomes a signature.
    pub scheme: Scheme,
    /// What digests are made with.
    pub hash: HashAlgorithm,
    /// Form of `sw-description.sig`; only the update role has one.
    pub update_format: Option<UpdateFormat>,
}

impl RoleSettings {
    /// Scheme and hash together.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm { scheme: self.scheme, hash: self.hash }
    }
}

/// Forms of `sw-description.sig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateFormat {
    /// CMS SignedData (RFC 5652).
    Cms,
    /// A bare RSA PKCS#1 v1.5 signature.
    Rsa,
    /// A bare RSA-PSS signature.
    RsaPss,
}

/// The `release` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseSettings {
    /// Release keys by role.
    pub keys: BTreeMap<Role, ReleaseKey>,
    /// Whether software tokens stand in for the HSM.
    pub rehearsal: bool,
}

/// One role's release key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseKey {
    /// The name under which host settings know the token.
    pub token: String,
    /// RFC 7512 URI of the private key, without PIN and module.
    pub uri: String,
    /// Fingerprints of the keys that may sign; more than one while a key is being rotated.
    pub pins: Vec<Fingerprint>,
    /// The token's serial number, where it is pinned too.
    pub serial: Option<String>,
    /// The key's certificate, PEM or DER, relative to the policy file's directory.
    pub certificate: Option<PathBuf>,
    /// Intermediate certificates, nearest the key first.
    pub chain: Vec<PathBuf>,
    /// `accept: [imported]`: the key need not have been born in this token.
    pub accept_imported: bool,
}

/// The `gate` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateSettings {
    /// Files of a deploy directory that may be unsigned, or may be of a kind that cannot be checked.
    pub allow: Vec<Allowed>,
}

/// The `scan` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanSettings {
    /// Findings that are meant to be where they are.
    pub allow: Vec<ScanAllowed>,
}
