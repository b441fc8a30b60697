//! `sign bootloader` and `verify bootloader`: control trees, judged by U-Boot and its tools.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Bench, find_tool, token::TestToken};

/// A tree with a `/config` node that leaves nothing open, made by dtc.
fn control_tree(bench: &Bench, name: &str, free_bytes: usize) -> Option<()> {
    let source = r#"/dts-v1/;
        / {
            model = "test board";
            #address-cells = <1>;
            #size-cells = <1>;
            config { bootcmd = "bootm 0x50000000"; bootdelay = <(-2)>; load-environment = <0>; };
            chosen { };
        };"#;
    let dtc = find_tool("dtc")?;
    bench.write("tree.dts", source);
    let free = free_bytes.to_string();
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-p", &free, "-o", name, "tree.dts"]);
    std::fs::remove_file(bench.path("tree.dts")).unwrap();
    Some(())
}

/// A program with a device tree's magic number in its code, and a whole tree that is not at its end.
fn program(bench: &Bench) -> Vec<u8> {
    let mut code: Vec<u8> = (0..70_001_u32).map(|i| (i % 253).to_le_bytes()[0]).collect();
    code[4096..4100].copy_from_slice(&[0xd0, 0x0d, 0xfe, 0xed]);
    code.extend(bench.read("u-boot.dtb"));
    code.extend(b"more code");
    code
}

#[test]
fn keys_go_into_both_trees_and_verify() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    control_tree(&bench, "spl.dtb", 4096).unwrap();
    let spl_len = bench.read("spl.dtb").len();
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb", "--spl-dtb", "spl.dtb"]).exits(0);
    assert_eq!(bench.read("spl.dtb").len(), spl_len, "free space is used first");

    // Another reader than ours finds the nodes.
    let fdtget = find_tool("fdtget").unwrap();
    for (tree, node) in [("u-boot.dtb", "key-hsmsign-dev-fit"), ("spl.dtb", "key-hsmsign-dev-bootloader")] {
        let node = format!("/signature/{node}");
        for (property, value) in [("required", "conf"), ("algo", "sha256,rsa2048")] {
            assert_eq!(bench.tool(&fdtget, &[tree, &node, property]).stdout.trim(), value);
        }
        assert_eq!(bench.tool(&fdtget, &[tree, "/", "model"]).stdout.trim(), "test board");
    }
    let both = ["verify", "bootloader", "--control-dtb", "u-boot.dtb", "--spl-dtb", "spl.dtb"];
    let verified = bench.hsmsign(&both).exits(0);
    assert!(!verified.stdout.contains("warn"), "{}", verified.stdout);

    // Again: nothing changes, not even the files' identity.
    let before = std::fs::metadata(bench.path("u-boot.dtb")).unwrap().modified().unwrap();
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0).says("was there already");
    assert_eq!(std::fs::metadata(bench.path("u-boot.dtb")).unwrap().modified().unwrap(), before);
    assert_eq!(bench.files(), ["spl.dtb", "u-boot.dtb"]);

    // Swapped trees: each stage would trust the other's key.
    bench
        .hsmsign(&["verify", "bootloader", "--control-dtb", "spl.dtb"])
        .exits(7)
        .says("holds none of the trusted keys");
}

#[test]
fn keys_on_the_command_line_can_be_of_one_role() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    control_tree(&bench, "spl.dtb", 0).unwrap();
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb", "--spl-dtb", "spl.dtb"]).exits(0);
    for role in ["fit", "bootloader"] {
        bench.hsmsign(&["keys", "public", "--role", role, "-o", role]).exits(0);
    }
    let verify = |trust: &[&str]| {
        let trees = ["verify", "bootloader", "--control-dtb", "u-boot.dtb", "--spl-dtb", "spl.dtb"];
        let trust = trust.iter().flat_map(|file| ["--trust", file]);
        bench.hsmsign(&trees.into_iter().chain(trust).collect::<Vec<_>>())
    };
    verify(&["fit", "bootloader"]).exits(0);
    verify(&["fit=fit", "bootloader=bootloader"]).exits(0);
    verify(&["fit=bootloader", "bootloader=fit"]).exits(7).says("none of the trusted keys");
    // Both keys count for both roles only where no role is said.
    verify(&["fit=bootloader", "bootloader=bootloader"]).exits(7).says("none of the trusted keys");
    verify(&["fit=fit"]).exits(2).says("names no key for role bootloader").says("--trust bootloader=FILE");
    // A file may be called so.
    std::fs::rename(bench.path("fit"), bench.path("fit=fit")).unwrap();
    verify(&["./fit=fit", "bootloader"]).exits(0);
}

#[test]
fn results_are_machine_readable() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    let outcome = bench.hsmsign(&["--json", "sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["control_tree"]["node"], "/signature/key-hsmsign-dev-fit");
    assert_eq!(json["control_tree"]["changed"], true);
    assert!(json["spl_tree"].is_null());
    let outcome = bench.hsmsign(&["--json", "verify", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["checks"][0]["verdict"], "pass");
}

#[test]
fn a_tree_behind_u_boot_is_found_and_grows() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    let program = program(&bench);
    let tree = bench.read("u-boot.dtb");
    for (padding, same_length) in [(vec![], false), (vec![0xff; 65536], true), (vec![0; 5], false)] {
        let before = [&program[..], &tree, &padding].concat();
        bench.write("u-boot.bin", &before);
        bench.hsmsign(&["sign", "bootloader", "--u-boot-bin", "u-boot.bin"]).exits(0);
        let after = bench.read("u-boot.bin");
        assert_eq!(after[..program.len()], program, "the program is untouched");
        assert_eq!(after.len() == before.len(), same_length);
        bench.hsmsign(&["verify", "bootloader", "--u-boot-bin", "u-boot.bin"]).exits(0);
        // What stands there is what a separate tree would have got.
        bench.write("alone.dtb", &tree);
        bench.hsmsign(&["sign", "bootloader", "--control-dtb", "alone.dtb"]).exits(0);
        let alone = bench.read("alone.dtb");
        assert_eq!(after[program.len()..][..alone.len()], alone);
    }
}

#[test]
fn what_is_no_tree_behind_a_program_is_refused() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    let (program, tree) = (program(&bench), bench.read("u-boot.dtb"));
    let mut inner = tree.clone();
    // A tree in whose free space another one lies; both reach the end.
    inner.extend(&tree);
    let total = u32::try_from(inner.len()).unwrap();
    inner[4..8].copy_from_slice(&total.to_be_bytes());
    let mut broken = tree.clone();
    broken[60] ^= 0x40;
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("no tree", program.clone(), "no device tree ends where the file ends"),
        ("two trees", [&program[..], &inner].concat(), "both end where the file ends"),
        ("broken tree", [&program[..], &broken].concat(), "malformed"),
        ("cut tree", [&program[..], &tree[..tree.len() - 1]].concat(), "no device tree"),
        ("bare tree", tree.clone(), "--control-dtb"),
        ("empty", Vec::new(), "no device tree"),
    ];
    for (what, bytes, says) in cases {
        bench.write("u-boot.bin", &bytes);
        bench.hsmsign(&["sign", "bootloader", "--u-boot-bin", "u-boot.bin"]).exits(6).says(says);
        assert!(bench.read("u-boot.bin") == bytes, "{what}: changed");
        bench.hsmsign(&["verify", "bootloader", "--u-boot-bin", "u-boot.bin"]).exits(6);
    }
    assert_eq!(bench.files(), ["u-boot.bin", "u-boot.dtb"], "nothing else was left");
}

#[test]
fn hostile_trees_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "good.dtb", 0) else { return };
    let good = bench.read("good.dtb");
    let patched = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("magic alone", good[..4].to_vec()),
        ("header alone", good[..40].to_vec()),
        ("one byte short", good[..good.len() - 1].to_vec()),
        ("no magic", patched(0, 0)),
        ("huge size", patched(4, u32::MAX)),
        ("structure outside", patched(8, 0x7fff_fff0)),
        ("strings outside", patched(12, 0x7fff_fff0)),
        ("strings in the structure", patched(12, 60)),
        ("reservations outside", patched(16, u32::MAX)),
        ("version 99", patched(20, 99)),
        ("long strings", patched(32, u32::MAX)),
        ("long structure", patched(36, u32::MAX)),
        ("unknown tag", patched(56, 7)),
        ("a text", b"key = value\n".repeat(50)),
    ];
    for (what, bytes) in &cases {
        bench.write("u-boot.dtb", bytes);
        let outcome = bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]);
        assert_eq!(outcome.code, 6, "{what}: {outcome:?}");
        assert!(outcome.stderr.contains("u-boot.dtb"), "{what}: {outcome:?}");
        assert!(bench.read("u-boot.dtb") == *bytes, "{what}: changed");
        bench.hsmsign(&["verify", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(6);
    }
    // If one of two trees is bad, the good one stays as it was too.
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "good.dtb", "--spl-dtb", "u-boot.dtb"]).exits(6);
    assert!(bench.read("good.dtb") == good);
    assert_eq!(bench.files(), ["good.dtb", "u-boot.dtb"]);
}

#[test]
fn mode_off_and_missing_files_are_refused() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 0) else { return };
    let before = bench.read("u-boot.dtb");
    bench.hsmsign(&["--mode", "off", "sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(4);
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "absent.dtb"]).exits(8).says("absent.dtb");
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "."]).exits(8);
    bench.hsmsign(&["sign", "bootloader"]).exits(2);
    let twice = ["sign", "bootloader", "--control-dtb", "u-boot.dtb", "--spl-dtb", "./u-boot.dtb"];
    bench.hsmsign(&twice).exits(2).says("one file is named for both");
    assert!(bench.read("u-boot.dtb") == before);
    assert_eq!(bench.files(), ["u-boot.dtb"]);
    // A FIT over a tree, by another name too.
    bench.write("u-boot.itb", "not read");
    std::os::unix::fs::symlink("u-boot.dtb", bench.path("link.dtb")).unwrap();
    for tree in ["--control-dtb", "--u-boot-bin", "--spl-dtb"] {
        for output in ["u-boot.dtb", "link.dtb"] {
            let sign = ["sign", "bootloader", "--fit", "u-boot.itb", "-o", output, tree, "u-boot.dtb"];
            bench.hsmsign(&sign).exits(2).says("would be overwritten").says("hint: ");
            let sign = ["sign", "bootloader", "--fit", output, "-o", "out", tree, "u-boot.dtb"];
            bench.hsmsign(&sign).exits(2).says("one file is named for both");
        }
    }
    assert!(bench.read("u-boot.dtb") == before);
    assert_eq!(bench.files(), ["link.dtb", "u-boot.dtb", "u-boot.itb"]);
}

#[test]
fn links_stay_links_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot-board-1.0.dtb", 0) else { return };
    let target = bench.path("u-boot-board-1.0.dtb");
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("u-boot-board-1.0.dtb", bench.path("u-boot.dtb")).unwrap();
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    assert!(bench.path("u-boot.dtb").is_symlink());
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    bench.hsmsign(&["verify", "bootloader", "--control-dtb", "u-boot-board-1.0.dtb"]).exits(0);
}

#[test]
fn verification_refuses_every_change_of_the_key_node() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 64) else { return };
    let fdtput = find_tool("fdtput").unwrap();
    let verify = ["verify", "bootloader", "--control-dtb", "u-boot.dtb"];
    bench.hsmsign(&verify).exits(5); // no dev token yet: nobody to trust
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    let good = bench.read("u-boot.dtb");
    let node = "/signature/key-hsmsign-dev-fit";
    let refused: [(&[&str], &str); 7] = [
        (&["-r", "u-boot.dtb", "/signature"], "accepts unsigned images"),
        (&["-r", "u-boot.dtb", node], "none of the trusted keys"),
        (&["-d", "u-boot.dtb", node, "required"], "not `required`"),
        (&["-t", "s", "u-boot.dtb", node, "algo", "sha1,rsa2048"], "collision"),
        (&["-t", "x", "u-boot.dtb", node, "rsa,n0-inverse", "1"], "rsa,n0-inverse"),
        (&["-t", "x", "u-boot.dtb", node, "rsa,num-bits", "1000"], "rsa,num-bits"),
        (&["-d", "u-boot.dtb", node, "rsa,r-squared"], "rsa,r-squared"),
    ];
    for (arguments, says) in refused {
        bench.write("u-boot.dtb", &good);
        bench.tool(&fdtput, arguments);
        bench.hsmsign(&verify).exits(7).says(says);
    }
    let warned: [(&[&str], &str); 5] = [
        (&["-t", "s", "u-boot.dtb", "/signature", "required-mode", "any"], "the weakest key decides"),
        (&["-t", "s", "u-boot.dtb", node, "required", "image"], "images only"),
        (&["-t", "i", "u-boot.dtb", "/config", "bootdelay", "3"], "can stop autoboot"),
        (&["-t", "i", "u-boot.dtb", "/config", "load-environment", "1"], "loads its environment"),
        (&["-t", "s", "u-boot.dtb", "/config", "bootcmd", "booti 1 - 2"], "`booti` starts"),
    ];
    for (arguments, says) in warned {
        bench.write("u-boot.dtb", &good);
        bench.tool(&fdtput, arguments);
        let outcome = bench.hsmsign(&verify).exits(0).says(says);
        assert!(outcome.stdout.contains("warn "), "{}", outcome.stdout);
    }
}

#[test]
fn a_dev_key_is_refused_when_another_key_is_trusted() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "u-boot.dtb", 64) else { return };
    let Some(openssl) = find_tool("openssl") else { return };
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    let generate =
        ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "release.key"];
    bench.tool(&openssl, &generate);
    bench.tool(&openssl, &["pkey", "-in", "release.key", "-pubout", "-out", "release.pem"]);
    bench
        .hsmsign(&["verify", "bootloader", "--control-dtb", "u-boot.dtb", "--trust", "release.pem"])
        .exits(7)
        .says("untrusted dev key of role fit")
        .says("holds none of the trusted keys");
    // A trusted key beside it does not make the dev key any better.
    let fdtput = find_tool("fdtput").unwrap();
    let keys = bench.hsmsign(&["verify", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0).stdout;
    bench.tool(&fdtput, &["-c", "u-boot.dtb", "/signature/key-acme"]);
    bench.hsmsign(&["verify", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0).says("no usable key");
    assert!(keys.contains("required for configurations"));
}

#[test]
fn a_kill_leaves_the_old_tree_or_the_new_one() {
    let bench = Bench::new();
    let Some(()) = control_tree(&bench, "old.dtb", 0) else { return };
    let old = bench.read("old.dtb");
    bench.write("u-boot.dtb", &old);
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    let new = bench.read("u-boot.dtb");
    let mut seen_old = 0;
    for step in 0..24_u64 {
        bench.write("u-boot.dtb", &old);
        let mut child = bench
            .command(&["-q", "sign", "bootloader", "--control-dtb", "u-boot.dtb"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(step * 6));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = bench.read("u-boot.dtb");
        assert!(found == old || found == new, "neither the old tree nor the new one");
        seen_old += u32::from(found == old);
    }
    assert!(seen_old > 0, "no run was killed in time");
}

#[test]
fn another_mode_replaces_the_key_and_release_accepts_no_dev_key() {
    let Some(token) = TestToken::softhsm() else { return };
    let Some(()) = control_tree(&token.bench, "u-boot.dtb", 0) else { return };
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    let sign = ["sign", "bootloader", "--control-dtb", "u-boot.dtb"];
    let verify = ["verify", "bootloader", "--control-dtb", "u-boot.dtb"];
    let verify_release = [&verify[..], &["--trust", "k.pem"]].concat();

    token.bench.hsmsign(&sign).exits(0);
    let dev = token.bench.read("u-boot.dtb");
    token
        .hsmsign(&verify_release)
        .exits(7)
        .says("untrusted dev key of role fit")
        .says("none of the trusted keys");

    token.hsmsign(&sign).exits(0).says("removed `/signature/key-hsmsign-dev-fit`");
    token.hsmsign(&verify_release).exits(0).says(&pin);
    let release = token.bench.read("u-boot.dtb");
    let gone = b"key-hsmsign-dev-fit";
    assert!(!release.windows(gone.len()).any(|w| w == gone), "the dev key is still in the file");
    token.bench.hsmsign(&verify).exits(7).says("untrusted release key of role fit");

    // Back again: nothing is left of the release key, and the dev key is what it was.
    token.bench.hsmsign(&sign).exits(0).says("removed `/signature/key-hsmsign-release-fit`");
    token.bench.hsmsign(&verify).exits(0);
    let back = token.bench.read("u-boot.dtb");
    assert_eq!(back.len(), release.len(), "the tree does not shrink, and does not grow again");
    token.bench.write("dev.dtb", dev);
    token.bench.hsmsign(&["verify", "bootloader", "--control-dtb", "dev.dtb"]).exits(0);
}

#[test]
fn real_u_boots_that_end_in_their_tree() {
    let boards = ["malta64el", "maltael", "qemu-x86", "qemu-x86_64"];
    let binaries = boards.map(|b| format!("/usr/lib/u-boot/{b}/u-boot.bin"));
    let binaries: Vec<_> = binaries.iter().filter(|b| std::path::Path::new(b).is_file()).collect();
    if binaries.is_empty() {
        common::skip("u-boot-qemu is not installed");
        return;
    }
    let bench = Bench::new();
    for binary in binaries {
        let before = bench.read(binary);
        bench.write("u-boot.bin", &before);
        let sign = ["--json", "sign", "bootloader", "--u-boot-bin", "u-boot.bin"];
        let outcome = bench.hsmsign(&sign).exits(0);
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let old_total = usize::try_from(json["control_tree"]["total_bytes"][0].as_u64().unwrap()).unwrap();
        let after = bench.read("u-boot.bin");
        let tree_at = (0..before.len() - 40)
            .rfind(|at| {
                before[*at..].starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) && before.len() - at >= old_total
            })
            .unwrap();
        assert!(after[..tree_at] == before[..tree_at], "{binary}: the program was changed");
        bench.hsmsign(&["verify", "bootloader", "--u-boot-bin", "u-boot.bin"]).exits(0);
        // Another reader takes the tree for one, with all that was in it.
        let Some(fdtget) = find_tool("fdtget") else { return };
        bench.write("tree.dtb", &after[tree_at..]);
        let nodes = bench.tool(&fdtget, &["-l", "tree.dtb", "/"]).stdout;
        bench.write("tree.dtb", &before[tree_at..]);
        let old_nodes = bench.tool(&fdtget, &["-l", "tree.dtb", "/"]).stdout;
        assert_eq!(nodes, format!("signature\n{old_nodes}"), "{binary}");
    }
}
