//! The allow-list: what it lets pass, what it does not, and that it cannot rot.

use super::{common::Bench, shell};

fn planted() -> Bench {
    let bench = Bench::new();
    shell(
        &bench,
        "mkdir -p d/test; for n in 1 2; do openssl genpkey -algorithm ED25519 -out d/test/$n.pem; done",
    );
    bench
}

#[test]
fn an_entry_lets_pass_what_it_names_and_says_so() {
    let bench = planted();
    bench.write(
        "a.yaml",
        "version: 1\nallow:\n  - path: test/*.pem\n    kind: private-key\n    reason: keys of a test suite\n",
    );
    let outcome = bench.hsmsign(&["scan", "d", "--allow", "a.yaml", "--json"]).exits(0);
    let result: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(result["allowed"].as_array().unwrap().len(), 2);
    assert_eq!(result["allowed"][0]["reason"], "keys of a test suite");
    bench.hsmsign(&["scan", "d", "-v", "--allow", "a.yaml"]).exits(0).says("keys of a test suite");
}

#[test]
fn everything_that_an_entry_names_has_to_agree() {
    let bench = planted();
    for entry in [
        "path: test/1.pem",
        "path: test/*.pem\n    kind: pin",
        "path: other/*.pem",
        "path: 1.pem\n    kind: private-key",
    ] {
        bench.write("a.yaml", format!("version: 1\nallow:\n  - {entry}\n    reason: keys of a test suite\n"));
        bench.hsmsign(&["scan", "d", "--allow", "a.yaml"]).exits(7);
    }
}

#[test]
fn a_fingerprint_means_one_key_wherever_it_is() {
    let bench = planted();
    let outcome = bench.hsmsign(&["scan", "d", "--json"]).exits(7);
    let result: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let key = result["findings"][0]["fingerprint"].as_str().unwrap().to_owned();
    bench.write(
        "a.yaml",
        format!("version: 1\nallow:\n  - fingerprint: \"{key}\"\n    reason: published on purpose\n"),
    );
    shell(&bench, "mv d/test/1.pem d/elsewhere; rm d/test/2.pem");
    bench.hsmsign(&["scan", "d", "--allow", "a.yaml"]).exits(0);
    shell(&bench, "openssl genpkey -algorithm ED25519 -out d/elsewhere");
    bench.hsmsign(&["scan", "d", "--allow", "a.yaml"]).exits(7);
}

#[test]
fn the_policy_has_a_list_too() {
    let bench = planted();
    bench.write(
        "hsmsign.yaml",
        "version: 1\nproduct: x\nscan:\n  allow:\n    - path: test/*.pem\n      reason: keys of a test suite\n",
    );
    bench.hsmsign(&["scan", "d"]).exits(0);
}

#[test]
fn unused_entries_are_told() {
    let bench = planted();
    bench.write("a.yaml", "version: 1\nallow:\n  - path: test/*.pem\n    reason: keys of a test suite\n  - path: gone.pem\n    reason: was there once upon a time\n");
    let outcome = bench.hsmsign(&["scan", "d", "--allow", "a.yaml"]).exits(0);
    outcome.says("path `gone.pem` let nothing pass");
}

#[test]
fn a_list_that_is_wrong_is_refused_with_its_place() {
    let bench = planted();
    for (text, says) in [
        ("version: 1\nallow:\n  - path: a\n    reason: long enough a reason\n    kinds: pin\n", "a.yaml:5"),
        ("version: 1\nallow:\n  - kind: private-key\n    reason: all keys, please\n", "a.yaml:3"),
        ("version: 1\nallow:\n  - path: \"**\"\n    reason: all keys, please\n", "matches everything"),
    ] {
        bench.write("a.yaml", text);
        bench.hsmsign(&["scan", "d", "--allow", "a.yaml"]).exits(3).says(says);
    }
}
