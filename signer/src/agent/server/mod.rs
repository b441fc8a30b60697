//! The agent: it holds logged-in tokens, and answers what the policy allows.
//!
//! A thread accepts; each connection has a thread, which reads, checks and waits; each session with a token has a
//! thread, which signs. Every wait has a limit.

mod conversation;
mod crowd;
mod job;
mod limits;
mod listener;
mod queue;
mod users;
mod vault;

pub use users::AllowedUsers;
pub use vault::{ReleaseVault, ServedRole, Vault, VaultAccess};

use super::{
    AgentError, Statement,
    connection::Connection,
    protocol::{Cause, Problem, RoleStatus, Status, TokenReply, TokenStatus},
};
use crate::{audit::Requester, policy::ReleasePolicy, vocabulary::Role};
use crowd::{Answering, Crowd};
use limits::Meter;
use listener::Listener;
use queue::Queue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) const TOOL: &str = concat!("hsmsign ", env!("CARGO_PKG_VERSION"));

/// How long signatures that were asked for may still take once the agent is told to end.
const ENDING_TIME: Duration = Duration::from_secs(20);
/// How long clients may then take to read their last answers.
const LEAVING_TIME: Duration = Duration::from_secs(2);

/// What an agent allows, and where it listens.
#[derive(Debug)]
pub struct Settings {
    /// Its socket, unless systemd hands one over.
    pub socket: PathBuf,
    /// Who may ask.
    pub users: AllowedUsers,
    /// Requests that may wait per token.
    pub queue_len: usize,
    /// Requests that are signed at a time per token, if it allows as many sessions.
    pub sessions: usize,
    /// Signatures per minute and token.
    pub signatures_per_minute: Option<u32>,
    /// Signatures per role until it ends.
    pub signatures: BTreeMap<Role, u64>,
    /// How long a signature may take, the time in line included.
    pub sign_time: Duration,
    /// Time without a request after which it ends.
    pub idle: Option<Duration>,
    /// Time after which it ends.
    pub lifetime: Option<Duration>,
}

/// The keys that an agent serves, and the policy that they were judged by.
pub struct Charge {
    /// What the policy demands, to be compared with clients' policies.
    pub statement: Statement,
    /// SHA-256 of the policy file's bytes, `sha256:…`.
    pub digest: String,
    /// Decides over requests.
    pub policy: ReleasePolicy,
    /// Every role's key.
    pub roles: BTreeMap<Role, ServedRole>,
    /// What holds them.
    pub vault: Arc<dyn Vault>,
}

fn not_listening(socket: &Path) -> impl Fn(io::Error) -> AgentError {
    let socket = socket.to_owned();
    move |e| AgentError::Listen { socket: socket.clone(), reason: e.to_string(), hint: String::new() }
}

struct ServedToken {
    told: TokenReply,
    queue: Queue,
}

/// Everything connections share.
struct Agent {
    statement: Statement,
    digest: String,
    policy: ReleasePolicy,
    users: AllowedUsers,
    meter: Meter,
    sign_time: Duration,
    roles: BTreeMap<Role, ServedRole>,
    tokens: BTreeMap<String, ServedToken>,
    begun: Instant,
    lifetime: Option<Duration>,
    ending: AtomicBool,
    answering: Answering,
}

impl Agent {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    fn status(&self) -> Status {
        let role = |(role, served): (&Role, &ServedRole)| {
            let (signatures, signatures_left) = self.meter.count(*role);
            RoleStatus {
                role: *role,
                fingerprint: served.fingerprint.to_string(),
                algorithm: self.policy.role(*role).algorithm().to_string(),
                token: served.token.clone(),
                signatures,
                signatures_left,
            }
        };
        let token = |(name, served): (&String, &ServedToken)| TokenStatus {
            name: name.clone(),
            label: served.told.label.clone(),
            serial: served.told.serial.clone(),
            waiting: served.queue.waiting(),
            trouble: served.queue.trouble(),
        };
        let uptime = self.begun.elapsed();
        Status {
            tool: TOOL.into(),
            pid: std::process::id(),
            product: self.statement.product.clone(),
            policy: self.digest.clone(),
            rehearsal: self.statement.rehearsal,
            uptime_seconds: uptime.as_secs(),
            seconds_left: self.lifetime.map(|lifetime| lifetime.saturating_sub(uptime).as_secs()),
            roles: self.roles.iter().map(role).collect(),
            tokens: self.tokens.iter().map(token).collect(),
        }
    }
}

/// Serves until it is told to end by SIGTERM or SIGINT, or its time is over. What was asked for until then is
/// still signed, within a limit.
///
/// Returns whether every call into the tokens' modules has returned, so that they can be finalized.
///
/// # Errors
///
/// [`AgentError::Listen`] if the socket cannot be made.
pub fn run(settings: Settings, charge: Charge) -> Result<bool, AgentError> {
    let signals = signals().map_err(not_listening(&settings.socket))?;
    run_until(settings, charge, &signals)
}

/// The same, until bytes arrive at the other end of `stop`: for programs that have their signals for themselves.
///
/// # Errors
///
/// As [`run`].
pub fn run_until(settings: Settings, charge: Charge, stop: &UnixStream) -> Result<bool, AgentError> {
    let listen = not_listening(&settings.socket);
    stop.set_nonblocking(true).map_err(&listen)?;
    let own = rustix::process::geteuid().as_raw();
    let listener = match Listener::inherited(&settings.socket)? {
        Some(listener) => listener,
        None => Listener::bind(&settings.socket, settings.users.has_others(own))?,
    };
    listener.socket.set_nonblocking(true).map_err(&listen)?;
    let begun = Instant::now();
    let tokens = charge.roles.values().map(|role| (role.token.clone(), role.key.token.clone()));
    let serve = |(name, told): (String, TokenReply)| {
        let queue = Queue::new(&name, settings.queue_len, settings.sessions, Arc::clone(&charge.vault));
        (name, ServedToken { told, queue })
    };
    let agent = Arc::new(Agent {
        // One queue per token, though several roles may have keys in it.
        tokens: tokens.collect::<BTreeMap<_, _>>().into_iter().map(serve).collect(),
        statement: charge.statement,
        digest: charge.digest,
        policy: charge.policy,
        users: settings.users,
        meter: Meter::new(settings.signatures, settings.signatures_per_minute, begun),
        sign_time: settings.sign_time,
        roles: charge.roles,
        begun,
        lifetime: settings.lifetime,
        ending: AtomicBool::new(false),
        answering: Answering::default(),
    });
    drop(charge.vault);
    let crowd = Arc::new(Crowd::default());
    // Outside systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tell(format_args!("ready at `{}`", settings.socket.display()));
    let reason = accept(&agent, &crowd, &listener, stop, settings.idle);
    tell(format_args!("ending: {reason}"));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // Whoever comes now is not left waiting.
    drop(listener);
    Ok(end(&agent, &crowd))
}

/// Takes connections until there is a reason to end, which it returns.
fn accept(
    agent: &Arc<Agent>,
    crowd: &Arc<Crowd>,
    listener: &Listener,
    mut stop: &UnixStream,
    idle: Option<Duration>,
) -> String {
    let time = limits::Time { lifetime: agent.lifetime, idle };
    loop {
        if let Some(over) = time.over(agent.begun, agent.meter.last(), Instant::now()) {
            return over.into();
        }
        let mut ends = [PollFd::new(&listener.socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        let tick = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut ends, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return format!("the socket cannot be watched: {e}"),
        }
        // Also if nobody is left who could say so.
        if stop.read(&mut [0; 8]).is_ok() {
            return "it was told to".into();
        }
        loop {
            match listener.socket.accept() {
                Ok((stream, _)) => greet(agent, crowd, stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Out of descriptors, or a client that left already: others go on.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(50));
                    break;
                }
            }
        }
    }
}

/// Serves a connection in a thread of its own, if there is room for it.
fn greet(agent: &Arc<Agent>, crowd: &Arc<Crowd>, stream: UnixStream) {
    let Some((uid, pid)) = users::peer(&stream) else { return };
    if stream.set_nonblocking(false).is_err() {
        return;
    }
    let Some(place) = Crowd::enter(crowd, &stream) else {
        let problem = format!("{} clients are connected, and there is no room for more", crowd::MAX_LEN);
        let problem = Problem::new(Cause::Busy, problem, "try again");
        return conversation::turn_away(&Connection::new(stream), problem);
    };
    let agent = Arc::clone(agent);
    let serve = move || {
        conversation::serve(&agent, &Connection::new(stream), &Requester::client(uid, pid));
        // Given back before the place, so that an agent whose places are free holds nothing any more.
        drop(agent);
        drop(place);
    };
    // A thread that cannot be had closes the connection, which the client reports.
    let _ = std::thread::Builder::new().name(format!("client {pid}")).spawn(serve);
}

/// Lets the tokens finish what is in line, and clients go. Returns whether the modules are at rest.
fn end(agent: &Agent, crowd: &Crowd) -> bool {
    agent.ending.store(true, Ordering::Release);
    for token in agent.tokens.values() {
        token.queue.close();
    }
    let deadline = Instant::now() + ENDING_TIME;
    let at_rest = wait_until(deadline, || agent.tokens.values().all(|token| token.queue.is_idle()));
    let soon = Instant::now() + LEAVING_TIME;
    wait_until(soon, || agent.answering.is_nobody());
    crowd.send_away();
    wait_until(soon, || crowd.is_empty());
    at_rest
}

fn wait_until(deadline: Instant, done: impl Fn() -> bool) -> bool {
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// The end of a pipe on which SIGTERM and SIGINT arrive as bytes.
fn signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, write.try_clone()?)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, write)?;
    Ok(read)
}

/// A line for whoever watches the agent. A closed stderr is no reason to end.
fn tell(line: std::fmt::Arguments<'_>) {
    let text: String = line.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "agent: {text}");
}

/// Where an agent listens, and is looked for, when nothing else is said: `agent.sock` in hsmsign's directory of
/// the user's runtime directory, or of `/run` for root.
#[must_use]
pub fn usual_socket(runtime_directory: Option<&Path>) -> Option<PathBuf> {
    let root = rustix::process::geteuid().is_root().then_some(Path::new("/run"));
    Some(runtime_directory.or(root)?.join("hsmsign/agent.sock"))
}
