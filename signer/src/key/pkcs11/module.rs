//! A loaded module: initialised once, always finalized.

use crate::{key::KeyError, policy::ModuleFacts};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as CkError, RvError},
    slot::{Slot, TokenInfo},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// The modules this process has open. Login state belongs to process and token, so a second context
/// for the same module would share it behind our back; C_Initialize refuses a second call anyway.
static OPEN: Mutex<Vec<(PathBuf, Weak<Module>)>> = Mutex::new(Vec::new());

/// A PKCS#11 module between C_Initialize and C_Finalize.
#[derive(Debug)]
pub(in crate::key) struct Module {
    pkcs11: Pkcs11,
    path: PathBuf,
    /// Present if the module refuses to be called from several threads.
    one_at_a_time: Option<Mutex<()>>,
}

impl Module {
    /// Loads and initialises the module at `path`, or hands out the one that is open already.
    ///
    /// # Errors
    ///
    /// [`KeyError::Load`].
    pub(in crate::key) fn open(path: &Path) -> Result<Arc<Self>, KeyError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, module)| module.strong_count() > 0);
        if let Some(module) = open.iter().find(|(p, _)| p == path).and_then(|(_, m)| m.upgrade()) {
            return Ok(module);
        }
        let failed = |source| KeyError::Load { path: path.to_owned(), source };
        let pkcs11 = Pkcs11::new(path).map_err(failed)?;
        let one_at_a_time = match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => None,
            Err(CkError::Pkcs11(RvError::CantLock, _)) => {
                pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::empty())).map_err(failed)?;
                Some(Mutex::new(()))
            }
            Err(e) => return Err(failed(e)),
        };
        let module = Arc::new(Self { pkcs11, path: path.to_owned(), one_at_a_time });
        open.push((path.to_owned(), Arc::downgrade(&module)));
        Ok(module)
    }

    pub(super) fn pkcs11(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    /// To be held around calls into the module.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.one_at_a_time.as_ref().map(|m| m.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who made the module, by its own account.
    pub(in crate::key) fn facts(&self) -> Result<ModuleFacts, KeyError> {
        let info = self
            .pkcs11
            .get_library_info()
            .map_err(KeyError::pkcs11(format!("asking `{}` for its maker", self.path.display())))?;
        Ok(ModuleFacts {
            path: self.path.clone(),
            manufacturer: text(info.manufacturer_id()),
            description: text(info.library_description()),
        })
    }

    /// What the token in `slot` says of itself now.
    pub(in crate::key) fn token_info(&self, slot: Slot) -> Result<TokenInfo, KeyError> {
        let what = || format!("asking the token in slot {} of `{}`", slot.id(), self.path.display());
        self.pkcs11.get_token_info(slot).map_err(KeyError::pkcs11(what()))
    }

    /// Every initialised token.
    pub(in crate::key) fn tokens(&self) -> Result<Vec<(Slot, TokenInfo)>, KeyError> {
        let what = || format!("listing the tokens of `{}`", self.path.display());
        let (mut tokens, mut unreadable) = (Vec::new(), None);
        for slot in self.pkcs11.get_slots_with_token().map_err(KeyError::pkcs11(what()))? {
            // One slot that is out of order must not hide the others.
            match self.pkcs11.get_token_info(slot) {
                Ok(info) if info.token_initialized() => tokens.push((slot, info)),
                Ok(_) => {}
                Err(source) => unreadable = Some(source),
            }
        }
        match unreadable {
            Some(source) if tokens.is_empty() => {
                Err(KeyError::TokenInfo { module: self.path.clone(), source })
            }
            _ => Ok(tokens),
        }
    }
}

/// A fixed-width field without its padding; some modules pad with NUL instead of blanks.
pub(in crate::key) fn text(padded: &str) -> String {
    padded.trim_end_matches(['\0', ' ']).to_owned()
}

impl Drop for Module {
    /// Some modules crash at exit, or block the next process, when they were not finalized.
    fn drop(&mut self) {
        let _ = self.pkcs11.clone().finalize();
    }
}
