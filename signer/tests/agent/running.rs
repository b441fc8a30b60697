//! An agent that runs, and its clients.

use super::common::{Outcome, run, token::TestToken};
use hsmsign::{
    agent::{
        AgentAccess, AgentKey, Statement,
        protocol::{self, Ask, Reply},
    },
    config::Config,
    crypto::Signature,
    error::Error,
    policy::{Mode, Policy, ReleasePolicy},
    request::{Answer as _, Format, Request, Role, Subject},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A token with key `k`, pinned for role `fit`.
pub fn token() -> Option<TestToken> {
    let token = TestToken::softhsm()?;
    prepare(&token);
    Some(token)
}

pub fn prepare(token: &TestToken) {
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
}

pub fn sign_arguments(signature: &str) -> [&str; 9] {
    ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", signature]
}

/// A running agent; killed when dropped.
pub struct Agent {
    pub socket: PathBuf,
    child: Child,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts one at socket `s` beside the token, with further lines of host settings, and waits until it is ready.
    pub fn start(token: &TestToken, host: &str) -> Self {
        let socket = token.bench.path("s");
        Self::start_at(token, host, &socket, &[])
    }

    pub fn start_at(token: &TestToken, host: &str, socket: &Path, environment: &[(&str, &str)]) -> Self {
        if !host.is_empty() {
            let all = String::from_utf8(token.bench.read("host.yaml")).unwrap();
            token.bench.write("host.yaml", format!("{all}{host}"));
        }
        let mut command = token.command(&["agent", "--socket", socket.to_str().unwrap()]);
        command.envs(environment.iter().copied());
        Self::run(command, socket)
    }

    pub fn run(mut command: Command, socket: &Path) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut said = heard.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut agent = Self { socket: socket.to_owned(), child, said, listener: Some(listener) };
        let begun = Instant::now();
        while !agent.said().contains("ready at") {
            assert!(agent.child.try_wait().unwrap().is_none(), "it ended: {}", agent.said());
            assert!(begun.elapsed() < PATIENCE, "it is not ready: {}", agent.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote on stderr until now.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// hsmsign in release mode with this agent, and nothing else of the host.
    pub fn client(&self, token: &TestToken, arguments: &[&str]) -> Command {
        let mut command = token.bench.command(&[&["--mode", "release"], arguments].concat());
        command.env("HSMSIGN_AGENT", &self.socket);
        command
    }

    pub fn try_status(&self, token: &TestToken) -> Outcome {
        let socket = self.socket.to_str().unwrap();
        run(&mut token.bench.command(&["--json", "agent", "--status", "--socket", socket]))
    }

    pub fn status(&self, token: &TestToken) -> serde_json::Value {
        serde_json::from_str(&self.try_status(token).exits(0).stdout).unwrap()
    }

    /// The audit log's records of signatures.
    pub fn records(&self, token: &TestToken) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(token.bench.path(".state/hsmsign/audit/log.jsonl")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends it by SIGTERM; it has to end well. Returns all that it said.
    pub fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        };
        self.listener.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of its own, without a process.
pub struct Client(AgentKey);

impl Client {
    pub fn open(token: &TestToken, socket: &Path) -> Result<Self, Error> {
        let (product, policy) = policy(token);
        Self::of(&product, &policy, socket)
    }

    pub fn of(product: &str, policy: &ReleasePolicy, socket: &Path) -> Result<Self, Error> {
        let statement = Statement::new(product, policy, &Default::default());
        let socket = socket.to_owned();
        let access = AgentAccess { socket, policy, statement, role: Role::Fit, certificates: None };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        AgentKey::open(access, i64::try_from(now).unwrap()).map(Self)
    }

    pub fn sign(&self, message: &str) -> Result<Signature, Error> {
        self.0.answer(&request(message))
    }
}

pub fn request(message: &str) -> Request {
    let algorithm = "rsa-pkcs1-v1_5-sha256".parse().unwrap();
    let digest = hsmsign::crypto::HashAlgorithm::Sha256.digest(message.as_bytes());
    let subject = Subject { format: Format::Blob, name: message.into(), identity: digest.to_hex() };
    Request { role: Role::Fit, algorithm, digest, message: None, subject }
}

pub fn policy(token: &TestToken) -> (String, ReleasePolicy) {
    policy_of(&String::from_utf8(token.bench.read("hsmsign.yaml")).unwrap())
}

/// The product and the release policy in `text`.
pub fn policy_of(text: &str) -> (String, ReleasePolicy) {
    let config = Config::parse(text).unwrap();
    let product = config.product.clone();
    match Policy::new(Mode::Release, config).unwrap() {
        Policy::Release(policy) => (product, policy),
        other => panic!("{other:?}"),
    }
}

/// A connection that says whatever a test wants.
pub struct Raw(pub UnixStream);

impl Raw {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn say(&mut self, bytes: &[u8]) {
        // The agent may have hung up already.
        let _ = self.0.write_all(bytes);
    }

    pub fn ask(&mut self, ask: &Ask) -> Reply {
        self.say_ask(ask);
        self.hear()
    }

    pub fn ask_json(&mut self, json: &str) -> Reply {
        self.say(&u32::try_from(json.len()).unwrap().to_be_bytes());
        self.say(json.as_bytes());
        self.hear()
    }

    pub fn hear(&mut self) -> Reply {
        protocol::decode(&self.hear_bytes().unwrap()).unwrap()
    }

    /// What a client asks; `None` if it has gone.
    pub fn hear_ask(&mut self) -> Option<Ask> {
        Some(protocol::decode(&self.hear_bytes()?).unwrap())
    }

    fn hear_bytes(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).ok()?;
        let mut bytes = vec![0; protocol::message_len_bytes(header).unwrap()];
        self.0.read_exact(&mut bytes).unwrap();
        Some(bytes)
    }

    pub fn say_ask(&mut self, ask: &Ask) {
        self.say(&protocol::encode(ask).unwrap());
    }

    pub fn reply(&mut self, reply: &Reply) {
        self.say(&protocol::encode(reply).unwrap());
    }

    /// Says nothing more.
    pub fn hang_up(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Whether the agent hung up, with nothing left to say.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.0.read(&mut [0; 1]), Ok(1))
    }
}
