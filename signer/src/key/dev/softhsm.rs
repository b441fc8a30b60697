//! SoftHSMv2's module file: where distributions put it, and who could have tampered with it.

use crate::{
    io::FileSource,
    key::{KeyError, module_file},
};
use std::path::{Path, PathBuf};

/// Builds of it have one or two megabytes.
const MAX_LEN_BYTES: usize = 64 << 20;

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

/// Refuses a file that someone else could have put there, or that is something else.
fn check(path: &Path) -> Result<PathBuf, String> {
    let real = module_file::check(path)?;
    // A look inside before any of its code runs; after loading it is asked for its maker too.
    let bytes =
        FileSource::open(&real).and_then(|f| f.read_whole(MAX_LEN_BYTES)).map_err(|e| e.to_string())?;
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    if !bytes.starts_with(b"\x7fELF") || !holds(b"SOFTHSM2_CONF") || !holds(b"C_GetFunctionList") {
        return Err("it is not a build of SoftHSMv2".into());
    }
    Ok(real)
}
