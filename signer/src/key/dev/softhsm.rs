//! SoftHSMv2's module file: where distributions put it, and who could have tampered with it.

use crate::key::KeyError;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where distributions install it; `{}` is the multiarch triplet.
const PLACES: [&str; 8] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/{}/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The module that dev mode loads: the copy that was named, else the distribution's.
///
/// # Errors
///
/// [`KeyError::SoftHsmMissing`] or [`KeyError::SoftHsmRefused`].
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, KeyError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
            PLACES
                .iter()
                .map(|place| PathBuf::from(place.replace("{}", &triplet)))
                .find(|p| p.exists())
                .ok_or(KeyError::SoftHsmMissing)?
        }
    };
    check(&path).map_err(|reason| KeyError::SoftHsmRefused { path, reason })
}

/// Refuses a file that someone else could have put there. Returns its path without links.
fn check(path: &Path) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|e| e.to_string())?;
    if !fs::metadata(&real).map_err(|e| e.to_string())?.is_file() {
        return Err("not a regular file".into());
    }
    for part in real.ancestors() {
        // `rustix` asks the kernel itself: under pseudo every file seems to be root's.
        let stat = rustix::fs::stat(part).map_err(|e| e.to_string())?;
        let owner = stat.st_uid;
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(format!("`{}` belongs to user {owner}, neither you nor root", part.display()));
        }
        // In a sticky directory such as /tmp others cannot replace what is not theirs.
        let sticky = part != real && stat.st_mode & 0o1000 != 0;
        if stat.st_mode & 0o022 != 0 && !sticky {
            return Err(format!("others can write to `{}`", part.display()));
        }
    }
    // A look inside before any of its code runs; after loading it is asked for its maker too.
    let bytes = fs::read(&real).map_err(|e| e.to_string())?;
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    if !bytes.starts_with(b"\x7fELF") || !holds(b"SOFTHSM2_CONF") || !holds(b"C_GetFunctionList") {
        return Err("it is not a build of SoftHSMv2".into());
    }
    Ok(real)
}
