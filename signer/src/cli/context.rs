//! What every command works with: settings resolved once, keys opened on demand.

use super::{
    Output, interrupt,
    options::{Global, TrustArgs},
    release::{self, now},
    settings::{self, Given, PolicyFile, Settings, Surroundings},
    trust_file,
};
use crate::{
    agent::{AgentAccess, AgentKey, LastHead, Statement},
    audit::{Head, Journal, Log},
    config::{Config, ConfigError, ReleaseKey, RoleSettings},
    crypto::{Fingerprint, PublicKey},
    error::Error,
    key::{
        dev::{self, DevSettings, DevToken},
        latch::Latches,
        release::{Found, ReleaseAccess, ReleaseTokens},
    },
    policy::{
        Certificates, DevPolicy, ExampleKeys, Exception, Mode, Policy, Refusal, ReleasePolicy, TrustedKey,
    },
    request::{Answer, Role},
};
use std::{
    cell::{OnceCell, RefCell},
    path::Path,
    sync::{Arc, PoisonError},
};

/// Settings of one run.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where the command speaks.
    pub output: &'a Output,
    settings: Settings,
    policy_file: PolicyFile,
    policy: Policy,
    examples: ExampleKeys,
    dev_token: OnceCell<DevToken>,
    release_tokens: OnceCell<ReleaseTokens>,
    /// Where the logs of agents end that sign for this run.
    agent_heads: RefCell<Vec<LastHead>>,
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
    pub(super) fn new(global: &Global, given: &Given, output: &'a Output) -> Result<Self, Error> {
        let settings = Settings::resolve(global, given, &Surroundings::of_process())?;
        let policy_file = settings.load_policy()?;
        let policy = Policy::new(settings.mode.value, policy_file.config.clone())?;
        // Host settings are for release mode alone.
        let examples = match policy {
            Policy::Release(_) => settings::example_keys(&settings.load_host()?)?,
            Policy::Off | Policy::Dev(_) => ExampleKeys::default(),
        };
        let policy = policy.with_examples(examples.clone());
        let (dev_token, release_tokens) = (OnceCell::new(), OnceCell::new());
        let agent_heads = RefCell::default();
        let context =
            Self { output, settings, policy_file, policy, examples, dev_token, release_tokens, agent_heads };
        if matches!(context.policy, Policy::Dev(_)) {
            DevToken::ensure_clean_environment(context.dev_dir()?)?;
        }
        Ok(context)
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.policy.mode()
    }

    /// What this run may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Keys that others have too: the built-in list, and in release mode this host's.
    pub(super) fn example_keys(&self) -> &ExampleKeys {
        &self.examples
    }

    /// The product's name, for certificates, reports and derived salts.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.policy_file.config.product
    }

    /// The public example keys that are known here.
    #[must_use]
    pub(super) fn examples(&self) -> &ExampleKeys {
        &self.examples
    }

    /// The policy file's contents.
    #[must_use]
    pub(super) fn config(&self) -> &Config {
        &self.policy_file.config
    }

    /// What `role` signs with.
    #[must_use]
    pub fn role_settings(&self, role: Role) -> &RoleSettings {
        self.policy_file.config.roles.get(role)
    }

    /// Opens the key of `role` in the current mode.
    ///
    /// # Errors
    ///
    /// Refused in mode `off`; otherwise what keeps the token from being used.
    pub fn signer(&self, role: Role) -> Result<Box<dyn Answer>, Error> {
        match &self.policy {
            Policy::Off => Err(Refusal::Off.into()),
            Policy::Dev(policy) => {
                let key = self.dev_token(policy)?.key(role)?;
                self.judge_example(role, &key.identity().public_key, Mode::Dev)?;
                for (pin, seen) in policy.pinned_examples() {
                    self.output.warn(format_args!(
                        "the policy pins a public example key for release, which release mode refuses: {pin} (seen at \
                         {seen})"
                    ));
                }
                Ok(Box::new(key))
            }
            Policy::Release(policy) => {
                policy.permit_signing(role)?;
                if let Some(access) = self.agent_access(policy, role)? {
                    let key = AgentKey::open(access, now())?;
                    self.agent_heads.borrow_mut().push(key.head());
                    self.warn_of(key.exceptions());
                    return Ok(Box::new(key));
                }
                let key = self.release_tokens()?.key(&self.release_access(policy, role)?)?;
                self.warn_of(key.exceptions());
                Ok(Box::new(key))
            }
        }
    }

    /// The keys that a verification for `role` accepts.
    ///
    /// # Errors
    ///
    /// A trust file that cannot be read, or a dev token that does not exist yet.
    pub fn trust(&self, role: Role, trust: &TrustArgs) -> Result<Vec<TrustedKey>, Error> {
        let keys = self.named(role, trust)?;
        for key in &keys {
            self.judge_example(role, &key.public_key, key.mode.unwrap_or(self.mode()))?;
        }
        Ok(keys)
    }

    /// Refuses a public example key for release, warns of it elsewhere.
    fn judge_example(&self, role: Role, key: &PublicKey, mode: Mode) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(key);
        let Some(seen) = self.examples.find(&fingerprint) else { return Ok(()) };
        let refusal = Refusal::PublicExampleKey { role, fingerprint, seen: seen.to_owned() };
        if mode == Mode::Release || self.mode() == Mode::Release {
            return Err(refusal.into());
        }
        self.output.warn(refusal);
        Ok(())
    }

    fn named(&self, role: Role, trust: &TrustArgs) -> Result<Vec<TrustedKey>, Error> {
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
                file => keys.extend(trust_file::read(file, role)?),
            }
        }
        if keys.is_empty() {
            return Err(Error::Usage {
                message: format!(
                    "`--trust` names no key for role {role}, which this verification asks about"
                ),
                hint: Some(format!("add `--trust {role}=FILE`, or `dev` or `release`")),
            });
        }
        Ok(keys)
    }

    /// What it takes to open `role`'s release key.
    pub(super) fn release_access<'p>(
        &self,
        policy: &'p ReleasePolicy,
        role: Role,
    ) -> Result<ReleaseAccess<'p>, Error> {
        release::access(policy, role, &self.policy_file, &self.settings.load_host()?)
    }

    /// What it takes to use `role`'s release key in an agent, if one holds it.
    ///
    /// An agent that the command line or the environment names holds every key, and host settings are not
    /// needed then.
    fn agent_access<'p>(
        &self,
        policy: &'p ReleasePolicy,
        role: Role,
    ) -> Result<Option<AgentAccess<'p>>, Error> {
        let socket = match &self.settings.agent {
            Some(agent) => Some(agent.value.clone()),
            None => {
                let host = self.settings.load_host()?;
                let key = policy.key(role)?;
                self.policy_file.host_token(role, key, &host)?.agent.clone()
            }
        };
        let Some(socket) = socket else { return Ok(None) };
        let all = release::all_certificates(policy, &self.policy_file)?;
        let statement = Statement::new(self.product(), policy, &all);
        Ok(Some(AgentAccess { socket, policy, statement, role, certificates: all.get(&role).cloned() }))
    }

    /// Looks at `role`'s release key where it is, and tells everything about it; gives no leave to sign.
    ///
    /// # Errors
    ///
    /// Whatever keeps its token or agent from being asked; what the policy refuses is in the result.
    pub(super) fn inspect(&self, policy: &ReleasePolicy, role: Role) -> Result<Found, Error> {
        let Some(access) = self.agent_access(policy, role)? else {
            return self.release_tokens()?.inspect(&self.release_access(policy, role)?);
        };
        let (token, key) = access.facts()?;
        let judgement = policy.judge(role, &token, &key, access.certificates.as_ref(), now());
        Ok(Found { token, key, judgement })
    }

    /// Settings and where they came from.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The policy with its file.
    pub(super) fn policy_file(&self) -> &PolicyFile {
        &self.policy_file
    }

    fn warn_of(&self, exceptions: &[Exception]) {
        for exception in exceptions {
            self.output.warn(exception);
        }
    }

    /// The release tokens of this run, each opened when first needed. Their signatures go on record.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for host settings that cannot be used, or if there is no place for an audit log.
    pub fn release_tokens(&self) -> Result<&ReleaseTokens, Error> {
        if let Some(tokens) = self.release_tokens.get() {
            return Ok(tokens);
        }
        let stop =
            interrupt::watch().map_err(|e| Error::Internal(format!("signals cannot be caught: {e}")))?;
        let tokens = self.make_release_tokens()?.stopped_by(stop);
        Ok(self.release_tokens.get_or_init(|| tokens))
    }

    /// Release tokens for whoever shares them with threads; this run's own are others.
    pub(super) fn make_release_tokens(&self) -> Result<ReleaseTokens, Error> {
        let host = self.settings.load_host()?;
        let log = Arc::new(Log::new(self.settings.audit_directory(&host)?.value));
        let journal = Journal { log, policy: self.policy_file.digest() };
        let latches = Latches::new(self.settings.latch_directory(&host)?.value);
        Ok(ReleaseTokens::new(journal, latches))
    }

    /// Where the audit log ends after this run's signatures, the agent's if one made them; none in dev mode.
    pub(super) fn audit_head(&self) -> Option<Head> {
        let own = self.release_tokens.get().and_then(|tokens| tokens.journal().log.last());
        let told = |head: &LastHead| *head.lock().unwrap_or_else(PoisonError::into_inner);
        own.or_else(|| self.agent_heads.borrow().iter().rev().find_map(told))
    }

    /// Says where the audit log ends after this run's signatures, so that people keep it elsewhere.
    pub(super) fn tell_record(&self) {
        if let Some(head) = self.audit_head() {
            self.output.note(format_args!("audit log: record {}, head {head}", head.sequence));
        }
    }

    /// The dev directory.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no home to put it in.
    pub(super) fn dev_dir(&self) -> Result<&Path, Error> {
        match &self.settings.dev_dir {
            Some(directory) => Ok(&directory.value),
            None => Err(ConfigError::Setup {
                message: "no dev directory: neither HOME nor XDG_DATA_HOME is set".into(),
                hint: Some("name one with `--dev-dir` or HSMSIGN_DEV_DIR".into()),
            }
            .into()),
        }
    }

    pub(super) fn dev_settings(&self, policy: &DevPolicy) -> Result<DevSettings, Error> {
        Ok(DevSettings {
            directory: self.dev_dir()?.to_owned(),
            softhsm: self.settings.softhsm.as_ref().map(|s| s.value.clone()),
            product: self.product().to_owned(),
            policy: policy.clone(),
        })
    }

    pub(super) fn dev_token(&self, policy: &DevPolicy) -> Result<&DevToken, Error> {
        if let Some(token) = self.dev_token.get() {
            return Ok(token);
        }
        let token = DevToken::open(self.dev_settings(policy)?)?;
        Ok(self.dev_token.get_or_init(|| token))
    }

    /// `role`'s key in the dev directory.
    pub(super) fn trusted_dev_key(&self, role: Role) -> Result<TrustedKey, Error> {
        match &self.policy {
            Policy::Dev(policy) => dev::trusted(&self.dev_settings(policy)?, role),
            Policy::Off | Policy::Release(_) => Err(Error::Usage {
                message: "dev keys are trusted in dev mode alone".into(),
                hint: Some("add `--mode dev`".into()),
            }),
        }
    }

    /// What the policy's certificate files for `role` hold.
    pub(super) fn release_certificates(
        &self,
        role: Role,
        key: &ReleaseKey,
    ) -> Result<Option<Certificates>, Error> {
        release::certificates(role, key, &self.policy_file)
    }

    pub(super) fn trusted_release_keys(&self, role: Role) -> Result<Vec<TrustedKey>, Error> {
        release::trusted(role, &self.policy_file)
    }
}
