//! Release keys: exactly the pinned ones, in the tokens that the host settings know.

use super::{
    KeyError, certificate,
    error::code,
    latch::{Latches, Note},
    module_file, pin,
    pkcs11::{Module, Selector, Token, TokenKey, facts, is_refusal, text},
    uri::KeyUri,
};
use crate::{
    audit::{Head, Journal, Requester, Signed, record::Circumstances},
    config::{self, ConfigError, HostToken},
    crypto::{PublicKey, Signature, SignatureAlgorithm},
    error::Error,
    policy::{
        Authorized, Certificates, Exception, Judgement, KeyFacts, Mode, Release, ReleasePolicy, TokenFacts,
    },
    request::{Answer, Format, Identity, Request, Role},
};
use cryptoki::slot::{Slot, TokenInfo};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// What it takes to open one role's release key.
#[derive(Clone, Debug)]
pub struct ReleaseAccess<'p> {
    /// Decides whether the key may sign.
    pub policy: &'p ReleasePolicy,
    /// For whom.
    pub role: Role,
    /// Which key.
    pub key: config::ReleaseKey,
    /// How this host reaches its token.
    pub host: HostToken,
    /// What the policy's certificate files hold.
    pub certificates: Option<Certificates>,
}

/// Whether this process was told to end, and by which signal. Copies are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// Notes a signal's number.
    pub fn tell(&self, signal: i32) {
        self.0.store(signal, Ordering::Release);
    }

    /// Whether one was noted.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.check().is_err()
    }

    /// Asked before each step that is better not begun.
    fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            0 => Ok(()),
            signal => Err(Error::Interrupted { signal }),
        }
    }
}

/// The release tokens of one run, each opened once and when first needed.
///
/// It and its keys may be shared by threads. A token gets as many sessions as it allows when threads would wait
/// for one; the records of signatures that are made meanwhile are written together.
pub struct ReleaseTokens {
    journal: Journal,
    latches: Latches,
    state: Mutex<State>,
    stop: Stop,
}

#[derive(Default)]
struct State {
    open: BTreeMap<String, Open>,
    /// Tokens whose sessions died, with the PIN that they took before.
    lost: BTreeMap<String, (TokenFacts, Option<Arc<pin::Pin>>)>,
}

/// A token that is logged in.
#[derive(Clone)]
struct Open {
    token: Arc<Token>,
    /// Kept for keys that want it before each signature; wiped with the last key.
    pin: Option<Arc<pin::Pin>>,
}

/// A role's key as it was found, for people: what it is, and what the policy says to it.
#[derive(Debug)]
pub struct Found {
    /// The token.
    pub token: TokenFacts,
    /// The key.
    pub key: KeyFacts,
    /// Every refusal and exception.
    pub judgement: Judgement,
}

impl ReleaseTokens {
    /// Tokens whose signatures go on record in `journal`, and whose refusals of a PIN are noted in `latches`.
    #[must_use]
    pub fn new(journal: Journal, latches: Latches) -> Self {
        Self { journal, latches, state: Mutex::default(), stop: Stop::default() }
    }

    /// The same; once `stop` is told, no token is logged in to, and [`Answer::answer`] signs nothing more.
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Where its signatures go on record.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Opens the pinned key.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the policy says no, before a PIN is read where it can; [`Error::Audit`] if its
    /// signatures could not go on record; [`Error::Key`] if the token cannot be used.
    pub fn key(&self, access: &ReleaseAccess<'_>) -> Result<ReleaseKey, Error> {
        let ReleaseAccess { policy, role, certificates, .. } = access;
        policy.permit_signing(*role)?;
        self.journal.log.prepare()?;
        let (open, key) = self.find(access)?;
        let token = open.token.facts();
        let authorized = policy.authorize(*role, &token, &key.facts(), certificates.as_ref(), now())?;
        let rehearsal = authorized.exceptions().iter().any(|e| matches!(e, Exception::Rehearsal { .. }));
        let certificates = certificates.clone();
        let (certificate, chain) =
            certificates.map_or((None, Vec::new()), |c| (Some(c.certificate), c.chain));
        let identity = identity(*role, authorized.algorithm(), &key, token, rehearsal);
        let identity = Identity { certificate, chain, ..identity };
        let guard = self.guard(access, &open.token);
        let (journal, stop) = (self.journal.clone(), self.stop.clone());
        Ok(ReleaseKey { authorized, key, identity, journal, guard, stop })
    }

    /// Looks at the key and tells everything about it; gives no leave to sign.
    ///
    /// # Errors
    ///
    /// As [`key`](Self::key), but what the policy refuses of the key is in the result.
    pub fn inspect(&self, access: &ReleaseAccess<'_>) -> Result<Found, Error> {
        let (open, key) = self.find(access)?;
        let (token, facts) = (open.token.facts(), key.facts());
        let judgement = access.policy.judge(access.role, &token, &facts, access.certificates.as_ref(), now());
        Ok(Found { token, key: facts, judgement })
    }

    /// Makes the key inside its token, labelled as its URI says. Returns its public half.
    ///
    /// # Errors
    ///
    /// [`KeyError::Exists`] if there is one already; [`Error::Key`] if the token does not make it.
    pub fn generate(&self, access: &ReleaseAccess<'_>) -> Result<PublicKey, Error> {
        let uri = uri(access)?;
        let label = uri.object.clone().ok_or_else(|| KeyError::Unfit {
            label: format!("release key of role {}", access.role),
            reason: "its URI has no `object`, so a new key would have no label".into(),
        })?;
        let open = self.token(access, &uri)?;
        // Also a key with the same label and another id would make the label useless.
        let selector = Selector::label(&label);
        match TokenKey::find(&open.token, &selector, None, None) {
            Err(KeyError::NotFound(_)) => {}
            Ok(_) | Err(KeyError::Ambiguous { .. } | KeyError::PublicKey { .. }) => {
                return Err(KeyError::Exists { label, token: open.token.facts().label }.into());
            }
            Err(e) => return Err(e.into()),
        }
        let id = uri.id.unwrap_or_else(|| label.clone().into_bytes());
        let writable = open.token.reopen_read_write()?;
        writable.generate(access.policy.role(access.role).key_type, &label, &id)?;
        Ok(TokenKey::find(&open.token, &selector, None, None)?.public_key().clone())
    }

    /// Signs a statement of the key about itself: a certification request or certificate.
    ///
    /// It needs no leave of the policy, as a key is certified before it is pinned with its certificate.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if the token does not sign, [`Error::Audit`] if the signature does not go on record;
    /// [`Error::Internal`] for any other kind of request.
    pub fn sign_own(&self, access: &ReleaseAccess<'_>, request: &Request) -> Result<Signature, Error> {
        if request.subject.format != Format::Certificate {
            return Err(Error::Internal("only certificates are signed without leave".into()));
        }
        self.journal.log.prepare()?;
        let (open, key) = self.find(access)?;
        let signature = self.guard(access, &open.token).around(&key, || key.sign_own(request))?;
        let role = access.role;
        let identity =
            identity(role, request.algorithm, &key, open.token.facts(), access.policy.is_rehearsal());
        let exceptions = Vec::new();
        let around = Circumstances { identity: &identity, exceptions, policy: &self.journal.policy };
        let record = Signed::new(request, &signature, &Requester::this_process(), around);
        self.journal.log.append(record)?;
        Ok(signature)
    }

    /// Allows one attempt to log in to the token after it refused a PIN. Returns the token, and what is taken back.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if the token is not there, or the latch cannot be written.
    pub fn unlatch(&self, access: &ReleaseAccess<'_>) -> Result<(TokenFacts, Option<Note>), Error> {
        let (_, _, info) = locate(access, &uri(access)?)?;
        let token = facts(&info);
        let note = self.latches.clear(&token, &access.key.token)?;
        Ok((token, note))
    }

    /// Gives the sessions with the token up, as they died; the next use opens new ones, with the PIN that
    /// was right before. Keys that were opened are of no use any more.
    pub fn give_up(&self, token: &str) {
        let mut state = self.state();
        if let Some(open) = state.open.remove(token) {
            state.lost.insert(token.to_owned(), (open.token.facts(), open.pin));
        }
    }

    fn guard(&self, access: &ReleaseAccess<'_>, token: &Token) -> Guard {
        Guard {
            latches: self.latches.clone(),
            token: token.facts(),
            name: access.key.token.clone(),
            source: access.host.pin.to_string(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, access: &ReleaseAccess<'_>) -> Result<(Open, TokenKey), Error> {
        let uri = uri(access)?;
        let open = self.token(access, &uri)?;
        let selector = Selector { label: uri.object, id: uri.id };
        let certified =
            access.certificates.as_ref().and_then(|c| certificate::public_key(&c.certificate).ok());
        let key = TokenKey::find(&open.token, &selector, open.pin.as_deref(), certified)?;
        Ok((open, key))
    }

    /// The token, logged in.
    fn token(&self, access: &ReleaseAccess<'_>, uri: &KeyUri) -> Result<Open, Error> {
        let name = &access.key.token;
        // Two roles may have keys in one token, each with a URI of its own that has to match.
        // Held while one thread logs in, so that no other thread does.
        let mut state = self.state();
        if let Some(open) = state.open.get(name) {
            return if matches(uri, &open.token.facts()) { Ok(open.clone()) } else { Err(none(name, uri)) };
        }
        self.stop.check()?;
        let (module, slot, info) = locate(access, uri)?;
        // A PIN goes to no token that the policy refuses anyway.
        access.policy.permit_token(access.role, &facts(&info))?;
        let open = self.log_in(access, &module, slot, info, state.lost.get(name))?;
        state.lost.remove(name);
        state.open.insert(name.clone(), open.clone());
        Ok(open)
    }

    /// Opens a session and logs in, unless a PIN could do harm.
    fn log_in(
        &self,
        access: &ReleaseAccess<'_>,
        module: &Arc<Module>,
        slot: Slot,
        info: TokenInfo,
        lost: Option<&(TokenFacts, Option<Arc<pin::Pin>>)>,
    ) -> Result<Open, Error> {
        let (name, facts) = (&access.key.token, facts(&info));
        refuse_unsafe(&info, self.latches.check(&facts)?, name)?;
        pin::protect_memory();
        let own_keypad = info.protected_authentication_path();
        let token = Token::open(module, slot, info.clone(), false)?;
        let pin = match lost {
            Some((before, pin)) => {
                permit_again(before, &facts, &info)?;
                pin.clone()
            }
            None if own_keypad => None,
            None => Some(Arc::new(pin::read(&access.host.pin, name)?)),
        };
        let source = if own_keypad { "its own keypad".into() } else { access.host.pin.to_string() };
        let attempt = self.latches.attempt(&facts, name, source)?;
        // Another process may have cost it a try since it was asked first.
        let before = module.token_info(slot)?;
        refuse_unsafe(&before, attempt.is_cleared, name)?;
        if !own_keypad {
            attempt.begin()?;
        }
        match token.login(pin.as_deref()) {
            Ok(()) => attempt.end()?,
            Err(error) => {
                // Not every module has the right code for a wrong PIN.
                let costs_a_try = || {
                    let after = module.token_info(slot);
                    !before.user_pin_count_low() && after.is_ok_and(|info| info.user_pin_count_low())
                };
                match &error {
                    KeyError::PinRefused { source, .. } => attempt.refuse(code(source))?,
                    other if costs_a_try() => attempt.refuse(other.to_string())?,
                    _ => attempt.end()?,
                }
                return Err(error.into());
            }
        }
        Ok(Open { token: Arc::new(token), pin })
    }
}

impl std::fmt::Debug for ReleaseTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReleaseTokens({})", self.state().open.keys().cloned().collect::<Vec<_>>().join(", "))
    }
}

/// A release key, opened, pinned and authorized. Only [`ReleaseTokens::key`] makes one.
pub struct ReleaseKey {
    authorized: Authorized<Release>,
    key: TokenKey,
    identity: Identity,
    journal: Journal,
    guard: Guard,
    stop: Stop,
}

impl ReleaseKey {
    /// What the policy lets pass by name: to be said on every run.
    #[must_use]
    pub fn exceptions(&self) -> &[Exception] {
        self.authorized.exceptions()
    }

    /// Signs one digest for `requester`, and puts that on record before it hands the signature out.
    /// Returns the audit log's head at that record with it.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if the token does not sign; [`Error::Audit`] if the record cannot be written.
    pub fn answer_for(&self, request: &Request, requester: &Requester) -> Result<(Signature, Head), Error> {
        let signature = self.guard.around(&self.key, || self.key.sign(&self.authorized, request))?;
        let exceptions = self.exceptions().iter().map(Exception::to_string).collect();
        let around = Circumstances { identity: &self.identity, exceptions, policy: &self.journal.policy };
        let head = self.journal.log.append(Signed::new(request, &signature, requester, around))?;
        Ok((signature, head))
    }
}

/// What it takes to latch a key's token.
struct Guard {
    latches: Latches,
    token: TokenFacts,
    name: String,
    /// Where its PIN came from.
    source: String,
}

impl Guard {
    /// Signs. A key that takes a PIN before each signature costs tries too, if its token refuses that.
    fn around(
        &self,
        key: &TokenKey,
        sign: impl FnOnce() -> Result<Signature, KeyError>,
    ) -> Result<Signature, KeyError> {
        if !key.logs_in_each_time() {
            return sign();
        }
        let Self { latches, token, name, source } = self;
        let attempt = latches.attempt(token, name, source.clone())?;
        let signature = sign();
        match &signature {
            Err(KeyError::Pkcs11 { source, .. }) if is_refusal(source) => attempt.refuse(code(source))?,
            _ => attempt.end()?,
        }
        signature
    }
}

impl Answer for ReleaseKey {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answer(&self, request: &Request) -> Result<Signature, Error> {
        self.stop.check()?;
        self.answer_for(request, &Requester::this_process()).map(|(signature, _)| signature)
    }
}

/// What is told of a key; its certificate apart.
fn identity(
    role: Role,
    algorithm: SignatureAlgorithm,
    key: &TokenKey,
    token: TokenFacts,
    rehearsal: bool,
) -> Identity {
    Identity {
        role,
        mode: Mode::Release,
        algorithm,
        key_name_hint: Identity::hint(Mode::Release, role),
        public_key: key.public_key().clone(),
        certificate: None,
        chain: Vec::new(),
        token_label: token.label,
        token_serial: token.serial,
        rehearsal,
    }
}

/// Keys and tokens are shared by the threads of an agent.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<ReleaseTokens>();
    is_shared::<ReleaseKey>();
};

fn uri(access: &ReleaseAccess<'_>) -> Result<KeyUri, Error> {
    let role = access.role;
    Ok(access.key.uri.parse().map_err(|source| KeyError::Uri { role, source })?)
}

fn module(name: &str, host: &HostToken) -> Result<Arc<Module>, Error> {
    let path = host.module.as_ref().ok_or_else(|| ConfigError::Setup {
        message: format!("token `{name}` has no `module` in the host settings"),
        hint: Some(
            "write the path of its PKCS#11 module; what needs the token itself is done where it is, not through \
             an agent"
                .into(),
        ),
    })?;
    let path =
        module_file::check(path).map_err(|reason| KeyError::ModuleRefused { path: path.clone(), reason })?;
    Ok(Module::open(&path)?)
}

/// The one token that `uri` names, in the module that the host settings name.
fn locate(access: &ReleaseAccess<'_>, uri: &KeyUri) -> Result<(Arc<Module>, Slot, TokenInfo), Error> {
    let name = &access.key.token;
    let module = module(name, &access.host)?;
    let mut found: Vec<_> =
        module.tokens()?.into_iter().filter(|(_, info)| matches(uri, &facts(info))).collect();
    match (found.pop(), found.len()) {
        (None, _) => Err(none(name, uri)),
        (Some((slot, info)), 0) => Ok((module, slot, info)),
        (Some(_), others) => {
            let what = format!("tokens `{name}` ({uri})");
            Err(KeyError::Ambiguous { what, count: others + 1 }.into())
        }
    }
}

/// A wrong PIN must not lock a token that twenty years of devices depend on.
///
/// `is_cleared`: whether a person has allowed an attempt on a token that refused a PIN before.
fn refuse_unsafe(info: &TokenInfo, is_cleared: bool, name: &str) -> Result<(), KeyError> {
    let token = text(info.label());
    if info.user_pin_locked() {
        let hint = "its security officer can unlock it".into();
        return Err(KeyError::PinUnsafe { token, reason: "its PIN is locked".into(), hint });
    }
    if info.user_pin_final_try() {
        let reason = "one more wrong PIN would lock it, so none is tried".into();
        let hint = "log in once with the vendor's own tool, and look for who used a wrong PIN".into();
        return Err(KeyError::PinUnsafe { token, reason, hint });
    }
    if info.user_pin_count_low() && !is_cleared {
        let reason = "it says that a wrong PIN was tried since its last login".into();
        let hint = format!(
            "find out by whom, and check the PIN source in the host settings; then `hsmsign --mode release keys unlatch \
             --token {name}` allows one attempt"
        );
        return Err(KeyError::PinUnsafe { token, reason, hint });
    }
    Ok(())
}

/// A PIN that was kept goes to the token that took it, and to no other; and not after someone else's failed
/// try, which may mean that it was changed.
fn permit_again(before: &TokenFacts, now: &TokenFacts, info: &TokenInfo) -> Result<(), KeyError> {
    let token = now.label.clone();
    if before != now {
        let reason = format!(
            "it stands in the place of token `{}` with serial number {}",
            before.label, before.serial
        );
        return Err(KeyError::PinUnsafe { token, reason, hint: "insert the token that was there".into() });
    }
    if info.user_pin_count_low() {
        let reason = "a wrong PIN was tried on it since it was opened".into();
        let hint = "if its PIN was changed, start again with the new one".into();
        return Err(KeyError::PinUnsafe { token, reason, hint });
    }
    Ok(())
}

fn matches(uri: &KeyUri, token: &TokenFacts) -> bool {
    let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
    fits(&uri.token, &token.label)
        && fits(&uri.serial, &token.serial)
        && fits(&uri.manufacturer, &token.manufacturer)
        && fits(&uri.model, &token.model)
}

fn none(name: &str, uri: &KeyUri) -> Error {
    KeyError::NotFound(format!("the module of token `{name}` shows no token that matches `{uri}`")).into()
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
