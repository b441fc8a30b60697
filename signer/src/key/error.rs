//! Whatever keeps a token from signing.

use crate::vocabulary::Role;
use cryptoki::error::Error as CkError;
use std::path::{Path, PathBuf};

/// Whatever keeps a token from signing.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// SoftHSMv2 is in none of the usual places.
    #[error("SoftHSMv2's PKCS#11 module `libsofthsm2.so` is not installed")]
    SoftHsmMissing,
    /// The file is not one that dev mode may load.
    #[error("dev mode does not load `{}`: {reason}", path.display())]
    SoftHsmRefused {
        /// The module.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is not one that release mode may load.
    #[error("PKCS#11 module `{}` is not loaded: {reason}", path.display())]
    ModuleRefused {
        /// The module.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The URI of a release key names none.
    #[error("role `{role}`: the key's URI cannot be used: {source}")]
    Uri {
        /// Whose.
        role: Role,
        /// What is wrong with it.
        source: super::uri::UriError,
    },
    /// There is no PIN where it should come from.
    #[error("no PIN for token `{token}` from {source_name}: {reason}")]
    Pin {
        /// The token's name in the host settings.
        token: String,
        /// Where the PIN should come from.
        source_name: String,
        /// What is wrong there.
        reason: String,
        /// How to mend it.
        hint: String,
    },
    /// Trying a PIN could do harm.
    #[error("token `{token}` is not tried: {reason}")]
    PinUnsafe {
        /// The token's label.
        token: String,
        /// Why.
        reason: String,
        /// How to mend it.
        hint: String,
    },
    /// What is known of a token's PIN cannot be read or noted.
    #[error("PIN latch: `{}`: {reason}", path.display())]
    Latch {
        /// The latch directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The token does not take the PIN.
    #[error("token `{token}` refused the PIN ({})", code(source))]
    PinRefused {
        /// The token's label.
        token: String,
        /// Function and code.
        source: CkError,
    },
    /// A key would be made where one is.
    #[error("token `{token}` holds a key `{label}` already")]
    Exists {
        /// The key's label.
        label: String,
        /// The token's label.
        token: String,
    },
    /// The dev directory cannot be trusted or used.
    #[error("dev directory `{}`: {reason}", path.display())]
    DevDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// How to mend it.
        hint: String,
    },
    /// A file of the dev directory cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The dev key does not exist yet, and this command does not make one.
    #[error("there is no dev key for role `{role}` in `{}` yet", directory.display())]
    NoDevKey {
        /// Whose.
        role: Role,
        /// The dev directory.
        directory: PathBuf,
    },
    /// The environment could not be cleaned.
    #[error("the environment cannot be cleaned for dev mode: {0}")]
    Environment(String),
    /// The module could not be loaded or initialised.
    #[error("cannot load the PKCS#11 module `{}`: {}", path.display(), code(source))]
    Load {
        /// The module.
        path: PathBuf,
        /// Why.
        source: CkError,
    },
    /// A PKCS#11 function failed.
    #[error("{what} failed ({})", code(source))]
    Pkcs11 {
        /// What was being done, with the token's or key's name.
        what: String,
        /// Function and code.
        source: CkError,
    },
    /// A module shows a token, and what it tells of it cannot be read.
    #[error("`{}` shows a token that cannot be described: {}", module.display(), code(source))]
    TokenInfo {
        /// The module.
        module: PathBuf,
        /// Why.
        source: CkError,
    },
    /// No token or object matches.
    #[error("{0}")]
    NotFound(String),
    /// More than one token or object matches.
    #[error("{what}: {count} match, so none is used")]
    Ambiguous {
        /// What was looked for.
        what: String,
        /// How many there are.
        count: usize,
    },
    /// The key's public part cannot be read or used.
    #[error("the public key of `{label}` cannot be used: {reason}")]
    PublicKey {
        /// The key's label.
        label: String,
        /// Why.
        reason: String,
    },
    /// The token answers with something that its public key does not verify.
    #[error(
        "the signature by key `{label}` in token `{token}` does not verify: {reason}; it was thrown away"
    )]
    BadSignature {
        /// The key's label.
        label: String,
        /// The token's label.
        token: String,
        /// What the check says.
        reason: String,
    },
    /// The token's mechanisms take messages, and this one is too long for that.
    #[error(
        "key `{label}` signs only with mechanisms that hash by themselves ({}), and what is signed here is \
         too long to be sent to the token",
        code(source)
    )]
    MessageNeeded {
        /// The key's label.
        label: String,
        /// Why its token does not sign a digest.
        source: CkError,
    },
    /// The request does not fit the key.
    #[error("key `{label}`: {reason}")]
    Unfit {
        /// The key's label.
        label: String,
        /// Why.
        reason: String,
    },
    /// A certificate could not be made or read.
    #[error("certificate of `{label}`: {reason}")]
    Certificate {
        /// The key's label.
        label: String,
        /// Why.
        reason: String,
    },
}

impl KeyError {
    /// For `map_err`: a file of the dev directory or a PIN file.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err`: a file operation in the latch directory.
    pub(super) fn latch(directory: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = directory.to_owned();
        move |source| Self::Latch { path, reason: source.to_string() }
    }

    /// For `map_err`: a PKCS#11 function that failed while doing `what`.
    pub(super) fn pkcs11(what: impl Into<String>) -> impl FnOnce(CkError) -> Self {
        let what = what.into();
        move |source| Self::Pkcs11 { what, source }
    }

    /// Whether a session or its token is gone, so that a fresh session may do what this one could not.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        use cryptoki::error::RvError;
        let Self::Pkcs11 { source: CkError::Pkcs11(rv, _), .. } = self else { return false };
        matches!(
            rv,
            RvError::CryptokiNotInitialized
                | RvError::DeviceError
                | RvError::DeviceRemoved
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::SlotIdInvalid
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::UserNotLoggedIn
        )
    }

    /// Whether the token does not take a PIN that it was given, or no longer takes any.
    #[must_use]
    pub fn is_pin_refused(&self) -> bool {
        use cryptoki::error::RvError;
        match self {
            Self::PinRefused { .. } => true,
            Self::Pkcs11 { source: CkError::Pkcs11(rv, _), .. } => matches!(
                rv,
                RvError::PinIncorrect
                    | RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinLocked
                    | RvError::PinExpired
            ),
            _ => false,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::SoftHsmMissing => Some(
                "install package `softhsm2` (Debian, Ubuntu), `softhsm` (Fedora, Arch), or name a copy with \
                 `--softhsm LIB`"
                    .into(),
            ),
            Self::DevDirectory { hint, .. } | Self::PinUnsafe { hint, .. } => Some(hint.clone()),
            Self::Pin { hint, .. } => Some(hint.clone()).filter(|h| !h.is_empty()),
            Self::PinRefused { .. } => Some(
                "check the token's PIN source in the host settings; then `hsmsign --mode release keys unlatch` allows \
                 another attempt"
                    .into(),
            ),
            Self::Latch { .. } => Some(
                "no PIN is tried without it: the directory must be yours, with mode 0700, and no link; or name another one \
                 with `latch: { directory: PATH }` in the host settings"
                    .into(),
            ),
            Self::ModuleRefused { .. } => {
                Some("a module and its directories must belong to root or to you, and nobody else may write them".into())
            }
            Self::Uri { .. } => Some("write `uri: \"pkcs11:token=LABEL;object=LABEL\"` in hsmsign.yaml".into()),
            Self::MessageNeeded { .. } => Some(
                "let the key use CKM_RSA_PKCS, CKM_RSA_PKCS_PSS or CKM_ECDSA (allowed mechanisms, capabilities)".into(),
            ),
            Self::Exists { .. } => Some("give the new key another `object` in its URI".into()),
            Self::NoDevKey { .. } => Some(
                "sign something in dev mode or run `hsmsign init`; or name whom to trust with `--trust`"
                    .into(),
            ),
            // cryptoki does not fall back to C_GetFunctionList; p11-kit's server asks for nothing else.
            Self::Load { path, source: CkError::Pkcs11(_, cryptoki::context::Function::GetInterface) } => {
                Some(format!(
                    "it offers PKCS#11 3.0 and fails at it; reach it through `p11-kit server --provider {}` and \
                     p11-kit-client.so",
                    path.display()
                ))
            }
            Self::Load { .. } => Some("check the module's path and that its own service runs".into()),
            Self::TokenInfo { source: CkError::Pkcs11(..), .. } => {
                Some("check that the token is plugged in and its service runs".into())
            }
            // cryptoki reads the whole of CK_TOKEN_INFO or nothing of it.
            Self::TokenInfo { .. } => Some(
                "the token claims a clock and tells a malformed time, as opencryptoki 3.8 does; a newer module may not"
                    .into(),
            ),
            Self::SoftHsmRefused { .. }
            | Self::File { .. }
            | Self::Environment(_)
            | Self::Pkcs11 { .. }
            | Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::PublicKey { .. }
            | Self::BadSignature { .. }
            | Self::Unfit { .. }
            | Self::Certificate { .. } => None,
        }
    }
}

/// `C_Login: CKR_PIN_INCORRECT`: function and code in the standard's own words.
pub(super) fn code(error: &CkError) -> String {
    match error {
        CkError::Pkcs11(rv, function) => {
            let rv = format!("{rv:?}");
            // Codes without a name carry their number: `VendorDefined(2147483649)`.
            if rv.contains('(') {
                return format!("C_{function:?}: {rv}");
            }
            let mut name = String::from("CKR");
            for c in rv.chars() {
                if c.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(c.to_ascii_uppercase());
            }
            format!("C_{function:?}: {name}")
        }
        CkError::LibraryLoading(e) => e.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::{context::Function, error::RvError};

    #[test]
    fn codes_have_the_standards_names() {
        assert_eq!(
            code(&CkError::Pkcs11(RvError::PinIncorrect, Function::Login)),
            "C_Login: CKR_PIN_INCORRECT"
        );
    }
}
