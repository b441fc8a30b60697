//! The release PIN is nowhere (invariant 6): a canary. Every release command is run with a known PIN, and everything
//! that it starts, writes and says is searched for it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use clap::CommandFactory as _;
use common::{
    Bench, find_tool,
    quirky::quirky,
    run,
    token::{PIN, TestToken, set_mode},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const URI: &str = "pkcs11:token=hsm;object=k";

/// A token with one key for all roles, certificates for it, and something to sign for each role.
fn factory() -> Option<TestToken> {
    let (mkimage, dtc, openssl) = (find_tool("mkimage")?, find_tool("dtc")?, find_tool("openssl")?);
    let token = TestToken::softhsm()?;
    let bench = &token.bench;
    token.generate("rsa:2048", "k", &[]);
    let pin = token.public_key("k");
    let roles = |certificates: bool| {
        let certificate = if certificates { ", certificate: k.crt" } else { "" };
        ["bootloader", "rootfs", "update"]
            .map(|role| {
                format!("    {role}: {{ token: hsm, uri: \"{URI}\", pins: [\"{pin}\"]{certificate} }}\n")
            })
            .concat()
    };
    token.policy("algorithm: rsa2048", URI, &[&pin], &roles(false));
    token.hsmsign(&["keys", "csr", "--role", "update", "-o", "k.csr"]).exits(0);
    let ca = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj",
        "/CN=ca",
    ];
    bench.tool(&openssl, &ca);
    bench.write("ext", "keyUsage=digitalSignature\nextendedKeyUsage=emailProtection\n");
    let sign = [
        "x509",
        "-req",
        "-in",
        "k.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "9",
    ];
    bench.tool(&openssl, &[&sign[..], &["-extfile", "ext", "-out", "k.crt"]].concat());
    token.policy("algorithm: rsa2048", URI, &[&pin], &roles(true));
    bench.write("kernel", "kernel");
    bench.write("rootfs", vec![7; 64 * 1024]);
    bench.write("image.bin", "image");
    bench.write(
        "sw-description",
        "software = { version = \"1\"; images: ( { filename = \"image.bin\"; } ); };\n",
    );
    bench.write("tree.dts", "/dts-v1/; / { config { a = <1>; }; };");
    bench.tool(&dtc, &["-q", "-p", "8192", "-O", "dtb", "-o", "u-boot.dtb", "tree.dts"]);
    bench.write(
        "image.its",
        "/dts-v1/; / { description = \"x\"; #address-cells = <1>; images { kernel { data = /incbin/(\"kernel\"); type = \
         \"kernel\"; arch = \"arm64\"; os = \"linux\"; compression = \"none\"; load = <0>; entry = <0>; hash-1 { algo = \
         \"sha256\"; }; }; }; configurations { default = \"conf-1\"; conf-1 { kernel = \"kernel\"; signature-1 { algo = \
         \"sha256,rsa2048\"; key-name-hint = \"x\"; sign-images = \"kernel\"; }; }; }; };",
    );
    bench.tool(&mkimage, &["-f", "image.its", "fit"]);
    Some(token)
}

/// Every command of these groups, as words: what is added later has to be tried here too.
fn leaves() -> BTreeSet<String> {
    let root = hsmsign::cli::Cli::command();
    let groups = root.get_subcommands().filter(|c| matches!(c.get_name(), "keys" | "sign" | "audit"));
    let leaf = |group: &clap::Command| {
        group.get_subcommands().map(|c| format!("{} {}", group.get_name(), c.get_name())).collect::<Vec<_>>()
    };
    groups.flat_map(leaf).collect()
}

const COMMANDS: [&str; 17] = [
    "sign fit fit -o fit.signed --control-dtb u-boot.dtb",
    "sign bootloader --control-dtb u-boot.dtb",
    "sign rootfs rootfs -o rootfs.signed",
    "sign swu --description sw-description --image image.bin -o out.swu",
    "sign blob kernel --role fit --format raw -o kernel.sig",
    "keys list",
    "keys check",
    "keys generate --role fit --yes",
    "keys public --role fit -o public.pem",
    "keys certificate --role update -o certificate.pem",
    "keys csr --role fit -o fit.csr",
    "keys pin --role fit",
    "keys unlatch",
    "audit show",
    "audit verify",
    "doctor",
    "verify fit fit.signed --trust k.pem",
];

#[test]
fn the_pin_is_in_nothing_that_a_release_command_starts_writes_or_says() {
    let Some(token) = factory() else { return };
    let Some(strace) = find_tool("strace") else { return };
    let tried: BTreeSet<String> =
        COMMANDS.iter().map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert!(leaves().is_subset(&tried), "not tried: {:?}", leaves().difference(&tried));
    for line in COMMANDS {
        for talk in ["-vv", "--json"] {
            let words: Vec<&str> = std::iter::once(talk).chain(line.split(' ')).collect();
            let inner = token.command(&words);
            let mut command = Command::new(&strace);
            // Arguments and environment of every program that is started, every byte that is written or sent.
            command.args(["-f", "-v", "-s", "1000000", "-o", "trace"]);
            command.args([
                "-e",
                "trace=execve,execveat,write,pwrite64,writev,pwritev,sendto,sendmsg,rename,renameat2,openat",
            ]);
            command.arg(inner.get_program()).args(inner.get_args()).current_dir(token.bench.directory());
            for (name, value) in inner.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            let outcome = run(command.stdin(Stdio::null()));
            let trace = String::from_utf8_lossy(&token.bench.read("trace")).into_owned();
            assert!(trace.contains("execve("), "{line}: {outcome:?}");
            assert!(!trace.contains(PIN), "{line}: the PIN is in its trace");
            assert!(!outcome.stdout.contains(PIN) && !outcome.stderr.contains(PIN), "{line}: {outcome:?}");
            let is_about_a_key = line.starts_with("keys generate") || line == "doctor";
            assert!(is_about_a_key || outcome.code == 0, "{line}: {outcome:?}");
        }
    }
    // What is left on disk: the PIN file, and nothing else.
    fs::remove_file(token.bench.path("trace")).unwrap();
    assert_eq!(files_with(token.bench.directory(), PIN), [token.bench.path("pin")]);
}

#[test]
fn a_wrong_pin_is_shown_and_noted_nowhere() {
    let Some(token) = factory() else { return };
    let path = token.bench.write("pin", "not-8642-at-all\n");
    set_mode(&path, 0o600);
    for line in
        ["sign blob kernel --role fit --format raw -o kernel.sig", "keys check", "keys unlatch", "doctor"]
    {
        let words: Vec<&str> = std::iter::once("-vv").chain(line.split(' ')).collect();
        let outcome = token.hsmsign(&words);
        assert!(!format!("{outcome:?}").contains("not-8642"), "{line}: {outcome:?}");
    }
    assert_eq!(files_with(token.bench.directory(), "not-8642-at-all"), [path]);
}

#[test]
fn a_dev_tokens_pin_stands_in_its_one_file() {
    if common::find_softhsm().is_none() {
        return;
    }
    let bench = Bench::new();
    bench.write("input", "what is signed");
    let words = ["-vv", "sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];
    let said = bench.hsmsign(&words).exits(0);
    let doctor = bench.hsmsign(&["-vv", "doctor"]);
    let path = bench.path(".hsmsign/pin");
    let pin = fs::read_to_string(&path).unwrap();
    assert!(pin.trim().len() >= 8);
    assert_eq!(files_with(bench.directory(), pin.trim()), [path]);
    assert!(!format!("{said:?}{doctor:?}").contains(pin.trim()));
}

/// Files below `directory` that hold `text`.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() && fs::read(&path).unwrap().windows(text.len()).any(|w| w == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_crash_after_the_pin_was_read_leaves_no_core() {
    let Some(quirky) = quirky() else { return };
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    let Some(prlimit) = find_tool("prlimit") else { return };
    let dumps = |command: &mut Command, ready: &dyn Fn() -> bool| {
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(Instant::now() < patience && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        run(Command::new("kill").args(["-ABRT", &child.id().to_string()])).exits(0);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "{status:?}");
        status.core_dumped()
    };
    // Where even a program that hides nothing leaves none, the test says nothing.
    let directory = quirky.token.bench.directory();
    let mut sleeper = Command::new(&prlimit);
    sleeper.args(["--core=unlimited", "sleep", "60"]).current_dir(directory);
    let started = Instant::now();
    if !dumps(&mut sleeper, &|| started.elapsed() > Duration::from_millis(300)) {
        eprintln!("SKIPPED: this machine writes no cores");
        return;
    }
    let inner = quirky.token.command(&[
        "sign",
        "blob",
        "input",
        "--role",
        "fit",
        "--format",
        "raw",
        "-o",
        "signature",
    ]);
    let mut command = Command::new(&prlimit);
    command.arg("--core=unlimited").arg(inner.get_program()).args(inner.get_args()).current_dir(directory);
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("QUIRKS", "slow-login");
    let _ = fs::remove_file(quirky.token.bench.path("told"));
    let told = quirky.token.bench.path("told");
    assert!(!dumps(&mut command, &|| fs::read_to_string(&told).unwrap_or_default().contains("login")));
    assert!(!files_with(directory, PIN).iter().any(|f| f.file_name().is_some_and(|n| n != "pin")));
}
