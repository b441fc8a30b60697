//! What every command works with: settings resolved once, keys opened on demand.

use super::{
    Output,
    args::{Global, TrustArgs},
    trust_file,
};
use crate::{
    config::Config,
    error::Error,
    key::dev::{self, DevSettings, DevToken},
    policy::{Mode, Policy, Refusal, TrustedKey},
    request::{Answer, Role},
};
use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

/// Settings of one run.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where the command speaks.
    pub output: &'a Output,
    policy: Policy,
    product: String,
    dev_dir: PathBuf,
    softhsm: Option<PathBuf>,
    dev_token: OnceCell<DevToken>,
}

impl<'a> Context<'a> {
    /// Resolves settings: command line, environment, file, default.
    ///
    /// In dev mode this starts the program again if its environment is not clean, so it comes before
    /// anything is read from standard input or written.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a configuration that cannot be used.
    pub fn new(global: &Global, output: &'a Output) -> Result<Self, Error> {
        let file = match &global.config {
            Some(file) => Some(file.clone()),
            None => nearest_policy(),
        };
        let config = match &file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(Error::file("read", file))?;
                Config::parse(&text).map_err(|fault| fault.in_file(file))?
            }
            None => Config::default(),
        };
        let product = config.product.clone();
        let policy = Policy::new(global.mode.unwrap_or(Mode::Dev), config)?;
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let dev_dir = dev::locate(
            global.dev_dir.as_deref(),
            file.as_deref(),
            variable("XDG_DATA_HOME").as_deref(),
            variable("HOME").as_deref(),
        )
        .ok_or_else(|| Error::Usage {
            message: "no dev directory: neither HOME nor XDG_DATA_HOME is set".into(),
            hint: Some("name one with `--dev-dir` or HSMSIGN_DEV_DIR".into()),
        })?;
        if matches!(policy, Policy::Dev(_)) {
            DevToken::ensure_clean_environment(&dev_dir)?;
        }
        let softhsm = global.softhsm.clone();
        Ok(Self { output, policy, product, dev_dir, softhsm, dev_token: OnceCell::new() })
    }

    /// The product's name, for certificates, reports and derived salts.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// Opens the key of `role` in the current mode.
    ///
    /// # Errors
    ///
    /// Refused in mode `off`; otherwise what keeps the token from being used.
    pub fn signer(&self, role: Role) -> Result<Box<dyn Answer>, Error> {
        match &self.policy {
            Policy::Off => Err(Refusal::Off.into()),
            Policy::Dev(policy) => Ok(Box::new(self.dev_token(policy)?.key(role)?)),
            Policy::Release(policy) => {
                policy.permit_signing(role)?;
                Err(crate::key::KeyError::NoToken(role).into())
            }
        }
    }

    /// The keys that a verification for `role` accepts.
    ///
    /// # Errors
    ///
    /// A trust file that cannot be read, or a dev token that does not exist yet.
    pub fn trust(&self, role: Role, trust: &TrustArgs) -> Result<Vec<TrustedKey>, Error> {
        if trust.trust.is_empty() {
            return match &self.policy {
                Policy::Off => Err(Error::Usage {
                    message: "mode `off` trusts no key".into(),
                    hint: Some("say whom to trust with `--trust dev|release|FILE`".into()),
                }),
                Policy::Dev(_) => Ok(vec![self.trusted_dev_key(role)?]),
                Policy::Release(_) => self.trusted_release_keys(role),
            };
        }
        let mut keys = Vec::new();
        for whom in &trust.trust {
            match whom.as_str() {
                "dev" => keys.push(self.trusted_dev_key(role)?),
                "release" => keys.extend(self.trusted_release_keys(role)?),
                file => keys.push(trust_file::read(Path::new(file))?),
            }
        }
        Ok(keys)
    }

    fn dev_settings(&self, policy: &crate::policy::DevPolicy) -> DevSettings {
        DevSettings {
            directory: self.dev_dir.clone(),
            softhsm: self.softhsm.clone(),
            product: self.product.clone(),
            policy: policy.clone(),
        }
    }

    fn dev_token(&self, policy: &crate::policy::DevPolicy) -> Result<&DevToken, Error> {
        if let Some(token) = self.dev_token.get() {
            return Ok(token);
        }
        let token = DevToken::open(self.dev_settings(policy))?;
        Ok(self.dev_token.get_or_init(|| token))
    }

    fn trusted_dev_key(&self, role: Role) -> Result<TrustedKey, Error> {
        match &self.policy {
            Policy::Dev(policy) => dev::trusted(&self.dev_settings(policy), role),
            Policy::Off | Policy::Release(_) => Err(Error::Usage {
                message: "dev keys are trusted in dev mode alone".into(),
                hint: Some("add `--mode dev`".into()),
            }),
        }
    }

    fn trusted_release_keys(&self, role: Role) -> Result<Vec<TrustedKey>, Error> {
        Err(crate::key::KeyError::NoToken(role).into())
    }
}

/// `hsmsign.yaml` in this directory or the nearest one above.
fn nearest_policy() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|d| d.join("hsmsign.yaml")).find(|f| f.is_file())
}
