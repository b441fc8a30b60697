//! Clients that do not keep to the protocol or the policy, users that may not ask, and agents that lie.

use super::{
    common::{find_tool, run, token::set_mode},
    running::{Agent, Client, PATIENCE, Raw, policy, request, sign_arguments, token},
};
use hsmsign::{
    agent::{
        Statement,
        protocol::{self, Ask, KeyReply, Reply, SignRequest, TokenReply, VERSION},
    },
    request::Role,
};
use std::{
    collections::BTreeMap, io::Write as _, os::unix::net::UnixListener, path::Path, process::Command,
    time::Duration,
};

#[track_caller]
fn problem(reply: Reply) -> protocol::Problem {
    match reply {
        Reply::Error(problem) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_does_not_keep_to_the_protocol_is_sent_away() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let long = [&b"\0\0\0\x10"[..], &[0xff; 16]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02{]", &long] {
        let mut raw = Raw::connect(&agent.socket);
        raw.say(bytes);
        assert_eq!(problem(raw.hear()).cause, protocol::Cause::Protocol, "{bytes:?}");
        assert!(raw.is_over());
    }
    for json in [
        r#"{"ask":"status"}"#,
        r#"{"ask":"key","role":"fit"}"#,
        r#"{"ask":"shutdown"}"#,
        r#"{"ask":"hello","protocol":1,"tool":"t","policy":null,"pin":"1234"}"#,
        r#"{"ask":"hello","protocol":2,"tool":"t","news":[1]}"#,
        &"[".repeat(100_000),
    ] {
        let mut raw = Raw::connect(&agent.socket);
        let problem = problem(raw.ask_json(json));
        assert_eq!(problem.cause, protocol::Cause::Protocol, "{json}");
        assert!(!json.contains("\"protocol\":2") || problem.message.contains("you speak 2"), "{problem:?}");
        assert!(raw.is_over());
    }
    // Greeted without a policy, greeted twice.
    let hello = Ask::Hello { protocol: VERSION, tool: "t".into(), policy: None };
    let mut raw = Raw::connect(&agent.socket);
    assert!(matches!(raw.ask(&hello), Reply::Hello { .. }));
    let sign = Ask::Sign(Box::new(SignRequest::new(1, &request("m"))));
    assert_eq!(problem(raw.ask(&sign)).cause, protocol::Cause::Protocol);
    assert_eq!(problem(raw.ask(&hello)).cause, protocol::Cause::Protocol);
    assert!(raw.is_over());
    // Half a message, and one byte now and then, keep nobody else from being served; nor for ever themselves.
    let mut slow = Raw::connect(&agent.socket);
    slow.say(b"\0\0\x01\0{");
    Client::open(&token, &agent.socket).unwrap().sign("served meanwhile").unwrap();
    std::thread::scope(|scope| {
        let mut writer = slow.0.try_clone().unwrap();
        let cut_off = scope.spawn(move || {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(250));
                writer.write_all(b" ").is_err()
            })
        });
        // Not for as long as it says something, but for as long as a message may take.
        assert!(cut_off.join().unwrap());
        assert!(slow.is_over());
    });
    assert_eq!(agent.records(&token).len(), 1);
    agent.end();
}

#[test]
fn only_what_the_policy_allows_is_signed() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let (product, policy) = policy(&token);
    let statement = Statement::new(&product, &policy, &BTreeMap::new());
    let mut raw = Raw::connect(&agent.socket);
    let hello = Ask::Hello { protocol: VERSION, tool: "t".into(), policy: Some(statement) };
    assert!(matches!(raw.ask(&hello), Reply::Hello { .. }));
    let good = SignRequest::new(1, &request("m"));
    let longer = hsmsign::crypto::HashAlgorithm::Sha384.digest(b"m").to_hex();
    let changes: [&dyn Fn(&mut SignRequest); 8] = [
        &|r| r.role = Role::Update,
        &|r| r.algorithm = "rsa-pss-sha256".into(),
        &|r| r.algorithm = "rsa-pkcs1-v1_5-sha384".into(),
        &|r| {
            r.algorithm = "rsa-pkcs1-v1_5-sha384".into();
            r.digest.clone_from(&longer);
        },
        &|r| r.digest.truncate(62),
        &|r| r.message = Some("00".into()),
        &|r| r.format = hsmsign::request::Format::Swu,
        &|r| r.format = hsmsign::request::Format::Certificate,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        let problem = problem(raw.ask(&Ask::Sign(Box::new(bad))));
        assert_eq!(problem.cause, protocol::Cause::Refused, "{number}: {problem:?}");
    }
    assert!(!token.bench.path(".state/hsmsign/audit/log.jsonl").exists() || agent.records(&token).is_empty());
    assert!(matches!(raw.ask(&Ask::Sign(Box::new(good))), Reply::Signature { number: 1, .. }));
    assert_eq!(agent.records(&token).len(), 1);
}

#[test]
fn there_is_room_for_so_many_and_the_next_is_told() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let crowd: Vec<_> = (0..256).map(|_| Raw::connect(&agent.socket)).collect();
    let mut late = Raw::connect(&agent.socket);
    let problem = problem(late.hear());
    assert_eq!(problem.cause, protocol::Cause::Busy);
    assert!(problem.message.contains("256"), "{problem:?}");
    drop(crowd);
    let begun = std::time::Instant::now();
    while agent.try_status(&token).code != 0 {
        assert!(begun.elapsed() < PATIENCE, "no room again");
    }
}

/// A client that is not ours: Python, by docs/agent.md, as another user.
const ELSEWHERE: &str = "
import json, os, socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
for ask in json.loads(sys.argv[2]):
    b = json.dumps(ask).encode()
    try: s.sendall(struct.pack('>I', len(b)) + b)
    except OSError: pass # turned away already; why is still to be read
    n, = struct.unpack('>I', s.recv(4, socket.MSG_WAITALL))
    print(s.recv(n, socket.MSG_WAITALL).decode())
";

#[test]
fn other_users_are_refused_unless_they_are_listed() {
    if !rustix::process::geteuid().is_root() {
        return super::common::skip("only root can play other users");
    }
    let (Some(token), Some(setpriv)) = (token(), find_tool("setpriv")) else { return };
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        return super::common::skip("`/usr/bin/python3` is not installed");
    }
    set_mode(token.bench.directory(), 0o755);
    let ask = r#"[{"ask":"hello","protocol":1,"tool":"python"},{"ask":"status"}]"#;
    let as_user = |user: &str, agent: &Agent| {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(python);
        run(command.args(["-c", ELSEWHERE]).arg(&agent.socket).arg(ask))
    };
    // The socket's mode alone keeps everybody out.
    let agent = Agent::start(&token, "");
    as_user("12345", &agent).says("PermissionError");
    agent.end();
    let agent = Agent::start(&token, "agent: { users: [12345] }\n");
    let listed = as_user("12345", &agent).exits(0);
    assert!(listed.stdout.contains("\"product\":\"test\""), "{listed:?}");
    let stranger = as_user("12346", &agent);
    assert!(stranger.stdout.contains("user 12346 may not ask"), "{stranger:?}");
    assert!(!stranger.stdout.contains("product"), "{stranger:?}");
    agent.end();
}

/// A server that says what it likes.
fn liar(socket: &Path, replies: Vec<Reply>) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut raw = Raw(stream);
        for reply in replies {
            if raw.hear_ask().is_none() {
                return;
            }
            raw.reply(&reply);
        }
    })
}

#[test]
fn a_lying_agent_is_not_believed() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    // What an honest one says.
    let (product, policy) = policy(&token);
    let statement = Statement::new(&product, &policy, &BTreeMap::new());
    let mut raw = Raw::connect(&agent.socket);
    let hello = raw.ask(&Ask::Hello { protocol: VERSION, tool: "t".into(), policy: Some(statement) });
    let Reply::Key(key) = raw.ask(&Ask::Key { role: Role::Fit }) else { panic!() };
    let sign = Ask::Sign(Box::new(SignRequest::new(1, &request("another message"))));
    let Reply::Signature { signature, head, .. } = raw.ask(&sign) else { panic!() };
    let try_it = |name: &str, replies: Vec<Reply>| {
        let socket = token.bench.path(name);
        let thread = liar(&socket, replies);
        let mut command = token.bench.command(&[&["--mode", "release"], &sign_arguments("lie")[..]].concat());
        let outcome = run(command.env("HSMSIGN_AGENT", &socket));
        thread.join().unwrap();
        assert!(!token.bench.path("lie").exists());
        outcome
    };
    let answer = Reply::Signature { number: 1, signature, head };
    try_it("signature", vec![hello.clone(), Reply::Key(key.clone()), answer.clone()])
        .exits(5)
        .says("does not verify")
        .says("thrown away");
    // Another key, another role's, the right key in a software token said to leave it.
    token.generate("rsa:2048", "other", &[]);
    token.public_key("other");
    let der = token.bench.tool(
        &find_tool("openssl").unwrap(),
        &["pkey", "-pubin", "-in", "other.pem", "-outform", "der", "-out", "other.spki"],
    );
    drop(der);
    let foreign = KeyReply { public_key: hex::encode(token.bench.read("other.spki")), ..(*key).clone() };
    try_it("key", vec![hello.clone(), Reply::Key(Box::new(foreign))]).exits(4).says("not pinned");
    let leaky = KeyReply { extractable: Some(true), ..(*key).clone() };
    try_it("leaky", vec![hello.clone(), Reply::Key(Box::new(leaky))]).exits(4).says("CKA_EXTRACTABLE");
    let swapped = KeyReply { role: Role::Update, ..(*key).clone() };
    try_it("role", vec![hello.clone(), Reply::Key(Box::new(swapped))]).exits(5).says("protocol");
    try_it("order", vec![hello.clone(), answer]).exits(5).says("was not asked for");
    let newer = Reply::Hello { protocol: 2, tool: "hsmsign 9".into(), sign_seconds: 1 };
    try_it("version", vec![newer]).exits(5).says("speaks version 2");
    let _: &TokenReply = &key.token;
}
