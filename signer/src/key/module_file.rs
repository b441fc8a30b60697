//! Who could have put a module's file where it is: asked before any of its code runs.

use crate::io::is_own_or_roots;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The path without links, if only root and the user can change what it holds.
///
/// # Errors
///
/// A description of who else can.
pub fn check(path: &Path) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|e| e.to_string())?;
    if !fs::metadata(&real).map_err(|e| e.to_string())?.is_file() {
        return Err("not a regular file".into());
    }
    for part in real.ancestors() {
        // `rustix` asks the kernel itself: under pseudo every file seems to be root's.
        let stat = rustix::fs::stat(part).map_err(|e| e.to_string())?;
        let owner = stat.st_uid;
        if !is_own_or_roots(owner) {
            return Err(format!("`{}` belongs to user {owner}, neither you nor root", part.display()));
        }
        // In a sticky directory such as /tmp others cannot replace what is not theirs.
        let sticky = part != real && stat.st_mode & 0o1000 != 0;
        if stat.st_mode & 0o022 != 0 && !sticky {
            return Err(format!("others can write to `{}`", part.display()));
        }
    }
    Ok(real)
}
