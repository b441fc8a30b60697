//! Trusted keys named on the command line: a certificate or public key, PEM or DER, for all roles or one.

use crate::{
    crypto::PublicKey, error::Error, io::FileSource, key::certificate, policy::TrustedKey, vocabulary::Role,
};
use std::path::Path;

/// The key in `[ROLE=]FILE`; `None` if it is another role's. A file whose name looks so needs `./` before it.
///
/// # Errors
///
/// [`Error::File`] if it cannot be read, [`Error::Usage`] if it holds no key.
pub(super) fn read(argument: &str, role: Role) -> Result<Option<TrustedKey>, Error> {
    let of_role = argument.split_once('=').and_then(|(name, file)| Some((name.parse::<Role>().ok()?, file)));
    match of_role {
        Some((named, _)) if named != role => Ok(None),
        Some((_, file)) => read_file(Path::new(file)).map(Some),
        None => read_file(Path::new(argument)).map(Some),
    }
}

/// Reads the key in `path`; of several certificates in one file the first is trusted and the others
/// are its chain.
///
/// # Errors
///
/// [`Error::File`] if it cannot be read, [`Error::Usage`] if it holds neither.
fn read_file(path: &Path) -> Result<TrustedKey, Error> {
    let bytes = FileSource::read_small(path)?;
    let usage = |reason: String| Error::Usage {
        message: format!("`{}` is neither a certificate nor a public key: {reason}", path.display()),
        hint: Some("`--trust` takes `dev`, `release`, or a PEM or DER file, also as `ROLE=FILE`".into()),
    };
    let (public_key, certificate, chain) = if let Ok(key) = public_key(&bytes) {
        (key, None, Vec::new())
    } else {
        let mut certificates = certificate::read_all(&bytes).map_err(usage)?.into_iter();
        let first = certificates.next().ok_or_else(|| usage("it is empty".into()))?;
        (certificate::public_key(&first).map_err(usage)?, Some(first), certificates.collect())
    };
    let origin = path.display().to_string();
    Ok(TrustedKey { public_key, certificate, chain, mode: None, origin })
}

fn public_key(bytes: &[u8]) -> Result<PublicKey, String> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if text.contains("-----BEGIN PUBLIC KEY-----") {
        let (_, document) = der::Document::from_pem(text.trim()).map_err(|e| e.to_string())?;
        return PublicKey::from_spki_der(document.as_bytes()).map_err(|e| e.to_string());
    }
    PublicKey::from_spki_der(bytes).map_err(|e| e.to_string())
}
