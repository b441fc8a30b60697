//! Release mode: exactly the pinned keys, on hardware, born there.

use super::{
    Authorized, Certificates, ExampleKeys, Exception, KeyFacts, Refusal, Release, TokenFacts,
    software_token::software_token,
};
use crate::{
    config::{ReleaseKey, ReleaseSettings, RoleSettings, Roles, UpdateFormat},
    crypto::{Fingerprint, KeyMaterial, KeyType, PublicKey, weakness},
    vocabulary::Role,
};

/// What release mode may do.
#[derive(Clone, Debug)]
pub struct ReleasePolicy {
    roles: Roles,
    settings: ReleaseSettings,
    examples: ExampleKeys,
}

/// Everything found about one role's key, for `keys check` and `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Every reason to refuse the key, the gravest first; empty for a good one.
    pub refusals: Vec<Refusal>,
    /// What the policy lets pass by name.
    pub exceptions: Vec<Exception>,
}

impl ReleasePolicy {
    pub(super) fn new(roles: Roles, settings: ReleaseSettings) -> Self {
        Self { roles, settings, examples: ExampleKeys::default() }
    }

    /// The same with the host's own list of example keys.
    #[must_use]
    pub fn with_examples(self, examples: ExampleKeys) -> Self {
        Self { examples, ..self }
    }

    /// What `role` signs with.
    #[must_use]
    pub fn role(&self, role: Role) -> &RoleSettings {
        self.roles.get(role)
    }

    /// Where `role`'s key is and what is pinned.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoReleaseKey`] if the policy names none.
    pub fn key(&self, role: Role) -> Result<&ReleaseKey, Refusal> {
        self.settings.keys.get(&role).ok_or(Refusal::NoReleaseKey(role))
    }

    /// Whether software tokens stand in for the HSM.
    #[must_use]
    pub fn is_rehearsal(&self) -> bool {
        self.settings.rehearsal
    }

    /// Whether release signing may start for `role` at all: asked before a token is opened or a PIN
    /// is read.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoReleaseKey`], or the refusal of a public example key that is pinned.
    pub fn permit_signing(&self, role: Role) -> Result<&ReleaseKey, Refusal> {
        let key = self.key(role)?;
        // Also one that is not the key in the token: a device that trusts it trusts everybody.
        key.pins.iter().try_for_each(|pin| self.refuse_example(role, *pin))?;
        Ok(key)
    }

    /// Whether a token may be given a PIN for `role`'s key.
    ///
    /// # Errors
    ///
    /// [`Refusal::SoftwareToken`] or [`Refusal::WrongSerial`].
    pub fn permit_token(&self, role: Role, token: &TokenFacts) -> Result<(), Refusal> {
        let mut judgement = Judgement::default();
        self.judge_token(role, self.key(role)?, token, &mut judgement);
        judgement.refusals.into_iter().next().map_or(Ok(()), Err)
    }

    /// Whether a key in a token may sign for `role`.
    ///
    /// `certificates` are what the policy's files hold, `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The gravest [`Refusal`].
    pub fn authorize(
        &self,
        role: Role,
        token: &TokenFacts,
        key: &KeyFacts,
        certificates: Option<&Certificates>,
        now: i64,
    ) -> Result<Authorized<Release>, Refusal> {
        self.permit_signing(role)?;
        let judgement = self.judge(role, token, key, certificates, now);
        match judgement.refusals.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => Ok(Authorized::new(
                role,
                self.role(role).algorithm(),
                Fingerprint::of(&key.public_key),
                judgement.exceptions,
            )),
        }
    }

    /// Everything that is wrong with a key, or let pass by name; grants nothing.
    #[must_use]
    pub fn judge(
        &self,
        role: Role,
        token: &TokenFacts,
        key: &KeyFacts,
        certificates: Option<&Certificates>,
        now: i64,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        let pinned = match self.key(role) {
            Ok(pinned) => pinned,
            Err(refusal) => return Judgement { refusals: vec![refusal], exceptions: Vec::new() },
        };
        self.judge_token(role, pinned, token, &mut judgement);
        self.judge_key(role, pinned, key, &mut judgement);
        match certificates {
            Some(certificates) => {
                let settings = self.role(role);
                let purpose = settings.update_format == Some(UpdateFormat::Cms);
                judgement.refusals.extend(certificates.judge(role, purpose, &key.public_key, now).err());
                judgement.refusals.extend(self.refuse_example_issuers(role, certificates).err());
            }
            None if needs_certificate(role) => judgement.refusals.push(Refusal::NoCertificate(role)),
            None => {}
        }
        judgement
    }

    /// Whether the certificates in the policy's files can serve `role`, as far as that is known without
    /// the token: their key must be pinned.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotPinned`] or [`Refusal::Certificate`].
    pub fn judge_certificates(
        &self,
        role: Role,
        key: &PublicKey,
        certificates: &Certificates,
        now: i64,
    ) -> Result<(), Refusal> {
        let fingerprint = Fingerprint::of(key);
        if !self.key(role)?.pins.contains(&fingerprint) {
            return Err(Refusal::NotPinned { role, fingerprint });
        }
        self.refuse_example(role, fingerprint)?;
        certificates.judge(role, self.role(role).update_format == Some(UpdateFormat::Cms), key, now)?;
        self.refuse_example_issuers(role, certificates)
    }

    /// Refuses a chain through an example key: whoever has it can certify keys of their own.
    fn refuse_example_issuers(&self, role: Role, certificates: &Certificates) -> Result<(), Refusal> {
        certificates.chain_fingerprints().into_iter().try_for_each(|issuer| self.refuse_example(role, issuer))
    }

    /// Refuses a key whose private half is public.
    ///
    /// # Errors
    ///
    /// [`Refusal::PublicExampleKey`].
    pub fn refuse_example(&self, role: Role, fingerprint: Fingerprint) -> Result<(), Refusal> {
        match self.examples.find(&fingerprint) {
            Some(seen) => Err(Refusal::PublicExampleKey { role, fingerprint, seen: seen.to_owned() }),
            None => Ok(()),
        }
    }

    fn judge_token(&self, role: Role, pinned: &ReleaseKey, token: &TokenFacts, judgement: &mut Judgement) {
        let software = software_token(token);
        if self.settings.rehearsal {
            let software_token = software.map(|_| format!("{} {}", token.manufacturer, token.model));
            judgement.exceptions.push(Exception::Rehearsal { software_token });
        } else if let Some(family) = software {
            judgement.refusals.push(Refusal::SoftwareToken {
                role,
                label: token.label.clone(),
                family: family.into(),
            });
        }
        if let Some(serial) = pinned.serial.as_ref().filter(|s| **s != token.serial) {
            judgement.refusals.push(Refusal::WrongSerial {
                role,
                label: token.label.clone(),
                found: token.serial.clone(),
                pinned: serial.clone(),
            });
        }
    }

    fn judge_key(&self, role: Role, pinned: &ReleaseKey, key: &KeyFacts, judgement: &mut Judgement) {
        let fingerprint = Fingerprint::of(&key.public_key);
        if !pinned.pins.contains(&fingerprint) {
            judgement.refusals.push(Refusal::NotPinned { role, fingerprint });
        }
        judgement.refusals.extend(self.refuse_example(role, fingerprint).err());
        let mut attribute = |attribute, found: Option<bool>, required, waived: bool| {
            if found == Some(required) {
                return false;
            }
            if !waived {
                judgement.refusals.push(Refusal::KeyAttribute { role, attribute, found, required });
            }
            waived
        };
        attribute("CKA_SENSITIVE", key.sensitive, true, false);
        attribute("CKA_EXTRACTABLE", key.extractable, false, false);
        // A wrapped copy was outside its token once, so it can never have these two.
        let imported = pinned.accept_imported;
        let waived_sensitive = attribute("CKA_ALWAYS_SENSITIVE", key.always_sensitive, true, imported);
        let waived_extractable = attribute("CKA_NEVER_EXTRACTABLE", key.never_extractable, true, imported);
        // YubiKeys' and YubiHSM 2's modules call every key always sensitive, and tell by this alone that one was
        // imported. Modules that do not tell it are judged by the other two.
        let born_here = key.local.or(Some(true));
        let waived_local = attribute("CKA_LOCAL", born_here, true, imported);
        if waived_sensitive || waived_extractable || waived_local {
            judgement.exceptions.push(Exception::Imported { role });
        }
        judgement.refusals.extend(weakness(&key.public_key).map(|reason| Refusal::WeakKey { role, reason }));
        judgement.refusals.extend(check_key_type(role, self.role(role).key_type, &key.public_key).err());
    }
}

/// Whether artifacts of `role` name their signer by certificate.
fn needs_certificate(role: Role) -> bool {
    match role {
        Role::Rootfs | Role::Update => true,
        Role::Bootloader | Role::Fit => false,
    }
}

/// Refuses a key that is not the type the role asks for.
pub(super) fn check_key_type(role: Role, wanted: KeyType, key: &PublicKey) -> Result<(), Refusal> {
    if key.key_type() == Some(wanted) {
        return Ok(());
    }
    let found = match (key.key_type(), key.material()) {
        (Some(found), _) => found.to_string(),
        (None, KeyMaterial::Rsa { .. }) => format!("RSA of {} bits", key.bits()),
        (None, KeyMaterial::Ec { .. }) => format!("EC of {} bits", key.bits()),
    };
    Err(Refusal::WrongKeyType { role, found, wanted })
}
