//! Development keys: a SoftHSMv2 token in the dev directory, made on first use.
//!
//! This path loads no PKCS#11 module but SoftHSMv2 and opens no token but the directory's own. It sees
//! nothing of the release configuration except fingerprints that it must refuse.

mod directory;
mod environment;
mod provision;
mod softhsm;

pub use directory::{DevDirectory, locate};

use super::{
    KeyError, certificate,
    pkcs11::{Module, Selector, Token, TokenKey},
};
use crate::{
    crypto::{KeyType, Signature},
    error::Error,
    policy::{Authorized, Dev, DevPolicy, Mode, TrustedKey},
    request::{Answer, Identity, Request, Role},
};
use cryptoki::slot::{Slot, TokenInfo};
use std::{path::PathBuf, sync::Arc, time::SystemTime};

/// What dev mode needs to know. Nothing here comes from the release part of the configuration.
#[derive(Clone, Debug)]
pub struct DevSettings {
    /// The dev directory; see [`locate`].
    pub directory: PathBuf,
    /// Another copy of SoftHSMv2's module than the distribution's.
    pub softhsm: Option<PathBuf>,
    /// The product's name, for certificates.
    pub product: String,
    /// What each role signs with, and which keys must not turn up here.
    pub policy: DevPolicy,
}

impl DevSettings {
    fn key_type(&self, role: Role) -> KeyType {
        self.policy.role(role).key_type
    }
}

/// The dev directory with its token open, keys made.
pub struct DevToken {
    settings: DevSettings,
    directory: DevDirectory,
    token: Arc<Token>,
}

impl DevToken {
    /// Starts the program anew with a clean environment, unless it is clean already.
    ///
    /// To be called before anything is read or written. Does not return if it had to start anew.
    ///
    /// # Errors
    ///
    /// [`KeyError::Environment`] if the program cannot be started again.
    pub fn ensure_clean_environment(directory: &std::path::Path) -> Result<(), KeyError> {
        environment::ensure_clean(&directory::configuration_path(directory)?)
    }

    /// Opens the token, and makes it and every role's key first where they are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for whatever keeps the token from being used, [`Error::Refused`] for another module than
    /// SoftHSMv2.
    pub fn open(settings: DevSettings) -> Result<Self, Error> {
        let directory = DevDirectory::create(&settings.directory)?;
        environment::check(&directory.configuration())?;
        let path = softhsm::find(settings.softhsm.as_deref())?;
        let provisioned = provision::ensure(&directory, &path, &settings)?;
        Ok(Self { token: Arc::new(provisioned), settings, directory })
    }

    /// The set id, to which the keys are bound.
    ///
    /// # Errors
    ///
    /// [`KeyError::File`] if it cannot be read.
    pub fn set_id(&self) -> Result<String, KeyError> {
        self.directory.set_id()
    }

    /// The key of `role`.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if it cannot be found or does not belong to its certificate;
    /// [`Error::Refused`] if it is pinned for release.
    pub fn key(&self, role: Role) -> Result<DevKey, Error> {
        let key_type = self.settings.key_type(role);
        let label = key_label(role, key_type);
        let lock = self.directory.lock()?;
        let key = TokenKey::find(&self.token, &Selector::label(&label), None, None).map_err(|e| match e {
            KeyError::NotFound(reason) => self.directory.damaged(reason),
            other => other,
        })?;
        let facts = key.facts();
        drop(lock);
        let own_token = provision::token_label(&self.directory)?;
        let authorized = self.settings.policy.authorize(role, &own_token, &self.token.facts(), &facts)?;
        let certificate = self
            .directory
            .certificate(role, key_type)?
            .ok_or_else(|| KeyError::NoDevKey { role, directory: self.settings.directory.clone() })?;
        let certified = certificate::public_key(&certificate)
            .map_err(|reason| KeyError::Certificate { label: label.clone(), reason })?;
        if certified != *key.public_key() {
            let reason = format!("the certificate of `{label}` is of another key than the token's");
            return Err(self.directory.damaged(reason).into());
        }
        let identity = Identity {
            role,
            mode: Mode::Dev,
            algorithm: authorized.algorithm(),
            key_name_hint: Identity::hint(Mode::Dev, role),
            public_key: key.public_key().clone(),
            certificate: Some(certificate),
            chain: Vec::new(),
            token_label: self.token.facts().label,
            token_serial: self.token.facts().serial,
            rehearsal: false,
        };
        Ok(DevKey { authorized, key, identity })
    }
}

impl std::fmt::Debug for DevToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DevToken({})", self.token.label())
    }
}

/// SoftHSMv2's module as dev mode would load it; nothing is loaded.
///
/// # Errors
///
/// [`KeyError`] saying what to install, or why the named copy is refused.
pub fn find_softhsm(named: Option<&std::path::Path>) -> Result<PathBuf, KeyError> {
    softhsm::find(named)
}

/// The dev key of `role` as whoever verifies needs it; opens no token and makes nothing.
///
/// # Errors
///
/// [`KeyError::NoDevKey`] if it was not made yet.
pub fn trusted(settings: &DevSettings, role: Role) -> Result<TrustedKey, Error> {
    let directory = DevDirectory::open(&settings.directory)?;
    let key_type = settings.key_type(role);
    let missing = || KeyError::NoDevKey { role, directory: settings.directory.clone() };
    let certificate = directory.ok_or_else(missing)?.certificate(role, key_type)?.ok_or_else(missing)?;
    let public_key = certificate::public_key(&certificate)
        .map_err(|reason| KeyError::Certificate { label: key_label(role, key_type), reason })?;
    settings.policy.permit_public_key(role, &public_key)?;
    Ok(TrustedKey {
        public_key,
        certificate: Some(certificate),
        chain: Vec::new(),
        mode: Some(Mode::Dev),
        origin: format!("dev key of role {role}"),
    })
}

/// When the dev key of `role` was made; `None` if there is none yet.
///
/// # Errors
///
/// [`KeyError::DevDirectory`] for a directory that cannot be trusted.
pub fn made_at(settings: &DevSettings, role: Role) -> Result<Option<SystemTime>, KeyError> {
    let directory = DevDirectory::open(&settings.directory)?;
    Ok(directory.and_then(|d| d.completed(role, settings.key_type(role))))
}

/// A development key, opened and checked. Only [`DevToken::key`] makes one.
pub struct DevKey {
    authorized: Authorized<Dev>,
    key: TokenKey,
    identity: Identity,
}

impl Answer for DevKey {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answer(&self, request: &Request) -> Result<Signature, Error> {
        Ok(self.key.sign(&self.authorized, request)?)
    }
}

/// CKA_LABEL of a dev key: says that it is one, whose, and of which kind.
fn key_label(role: Role, key_type: KeyType) -> String {
    format!("hsmsign-dev-{role}-{key_type}")
}

/// The dev directory's own token among those that the module shows.
fn own_token(module: &Module, label: &str) -> Result<Option<(Slot, TokenInfo)>, KeyError> {
    let mut found: Vec<_> = module.tokens()?.into_iter().filter(|(_, info)| info.label() == label).collect();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(KeyError::Ambiguous { what: format!("dev tokens `{label}`"), count }),
    }
}
