//! Public example keys: refused for release, warned of elsewhere (invariant 5).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    Bench, find_softhsm, find_tool,
    token::{TestToken, set_mode},
};
use std::fmt::Write as _;

/// The public half of MCUboot's `root-ec-p256.pem`, whose private half is in its repository.
const MCUBOOT: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKstAPOj+7VukSZWhqR2u6Nu+GTfN
FPsvJFc35ZU5iNmUudZa69fN1TCK1v5IskpqgQ7l8H2LaDTMOmr8U476wQ==
-----END PUBLIC KEY-----
";
const MCUBOOT_FINGERPRINT: &str = "sha256:e30466f6b8470c1f29070b17f1e2d3e94d445e3f608087fdc711e4382bb538b6";

fn token() -> Option<(TestToken, String)> {
    let token = TestToken::softhsm()?;
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    Some((token, pin))
}

fn block(token: &TestToken, list: &str) {
    let path = token.bench.write("blocked", list);
    let mut host = String::from_utf8(token.bench.read("host.yaml")).unwrap();
    writeln!(host, "blocklists: [{}]", path.display()).unwrap();
    set_mode(&token.bench.write("host.yaml", host), 0o600);
}

#[test]
fn a_blocked_key_signs_no_release_though_it_is_pinned() {
    let Some((token, pin)) = token() else { return };
    token.sign().exits(0);
    std::fs::remove_file(token.bench.path("signature")).unwrap();
    block(&token, &format!("# ours\n{pin} was in a container image of 2024\n"));
    // Neither is its PIN read nor its token opened.
    std::fs::remove_file(token.bench.path("pin")).unwrap();
    token.sign().exits(4).says("public example key").says("was in a container image of 2024");
    assert!(!token.bench.path("signature").exists());
}

#[test]
fn a_built_in_example_key_may_not_even_be_pinned() {
    let Some((token, pin)) = token() else { return };
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin, MCUBOOT_FINGERPRINT], "");
    token.sign().exits(4).says("public example key").says("root-ec-p256");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    token.sign().exits(0);
}

#[test]
fn a_blocklist_that_cannot_be_read_lets_nothing_pass() {
    let Some((token, pin)) = token() else { return };
    block(&token, &format!("{pin}\n"));
    token.sign().exits(3).says("blocked:1").says("without a reason");
    std::fs::remove_file(token.bench.path("blocked")).unwrap();
    token.sign().exits(8).says("blocked");
    assert!(!token.bench.path("signature").exists());
}

#[test]
fn dev_warns_of_an_example_key_and_release_trusts_none() {
    if find_softhsm().is_none() || find_tool("openssl").is_none() {
        return;
    }
    let bench = Bench::new();
    bench.write("input", "what is signed");
    bench.hsmsign(&["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"]).exits(0);
    bench.write("mcuboot.pem", MCUBOOT);
    let verify = [
        "verify",
        "blob",
        "input",
        "--role",
        "fit",
        "--format",
        "raw",
        "--signature",
        "signature",
        "--trust",
        "mcuboot.pem",
    ];
    // It is not its signature, and what it would be worth is said as well.
    bench.hsmsign(&verify).exits(7).says("warning").says("public example key").says("mcuboot:root-ec-p256");
    let Some((token, _)) = token() else { return };
    token.bench.write("mcuboot.pem", MCUBOOT);
    token.bench.write("signature", "x");
    token.hsmsign(&verify).exits(4).says("public example key");
}
