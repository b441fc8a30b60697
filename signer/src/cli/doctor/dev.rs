//! What dev mode needs.

use super::{Diagnosis, PolicyFile, Settings};
use crate::{
    error::Error,
    key::{
        KeyError,
        dev::{self, DevSettings, DevToken},
    },
    policy::DevPolicy,
    request::Role,
};
use std::path::Path;

pub(super) fn examine(
    settings: &Settings,
    file: &PolicyFile,
    policy: &DevPolicy,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let softhsm = settings.softhsm.as_ref().map(|s| s.value.clone());
    match dev::find_softhsm(softhsm.as_deref()) {
        Ok(path) => diagnosis.pass("SoftHSMv2", path.display().to_string()),
        Err(KeyError::SoftHsmMissing) => diagnosis.fail(
            "SoftHSMv2",
            KeyError::SoftHsmMissing.to_string(),
            "apt-get install softhsm2 (Fedora, Arch: package softhsm), or name a copy with --softhsm LIB",
        ),
        Err(error) => diagnosis.fail(
            "SoftHSMv2",
            error.to_string(),
            "name SoftHSMv2's own libsofthsm2.so, root's or yours and writable by nobody else",
        ),
    }
    for (pin, seen) in policy.pinned_examples() {
        let detail = format!("the policy pins a public example key for release (seen at {seen}): {pin}");
        diagnosis.warn(
            "example keys",
            detail,
            "release mode refuses it: make a key of your own and pin that",
        );
    }
    let Some(directory) = settings.dev_dir.as_ref().map(|d| d.value.clone()) else {
        let remedy = "name one with --dev-dir or HSMSIGN_DEV_DIR";
        diagnosis.fail("dev directory", "neither HOME nor XDG_DATA_HOME is set", remedy);
        return Ok(());
    };
    // This may start the program again; nothing has been said so far.
    DevToken::ensure_clean_environment(&directory)?;
    let settings =
        DevSettings { directory, softhsm, product: file.config.product.clone(), policy: policy.clone() };
    let shown = settings.directory.display().to_string();
    let missing = match Role::ALL.map(|role| dev::trusted(&settings, role).err()).into_iter().flatten().next()
    {
        None => false,
        Some(Error::Key(KeyError::NoDevKey { .. })) => true,
        Some(error) => {
            diagnosis.fail_error("dev keys", &error);
            return Ok(());
        }
    };
    if missing {
        match writable(&settings.directory) {
            true => diagnosis.pass("dev keys", format!("not all made yet; made on first use in `{shown}`")),
            false => diagnosis.fail(
                "dev directory",
                format!("`{shown}` cannot be made or written"),
                "name another with --dev-dir or HSMSIGN_DEV_DIR",
            ),
        }
        return Ok(());
    }
    let opened = DevToken::open(settings)
        .and_then(|token| Role::ALL.into_iter().try_for_each(|role| token.key(role).map(drop)));
    match opened {
        Ok(()) => diagnosis.pass("dev keys", format!("four in `{shown}`")),
        Err(error) => diagnosis.fail_error("dev keys", &error),
    }
    Ok(())
}

/// Whether the directory, or else the nearest one above that exists, can be written.
fn writable(directory: &Path) -> bool {
    let absolute = std::path::absolute(directory).unwrap_or_default();
    let nearest = absolute.ancestors().find(|d| d.exists());
    nearest.is_some_and(|d| rustix::fs::access(d, rustix::fs::Access::WRITE_OK).is_ok())
}
