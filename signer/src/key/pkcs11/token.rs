//! A token with open sessions.

use super::{
    Module,
    module::text,
    sessions::{Lease, Sessions},
};
use crate::{key::KeyError, policy::TokenFacts};
use cryptoki::{
    error::{Error as CkError, RvError},
    session::UserType,
    slot::{Limit, Slot, TokenInfo},
    types::AuthPin,
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A token with an open session, and more where several threads use it at the same time.
///
/// Sessions stay open until the token is dropped, and are never logged out: login state is shared
/// by all sessions of the process, so a logout here would log out a signature going on elsewhere.
pub(in crate::key) struct Token {
    // Dropped before the module is finalized: fields drop in order.
    sessions: Sessions,
    slot: Slot,
    info: TokenInfo,
    module: Arc<Module>,
}

impl Token {
    /// Opens a session with the token in `slot`.
    pub(in crate::key) fn open(
        module: &Arc<Module>,
        slot: Slot,
        info: TokenInfo,
        read_write: bool,
    ) -> Result<Self, KeyError> {
        let what = format!("opening token `{}`", info.label());
        let pkcs11 = module.pkcs11();
        let session = if read_write { pkcs11.open_rw_session(slot) } else { pkcs11.open_ro_session(slot) };
        let session = session.map_err(KeyError::pkcs11(what))?;
        // CK_TOKEN_INFO: zero, infinite or unavailable count as no limit of the token's own.
        let allowed = match info.max_session_count() {
            Limit::Max(count) if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let sessions = Sessions::new(session, if read_write { 1 } else { allowed });
        Ok(Self { sessions, slot, info, module: Arc::clone(module) })
    }

    /// Initialises the empty slot's token: label, a user PIN, and a PIN for its security officer.
    pub(in crate::key) fn initialize(
        module: &Arc<Module>,
        label: &str,
        pin: &str,
        so_pin: &str,
    ) -> Result<(), KeyError> {
        let failed = |step: &str| KeyError::pkcs11(format!("{step} token `{label}`"));
        let pkcs11 = module.pkcs11();
        let slots = pkcs11.get_slots_with_token().map_err(failed("finding a slot for"))?;
        let slot = slots
            .into_iter()
            .find(|slot| pkcs11.get_token_info(*slot).is_ok_and(|info| !info.token_initialized()))
            .ok_or_else(|| KeyError::NotFound(format!("no empty slot for token `{label}`")))?;
        let so_pin = AuthPin::from(so_pin.to_owned());
        pkcs11.init_token(slot, &so_pin, label).map_err(failed("initialising"))?;
        let session = pkcs11.open_rw_session(slot).map_err(failed("opening new"))?;
        session.login(UserType::So, Some(&so_pin)).map_err(failed("logging in to new"))?;
        session.init_pin(&AuthPin::from(pin.to_owned())).map_err(failed("setting the PIN of"))
    }

    /// A second session, which may change what the token holds. Login state is shared with the first.
    pub(in crate::key) fn reopen_read_write(&self) -> Result<Self, KeyError> {
        Self::open(&self.module, self.slot, self.info.clone(), true)
    }

    /// Logs in as the user; without a PIN on the token's own keypad. Being logged in already is fine.
    pub(in crate::key) fn login(&self, pin: Option<&Zeroizing<String>>) -> Result<(), KeyError> {
        let _turn = self.module.turn();
        let pin = pin.map(|p| AuthPin::from(p.as_str()));
        let token = || self.label().to_owned();
        match self.session().login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(CkError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(source) if is_refusal(&source) => Err(KeyError::PinRefused { token: token(), source }),
            Err(source) => {
                Err(KeyError::Pkcs11 { what: format!("logging in to token `{}`", token()), source })
            }
        }
    }

    /// A session, for one caller at a time; waits for one if the token allows no more.
    pub(super) fn session(&self) -> Lease<'_> {
        self.sessions.lease(|| self.module.pkcs11().open_ro_session(self.slot))
    }

    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    /// The token's label.
    pub(in crate::key) fn label(&self) -> &str {
        self.info.label()
    }

    /// What the token says of itself.
    pub(in crate::key) fn facts(&self) -> TokenFacts {
        facts(&self.info)
    }
}

/// Whether a token refused a PIN.
pub(in crate::key) fn is_refusal(error: &CkError) -> bool {
    use RvError::{PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked};
    matches!(error, CkError::Pkcs11(PinIncorrect | PinInvalid | PinLenRange | PinLocked | PinExpired, _))
}

/// What a token says of itself.
pub(in crate::key) fn facts(info: &TokenInfo) -> TokenFacts {
    TokenFacts {
        label: text(info.label()),
        manufacturer: text(info.manufacturer_id()),
        model: text(info.model()),
        serial: text(info.serial_number()),
    }
}
