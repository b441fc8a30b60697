//! Many clients at once: nothing is lost, nothing is answered twice.

use super::running::{Agent, Client, PATIENCE, request, sign_arguments, token};
use hsmsign::agent::protocol::{Ask, SignRequest, VERSION, encode};
use std::{
    collections::BTreeMap,
    io::Write as _,
    os::unix::net::UnixStream,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How often each artifact stands in the audit log.
fn counted(agent: &Agent, token: &super::common::token::TestToken) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for record in agent.records(token) {
        *count.entry(record["artifact"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    count
}

#[test]
fn thousands_of_requests_from_dozens_of_clients_are_each_answered_once() {
    const CLIENTS: usize = 32;
    const EACH: usize = 64;
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (token, agent) = (&token, &agent);
            scope.spawn(move || {
                let key = Client::open(token, &agent.socket).unwrap();
                for number in 0..EACH {
                    // The client checks each signature with the pinned key.
                    key.sign(&format!("{client}-{number}")).unwrap();
                }
            });
        }
    });
    let count = counted(&agent, &token);
    assert_eq!(count.len(), CLIENTS * EACH);
    assert!(count.values().all(|n| *n == 1));
    let status = agent.status(&token);
    assert_eq!(status["roles"][0]["signatures"], CLIENTS * EACH);
    assert_eq!(status["tokens"][0]["waiting"], 0);
    agent.end();
}

/// Bounded in number: 40 processes killed, some hundred connections cut off, while others sign.
#[test]
fn clients_that_are_killed_at_random_take_nothing_from_others() {
    const GOOD: usize = 8;
    const EACH: usize = 60;
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good: Vec<_> = (0..GOOD)
            .map(|client| {
                let (token, agent) = (&token, &agent);
                scope.spawn(move || {
                    let key = Client::open(token, &agent.socket).unwrap();
                    for number in 0..EACH {
                        key.sign(&format!("good-{client}-{number}")).unwrap();
                    }
                })
            })
            .collect();
        // Processes, killed after a while that differs.
        scope.spawn(|| {
            for number in 0..40_u64 {
                let name = format!("killed-{number}");
                let mut command = agent.client(&token, &sign_arguments(&name));
                let mut child = command.stderr(Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(number * 37 % 90));
                let _ = child.kill();
                child.wait().unwrap();
            }
        });
        // Connections, cut off anywhere in what is said.
        for thread in 0..2_usize {
            let (token, agent, done) = (&token, &agent, &done);
            scope.spawn(move || {
                let (product, policy) = super::running::policy(token);
                let statement = hsmsign::agent::Statement::new(&product, &policy, &BTreeMap::new());
                let hello = Ask::Hello { protocol: VERSION, tool: "t".into(), policy: Some(statement) };
                let mut said = encode(&hello).unwrap();
                let sign = SignRequest::new(1, &request("cut off"));
                said.extend(encode(&Ask::Sign(Box::new(sign))).unwrap());
                for number in 0..200 {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let Ok(mut stream) = UnixStream::connect(&agent.socket) else { continue };
                    let end = (number * 131 + thread * 7) % (said.len() + 40);
                    let _ = stream.write_all(&said[..end.min(said.len())]);
                }
            });
        }
        for client in good {
            client.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let count = counted(&agent, &token);
    for client in 0..GOOD {
        for number in 0..EACH {
            assert_eq!(count.get(&format!("good-{client}-{number}")), Some(&1));
        }
    }
    // What was written is whole.
    for file in token.bench.files().into_iter().filter(|f| f.starts_with("killed-")) {
        assert_eq!(token.bench.read(&file).len(), 256, "{file}");
    }
    let begun = Instant::now();
    while agent.status(&token)["tokens"][0]["waiting"] != 0 {
        assert!(begun.elapsed() < PATIENCE, "requests of nobody wait");
        std::thread::sleep(Duration::from_millis(50));
    }
    agent.end();
}

#[test]
fn an_agent_that_is_told_to_end_hands_out_what_was_asked() {
    let Some(quirky) = super::common::quirky::quirky() else { return };
    let token = &quirky.token;
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    let _ = std::fs::remove_file(token.bench.path("told"));
    let agent = Agent::start(token, "");
    let asked = AtomicBool::new(false);
    let (answered, refused) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (agent, asked) = (&agent, &asked);
                scope.spawn(move || {
                    let key = Client::open(token, &agent.socket).unwrap();
                    let mut answered = 0_usize;
                    loop {
                        asked.store(true, Ordering::Relaxed);
                        match key.sign(&format!("{client}-{answered}")) {
                            Ok(_) => answered += 1,
                            // From then on everything is refused, or nobody is there.
                            Err(error) => return (answered, error.exit() as u8),
                        }
                    }
                })
            })
            .collect();
        while !asked.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        agent.signal(rustix::process::Signal::TERM);
        let ends = clients.into_iter().map(|c| c.join().unwrap());
        ends.fold((0, Vec::new()), |(sum, mut codes), (answered, code)| {
            codes.push(code);
            (sum + answered, codes)
        })
    });
    assert!(refused.iter().all(|code| *code == 5), "{refused:?}");
    // Each signature on record was handed out: none was made for nobody.
    assert_eq!(agent.records(token).len(), answered);
    let socket = agent.socket.clone();
    agent.end();
    assert!(!socket.exists());
    quirky.left_in_order();
}
