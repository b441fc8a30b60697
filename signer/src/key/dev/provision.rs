//! Makes the dev token and its keys: once, whoever comes first, and again where it was interrupted.

use super::{DevDirectory, DevSettings, key_label, own_token};
use crate::{
    error::Error,
    key::{
        KeyError,
        certificate::{self, Holder, UnsignedCertificate},
        pkcs11::{Module, Selector, Token, TokenKey},
    },
    policy::DevPolicy,
    vocabulary::Role,
};
use std::{path::Path, sync::Arc};
use zeroize::Zeroizing;

/// Opens the directory's token, complete with every role's key.
///
/// Each step ends with a file that appears whole: `set-id`, `pin`, `token`, one certificate a key. A
/// process that finds one missing does that step again. All of it happens under the directory's lock, since
/// SoftHSMv2 does not survive logins at the same time; signing needs no lock.
pub(super) fn ensure(
    directory: &DevDirectory,
    softhsm: &Path,
    settings: &DevSettings,
) -> Result<Token, Error> {
    let missing = |directory: &DevDirectory| -> Result<Vec<Role>, KeyError> {
        let mut roles = Vec::new();
        for role in Role::ALL {
            if directory.certificate(role, settings.key_type(role))?.is_none() {
                roles.push(role);
            }
        }
        Ok(roles)
    };
    let _lock = directory.lock()?;
    directory.mend_token()?;
    if directory.read("token")?.is_some() && missing(directory)?.is_empty() {
        return Ok(open(directory, &load(softhsm)?, false)?);
    }
    if !directory.has_set_id() {
        directory.write("set-id", random_hex(8)?.as_bytes(), 0o644)?;
    }
    if directory.read("token")?.is_none() {
        directory.clear_tokens()?;
        let pin = random_hex(16)?;
        directory.write("pin", pin.as_bytes(), 0o600)?;
        // The security officer's PIN is forgotten: nothing here is worth resetting.
        let module = load(softhsm)?;
        Token::initialize(&module, &token_label(directory)?, &pin, &random_hex(16)?)?;
        directory.keep_spare_token()?;
        directory.write("token", token_label(directory)?.as_bytes(), 0o600)?;
    }
    let module = load(softhsm)?;
    let roles = missing(directory)?;
    if !roles.is_empty() {
        let token = Arc::new(open(directory, &module, true)?);
        for role in roles {
            make_key(directory, &token, role, settings)?;
        }
    }
    Ok(open(directory, &module, false)?)
}

/// Loads SoftHSMv2, and nothing that merely has its name.
fn load(path: &Path) -> Result<Arc<Module>, Error> {
    let module = Module::open(path)?;
    DevPolicy::permit_module(&module.facts()?)?;
    Ok(module)
}

pub(super) fn token_label(directory: &DevDirectory) -> Result<String, KeyError> {
    Ok(format!("hsmsign-dev-{}", directory.set_id()?))
}

fn open(directory: &DevDirectory, module: &Arc<Module>, read_write: bool) -> Result<Token, KeyError> {
    let label = token_label(directory)?;
    let (slot, info) = own_token(module, &label)?
        .ok_or_else(|| directory.damaged(format!("`tokens` holds no token `{label}`")))?;
    let pin = directory.read("pin")?.unwrap_or_default();
    let pin = Zeroizing::new(String::from_utf8_lossy(&pin).into_owned());
    let token = Token::open(module, slot, info, read_write)?;
    token.login(Some(&pin)).map_err(|e| match e {
        KeyError::PinRefused { .. } => directory.damaged("`pin` does not open its token"),
        other => other,
    })?;
    Ok(token)
}

fn make_key(
    directory: &DevDirectory,
    token: &Arc<Token>,
    role: Role,
    settings: &DevSettings,
) -> Result<(), KeyError> {
    let key_type = settings.key_type(role);
    let label = key_label(role, key_type);
    let bad = |reason| KeyError::Certificate { label: label.clone(), reason };
    // Without its certificate a key was never used, so it may go.
    token.destroy(&label)?;
    token.generate(key_type, &label, label.as_bytes())?;
    let key = TokenKey::find(token, &Selector::label(&label), None, None)?;
    let holder = Holder {
        organization: settings.product.clone(),
        unit: certificate::DEVELOPMENT_UNIT.into(),
        common_name: format!("DEVELOPMENT {role} {}", directory.set_id()?),
    };
    let mut serial = random_bytes(16)?;
    if let Some(first) = serial.first_mut() {
        // A positive number that keeps its length (RFC 5280, section 4.1.2.2).
        *first = *first & 0x3f | 0x40;
    }
    let unsigned = UnsignedCertificate::self_signed(key.public_key(), &holder, &serial).map_err(bad)?;
    let signature = key.sign_own(&unsigned.request(role))?;
    let der = unsigned.finish(&signature).map_err(bad)?;
    directory.write_certificate(role, key_type, &certificate::to_pem(&der).map_err(bad)?)
}

fn random_bytes(len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(vec![0; len_bytes]);
    // Up to 256 bytes come whole (getrandom(2)).
    rustix::rand::getrandom(bytes.as_mut_slice(), rustix::rand::GetRandomFlags::empty())
        .map_err(|e| KeyError::file("read", Path::new("/dev/urandom"))(e.into()))?;
    Ok(bytes)
}

fn random_hex(len_bytes: usize) -> Result<Zeroizing<String>, KeyError> {
    Ok(Zeroizing::new(hex::encode(random_bytes(len_bytes)?.as_slice())))
}
