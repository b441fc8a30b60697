//! Release keys: from the policy and the host settings to what opens a token.

use super::settings::PolicyFile;
use crate::{
    config::{HostConfig, ReleaseKey, Step},
    crypto::Fingerprint,
    error::Error,
    io::FileSource,
    key::{certificate, release::ReleaseAccess},
    policy::{Certificates, Mode, Refusal, ReleasePolicy, TrustedKey},
    request::Role,
};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// What it takes to open `role`'s release key.
///
/// # Errors
///
/// [`Refusal::NoReleaseKey`]; [`Error::Config`] for a token that the host settings do not know;
/// a certificate that cannot be read.
pub(super) fn access<'p>(
    policy: &'p ReleasePolicy,
    role: Role,
    file: &PolicyFile,
    host: &HostConfig,
) -> Result<ReleaseAccess<'p>, Error> {
    let key = policy.key(role)?;
    let token = file.host_token(role, key, host)?;
    let certificates = certificates(role, key, file)?;
    Ok(ReleaseAccess { policy, role, key: key.clone(), host: token.clone(), certificates })
}

/// The key that a release verification for `role` accepts: the one in the policy's certificate, which
/// must be pinned.
pub(super) fn trusted(role: Role, file: &PolicyFile) -> Result<Vec<TrustedKey>, Error> {
    let release = file.config.release.as_ref().ok_or(Refusal::NoReleaseSection)?;
    let key = release.keys.get(&role).ok_or(Refusal::NoReleaseKey(role))?;
    let path: [Step; 3] = ["release".into(), "keys".into(), role.name().into()];
    let Some(Certificates { certificate, chain }) = certificates(role, key, file)? else {
        return Err(file.fault(
            &path,
            format!("role `{role}`: to verify with the release key, the policy needs its certificate"),
            format!("write `certificate:` there, or name a public key with `--trust FILE` (`hsmsign --mode release keys public --role {role}` writes one)"),
        ));
    };
    let public_key = certificate::public_key(&certificate).map_err(|reason| {
        file.fault(&path, format!("role `{role}`: the certificate is malformed: {reason}"), String::new())
    })?;
    let fingerprint = Fingerprint::of(&public_key);
    if !key.pins.contains(&fingerprint) {
        return Err(Refusal::NotPinned { role, fingerprint }.into());
    }
    let origin = format!("release key of role {role}");
    let mode = Some(Mode::Release);
    Ok(vec![TrustedKey { public_key, certificate: Some(certificate), chain, mode, origin }])
}

/// What the policy's certificate files hold, for every role that has a release key.
///
/// # Errors
///
/// A certificate that cannot be read.
pub(super) fn all_certificates(
    policy: &ReleasePolicy,
    file: &PolicyFile,
) -> Result<BTreeMap<Role, Certificates>, Error> {
    let of_role = |role: Role| {
        let key = policy.key(role).ok()?;
        certificates(role, key, file).map(|found| Some((role, found?))).transpose()
    };
    Role::ALL.into_iter().filter_map(of_role).collect()
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Reads the certificate files that the policy names.
pub(super) fn certificates(
    role: Role,
    key: &ReleaseKey,
    file: &PolicyFile,
) -> Result<Option<Certificates>, Error> {
    let read = |path: &Path, step: Step| -> Result<Vec<Vec<u8>>, Error> {
        let path = file.relative(path);
        let bytes = FileSource::read_small(&path)?;
        let some = |all: Vec<_>| if all.is_empty() { Err("it is empty".into()) } else { Ok(all) };
        certificate::read_all(&bytes).and_then(some).map_err(|reason| {
            let steps: [Step; 4] = ["release".into(), "keys".into(), role.name().into(), step];
            let message = format!("role `{role}`: `{}` is not a certificate: {reason}", path.display());
            file.fault(&steps, message, "name a PEM or DER certificate".into())
        })
    };
    let Some(path) = &key.certificate else { return Ok(None) };
    let mut all = read(path, "certificate".into())?.into_iter();
    let Some(certificate) = all.next() else { return Ok(None) };
    // A PEM file may carry its intermediates behind the certificate.
    let mut chain: Vec<Vec<u8>> = all.collect();
    for path in &key.chain {
        chain.extend(read(path, "chain".into())?);
    }
    Ok(Some(Certificates { certificate, chain }))
}
