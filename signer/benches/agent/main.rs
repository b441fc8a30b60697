//! 1,000 RSA-2048 signatures through an agent by 16 clients, against one process that has the token itself.
//!
//! Both check each signature and put it on record; the agent's clients check it once more. Everything lies on
//! tmpfs, so that the disk's sync does not drown the figure. Then the same on the disk, by many clients and by one: records
//! that wait for a sync are written together.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is a benchmark")]

use hsmsign::{
    agent::{AgentAccess, AgentKey, AgentSocket, Statement},
    audit::{Journal, Log},
    config::{Config, HostToken, PinSource},
    key::{
        latch::Latches,
        release::{ReleaseAccess, ReleaseTokens},
    },
    policy::{Mode, Policy, ReleasePolicy},
    request::{Answer, Format, Request, Role, Subject},
};
use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

const SIGNATURES: u32 = 1000;
const CLIENTS: u32 = 16;
const PAIRS: usize = 5;
/// What the ratio of rates should be at least.
const TARGET: f64 = 0.85;
const PIN: &str = "864213";

fn main() {
    // The module reads its configuration from the environment, so each measurement is a process of its own.
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|a| a == "direct") {
        println!("{}", direct(Path::new(&arguments[2])).as_secs_f64());
        return;
    }
    let Some(module) = softhsm().filter(|_| has("pkcs11-tool")) else {
        println!("SKIPPED: agent: needs SoftHSMv2 and pkcs11-tool");
        return;
    };
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    let directory = tempfile::Builder::new().prefix("hsmsign-bench-").tempdir_in(place).unwrap();
    let directory = directory.path();
    set_up(directory, &module);
    let (mut rates, mut directs) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        // Alternating order; the first pair warms up.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = through_agent(directory, CLIENTS);
            (ours, direct_process(directory))
        } else {
            let theirs = direct_process(directory);
            (through_agent(directory, CLIENTS), theirs)
        };
        if pair > 0 {
            rates.push(f64::from(SIGNATURES) / ours.as_secs_f64());
            directs.push(f64::from(SIGNATURES) / theirs.as_secs_f64());
        }
    }
    let ratio = median(rates.iter().zip(&directs).map(|(ours, theirs)| ours / theirs).collect());
    println!(
        "agent: {SIGNATURES} RSA-2048 signatures by {CLIENTS} clients {:.0}/s, one process with the token itself {:.0}/s, \
         ratio {ratio:.2} (target: at least {TARGET})",
        median(rates),
        median(directs)
    );
    if ratio < TARGET {
        println!("agent: BELOW TARGET");
    }
    on_disk(&module);
}

/// What group commit is worth where a sync takes its time, and how many syncs it takes.
fn on_disk(module: &Path) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = directory.path();
    set_up(directory, module);
    let (mut many, mut one) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let rate = |clients| f64::from(SIGNATURES) / through_agent(directory, clients).as_secs_f64();
        let (by_many, by_one) = (rate(CLIENTS), rate(1));
        if pair > 0 {
            many.push(by_many);
            one.push(by_one);
        }
    }
    let syncs = |clients| match syncs(directory, clients) {
        Some(count) => format!("{count} syncs"),
        None => "syncs not counted: no strace".to_owned(),
    };
    println!(
        "agent: {SIGNATURES} RSA-2048 signatures, audit log on disk: {CLIENTS} clients {:.0}/s ({}), one client {:.0}/s ({})",
        median(many),
        syncs(CLIENTS),
        median(one),
        syncs(1)
    );
}

/// How often the agent syncs its log for all signatures of so many clients; they are not timed.
fn syncs(directory: &Path, clients: u32) -> Option<usize> {
    if !has("strace") {
        return None;
    }
    let trace = directory.join("trace");
    let inner = agent_command(directory);
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-e", "trace=fdatasync", "-o"]).arg(&trace);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(directory);
    for (name, value) in inner.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    ask_agent(directory, command, clients);
    let seen = std::fs::read_to_string(trace).unwrap();
    Some(seen.lines().filter(|line| line.contains("fdatasync(")).count())
}

fn set_up(directory: &Path, module: &Path) {
    std::fs::create_dir(directory.join("tokens")).unwrap();
    let conf = format!("directories.tokendir = {}\n", directory.join("tokens").display());
    std::fs::write(directory.join("softhsm2.conf"), conf).unwrap();
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(module).args(arguments);
        let output = command.env("SOFTHSM2_CONF", directory.join("softhsm2.conf")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    tool(&["--slot-index", "0", "--init-token", "--label", "hsm", "--so-pin", "13579"]);
    let login = ["--token-label", "hsm", "--login", "--login-type", "so", "--so-pin", "13579"];
    tool(&[&login[..], &["--init-pin", "--pin", PIN]].concat());
    let make = ["--keypairgen", "--key-type", "rsa:2048", "--label", "k", "--usage-sign"];
    tool(&[&["--token-label", "hsm", "--login", "--pin", PIN], &make[..]].concat());
    std::fs::write(directory.join("pin"), PIN).unwrap();
    let host = format!(
        "version: 1\ntokens: {{ hsm: {{ module: {}, pin: {{ file: {} }} }} }}\n",
        module.display(),
        directory.join("pin").display()
    );
    std::fs::write(directory.join("host.yaml"), host).unwrap();
    for file in ["pin", "host.yaml"] {
        std::fs::set_permissions(directory.join(file), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    write_policy(directory, "");
    let pin = hsmsign(directory, &["--json", "keys", "pin", "--role", "fit"]).output().unwrap();
    assert!(pin.status.success(), "{pin:?}");
    let pin: serde_json::Value = serde_json::from_slice(&pin.stdout).unwrap();
    write_policy(directory, &pin["pin"].to_string());
}

fn write_policy(directory: &Path, pins: &str) {
    let policy = format!(
        "version: 1\nproduct: bench\nrelease:\n  rehearsal: true\n  keys:\n    fit:\n      token: hsm\n      \
         uri: \"pkcs11:token=hsm;object=k\"\n      pins: [{pins}]\n"
    );
    std::fs::write(directory.join("hsmsign.yaml"), policy).unwrap();
}

fn hsmsign(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmsign"));
    command.args(["--mode", "release", "--host-config", "host.yaml"]).args(arguments);
    command.current_dir(directory).env("SOFTHSM2_CONF", directory.join("softhsm2.conf"));
    command.env("XDG_STATE_HOME", directory.join("state"));
    command
}

fn policy(directory: &Path) -> ReleasePolicy {
    let text = std::fs::read_to_string(directory.join("hsmsign.yaml")).unwrap();
    match Policy::new(Mode::Release, Config::parse(&text).unwrap()).unwrap() {
        Policy::Release(policy) => policy,
        other => panic!("{other:?}"),
    }
}

/// A running agent, ended when dropped.
struct Agent {
    child: Child,
    /// Not the child's, if that is strace.
    pid: rustix::process::Pid,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn through_agent(directory: &Path, clients: u32) -> Duration {
    ask_agent(directory, agent_command(directory), clients)
}

fn agent_command(directory: &Path) -> Command {
    hsmsign(directory, &["agent", "--socket", directory.join("s").to_str().unwrap()])
}

/// Starts an agent and has all signatures made by `clients`; the time that these took.
fn ask_agent(directory: &Path, mut command: Command, clients: u32) -> Duration {
    let socket = directory.join("s");
    let mut agent = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(agent.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready at") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "the agent ended");
    }
    let pid = AgentSocket::connect(&socket, None).unwrap().status().unwrap().pid;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _agent = Agent { child: agent, pid };
    let policy = policy(directory);
    let statement = Statement::new("bench", &policy, &Default::default());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let open = || {
        let (socket, statement) = (socket.clone(), statement.clone());
        let access = AgentAccess { socket, policy: &policy, statement, role: Role::Fit, certificates: None };
        AgentKey::open(access, i64::try_from(now).unwrap()).unwrap()
    };
    let keys: Vec<AgentKey> = (0..clients).map(|_| open()).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (number, key) in (0..clients).zip(&keys) {
            // 16 does not divide 1,000.
            let count = SIGNATURES / clients + u32::from(number < SIGNATURES % clients);
            scope.spawn(move || sign(key, number, count));
        }
    });
    start.elapsed()
}

fn direct_process(directory: &Path) -> Duration {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("direct").arg(directory).env("SOFTHSM2_CONF", directory.join("softhsm2.conf"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Duration::from_secs_f64(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}

fn direct(directory: &Path) -> Duration {
    let policy = policy(directory);
    let log = Arc::new(Log::new(directory.join("direct/audit")));
    let journal = Journal { log, policy: "sha256:0".into() };
    let tokens = ReleaseTokens::new(journal, Latches::new(directory.join("direct/latch")));
    let host = HostToken { module: softhsm(), pin: PinSource::File(directory.join("pin")), agent: None };
    let key = policy.key(Role::Fit).unwrap().clone();
    let access = ReleaseAccess { policy: &policy, role: Role::Fit, key, host, certificates: None };
    let key = tokens.key(&access).unwrap();
    let start = Instant::now();
    sign(&key, 0, SIGNATURES);
    start.elapsed()
}

fn sign(key: &impl Answer, client: u32, count: u32) {
    let algorithm = key.identity().algorithm;
    for number in 0..count {
        let digest = algorithm.hash.digest(&[client.to_le_bytes(), number.to_le_bytes()].concat());
        let subject = Subject { format: Format::Blob, name: "bench".into(), identity: digest.to_hex() };
        let request = Request { role: Role::Fit, algorithm, digest, message: None, subject };
        key.answer(&request).unwrap();
    }
}

fn softhsm() -> Option<PathBuf> {
    let places = ["/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib64/pkcs11", "/usr/lib/pkcs11"];
    let found = places.map(|p| Path::new(p).join("libsofthsm2.so")).into_iter().find(|p| p.exists());
    found.and_then(|p| p.canonicalize().ok())
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
