//! Public example keys: refused for release, warned of elsewhere (invariant 5).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    Bench, SIGN, find_softhsm, find_tool,
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
    bench.hsmsign(&SIGN).exits(0);
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

/// A release control tree with a second key, which was put there in dev mode and given another's name.
fn tree_with_a_foreign_key(token: &TestToken) -> Option<String> {
    let (dtc, fdtput) = (find_tool("dtc")?, find_tool("fdtput")?);
    let bench = &token.bench;
    bench.write("tree.dts", "/dts-v1/; / { config { bootdelay = <(-2)>; }; };");
    bench.tool(&dtc, &["-q", "-p", "4096", "-I", "dts", "-O", "dtb", "-o", "u-boot.dtb", "tree.dts"]);
    bench.hsmsign(&["--dev-dir", "dev", "sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    bench.tool(&dtc, &["-q", "-I", "dtb", "-O", "dts", "-o", "tree.dts", "u-boot.dtb"]);
    let text = String::from_utf8(bench.read("tree.dts")).unwrap();
    bench.write("tree.dts", text.replace("hsmsign-dev-fit", "vendor"));
    bench.tool(&dtc, &["-q", "-p", "4096", "-I", "dts", "-O", "dtb", "-o", "u-boot.dtb", "tree.dts"]);
    // A key that is not required does not change who may sign; what it is counts all the same.
    bench.tool(&fdtput, &["-d", "u-boot.dtb", "/signature/key-vendor", "required"]);
    token.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    Some(dev_fingerprint(bench, "fit"))
}

fn dev_fingerprint(bench: &Bench, role: &str) -> String {
    bench.hsmsign(&["--dev-dir", "dev", "keys", "public", "--role", role, "-o", "dev.pem"]).exits(0);
    let script = "openssl pkey -pubin -in dev.pem -outform der | sha256sum | cut -d' ' -f1";
    format!("sha256:{}", bench.tool("/bin/sh".as_ref(), &["-c", script]).stdout.trim())
}

#[test]
fn an_example_key_in_a_control_tree_fails_a_release() {
    let Some((token, _)) = token() else { return };
    let Some(foreign) = tree_with_a_foreign_key(&token) else { return };
    let verify = ["verify", "bootloader", "--control-dtb", "u-boot.dtb", "--trust", "fit=k.pem"];
    token.hsmsign(&verify).exits(0).says("another's key");
    block(&token, &format!("{foreign} is in the vendor's SDK\n"));
    let outcome = token.hsmsign(&verify).exits(7);
    assert!(outcome.stdout.contains("key-vendor"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("is in the vendor's SDK"), "{}", outcome.stdout);
}

#[test]
fn an_update_certificate_of_an_example_key_fails_a_release_and_is_told_in_dev() {
    let Some((token, _)) = token() else { return };
    let (Some(dtc), Some(mkimage)) = (find_tool("dtc"), find_tool("mkimage")) else { return };
    let bench = &token.bench;
    bench.write("board.dts", "/dts-v1/; / { model = \"board\"; };");
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-o", "board.dtb", "board.dts"]);
    bench.write("fit.its", FIT);
    bench.write("kernel", [7; 999]);
    bench.tool(&mkimage, &["-f", "fit.its", "fit"]);
    bench
        .hsmsign(&["--dev-dir", "dev", "keys", "certificate", "--role", "update", "-o", "update.pem"])
        .exits(0);
    token.hsmsign(&["sign", "fit", "fit", "-o", "out", "--update-certificate", "update.pem"]).exits(0);
    let verify = ["verify", "fit", "out", "--trust", "k.pem"];
    token.hsmsign(&verify).exits(0);
    block(&token, &format!("{} is in the manual\n", dev_fingerprint(bench, "update")));
    let outcome = token.hsmsign(&verify).exits(7);
    assert!(outcome.stdout.contains("the update certificate is for"), "{}", outcome.stdout);
}

const FIT: &str = r#"/dts-v1/;
/ {
	description = "test";
	#address-cells = <1>;
	images {
		kernel { description = "k"; data = /incbin/("kernel"); type = "kernel"; arch = "arm64"; os = "linux";
			compression = "none"; load = <0x44000000>; entry = <0x44000000>; hash-1 { algo = "sha256"; }; };
		fdt { description = "f"; data = /incbin/("board.dtb"); type = "flat_dt"; arch = "arm64";
			compression = "none"; hash-1 { algo = "sha256"; }; };
	};
	configurations { default = "conf"; conf { description = "c"; kernel = "kernel"; fdt = "fdt"; }; };
};
"#;

#[test]
fn a_blocklist_that_others_can_write_is_refused() {
    let Some((token, pin)) = token() else { return };
    block(&token, &format!("{pin} stolen\n"));
    for bits in [0o666, 0o664] {
        set_mode(&token.bench.path("blocked"), bits);
        token.sign().exits(3).says("blocklist").says("can be written by others");
    }
    // One that is longer than what is read must not be read in part.
    let filler = "#\n".repeat(600_000);
    token.bench.write("blocked", format!("{filler}{pin} stolen\n"));
    set_mode(&token.bench.path("blocked"), 0o644);
    token.sign().exits(8).says("bytes long");
    assert!(!token.bench.path("signature").exists());
}

#[test]
fn dev_mode_tells_of_a_release_pin_that_release_mode_will_refuse() {
    if find_softhsm().is_none() {
        return;
    }
    let bench = Bench::new();
    bench.write("input", "what is signed");
    let policy = format!(
        "version: 1\nproduct: p\nrelease:\n  keys:\n    fit: {{ token: t, uri: \"pkcs11:token=t;object=k\", pins: \
         [\"{MCUBOOT_FINGERPRINT}\"] }}\n"
    );
    bench.write("hsmsign.yaml", policy);
    bench.hsmsign(&SIGN).exits(0).says("pins a public example key").says("root-ec-p256");
    let doctor = bench.hsmsign(&["doctor"]).exits(0);
    assert!(doctor.stdout.contains("warn example keys"), "{}", doctor.stdout);
}

#[test]
fn doctor_and_keys_check_name_the_example_key() {
    let Some((token, pin)) = token() else { return };
    block(&token, &format!("{pin} is in the manual\n"));
    for command in [&["doctor"][..], &["keys", "check"]] {
        let outcome = token.hsmsign(command);
        assert!(outcome.code == 3 || outcome.code == 4, "{outcome:?}");
        assert!(outcome.stdout.contains("public example key"), "{command:?}: {}", outcome.stdout);
    }
}
