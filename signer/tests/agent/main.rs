//! The release agent with real clients, hostile ones, and tokens that fail.

#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod artifacts;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod hostile;
mod made;
mod running;
mod tokens;
mod ways;

use common::{find_tool, run};
use running::{Agent, sign_arguments, token};
use std::os::unix::net::UnixListener;

#[test]
fn a_build_signs_without_token_pin_or_host_settings() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    // What the build does not need is not there.
    std::fs::remove_file(token.bench.path("pin")).unwrap();
    let outcome = run(agent.client(&token, &sign_arguments("signature")).env_remove("SOFTHSM2_CONF"));
    outcome.exits(0).says("REHEARSAL");
    let openssl = find_tool("openssl").unwrap();
    token.bench.tool(&openssl, &["dgst", "-sha256", "-verify", "k.pem", "-signature", "signature", "input"]);
    let records = agent.records(&token);
    assert_eq!(records.len(), 1);
    let requester = &records[0]["requester"];
    assert_eq!(requester["via"], "agent");
    assert_eq!(requester["uid"], rustix::process::getuid().as_raw());
    assert_ne!(requester["pid"], agent.pid());
    run(&mut agent.client(&token, &["keys", "check"])).exits(0).says("exception");
    run(&mut agent.client(&token, &["doctor"])).exits(0).says("has the same policy");
    let said = agent.end();
    assert!(said.contains("ending: it was told to"), "{said}");
}

#[test]
fn a_token_in_the_host_settings_can_name_its_agent() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let host = format!("version: 1\ntokens:\n  hsm:\n    agent: {}\n", agent.socket.display());
    common::token::set_mode(&token.bench.write("host.yaml", host), 0o600);
    token.sign().exits(0);
    assert_eq!(agent.records(&token).len(), 1);
    // What needs the token itself says so.
    token.hsmsign(&["keys", "csr", "--role", "fit", "-o", "csr"]).exits(3).says("not through an agent");
}

#[test]
fn its_status_is_for_scripts() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "agent: { signatures: { fit: 3 } }\n");
    run(&mut agent.client(&token, &sign_arguments("signature"))).exits(0);
    let status = agent.status(&token);
    assert_eq!(status["product"], "test");
    assert_eq!(status["roles"][0]["signatures"], 1);
    assert_eq!(status["roles"][0]["signatures_left"], 2);
    assert_eq!(status["tokens"][0]["trouble"], serde_json::Value::Null);
    let arguments = ["agent", "--status", "--socket", agent.socket.to_str().unwrap()];
    let (socket, arguments) = (agent.socket.clone(), arguments.map(str::to_owned));
    agent.end();
    token.bench.hsmsign(&arguments).exits(5).says("cannot be reached").says("hsmsign agent");
    assert!(!socket.exists());
}

#[test]
fn different_policies_are_an_error_that_names_the_difference() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let policy = String::from_utf8(token.bench.read("hsmsign.yaml")).unwrap();
    let pin = token.public_key("k");
    let other = format!("sha256:{}", "0".repeat(64));
    let both = format!("\"{pin}\", \"{other}\"");
    for (from, to, said) in [
        ("product: test", "product: other", "`product` is \"other\" here and \"test\" at the agent"),
        ("algorithm: rsa2048", "algorithm: rsa2048, padding: pss", "role `fit`: padding and hash"),
        ("object=k", "object=l", "`release.keys.fit.uri`"),
        (&format!("\"{pin}\""), &both, "`release.keys.fit.pins`"),
        ("rehearsal: true", "rehearsal: false", "rehearsal"),
    ] {
        assert!(policy.contains(from), "{from}");
        token.bench.write("hsmsign.yaml", policy.replace(from, to));
        let outcome = run(&mut agent.client(&token, &sign_arguments("signature")));
        assert!(matches!(outcome.code, 3 | 4), "{outcome:?}");
        outcome.says(said);
        assert!(!token.bench.path("signature").exists(), "{to}");
    }
    // Comments are no difference.
    token.bench.write("hsmsign.yaml", format!("# reviewed\n{policy}"));
    run(&mut agent.client(&token, &sign_arguments("signature"))).exits(0);
}

#[test]
fn dev_mode_never_asks_an_agent() {
    let bench = common::Bench::new();
    if common::find_softhsm().is_none() {
        return;
    }
    bench.write("input", "what is signed");
    let socket = bench.path("s");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut command = bench.command(&sign_arguments("signature"));
    run(command.env("HSMSIGN_AGENT", &socket)).exits(0);
    let mut command = bench.command(&["doctor"]);
    run(command.env("HSMSIGN_AGENT", &socket)).exits(0);
    assert!(listener.accept().is_err(), "somebody connected");
    let arguments = [&["--agent", socket.to_str().unwrap()], &sign_arguments("signature")[..]].concat();
    bench.hsmsign(&arguments).exits(2).says("`--agent` belongs to release mode");
    bench.hsmsign(&["--mode", "dev", "agent"]).exits(2).says("an agent holds release keys");
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn a_second_agent_takes_no_living_ones_socket() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "");
    let socket = agent.socket.to_str().unwrap().to_owned();
    token.hsmsign(&["agent", "--socket", &socket]).exits(5).says("another agent");
    assert_eq!(agent.status(&token)["pid"], agent.pid());
    // One that was killed leaves its socket behind, which the next replaces.
    agent.kill();
    assert!(std::path::Path::new(&socket).exists());
    let next = Agent::start(&token, "");
    assert_eq!(next.socket.to_str().unwrap(), socket);
}

#[test]
fn limits_in_number_and_time_hold() {
    let Some(token) = token() else { return };
    let agent = Agent::start(&token, "agent: { signatures: { fit: 2 }, lifetime_minutes: 1 }\n");
    for _ in 0..2 {
        run(&mut agent.client(&token, &sign_arguments("signature"))).exits(0);
    }
    run(&mut agent.client(&token, &sign_arguments("signature"))).exits(4).says("the 2 signatures");
    assert_eq!(agent.records(&token).len(), 2);
    assert!(agent.status(&token)["seconds_left"].as_u64().unwrap() <= 60);
}
