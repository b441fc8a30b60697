//! `agent`: holds the release tokens, or asks one that does.

use super::{
    Context, Output,
    options::Global,
    release::{self, all_certificates},
    settings::{Given, Settings, Surroundings},
};
use crate::{
    agent::{
        AgentError, AgentSocket, Statement,
        protocol::Status,
        server::{self, AllowedUsers, Charge, ReleaseVault, VaultAccess},
    },
    config::{AgentSettings, ConfigError},
    error::Error,
    policy::{Mode, Policy, Refusal, ReleasePolicy},
    request::Role,
};
use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Arguments of `agent`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign agent --socket /run/hsmsign/agent.sock\n  HSMSIGN_AGENT=/run/hsmsign/agent.sock hsmsign --mode release sign fit fitImage -o fitImage.signed\n  hsmsign agent --status --json",
    after_long_help = "Opens every key of the policy's release section, checks it, and answers signing requests until it is told to \
                       end (SIGTERM, SIGINT, or a limit in the host settings). The mode is `release` here.\n\n\
                       Example:\n  hsmsign agent --socket /run/hsmsign/agent.sock\n  HSMSIGN_AGENT=/run/hsmsign/agent.sock hsmsign --mode release sign fit fitImage -o fitImage.signed\n  hsmsign agent --status --json"
)]
pub struct AgentArgs {
    /// Ask a running agent how it is; exit code 5 if none answers, or one of its tokens is in trouble
    #[arg(long)]
    status: bool,
    /// Where it listens, or is looked for [default: --agent, host settings, hsmsign/agent.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve these roles alone [default: all that the policy has a key for]
    #[arg(long, conflicts_with = "status")]
    role: Vec<Role>,
}

/// Requests that may wait per token unless the host settings say otherwise: more than clients can connect.
const QUEUE_LEN: u32 = 1024;
/// Requests signed at a time per token, if it allows as many sessions.
const SESSIONS: u32 = 8;
/// How long a signature may take: smart cards need seconds for one, and a build asks for many at once.
const SIGN_SECONDS: u32 = 120;

pub(super) fn run(mut global: Global, given: &Given, args: &AgentArgs, output: &Output) -> Result<(), Error> {
    match *global.mode.get_or_insert(Mode::Release) {
        Mode::Release => {}
        mode @ (Mode::Off | Mode::Dev) => {
            return Err(Error::Usage {
                message: format!("an agent holds release keys, and the mode is `{mode}`"),
                hint: Some("add `--mode release`; dev mode needs no agent".into()),
            });
        }
    }
    if args.status {
        let settings = Settings::resolve(&global, given, &Surroundings::of_process())?;
        return status(&socket(&settings, args, &settings.load_host()?.agent)?.0, output);
    }
    let context = Context::new(&global, given, output)?;
    match context.policy() {
        Policy::Release(policy) => serve(&context, policy, args),
        Policy::Off | Policy::Dev(_) => Err(Error::Internal("an agent outside release mode".into())),
    }
}

/// The socket, and whether it is where nobody said that it should be.
fn socket(settings: &Settings, args: &AgentArgs, host: &AgentSettings) -> Result<(PathBuf, bool), Error> {
    let named = args.socket.clone().or_else(|| Some(settings.agent.as_ref()?.value.clone()));
    if let Some(named) = named.or_else(|| host.socket.clone()) {
        return Ok((named, false));
    }
    let usual = settings.usual_agent.clone().ok_or_else(|| ConfigError::Setup {
        message: "no place for the agent's socket: XDG_RUNTIME_DIR is not set".into(),
        hint: Some("name one with `--socket`, or `agent: { socket: PATH }` in the host settings".into()),
    })?;
    Ok((usual, true))
}

fn serve(context: &Context<'_>, policy: &ReleasePolicy, args: &AgentArgs) -> Result<(), Error> {
    let settings = context.settings();
    let host = settings.load_host()?;
    let (socket, usual) = socket(settings, args, &host.agent)?;
    let server_settings = server_settings(&host.agent, socket)?;
    let mut accesses = BTreeMap::new();
    for role in Role::ALL.into_iter().filter(|r| args.role.is_empty() || args.role.contains(r)) {
        // A product need not have every role, but what was asked for by name must be there.
        if args.role.is_empty() && policy.key(role).is_err() {
            continue;
        }
        policy.permit_signing(role)?;
        let access = release::access(policy, role, context.policy_file(), &host)?;
        let access = VaultAccess { key: access.key, host: access.host, certificates: access.certificates };
        accesses.insert(role, access);
    }
    if accesses.is_empty() {
        return Err(Refusal::NoReleaseKey(Role::Update).into());
    }
    let statement =
        Statement::new(context.product(), policy, &all_certificates(policy, context.policy_file())?);
    if usual {
        make_directory(&server_settings.socket)?;
    }
    let (vault, roles) = ReleaseVault::open(policy.clone(), accesses, context.make_release_tokens()?)?;
    for (role, served) in &roles {
        for exception in &served.exceptions {
            context.output.warn(exception);
        }
        let token = &served.key.token;
        context.output.note(format_args!(
            "role {role}: key {} in token `{}` ({})",
            served.fingerprint, token.label, token.serial
        ));
    }
    let digest = context.policy_file().digest();
    let charge = Charge { statement, digest, policy: policy.clone(), roles, vault: Arc::new(vault) };
    if !server::run(server_settings, charge)? {
        context.output.warn(
            "a request still waits for a token's module or the audit log, so the module was not finalized",
        );
    }
    Ok(())
}

fn server_settings(host: &AgentSettings, socket: PathBuf) -> Result<server::Settings, Error> {
    let own = rustix::process::geteuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let users = AllowedUsers::new(own, &host.users, &passwd).map_err(|name| ConfigError::Setup {
        message: format!("host settings: `agent.users`: there is no user `{name}`"),
        hint: Some("name users of /etc/passwd, or give their numbers".into()),
    })?;
    let number =
        |given: Option<u32>, usual: u32| usize::try_from(given.unwrap_or(usual)).unwrap_or(usize::MAX);
    let minutes = |given: u32| Duration::from_secs(u64::from(given) * 60);
    Ok(server::Settings {
        socket,
        users,
        queue_len: number(host.queue_len, QUEUE_LEN).min(64 * 1024),
        sessions: number(host.sessions, SESSIONS).min(64),
        signatures_per_minute: host.signatures_per_minute,
        signatures: host.signatures.clone(),
        sign_time: Duration::from_secs(u64::from(host.sign_seconds.unwrap_or(SIGN_SECONDS))),
        idle: host.idle_minutes.map(minutes),
        lifetime: host.lifetime_minutes.map(minutes),
    })
}

/// The usual socket's directory, which a runtime directory does not have from the beginning.
fn make_directory(socket: &Path) -> Result<(), Error> {
    let Some(directory) = socket.parent() else { return Ok(()) };
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::file("create", directory)(e)),
        _ => Ok(()),
    }
}

fn status(socket: &Path, output: &Output) -> Result<(), Error> {
    let status = AgentSocket::connect(socket, None)?.status()?;
    output.result(&status, || human(socket, &status))?;
    let trouble = status.tokens.into_iter().find_map(|token| Some((token.name, token.trouble?)));
    match trouble {
        None => Ok(()),
        Some((token, trouble)) => {
            Err(AgentError::Trouble { socket: socket.to_owned(), token, trouble }.into())
        }
    }
}

fn human(socket: &Path, status: &Status) -> String {
    let rehearsal = if status.rehearsal { ", REHEARSAL" } else { "" };
    let mut text = format!(
        "{} for {} at {}, process {}, up {} s{rehearsal}\n",
        status.tool,
        status.product,
        socket.display(),
        status.pid,
        status.uptime_seconds
    );
    if let Some(left) = status.seconds_left {
        text.push_str(&format!("ends in {left} s\n"));
    }
    for role in &status.roles {
        text.push_str(&format!(
            "role {}: {} in token {}, {} signatures",
            role.role, role.fingerprint, role.token, role.signatures
        ));
        if let Some(left) = role.signatures_left {
            text.push_str(&format!(", {left} left"));
        }
        text.push('\n');
    }
    for token in &status.tokens {
        let trouble = token.trouble.as_deref().unwrap_or("in order");
        text.push_str(&format!(
            "token {}: {} ({}), {} waiting, {trouble}\n",
            token.name, token.label, token.serial, token.waiting
        ));
    }
    text
}
