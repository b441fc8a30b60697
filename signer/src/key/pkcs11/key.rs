//! One private key in a token, ready to sign.

use super::{Selector, Token, mechanism};
use crate::{
    crypto::{Fingerprint, KeyMaterial, PublicKey, Scheme, Signature},
    key::KeyError,
    policy::{Authorized, KeyFacts, SigningMode},
    request::Request,
};
use cryptoki::{
    error::Error as CkError,
    object::{Attribute, AttributeType, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use zeroize::Zeroizing;

/// A private key in a token, with its public half.
pub(in crate::key) struct TokenKey {
    token: Arc<Token>,
    handle: ObjectHandle,
    label: String,
    public_key: PublicKey,
    fingerprint: Fingerprint,
    /// Set if the key wants a login before each signature (CKA_ALWAYS_AUTHENTICATE): with this PIN, or on
    /// the token's own keypad.
    login_each_time: Option<Option<Zeroizing<String>>>,
    /// Which of the possible mechanisms worked last.
    preferred: AtomicUsize,
}

impl TokenKey {
    /// Finds the one key that `selector` names, in a token that is logged in.
    ///
    /// `pin` is kept if the key wants it before each signature. `certified` counts as its public half if
    /// the token shows none.
    pub(in crate::key) fn find(
        token: &Arc<Token>,
        selector: &Selector,
        pin: Option<&Zeroizing<String>>,
        certified: Option<PublicKey>,
    ) -> Result<Self, KeyError> {
        let handle = token.find_private_key(selector)?;
        // A wrong certificate does no harm: every signature is checked against what is taken from it.
        let public_key = match (token.public_key(handle, selector), certified) {
            (Ok(key), _) | (Err(KeyError::PublicKey { .. }), Some(key)) => key,
            (Err(e), _) => return Err(e),
        };
        let always_authenticate = {
            let _turn = token.module().turn();
            // Some tokens (Luna) answer with an error: then it is false.
            super::object::attribute(&token.session(), handle, AttributeType::AlwaysAuthenticate)
        };
        let login_each_time =
            matches!(always_authenticate, Some(Attribute::AlwaysAuthenticate(true))).then(|| pin.cloned());
        Ok(Self {
            token: Arc::clone(token),
            handle,
            label: selector.to_string(),
            fingerprint: Fingerprint::of(&public_key),
            public_key,
            login_each_time,
            preferred: AtomicUsize::new(0),
        })
    }

    /// The public half.
    pub(in crate::key) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Whether each signature takes a login of its own.
    pub(in crate::key) fn logs_in_each_time(&self) -> bool {
        self.login_each_time.is_some()
    }

    /// What the token says of the key.
    pub(in crate::key) fn facts(&self) -> KeyFacts {
        let get = |kind| {
            let _turn = self.token.module().turn();
            super::object::attribute(&self.token.session(), self.handle, kind)
        };
        let flag = |kind| match get(kind)? {
            Attribute::Sensitive(value)
            | Attribute::AlwaysSensitive(value)
            | Attribute::Extractable(value)
            | Attribute::NeverExtractable(value)
            | Attribute::Local(value) => Some(value),
            _ => None,
        };
        KeyFacts {
            label: self.label.clone(),
            public_key: self.public_key.clone(),
            sensitive: flag(AttributeType::Sensitive),
            always_sensitive: flag(AttributeType::AlwaysSensitive),
            extractable: flag(AttributeType::Extractable),
            never_extractable: flag(AttributeType::NeverExtractable),
            local: flag(AttributeType::Local),
        }
    }

    /// Signs for the role that the policy has authorized this key for.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unfit`] if request, leave and key do not belong together, [`KeyError::Pkcs11`] if the
    /// token refuses, [`KeyError::BadSignature`] if what it answers does not verify.
    pub(in crate::key) fn sign<M: SigningMode>(
        &self,
        authorized: &Authorized<M>,
        request: &Request,
    ) -> Result<Signature, KeyError> {
        let unfit = |reason: &str| KeyError::Unfit { label: self.label.clone(), reason: reason.into() };
        if authorized.fingerprint() != self.fingerprint {
            return Err(unfit("the policy's leave is for another key"));
        }
        if authorized.role() != request.role {
            return Err(unfit("the policy's leave is for another role"));
        }
        self.sign_own(request)
    }

    /// Signs, and checks the signature before it hands it out. For statements of the key about itself
    /// (certificates, requests for them), which need no leave, and for [`sign`](Self::sign).
    pub(in crate::key) fn sign_own(&self, request: &Request) -> Result<Signature, KeyError> {
        let unfit = |reason: String| KeyError::Unfit { label: self.label.clone(), reason };
        let algorithm = request.algorithm;
        let width = match self.public_key.material() {
            KeyMaterial::Rsa { .. } => None,
            KeyMaterial::Ec { curve, .. } => Some(curve.width_bytes()),
        };
        if width.is_some() != (algorithm.scheme == Scheme::Ecdsa) {
            return Err(unfit(format!("it cannot sign with {algorithm}")));
        }
        if request.digest.algorithm() != algorithm.hash {
            return Err(unfit(format!("the digest is not {}", algorithm.hash)));
        }
        // A hashed mechanism signs the message, so a message of another digest would be signed unseen.
        if let Some(message) = &request.message
            && algorithm.hash.digest(message) != request.digest
        {
            return Err(unfit("the request's message does not have the request's digest".into()));
        }
        let bytes = self.sign_unchecked(request, width)?;
        let signature = match width {
            // Tokens exist that answer in DER; the standard says r‖s.
            Some(width) if bytes.len() != 2 * width => {
                Signature::from_ecdsa_der(&bytes, width).unwrap_or_else(|_| Signature::from_bytes(bytes))
            }
            _ => Signature::from_bytes(bytes),
        };
        self.public_key.verify(algorithm, &request.digest, &signature).map_err(|e| {
            KeyError::BadSignature {
                label: self.label.clone(),
                token: self.token.label().to_owned(),
                reason: e.to_string(),
            }
        })?;
        Ok(signature)
    }

    fn sign_unchecked(&self, request: &Request, width: Option<usize>) -> Result<Vec<u8>, KeyError> {
        let attempts = mechanism::attempts(request, width);
        let preferred = self.preferred.load(Ordering::Relaxed).min(attempts.len().saturating_sub(1));
        let order = std::iter::once(preferred).chain((0..attempts.len()).filter(|i| *i != preferred));
        let _turn = self.token.module().turn();
        let session = self.token.session();
        let mut refusal = None;
        for index in order {
            let Some(attempt) = attempts.get(index) else { continue };
            match self.attempt(&session, attempt) {
                Ok(signature) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(signature);
                }
                Err(e) if mechanism::is_unsupported(&e) => refusal = Some(e),
                Err(e) => {
                    refusal = Some(e);
                    break;
                }
            }
        }
        let what = format!("signing with key `{}` in token `{}`", self.label, self.token.label());
        Err(match refusal {
            // Every raw mechanism was refused; the hashed ones had nothing to hash.
            Some(source) if request.message.is_none() && mechanism::is_unsupported(&source) => {
                KeyError::MessageNeeded { label: self.label.clone(), source }
            }
            Some(source) => KeyError::Pkcs11 { what, source },
            None => KeyError::Unfit { label: self.label.clone(), reason: "no mechanism".into() },
        })
    }

    fn attempt(&self, session: &Session, attempt: &mechanism::Attempt<'_>) -> Result<Vec<u8>, CkError> {
        let Some(pin) = &self.login_each_time else {
            return session.sign(&attempt.mechanism, self.handle, &attempt.data);
        };
        // PKCS#11 3.2, section 5.6.5 (C_Login): the PIN goes between C_SignInit and the data.
        session.sign_init(&attempt.mechanism, self.handle)?;
        let pin = pin.as_ref().map(|p| AuthPin::from(p.as_str()));
        session.login(UserType::ContextSpecific, pin.as_ref())?;
        session.sign_update(&attempt.data)?;
        session.sign_final()
    }
}
