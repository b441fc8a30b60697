//! What release mode needs, as far as it can be told without a PIN.

use super::{Diagnosis, PolicyFile, Settings};
use crate::{
    agent::{AgentSocket, Statement},
    audit,
    cli::{
        release::{all_certificates, certificates},
        settings::example_keys,
    },
    config::{HostConfig, HostToken, PinSource, ReleaseKey},
    error::Error,
    key::{certificate, check_module_file, latch::Latches},
    policy::{Refusal, ReleasePolicy},
    request::Role,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

pub(super) fn examine(
    settings: &Settings,
    file: &PolicyFile,
    policy: &ReleasePolicy,
    diagnosis: &mut Diagnosis,
) {
    if policy.is_rehearsal() {
        let detail = "`rehearsal: true`: software tokens pass; do not ship what is signed";
        diagnosis.warn("rehearsal", detail, "remove it where real releases are signed");
    }
    let host = match settings.load_host() {
        Ok(host) => host,
        Err(error) => {
            diagnosis.fail_error("host settings", &error);
            return;
        }
    };
    let named = settings.agent.as_ref().map(|agent| agent.value.as_path());
    match &settings.host_file {
        Some(path) => diagnosis.pass("host settings", format!("`{}` is valid", path.value.display())),
        // An agent that is named holds every key.
        None if named.is_some() => {}
        None => diagnosis.fail(
            "host settings",
            "there are none, so no token can be reached",
            "write /etc/hsmsign/host.yaml or ~/.config/hsmsign/host.yaml; docs/keys-and-modes.md shows how",
        ),
    }
    let with_lists;
    let policy = match example_keys(&host) {
        Ok(known) => {
            if !host.blocklists.is_empty() {
                diagnosis.pass("blocklists", format!("{} public example keys are known", known.len()));
            }
            with_lists = policy.clone().with_examples(known);
            &with_lists
        }
        Err(error) => {
            diagnosis.fail_error("blocklists", &error);
            policy
        }
    };
    let mut seen = BTreeMap::new();
    for role in Role::ALL {
        let subject = format!("role `{role}`");
        match policy.key(role) {
            Ok(key) => {
                let host = if named.is_some() { None } else { Some(&host) };
                examine_key(role, key, file, policy, host, diagnosis);
                for other in key.pins.iter().filter_map(|pin| seen.insert(*pin, role)) {
                    let detail = format!("its key is pinned for role {other} as well");
                    diagnosis.warn(&subject, detail, "give each role a key of its own");
                }
            }
            Err(_) => diagnosis.warn(
                &subject,
                "the policy names no release key",
                &format!("add `release: keys: {role}:` to hsmsign.yaml if the product has such artifacts"),
            ),
        }
    }
    // Two roles may share a token.
    let used: BTreeSet<&str> =
        Role::ALL.into_iter().filter_map(|r| Some(policy.key(r).ok()?.token.as_str())).collect();
    let mut agents: BTreeSet<&Path> = named.into_iter().collect();
    if named.is_none() {
        let used = |name: &String| used.contains(name.as_str());
        for (name, token) in host.tokens.iter().filter(|(name, _)| used(name)) {
            agents.extend(token.agent.as_deref());
            // What an agent holds needs no module here, unless this is the agent's own host.
            if token.agent.is_none() || token.module.is_some() {
                examine_token(name, token, diagnosis);
            }
        }
    }
    for socket in agents {
        examine_agent(socket, file, policy, diagnosis);
    }
    examine_state(settings, &host, diagnosis);
    diagnosis.pass("next", "`hsmsign --mode release keys check` opens every key");
}

fn examine_key(
    role: Role,
    key: &ReleaseKey,
    file: &PolicyFile,
    policy: &ReleasePolicy,
    host: Option<&HostConfig>,
    diagnosis: &mut Diagnosis,
) {
    let subject = format!("role `{role}`");
    let before = diagnosis.findings.len();
    if let Some(Err(error)) = host.map(|host| file.host_token(role, key, host)) {
        diagnosis.fail_error(&subject, &error);
    }
    if key.pins.is_empty() {
        let remedy =
            format!("hsmsign --mode release keys pin --role {role} prints the lines that pin its key");
        diagnosis.fail(&subject, "no key is pinned", &remedy);
    }
    for refusal in key.pins.iter().filter_map(|pin| policy.refuse_example(role, *pin).err()) {
        diagnosis.fail_error(&subject, &refusal.into());
    }
    if key.accept_imported {
        let detail = "`accept: [imported]`: its key may have been outside the token";
        diagnosis.warn(&subject, detail, "remove it unless this is a backup token");
    }
    match certificates(role, key, file) {
        Ok(Some(found)) => {
            let judged = certificate::public_key(&found.certificate)
                .map_err(|reason| {
                    Error::Refused(Refusal::Certificate {
                        role,
                        which: "the certificate".into(),
                        reason: format!("is malformed: {reason}"),
                        hint: "give the certificate of the pinned key in hsmsign.yaml",
                    })
                })
                .and_then(|key| Ok(policy.judge_certificates(role, &key, &found, now())?));
            if let Err(error) = judged {
                diagnosis.fail_error(&subject, &error);
            }
        }
        Ok(None) if matches!(role, Role::Rootfs | Role::Update) => {
            diagnosis.fail_error(&subject, &Refusal::NoCertificate(role).into());
        }
        Ok(None) => {}
        Err(error) => diagnosis.fail_error(&subject, &error),
    }
    if diagnosis.findings.len() == before {
        diagnosis.pass(&subject, "token, pins and certificate are in order");
    }
}

/// What outlives a run: the audit log, and tokens that refused a PIN.
fn examine_state(settings: &Settings, host: &HostConfig, diagnosis: &mut Diagnosis) {
    match settings.audit_directory(host) {
        Ok(directory) => match audit::look(&directory.value) {
            Ok(None) => {
                let detail = format!(
                    "`{}` is made with the first signature ({})",
                    directory.value.display(),
                    directory.origin
                );
                diagnosis.pass("audit log", detail);
            }
            Ok(Some(head)) => {
                let detail = format!(
                    "`{}` ends with record {} ({})",
                    directory.value.display(),
                    head.sequence,
                    directory.origin
                );
                diagnosis.pass("audit log", detail);
            }
            Err(error) => diagnosis.fail_error("audit log", &error.into()),
        },
        Err(error) => diagnosis.fail_error("audit log", &error),
    }
    let latched =
        settings.latch_directory(host).and_then(|d| Ok((Latches::new(d.value.clone()).latched()?, d)));
    match latched {
        Ok((notes, directory)) if notes.is_empty() => {
            let detail =
                format!("no token is latched in `{}` ({})", directory.value.display(), directory.origin);
            diagnosis.pass("PIN latch", detail);
        }
        Ok((notes, _)) => {
            for note in notes {
                let remedy = format!(
                    "check its PIN source; then hsmsign --mode release keys unlatch --token {}",
                    note.name
                );
                let detail =
                    format!("token `{}` ({}): {}, {}", note.name, note.label, note.reason(), note.time);
                diagnosis.fail("PIN latch", detail, &remedy);
            }
        }
        Err(error) => diagnosis.fail_error("PIN latch", &error),
    }
}

/// Whether the agent answers, and works by the same policy.
fn examine_agent(socket: &Path, file: &PolicyFile, policy: &ReleasePolicy, diagnosis: &mut Diagnosis) {
    let asked = all_certificates(policy, file).and_then(|certificates| {
        let statement = Statement::new(&file.config.product, policy, &certificates);
        Ok(AgentSocket::connect(socket, Some(statement))?.status()?)
    });
    let status = match asked {
        Ok(status) => status,
        Err(error) => {
            diagnosis.fail_error("agent", &error);
            return;
        }
    };
    let detail = format!("{} at `{}` has the same policy", status.tool, socket.display());
    diagnosis.pass("agent", detail);
    for token in status.tokens {
        if let Some(trouble) = token.trouble {
            let remedy = "look after the token where the agent runs";
            diagnosis.fail("agent", format!("its token {}: {trouble}", token.name), remedy);
        }
    }
}

fn examine_token(name: &str, token: &HostToken, diagnosis: &mut Diagnosis) {
    let subject = format!("token {name}");
    match &token.module {
        // The host settings demand a module or an agent.
        None => {}
        Some(path) => match check_module_file(path) {
            Ok(real) => diagnosis.pass(&subject, format!("module `{}`", real.display())),
            Err(reason) => diagnosis.fail(
                &subject,
                format!("module `{}`: {reason}", path.display()),
                "install the token's PKCS#11 module so that only root and you can change it",
            ),
        },
    }
    match pin_problem(&token.pin) {
        None => diagnosis.pass(&subject, format!("PIN from {}", token.pin)),
        Some((detail, remedy)) => diagnosis.fail(&subject, detail, &remedy),
    }
}

/// What keeps the PIN source from being read; the PIN itself is not read.
fn pin_problem(source: &PinSource) -> Option<(String, String)> {
    let file_problem = |path: &Path| match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
        Ok(()) => None,
        Err(e) => Some((
            format!("its PIN file `{}` cannot be read: {e}", path.display()),
            format!("install -m 600 /dev/null {} and write the PIN into it with an editor", path.display()),
        )),
    };
    match source {
        PinSource::File(path) => file_problem(path),
        PinSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => file_problem(&Path::new(&directory).join(name)),
            None => Some((
                format!("its PIN is systemd credential `{name}`, and CREDENTIALS_DIRECTORY is not set"),
                "run under a unit with LoadCredential= or LoadCredentialEncrypted=".into(),
            )),
        },
        PinSource::Prompt if !std::io::stdin().is_terminal() => Some((
            "its PIN is asked for on the terminal, and there is none".into(),
            "run on a terminal, or give another `pin:` source in the host settings".into(),
        )),
        PinSource::Prompt | PinSource::Fd(_) => None,
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
