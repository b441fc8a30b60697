//! Ways to an agent: without network, started by systemd, through OpenSSH; and p11-kit's remoting instead.

use super::{
    common::{find_tool, run, skip, token::TestToken, token::set_mode},
    running::{Agent, PATIENCE, prepare, sign_arguments, token},
};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

#[track_caller]
fn accepted(token: &TestToken, signature: &str) {
    let arguments = ["dgst", "-sha256", "-verify", "k.pem", "-signature", signature, "input"];
    token.bench.tool(&find_tool("openssl").unwrap(), &arguments);
}

#[test]
fn a_task_without_network_reaches_it_by_path() {
    let (Some(token), Some(unshare)) = (token(), find_tool("unshare")) else { return };
    let agent = Agent::start(&token, "");
    let build = agent.client(&token, &sign_arguments("signature"));
    let without_network = |options: &[&str]| {
        let mut command = Command::new(&unshare);
        command.args(options).arg(build.get_program()).args(build.get_args());
        run(command.current_dir(token.bench.directory()).env("HSMSIGN_AGENT", &agent.socket))
    };
    // As bitbake does: a user namespace of one user, and no network in it. A chroot or container may allow root
    // the second alone.
    let mut outcome = without_network(&["--user", "--map-root-user", "--net"]);
    if outcome.stderr.contains("unshare failed") {
        outcome = without_network(&["--net"]);
    }
    if outcome.stderr.contains("unshare failed") {
        return skip(&format!("no namespaces here: {}", outcome.stderr));
    }
    outcome.exits(0);
    accepted(&token, "signature");
    // The kernel's user stands in the record, whatever the namespace calls it.
    assert_eq!(agent.records(&token)[0]["requester"]["uid"], rustix::process::getuid().as_raw());
}

#[test]
fn systemd_hands_its_socket_over() {
    let (Some(token), Some(activate)) = (token(), find_tool("systemd-socket-activate")) else { return };
    let socket = token.bench.path("s");
    let program = token.command(&["agent"]);
    let mut command = Command::new(activate);
    command.arg("--listen").arg(&socket);
    // Only what is named goes on to the program.
    for (name, value) in program.get_envs().filter_map(|(n, v)| Some((n.to_str()?, v?.to_str()?))) {
        command.arg(format!("--setenv={name}={value}"));
    }
    command.arg(program.get_program()).args(program.get_args()).current_dir(token.bench.directory());
    let waker = wake_up(socket.clone());
    // It is started by the first that connects.
    let agent = Agent::run(command, &socket);
    waker.join().unwrap();
    run(&mut agent.client(&token, &sign_arguments("signature"))).exits(0);
    accepted(&token, "signature");
    agent.end();
    // It is systemd's, and stays.
    assert!(socket.exists());
}

fn wake_up(socket: PathBuf) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() && begun.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    })
}

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// OpenSSH from a "builder" to the "machine with the HSM", by pipes: no port is opened.
#[test]
fn openssh_forwards_it() {
    let Some(token) = token() else { return };
    let (Some(ssh), Some(sshd), Some(keygen)) =
        (find_tool("ssh"), find_tool("sshd"), find_tool("ssh-keygen"))
    else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skip("only root can be its own ssh server");
    }
    let agent = Agent::start(&token, "");
    let bench = &token.bench;
    for name in ["host-key", "user-key"] {
        bench.tool(&keygen, &["-q", "-t", "ed25519", "-N", "", "-f", name]);
    }
    fs::copy(bench.path("user-key.pub"), bench.path("authorized")).unwrap();
    set_mode(&bench.path("authorized"), 0o600);
    let directory = bench.directory().display();
    bench.write(
        "sshd_config",
        format!(
            "HostKey {directory}/host-key\nAuthorizedKeysFile {directory}/authorized\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nAllowStreamLocalForwarding local\n\
             PidFile none\nLogLevel ERROR\n"
        ),
    );
    // sshd wants it, and init scripts make it.
    fs::create_dir_all("/run/sshd").unwrap();
    let forwarded = bench.path("forwarded");
    let mut command = Command::new(ssh);
    command.args(["-N", "-F", "none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]);
    command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", "user-key"]);
    command.arg("-o").arg(format!("ProxyCommand={} -i -f {directory}/sshd_config", sshd.display()));
    command.arg("-L").arg(format!("{}:{}", forwarded.display(), agent.socket.display()));
    command.arg("root@vault").current_dir(bench.directory()).stdin(Stdio::null()).process_group(0);
    let mut forward = Ended(command.stderr(Stdio::piped()).spawn().unwrap());
    let begun = Instant::now();
    while !forwarded.exists() {
        if let Some(status) = forward.0.try_wait().unwrap() {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut forward.0.stderr.take().unwrap(), &mut said).unwrap();
            panic!("ssh ended: {status}: {said}");
        }
        assert!(begun.elapsed() < PATIENCE, "ssh forwards nothing");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut command = agent.client(&token, &sign_arguments("signature"));
    run(command.env("HSMSIGN_AGENT", &forwarded)).exits(0);
    accepted(&token, "signature");
    // The agent sees the account that ssh logged in to.
    let records = agent.records(&token);
    assert_eq!(records[0]["requester"]["uid"], 0);
    drop(forward);
    // A tunnel that ended is an error that says so, and nothing is signed.
    let mut command = agent.client(&token, &sign_arguments("late"));
    run(command.env("HSMSIGN_AGENT", &forwarded)).exits(5).says("cannot be reached");
    assert!(!token.bench.path("late").exists());
}

/// The other way across machines: PKCS#11 itself, over p11-kit's remoting. Also below an agent.
#[test]
fn p11_kits_remoting_carries_the_token_instead() {
    let Some(token) = TestToken::p11_kit() else { return };
    prepare(&token);
    token.sign().exits(0);
    accepted(&token, "signature");
    let agent = Agent::start(&token, "");
    run(&mut agent.client(&token, &sign_arguments("by-agent"))).exits(0);
    accepted(&token, "by-agent");
    agent.end();
}

#[test]
fn shipped_units_are_in_order() {
    let Some(analyze) = find_tool("systemd-analyze") else { return };
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let bench = super::common::Bench::new();
    // The program is not installed here, nor its man page.
    for name in ["hsmsign-agent.service", "hsmsign-agent.socket"] {
        let unit = fs::read_to_string(units.join(name)).unwrap();
        let unit =
            unit.replace("/usr/bin/hsmsign", "/bin/true").replace("man:hsmsign-agent(1)", "man:true(1)");
        bench.write(name, unit);
    }
    let verified = bench
        .try_tool(&analyze, &["verify", "--man=no", "./hsmsign-agent.service", "./hsmsign-agent.socket"]);
    assert!(verified.code == 0 && !verified.stderr.contains("hsmsign-agent"), "{verified:?}");
    // 10 is an unprotected service, 0 one that can do nothing.
    let arguments = ["security", "--offline=true", "--threshold=15", "./hsmsign-agent.service"];
    bench.tool(&analyze, &arguments);
}
