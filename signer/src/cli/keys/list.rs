//! `keys list`: what is known without opening a token.

use super::{
    Context,
    certificate_info::{self, CertificateInfo},
};
use crate::{
    config::RoleSettings,
    error::Error,
    key::{KeyError, dev},
    policy::{DevPolicy, Mode, Policy, Refusal, ReleasePolicy},
    request::{Identity, Role},
};
use serde::Serialize;
use std::time::SystemTime;

/// One role's key.
#[derive(Debug, Serialize)]
struct Row {
    /// The role.
    role: Role,
    /// Dev or release.
    mode: Mode,
    /// Type and size of the key that the policy asks for, such as `rsa2048`.
    key_type: String,
    /// Signature algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    algorithm: String,
    /// `key-name-hint` in FITs.
    key_name_hint: String,
    /// The dev directory, or the release token's name in the host settings; null without a key.
    token: Option<String>,
    /// PKCS#11 URI of the release key.
    uri: Option<String>,
    /// Fingerprints: the dev key's own, or all that are pinned for release.
    fingerprints: Vec<String>,
    /// The key's certificate.
    certificate: Option<CertificateInfo>,
    /// Since when there is the key, RFC 3339: when a dev key was made, or from when on a release key's
    /// certificate is valid; null if nothing tells.
    since: Option<String>,
    /// Whole days from then until now.
    age_days: Option<u64>,
    /// `ready`; `absent`: a dev key is made on first use, a release key is not in the policy;
    /// `unpinned`: the policy pins no fingerprint yet.
    state: &'static str,
}

impl Row {
    fn new(role: Role, mode: Mode, settings: &RoleSettings) -> Self {
        Self {
            role,
            mode,
            key_type: settings.key_type.to_string(),
            algorithm: settings.algorithm().to_string(),
            key_name_hint: Identity::hint(mode, role),
            token: None,
            uri: None,
            fingerprints: Vec::new(),
            certificate: None,
            since: None,
            age_days: None,
            state: "absent",
        }
    }

    fn with_age(self, since: Option<SystemTime>) -> Self {
        const DAY_SECONDS: u64 = 24 * 60 * 60;
        let day = |time| der::DateTime::from_system_time(time).ok().map(|time| time.to_string());
        let age = since.and_then(|time| time.elapsed().ok());
        Self { since: since.and_then(day), age_days: age.map(|age| age.as_secs() / DAY_SECONDS), ..self }
    }
}

/// Every role's key, in the order of roles.
#[derive(Debug, Serialize)]
struct List {
    /// The keys.
    keys: Vec<Row>,
}

pub(super) fn run(context: &Context<'_>) -> Result<(), Error> {
    let row = |role| match context.policy() {
        Policy::Off => Err(Refusal::Off.into()),
        Policy::Dev(policy) => dev_row(context, policy, role),
        Policy::Release(policy) => release_row(context, policy, role),
    };
    let list = List { keys: Role::ALL.into_iter().map(row).collect::<Result<_, _>>()? };
    context.output.result(&list, || list.keys.iter().map(human).collect())
}

fn dev_row(context: &Context<'_>, policy: &DevPolicy, role: Role) -> Result<Row, Error> {
    let row = Row::new(role, Mode::Dev, policy.role(role));
    let settings = context.dev_settings(policy)?;
    match dev::trusted(&settings, role) {
        Ok(key) => Ok(Row {
            token: Some(settings.directory.display().to_string()),
            fingerprints: vec![key.public_key.fingerprint()],
            certificate: key.certificate.as_deref().and_then(CertificateInfo::of),
            state: "ready",
            ..row
        }
        .with_age(dev::made_at(&settings, role)?)),
        Err(Error::Key(KeyError::NoDevKey { .. })) => Ok(row),
        Err(error) => Err(error),
    }
}

fn release_row(context: &Context<'_>, policy: &ReleasePolicy, role: Role) -> Result<Row, Error> {
    let row = Row::new(role, Mode::Release, policy.role(role));
    let Ok(key) = policy.key(role) else { return Ok(row) };
    let certificates = context.release_certificates(role, key)?;
    Ok(Row {
        token: Some(key.token.clone()),
        uri: Some(key.uri.clone()),
        fingerprints: key.pins.iter().map(ToString::to_string).collect(),
        certificate: certificates.as_ref().and_then(|c| CertificateInfo::of(&c.certificate)),
        state: if key.pins.is_empty() { "unpinned" } else { "ready" },
        ..row
    }
    .with_age(certificates.and_then(|c| certificate_info::begins(&c.certificate))))
}

fn human(row: &Row) -> String {
    let state = match (row.state, row.mode) {
        ("absent", Mode::Dev) => "not made yet: made on first use",
        ("absent", _) => "no release key in the policy",
        ("unpinned", _) => "not pinned yet: `hsmsign keys pin` prints the lines",
        (state, _) => state,
    };
    let mut text = format!("{:<10} {} {}: {state}\n", row.role, row.mode, row.algorithm);
    let mut add = |name: &str, value: &str| text.push_str(&format!("  {name:<12} {value}\n"));
    if row.state != "absent" {
        add("key type", &row.key_type);
    }
    row.token.iter().for_each(|t| add("token", t));
    row.uri.iter().for_each(|u| add("uri", u));
    row.fingerprints.iter().for_each(|f| add("fingerprint", f));
    row.certificate.iter().for_each(|c| add("certificate", &c.to_string()));
    if let (Some(since), Some(days)) = (&row.since, row.age_days) {
        let day = since.split('T').next().unwrap_or_default();
        add("age", &format!("{days} days, since {day}"));
    }
    text
}
