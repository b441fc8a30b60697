//! A role's key at the other end of the agent's socket.

use super::{
    AgentError, Statement,
    connection::{Broken, Connection},
    protocol::{self, Ask, KeyReply, Reply, SignRequest, Status},
};
use crate::{
    audit::Head,
    crypto::Signature,
    error::Error,
    policy::{Authorized, Certificates, Exception, KeyFacts, Release, ReleasePolicy, TokenFacts},
    request::{Answer, Identity, Request},
    vocabulary::{Mode, Role},
};
use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Where an audit log ends, for whoever shares it.
pub type LastHead = Arc<Mutex<Option<Head>>>;

const TOOL: &str = concat!("hsmsign ", env!("CARGO_PKG_VERSION"));

/// How long an answer may take that needs no token.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that an agent may ask for a signature's time.
const MAX_SIGN_SECONDS: u64 = 3600;

/// A connection to the agent, greeted.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    connection: Connection,
    /// The agent's own limit for a signature.
    sign_time: Duration,
}

impl AgentSocket {
    /// Connects, and makes sure that both sides mean the same policy.
    ///
    /// # Errors
    ///
    /// [`AgentError`]; a [`Cause::Policy`](protocol::Cause::Policy) problem names each difference.
    pub fn connect(path: &Path, policy: Option<Statement>) -> Result<Self, AgentError> {
        let unreachable = |source| AgentError::Unreachable { socket: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        let connection = Connection::new(stream);
        let mut socket = Self { path: path.to_owned(), connection, sign_time: PATIENCE };
        let hello = Ask::Hello { protocol: protocol::VERSION, tool: TOOL.into(), policy };
        match socket.ask(&hello, PATIENCE)? {
            Reply::Hello { protocol: protocol::VERSION, sign_seconds, .. } => {
                socket.sign_time = Duration::from_secs(sign_seconds.min(MAX_SIGN_SECONDS));
                Ok(socket)
            }
            Reply::Hello { protocol, tool, .. } => Err(socket.protocol(format!(
                "{tool} speaks version {protocol}, and this is version {}",
                protocol::VERSION
            ))),
            other => Err(socket.unexpected(&other)),
        }
    }

    /// How the agent is.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    pub fn status(&self) -> Result<Status, AgentError> {
        match self.ask(&Ask::Status, PATIENCE)? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    fn key(&self, role: Role) -> Result<KeyReply, AgentError> {
        match self.ask(&Ask::Key { role }, PATIENCE)? {
            Reply::Key(key) if key.role == role => Ok(*key),
            other => Err(self.unexpected(&other)),
        }
    }

    fn sign(&self, number: u64, request: &Request) -> Result<(Signature, Head), AgentError> {
        let ask = Ask::Sign(Box::new(SignRequest::new(number, request)));
        // Longer than the agent's own limit, so that the agent can say what it waits for.
        match self.ask(&ask, self.sign_time + PATIENCE)? {
            Reply::Signature { number: replied, signature, head } if replied == number => {
                let signature = protocol::signature(&signature).map_err(|reason| self.protocol(reason))?;
                Ok((signature, head))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&self, ask: &Ask, patience: Duration) -> Result<Reply, AgentError> {
        let broken = |what, error| match error {
            Broken::Closed => self.failed(what, io::ErrorKind::UnexpectedEof.into()),
            Broken::Io(source) => self.failed(what, source),
            Broken::Malformed(reason) => self.protocol(reason),
        };
        // An agent that turns a client away says why and closes; what it said is still there to be read.
        let sent = self.connection.send(ask);
        match (self.connection.receive(patience), sent) {
            (Ok(Reply::Error(problem)), _) => Err(AgentError::Problem { socket: self.path.clone(), problem }),
            (_, Err(error)) => Err(broken("sending to it", error)),
            (Ok(reply), Ok(())) => Ok(reply),
            (Err(error), Ok(())) => Err(broken("waiting for its answer", error)),
        }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> AgentError {
        AgentError::Connection { socket: self.path.clone(), what, source }
    }

    fn protocol(&self, reason: String) -> AgentError {
        AgentError::Protocol { socket: self.path.clone(), reason }
    }

    fn unexpected(&self, reply: &Reply) -> AgentError {
        let kind = match reply {
            Reply::Hello { .. } => "a greeting",
            Reply::Key(_) => "a key",
            Reply::Signature { .. } => "a signature",
            Reply::Status(_) => "its status",
            Reply::Error(_) => "an error",
        };
        self.protocol(format!("{kind} was not asked for"))
    }
}

/// What it takes to use a role's release key in an agent.
#[derive(Clone, Debug)]
pub struct AgentAccess<'p> {
    /// The agent's socket.
    pub socket: PathBuf,
    /// Decides whether the key may sign.
    pub policy: &'p ReleasePolicy,
    /// The same for the agent, to compare with its own.
    pub statement: Statement,
    /// For whom.
    pub role: Role,
    /// What the policy's certificate files hold for the role.
    pub certificates: Option<Certificates>,
}

impl AgentAccess<'_> {
    fn connect(&self) -> Result<AgentSocket, AgentError> {
        AgentSocket::connect(&self.socket, Some(self.statement.clone()))
    }

    /// What the agent tells of the key, to be judged.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    pub fn facts(&self) -> Result<(TokenFacts, KeyFacts), AgentError> {
        let socket = self.connect()?;
        socket.key(self.role)?.facts().map_err(|reason| socket.protocol(reason))
    }
}

/// A role's release key that an agent holds: judged by this side's policy, each signature checked here.
#[derive(Debug)]
pub struct AgentKey {
    socket: Mutex<AgentSocket>,
    statement: Statement,
    authorized: Authorized<Release>,
    identity: Identity,
    next: AtomicU64,
    head: LastHead,
}

impl AgentKey {
    /// Asks the agent for the role's key, and judges it by the policy as if its token were here.
    ///
    /// `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the policy says no to the key; [`Error::Agent`] otherwise.
    pub fn open(access: AgentAccess<'_>, now: i64) -> Result<Self, Error> {
        let AgentAccess { policy, role, .. } = access;
        policy.permit_signing(role)?;
        let socket = access.connect()?;
        let (token, key) = socket.key(role)?.facts().map_err(|reason| socket.protocol(reason))?;
        let authorized = policy.authorize(role, &token, &key, access.certificates.as_ref(), now)?;
        let (certificate, chain) =
            access.certificates.map_or((None, Vec::new()), |c| (Some(c.certificate), c.chain));
        let identity = Identity {
            role,
            mode: Mode::Release,
            algorithm: authorized.algorithm(),
            key_name_hint: Identity::hint(Mode::Release, role),
            public_key: key.public_key,
            certificate,
            chain,
            token_label: token.label,
            token_serial: token.serial,
            rehearsal: policy.is_rehearsal(),
        };
        let (socket, next) = (Mutex::new(socket), AtomicU64::new(1));
        Ok(Self {
            socket,
            statement: access.statement,
            authorized,
            identity,
            next,
            head: LastHead::default(),
        })
    }

    /// Where the agent's audit log ends, as it tells, after the last signature that this key made; none before
    /// the first.
    #[must_use]
    pub fn head(&self) -> LastHead {
        Arc::clone(&self.head)
    }

    /// What the policy lets pass by name: to be said on every run.
    #[must_use]
    pub fn exceptions(&self) -> &[Exception] {
        self.authorized.exceptions()
    }
}

impl Answer for AgentKey {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn answer(&self, request: &Request) -> Result<Signature, Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing was asked on it yet, so nothing is asked twice. Hashing a large image may have outlasted an
        // agent that was started anew, or its patience with a silent client.
        if socket.connection.is_gone() {
            *socket = AgentSocket::connect(&socket.path, Some(self.statement.clone()))?;
        }
        let (signature, head) = socket.sign(self.next.fetch_add(1, Ordering::Relaxed), request)?;
        let checked = self.identity.public_key.verify(request.algorithm, &request.digest, &signature);
        checked
            .map_err(|e| AgentError::BadSignature { socket: socket.path.clone(), reason: e.to_string() })?;
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(signature)
    }
}
