//! A clean environment for dev mode, by starting the program again.
//!
//! Loaders, PKCS#11 modules and OpenSSL take orders from the environment (`LD_*`, `P11_KIT_*`,
//! `PKCS11_*`, `OPENSSL_CONF`, `GCONV_PATH`, …), and SoftHSMv2 finds its tokens by `SOFTHSM2_CONF`. The
//! list of such variables has no end, so those that we know to be harmless stay and all others go.
//! Safe Rust cannot change its own environment, so the program executes itself with the new one.

use crate::key::KeyError;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
};

type Environment = BTreeMap<OsString, OsString>;

/// Marks the second start. It is no reason to trust the environment, only one not to start a third time.
const AGAIN: &str = "HSMSIGN_STARTED_AGAIN";

/// Kept by name. Nothing here makes a library load code or read another configuration.
const KEPT: [&str; 19] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "PWD",
    "TMPDIR",
    "TERM",
    "COLUMNS",
    "LINES",
    "TZ",
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "SOURCE_DATE_EPOCH",
    "RUST_BACKTRACE",
    "CI",
    "SHLVL",
];

/// Kept by the start of their name.
const KEPT_PREFIXES: [&str; 3] = ["HSMSIGN_", "XDG_", "LC_"];

/// Starts the program again unless the environment is as it should be.
pub(super) fn ensure_clean(configuration: &Path) -> Result<(), KeyError> {
    let (current, repeated) = collect(std::env::vars_os());
    let wanted = clean(&current, configuration);
    let started_again = current.contains_key(OsStr::new(AGAIN));
    let mut wrong = differences(&current, &wanted);
    wrong.extend(repeated);
    if wrong.is_empty() {
        return Ok(());
    }
    if started_again {
        return Err(KeyError::Environment(wrong.join(", ")));
    }
    let mut arguments = std::env::args_os();
    let mut command = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).env_clear().envs(&wanted).env(AGAIN, "1").exec();
    Err(KeyError::Environment(format!("/proc/self/exe: {error}")))
}

/// For code that is about to load the module: has [`ensure_clean`] been called?
pub(super) fn check(configuration: &Path) -> Result<(), KeyError> {
    let (current, repeated) = collect(std::env::vars_os());
    let mut wrong = differences(&current, &clean(&current, configuration));
    wrong.extend(repeated);
    if wrong.is_empty() { Ok(()) } else { Err(KeyError::Environment(wrong.join(", "))) }
}

/// The environment, and the names that stand in it more than once: C's `getenv` takes the first of them
/// and a map the last, so what was checked would not be what a library reads.
fn collect(variables: impl Iterator<Item = (OsString, OsString)>) -> (Environment, Vec<String>) {
    let mut environment = Environment::new();
    let mut repeated = Vec::new();
    for (name, value) in variables {
        let shown = name.to_string_lossy().into_owned();
        if environment.insert(name, value).is_some() {
            repeated.push(shown);
        }
    }
    (environment, repeated)
}

/// Names of the variables in which the two differ.
fn differences(current: &Environment, wanted: &Environment) -> Vec<String> {
    let name = |key: &OsString| key.to_string_lossy().into_owned();
    let gone = current.iter().filter(|(k, v)| *k != AGAIN && wanted.get(*k) != Some(v)).map(|(k, _)| name(k));
    let new = wanted.keys().filter(|k| !current.contains_key(*k)).map(name);
    gone.chain(new).collect()
}

/// The environment that dev mode runs in.
fn clean(current: &Environment, configuration: &Path) -> Environment {
    let mut wanted: Environment = current
        .iter()
        .filter(|(name, _)| {
            *name != AGAIN
                && (KEPT.iter().any(|kept| *name == kept)
                    || KEPT_PREFIXES.iter().any(|p| name.as_bytes().starts_with(p.as_bytes())))
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    keep_pseudo(current, &mut wanted);
    wanted.insert("SOFTHSM2_CONF".into(), configuration.as_os_str().to_owned());
    // Unset, OpenSSL reads the system's openssl.cnf, and loads whatever provider for an HSM stands there.
    wanted.insert("OPENSSL_CONF".into(), "/dev/null".into());
    wanted
}

/// Keeps what bitbake's fakeroot needs, and no more of the loader's variables than that.
///
/// pseudo is a preloaded library that records which files its children make. Were it dropped, files that
/// a task writes through us would be missing from its records; in fact it puts itself back into the
/// environment of whatever is executed, so without this exception the two would never agree.
fn keep_pseudo(current: &Environment, wanted: &mut Environment) {
    let get = |name: &str| current.get(OsStr::new(name));
    let is_pseudo = |entry: &OsStr| Path::new(entry).file_name() == Some(OsStr::new("libpseudo.so"));
    let preload = kept_entries(get("LD_PRELOAD"), b" :", is_pseudo);
    if preload.is_empty() {
        return;
    }
    wanted.insert("LD_PRELOAD".into(), preload);
    for (name, value) in current.iter().filter(|(name, _)| name.as_bytes().starts_with(b"PSEUDO_")) {
        wanted.insert(name.clone(), value.clone());
    }
    let homes: Vec<&OsString> =
        ["PSEUDO_PREFIX", "PSEUDO_LIBDIR"].iter().filter_map(|n| get(n)).filter(|v| !v.is_empty()).collect();
    let is_its_home = |entry: &OsStr| homes.iter().any(|home| Path::new(entry).starts_with(home));
    let path = kept_entries(get("LD_LIBRARY_PATH"), b":", is_its_home);
    if !path.is_empty() {
        wanted.insert("LD_LIBRARY_PATH".into(), path);
    }
}

/// The entries of a list that `keep` accepts, with the first separator between them.
fn kept_entries(list: Option<&OsString>, separators: &[u8], keep: impl Fn(&OsStr) -> bool) -> OsString {
    let bytes = list.map(|l| l.as_bytes()).unwrap_or_default();
    let kept: Vec<&[u8]> = bytes
        .split(|b| separators.contains(b))
        .filter(|entry| !entry.is_empty() && keep(OsStr::from_bytes(entry)))
        .collect();
    let separator = separators.get(..1).unwrap_or_default();
    OsStr::from_bytes(&kept.join(separator)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn cleaned(pairs: &[(&str, &str)]) -> Environment {
        let mut clean = clean(&environment(pairs), Path::new("/dev-dir/softhsm2.conf"));
        assert_eq!(clean.remove(OsStr::new("SOFTHSM2_CONF")).unwrap(), "/dev-dir/softhsm2.conf");
        assert_eq!(clean.remove(OsStr::new("OPENSSL_CONF")).unwrap(), "/dev/null");
        clean
    }

    #[test]
    fn a_name_that_stands_twice_is_told() {
        let pair = |n: &str, v: &str| (OsString::from(n), OsString::from(v));
        let variables = [pair("SOFTHSM2_CONF", "/evil"), pair("HOME", "/h"), pair("SOFTHSM2_CONF", "/good")];
        let (environment, repeated) = collect(variables.into_iter());
        assert_eq!((environment.len(), repeated), (2, vec!["SOFTHSM2_CONF".to_owned()]));
    }

    #[test]
    fn what_tells_libraries_what_to_do_goes() {
        let hostile = [
            ("LD_PRELOAD", "/evil.so"),
            ("LD_AUDIT", "/evil.so"),
            ("LD_LIBRARY_PATH", "/evil"),
            ("SOFTHSM2_CONF", "/evil"),
            ("PKCS11_MODULE_PATH", "/evil.so"),
            ("P11_KIT_SERVER_ADDRESS", "unix:path=/evil"),
            ("OPENSSL_CONF", "/evil"),
            ("OPENSSL_MODULES", "/evil"),
            ("GCONV_PATH", "/evil"),
            ("GLIBC_TUNABLES", "x"),
            ("PSEUDO_PREFIX", "/evil"),
            ("HSMSIGN_STARTED_AGAIN", "1"),
        ];
        assert_eq!(cleaned(&hostile), Environment::new());
    }

    #[test]
    fn what_people_and_builds_set_stays() {
        let harmless = [("HOME", "/h"), ("LC_ALL", "C"), ("HSMSIGN_MODE", "dev"), ("SOURCE_DATE_EPOCH", "1")];
        assert_eq!(cleaned(&harmless), environment(&harmless));
    }

    #[test]
    fn of_the_loaders_variables_only_pseudos_part_stays() {
        let bitbake = [
            ("LD_PRELOAD", "/sysroot/lib/pseudo/lib/libpseudo.so:/evil.so"),
            ("LD_LIBRARY_PATH", "/sysroot/usr/bin/../lib/pseudo/lib:/sysroot/lib/pseudo/lib64:/evil"),
            ("PSEUDO_PREFIX", "/sysroot"),
            ("PSEUDO_LOCALSTATEDIR", "/build/pseudo"),
            ("LD_AUDIT", "/evil.so"),
        ];
        let kept = environment(&[
            ("LD_PRELOAD", "/sysroot/lib/pseudo/lib/libpseudo.so"),
            ("LD_LIBRARY_PATH", "/sysroot/usr/bin/../lib/pseudo/lib:/sysroot/lib/pseudo/lib64"),
            ("PSEUDO_PREFIX", "/sysroot"),
            ("PSEUDO_LOCALSTATEDIR", "/build/pseudo"),
        ]);
        assert_eq!(cleaned(&bitbake), kept);
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(
            pairs in proptest::collection::btree_map(
                "(LD_PRELOAD|LD_LIBRARY_PATH|PSEUDO_[A-C]|PSEUDO_PREFIX|HOME|LC_[A-C]|[A-Z]{1,4})",
                "[a/:. ]{0,8}(libpseudo.so)?[ :]?(/p/libpseudo.so)?",
                0..6,
            )
        ) {
            let current: Environment =
                pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let conf = Path::new("/conf");
            let once = clean(&current, conf);
            prop_assert_eq!(clean(&once, conf), once);
        }
    }
}
