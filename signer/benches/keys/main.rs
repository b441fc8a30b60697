//! Signatures per second by the library, each one checked, against a C loop that checks none.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is a benchmark")]

use hsmsign::{
    config::Config,
    crypto::SignatureAlgorithm,
    key::dev::{DevSettings, DevToken},
    policy::{Mode, Policy},
    request::{Answer, Format, Request, Role, Subject},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const SIGNATURES: u32 = 1000;
const PAIRS: usize = 7;
/// What the ratio of rates should be at least.
const TARGET: f64 = 0.85;

fn main() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-keys");
    std::fs::create_dir_all(&directory).unwrap();
    let dev = directory.join("dev");
    // Starts this program again the first time.
    DevToken::ensure_clean_environment(&dev).unwrap();
    let Some(program) = compile(&directory) else {
        println!("SKIPPED: keys: needs cc and p11-kit's pkcs11.h");
        return;
    };
    let Policy::Dev(policy) = Policy::new(Mode::Dev, Config::default()).unwrap() else { unreachable!() };
    let settings = DevSettings { directory: dev.clone(), softhsm: None, product: "bench".into(), policy };
    let token = DevToken::open(settings).unwrap();
    let key = token.key(Role::Fit).unwrap();
    let (mut rates, mut loops) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        // Alternating order; the first pair warms up.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = library(&key);
            (ours, c_loop(&program, &dev))
        } else {
            let theirs = c_loop(&program, &dev);
            (library(&key), theirs)
        };
        if pair > 0 {
            rates.push(f64::from(SIGNATURES) / ours.as_secs_f64());
            loops.push(f64::from(SIGNATURES) / theirs.as_secs_f64());
        }
    }
    let ratio = median(rates.iter().zip(&loops).map(|(ours, theirs)| ours / theirs).collect());
    println!(
        "keys: {SIGNATURES} RSA-2048 signatures in one session: library, checked {:.0}/s, C loop {:.0}/s, \
         ratio {ratio:.2} (target: at least {TARGET})",
        median(rates),
        median(loops)
    );
    // The tool comparisons report misses too and leave the verdict to the reader.
    if ratio < TARGET {
        println!("keys: BELOW TARGET");
    }
}

fn library(key: &impl Answer) -> Duration {
    let algorithm: SignatureAlgorithm = key.identity().algorithm;
    let start = Instant::now();
    for n in 0..SIGNATURES {
        let message = n.to_le_bytes();
        let digest = algorithm.hash.digest(&message);
        let subject = Subject { format: Format::Blob, name: "bench".into(), identity: digest.to_hex() };
        let request = Request { role: Role::Fit, algorithm, digest, message: None, subject };
        key.answer(&request).unwrap();
    }
    start.elapsed()
}

fn c_loop(program: &Path, dev: &Path) -> Duration {
    let set_id = std::fs::read_to_string(dev.join("set-id")).unwrap();
    let pin = std::fs::read_to_string(dev.join("pin")).unwrap();
    let mut command = Command::new(program);
    command.arg(softhsm()).arg(format!("hsmsign-dev-{set_id}")).arg(pin);
    command.args(["hsmsign-dev-fit-rsa2048", &SIGNATURES.to_string()]);
    let output = command.env("SOFTHSM2_CONF", dev.join("softhsm2.conf")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Duration::from_secs_f64(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}

/// The module that the library finds as well.
fn softhsm() -> PathBuf {
    let places = ["/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib64/pkcs11", "/usr/lib/pkcs11"];
    places.map(|p| Path::new(p).join("libsofthsm2.so")).into_iter().find(|p| p.exists()).unwrap()
}

fn compile(directory: &Path) -> Option<PathBuf> {
    let program = directory.join("loop");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/keys/loop.c");
    let mut command = Command::new("cc");
    command.args(["-O2", "-I/usr/include/p11-kit-1", source, "-ldl", "-o"]).arg(&program);
    command.status().ok()?.success().then_some(program)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
