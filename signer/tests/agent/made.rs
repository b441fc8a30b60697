//! An agent in this process, over a vault of the test's own: what takes minutes elsewhere takes a second here, and
//! the vault signs when it is told to.

use super::{
    common::Bench,
    running::{Client, PATIENCE, Raw, policy_of, request},
};
use hsmsign::{
    agent::{
        AgentError, Statement,
        protocol::{Ask, KeyReply, SignRequest, VERSION},
        server::{self, AllowedUsers, Charge, ServedRole, Settings, Vault},
    },
    audit::{Head, Requester},
    crypto::{Fingerprint, PublicKey, Signature},
    error::Error,
    policy::{KeyFacts, ReleasePolicy, TokenFacts},
    request::{Request, Role},
};
use openssl::{
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
};
use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// DigestInfo of SHA-256 up to the digest (RFC 8017, section 9.2, note 1).
const DIGEST_INFO: &str = "3031300d060960864801650304020105000420";

/// A key that signs when it may, and remembers what.
struct MadeVault {
    key: Rsa<Private>,
    signed: Mutex<Vec<String>>,
    held: AtomicBool,
}

impl Vault for MadeVault {
    fn sign(&self, request: &Request, _: &Requester) -> Result<(Signature, Head), Error> {
        self.signed.lock().unwrap().push(request.subject.name.clone());
        while self.held.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let block = [&hex::decode(DIGEST_INFO).unwrap()[..], request.digest.as_bytes()].concat();
        let mut signature = vec![0; self.key.size() as usize];
        self.key.private_encrypt(&block, &mut signature, Padding::PKCS1).unwrap();
        Ok((Signature::from_bytes(signature), Head::empty()))
    }

    fn reopen(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// An agent in a thread of this process; told to end when dropped.
struct Made {
    bench: Bench,
    product: String,
    policy: ReleasePolicy,
    vault: Arc<MadeVault>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<bool, AgentError>>>,
}

impl Made {
    /// Its settings but for what `change` does to them: one session, no limits.
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let bench = Bench::new();
        let key = Rsa::generate(2048).unwrap();
        let spki = PKey::from_rsa(key.clone()).unwrap().public_key_to_der().unwrap();
        let public_key = PublicKey::from_spki_der(&spki).unwrap();
        let fingerprint = Fingerprint::of(&public_key);
        let (product, policy) = policy_of(&format!(
            "version: 1\nproduct: test\nroles:\n  fit: {{ algorithm: rsa2048 }}\nrelease:\n  keys:\n    fit: {{ token: hsm, \
             uri: \"pkcs11:token=hsm;object=k\", pins: [\"{fingerprint}\"] }}\n"
        ));
        let [label, manufacturer, model, serial] = ["hsm", "ACME", "Vault 3", "1"].map(str::to_owned);
        let token = TokenFacts { label, manufacturer, model, serial };
        let [yes, no] = [Some(true), Some(false)];
        let facts = KeyFacts {
            label: "k".into(),
            public_key,
            sensitive: yes,
            always_sensitive: yes,
            extractable: no,
            never_extractable: yes,
            local: yes,
        };
        let role = ServedRole {
            key: KeyReply::new(Role::Fit, &token, &facts),
            fingerprint,
            token: "hsm".into(),
            exceptions: Vec::new(),
        };
        let vault = Arc::new(MadeVault { key, signed: Mutex::default(), held: AtomicBool::new(false) });
        let charge = Charge {
            statement: Statement::new(&product, &policy, &BTreeMap::new()),
            digest: String::new(),
            policy: policy.clone(),
            roles: [(Role::Fit, role)].into(),
            vault: Arc::<MadeVault>::clone(&vault),
        };
        let mut settings = Settings {
            socket: bench.path("s"),
            users: AllowedUsers::new(rustix::process::geteuid().as_raw(), &[], "").unwrap(),
            queue_len: 16,
            sessions: 1,
            signatures_per_minute: None,
            signatures: BTreeMap::new(),
            sign_time: PATIENCE,
            idle: None,
            lifetime: None,
        };
        change(&mut settings);
        let (stop, end) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || server::run_until(settings, charge, &end));
        let made = Self { bench, product, policy, vault, stop: Some(stop), thread: Some(thread) };
        let begun = Instant::now();
        while !made.socket().exists() {
            assert!(begun.elapsed() < PATIENCE && !made.thread.as_ref().unwrap().is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        made
    }

    fn socket(&self) -> PathBuf {
        self.bench.path("s")
    }

    fn client(&self) -> Result<Client, Error> {
        Client::of(&self.product, &self.policy, &self.socket())
    }

    /// A connection on which a signature of `message` was asked for.
    fn asked(&self, message: &str) -> Raw {
        let mut raw = Raw::connect(&self.socket());
        let policy = Statement::new(&self.product, &self.policy, &BTreeMap::new());
        raw.ask(&Ask::Hello { protocol: VERSION, tool: "t".into(), policy: Some(policy) });
        raw.say_ask(&Ask::Sign(Box::new(SignRequest::new(1, &request(message)))));
        raw
    }

    fn signed(&self) -> Vec<String> {
        self.vault.signed.lock().unwrap().clone()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    fn ended(mut self) {
        let begun = Instant::now();
        while !self.thread.as_ref().unwrap().is_finished() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(self.thread.take().unwrap().join().unwrap().unwrap());
        assert!(!self.socket().exists());
        assert_eq!(self.client().err().unwrap().exit() as u8, 5);
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.vault.held.store(false, Ordering::Release);
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn it_ends_when_its_lifetime_is_over_though_it_is_asked() {
    let lifetime = Duration::from_secs(3);
    let begun = Instant::now();
    let made = Made::start(|settings| settings.lifetime = Some(lifetime));
    let mut answered = 0;
    while let Ok(client) = made.client() {
        answered += usize::from(client.sign("m").is_ok());
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= lifetime);
    // What was asked and not answered was refused; nothing was signed for nobody.
    assert_eq!(made.signed().len(), answered);
    made.ended();
}

#[test]
fn it_ends_when_nobody_asks_for_a_signature() {
    let idle = Duration::from_secs(2);
    let made = Made::start(|settings| settings.idle = Some(idle));
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    made.client().unwrap().sign("m").unwrap();
    // Whoever is connected and asks for no signature keeps it from nothing.
    let connected = made.client().unwrap();
    made.ended();
    assert!(asked.elapsed() >= idle);
    connected.sign("late").unwrap_err();
}

#[test]
fn what_its_client_abandoned_in_line_is_not_signed() {
    let made = Made::start(|_| {});
    made.vault.held.store(true, Ordering::Release);
    let first = made.asked("first");
    let begun = Instant::now();
    while made.signed().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    // It hangs up, and hears when the agent has done so too.
    let mut gone = made.asked("abandoned");
    gone.hang_up();
    assert!(gone.is_over());
    made.vault.held.store(false, Ordering::Release);
    made.client().unwrap().sign("last").unwrap();
    assert_eq!(made.signed(), ["first", "last"]);
    drop(first);
}

/// An agent that takes the request and dies before its answer.
#[test]
fn a_client_never_asks_twice() {
    use hsmsign::agent::protocol::Reply;
    let made = Made::start(|_| {});
    let mut raw = Raw::connect(&made.socket());
    let policy = Statement::new(&made.product, &made.policy, &BTreeMap::new());
    let hello = raw.ask(&Ask::Hello { protocol: VERSION, tool: "t".into(), policy: Some(policy) });
    let key = raw.ask(&Ask::Key { role: Role::Fit });
    assert!(matches!((&hello, &key), (Reply::Hello { .. }, Reply::Key(_))));
    let socket = made.bench.path("dying");
    let asks = dying(&socket, [hello, key]);
    let client = Client::of(&made.product, &made.policy, &socket).unwrap();
    assert_eq!(client.sign("m").unwrap_err().exit() as u8, 5);
    assert_eq!(asks.join().unwrap(), 1);
}

/// Serves with `replies`, hangs up when a signature is asked for, and counts how often one is within a second.
fn dying(socket: &Path, replies: [hsmsign::agent::protocol::Reply; 2]) -> JoinHandle<usize> {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let mut asks = 0;
        let mut until = Instant::now() + PATIENCE;
        listener.set_nonblocking(true).unwrap();
        while Instant::now() < until {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            let mut raw = Raw(stream);
            while let Some(ask) = raw.hear_ask() {
                match ask {
                    Ask::Hello { .. } => raw.reply(&replies[0]),
                    Ask::Key { .. } => raw.reply(&replies[1]),
                    Ask::Sign(_) => {
                        asks += 1;
                        until = Instant::now() + Duration::from_secs(1);
                        break;
                    }
                    Ask::Status => panic!(),
                }
            }
        }
        asks
    })
}
