//! Every command there is, under strace, with the token in reach and with an agent that holds it.

use crate::{
    common::{Outcome, find_tool, run, token::PIN, token::TestToken, token::set_mode},
    factory::{factory, files_with},
};
use clap::CommandFactory as _;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Every command line, and how it ends. They follow from each other.
const COMMANDS: [(&str, i32); 29] = [
    ("keys list", 0),
    ("keys check", 0),
    // There is one already.
    ("keys generate --role fit --yes", 5),
    ("keys public --role fit -o public.pem", 0),
    ("keys certificate --role update -o certificate.pem", 0),
    ("keys csr --role fit -o fit.csr", 0),
    ("keys pin --role fit", 0),
    ("keys unlatch", 0),
    ("doctor", 0),
    ("sign rootfs rootfs -o deploy/rootfs", 0),
    ("sign fit fit -o deploy/fit --control-dtb u-boot.dtb", 0),
    ("sign bootloader --control-dtb u-boot.dtb", 0),
    ("sign swu --description sw-description --image image.bin -o deploy/out.swu", 0),
    ("sign blob kernel --role fit --format raw -o kernel.sig", 0),
    ("verify rootfs deploy/rootfs", 0),
    ("verify fit deploy/fit", 0),
    ("verify bootloader --control-dtb u-boot.dtb", 0),
    ("verify swu deploy/out.swu", 0),
    ("verify blob kernel --role fit --format raw --signature kernel.sig", 0),
    ("verify deploy deploy", 0),
    ("audit show", 0),
    ("audit verify", 0),
    // The PIN file and a CA's key lie here.
    ("scan .", 7),
    // Nobody answers.
    ("agent --status --socket nobody", 5),
    // It opens the token before it finds that something else stands there.
    ("agent --socket hsmsign.yaml", 5),
    ("init", 0),
    ("completions bash", 0),
    ("man man", 0),
    ("sign blob kernel --role update --format cms -o kernel.cms", 0),
];

/// What a build asks an agent for, and what is asked beside it.
const ASKED: [(&str, i32); 9] = [
    ("agent --status --socket s", 0),
    ("sign rootfs rootfs -o deploy/rootfs", 0),
    ("sign fit fit -o deploy/fit --control-dtb u-boot.dtb", 0),
    ("sign bootloader --control-dtb u-boot.dtb", 0),
    ("sign swu --description sw-description --image image.bin -o deploy/out.swu", 0),
    ("sign blob kernel --role fit --format raw -o kernel.sig", 0),
    ("keys check", 0),
    ("doctor", 0),
    ("keys csr --role fit -o fit.csr", 3),
];

/// Every command of the program, as words.
fn leaves(command: &clap::Command, above: &str) -> BTreeSet<String> {
    let name = |c: &clap::Command| format!("{above} {}", c.get_name()).trim().to_owned();
    let below = |c: &clap::Command| match c.has_subcommands() {
        true => leaves(c, &name(c)),
        false => [name(c)].into(),
    };
    command.get_subcommands().flat_map(below).collect()
}

/// `command` under strace, which writes to `trace`: arguments and environment of every program that is started, every
/// byte that is written or sent, every name that is opened.
fn traced(strace: &Path, command: &Command, token: &TestToken, trace: &str) -> Command {
    let mut traced = Command::new(strace);
    traced.args(["-f", "-v", "-s", "1000000", "-o", trace, "-e"]);
    traced.arg(
        "trace=execve,execveat,write,pwrite64,writev,pwritev,sendto,sendmsg,rename,renameat2,openat,memfd_create",
    );
    traced.arg(command.get_program()).args(command.get_args()).current_dir(token.bench.directory());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced.stdin(Stdio::null());
    traced
}

/// The PIN is neither in what was said nor in what strace saw.
#[track_caller]
fn holds_no_pin(token: &TestToken, trace: &str, line: &str, outcome: &Outcome) {
    let seen = String::from_utf8_lossy(&token.bench.read(trace)).into_owned();
    assert!(seen.contains("execve("), "{line}: {outcome:?}");
    assert!(!seen.contains(PIN), "{line}: the PIN is in its trace");
    assert!(!outcome.stdout.contains(PIN) && !outcome.stderr.contains(PIN), "{line}: {outcome:?}");
    fs::remove_file(token.bench.path(trace)).unwrap();
}

#[test]
fn the_pin_is_in_nothing_that_a_release_command_starts_writes_or_says() {
    let tried = COMMANDS.map(|(line, _)| line);
    let is_tried =
        |leaf: &String| tried.iter().any(|line| format!("{line} ").starts_with(&format!("{leaf} ")));
    let not_tried: Vec<_> =
        leaves(&hsmsign::cli::Cli::command(), "").into_iter().filter(|leaf| !is_tried(leaf)).collect();
    assert!(not_tried.is_empty(), "not tried: {not_tried:?}");
    let Some(token) = factory() else { return };
    let Some(strace) = find_tool("strace") else { return };
    for (line, code) in COMMANDS {
        for talk in ["-vv", "--json"] {
            let words: Vec<&str> = std::iter::once(talk).chain(line.split(' ')).collect();
            let outcome = run(&mut traced(&strace, &token.command(&words), &token, "trace"));
            holds_no_pin(&token, "trace", line, &outcome);
            assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        }
    }
    // What is left on disk: the PIN file, and nothing else.
    assert_eq!(files_with(token.bench.directory(), PIN), [token.bench.path("pin")]);
}

/// An agent under strace, and what it says in a file; killed with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something, for as long as a busy machine may need.
#[track_caller]
fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_pin_is_in_nothing_that_an_agent_or_its_clients_start_write_or_say() {
    let Some(token) = factory() else { return };
    let Some(strace) = find_tool("strace") else { return };
    let bench = &token.bench;
    // As under systemd: the PIN is a credential.
    fs::create_dir(bench.path("credentials")).unwrap();
    fs::rename(bench.path("pin"), bench.path("credentials/factory")).unwrap();
    let host = String::from_utf8(bench.read("host.yaml")).unwrap();
    let source = format!("{{ file: {} }}", bench.path("pin").display());
    assert!(host.contains(&source));
    let host = host.replace(&source, "{ credential: factory }");
    set_mode(&bench.write("host.yaml", host), 0o600);
    let mut command = token.command(&["-vv", "agent", "--socket", "s"]);
    command.env("CREDENTIALS_DIRECTORY", bench.path("credentials"));
    let mut command = traced(&strace, &command, &token, "agent-trace");
    let said = |name: &str| fs::File::create(bench.path(name)).unwrap();
    command.stdout(said("agent-stdout")).stderr(said("agent-stderr"));
    let mut agent = Agent(command.spawn().unwrap());
    let text = |name: &str| String::from_utf8_lossy(&bench.read(name)).into_owned();
    wait_for("it is not ready", || {
        assert!(agent.0.try_wait().unwrap().is_none(), "it ended: {}", text("agent-stderr"));
        text("agent-stderr").contains("ready at")
    });
    let mut pid = None;
    for (line, code) in ASKED {
        for talk in ["-vv", "--json"] {
            let words: Vec<&str> = ["--mode", "release", talk].into_iter().chain(line.split(' ')).collect();
            let mut client = bench.command(&words);
            client.env("HSMSIGN_AGENT", bench.path("s"));
            let outcome = run(&mut traced(&strace, &client, &token, "trace"));
            holds_no_pin(&token, "trace", line, &outcome);
            assert_eq!(outcome.code, code, "{line}: {outcome:?}");
            if let Ok(status) = serde_json::from_str::<serde_json::Value>(&outcome.stdout) {
                pid = pid.or(status["pid"].as_u64());
            }
        }
    }
    // strace itself would leave it alone.
    run(Command::new("kill").arg(pid.unwrap().to_string())).exits(0);
    wait_for("it does not end", || agent.0.try_wait().unwrap().is_some());
    assert!(agent.0.wait().unwrap().success());
    let outcome = Outcome { code: 0, stdout: text("agent-stdout"), stderr: text("agent-stderr") };
    holds_no_pin(&token, "agent-trace", "agent", &outcome);
    assert_eq!(files_with(bench.directory(), PIN), [bench.path("credentials/factory")]);
}
