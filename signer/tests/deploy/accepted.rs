//! What may ship.

use crate::fixture::{Deploy, accepts};

fn state<'a>(report: &'a serde_json::Value, path: &str) -> &'a str {
    let files = report["files"].as_array().unwrap();
    let file = files.iter().find(|f| f["path"] == path);
    file.unwrap_or_else(|| panic!("no {path} in {report:#}"))["state"].as_str().unwrap()
}

const STATES: [(&str, &str); 22] = [
    ("Image", "covered"),
    ("System.map", "by-product"),
    ("board.dtb", "covered"),
    ("board.manifest", "by-product"),
    ("board.testdata.json", "by-product"),
    ("data.squashfs", "covered"),
    ("data.squashfs.verity", "signed"),
    ("fit.itb", "signed"),
    ("initramfs.cpio.gz", "covered"),
    ("modules.tgz", "by-product"),
    ("rootfs.ext4", "covered"),
    ("rootfs.ext4.verity", "signed"),
    ("rootfs.ext4.verity.roothash.p7s", "part"),
    ("u-boot-nodtb.bin", "covered"),
    ("u-boot-spl-nodtb.bin", "covered"),
    ("u-boot-spl.bin", "signed"),
    ("u-boot-spl.dtb", "signed"),
    ("u-boot.bin", "signed"),
    ("u-boot.dtb", "signed"),
    ("u-boot.itb", "signed"),
    ("update.swu", "signed"),
    ("update.swu:fit.itb", "covered"),
];

#[test]
fn a_release_directory_ships_and_says_that_it_is_a_rehearsal() {
    let Some(deploy) = Deploy::release() else { return };
    let outcome = deploy.gate(&[]).exits(0).says("REHEARSAL").says("also called fitImage");
    assert!(!outcome.stdout.contains("development"), "{}", outcome.stdout);
    let report = deploy.report(0);
    assert_eq!(report["trust"], "release");
    assert_eq!(report["rehearsal"], true);
    for (path, expected) in STATES {
        assert_eq!(state(&report, path), expected, "{path} in {report:#}");
    }
    let links = report["chain"].as_array().unwrap();
    let holds = |by: &str, from: &str, to: &str| {
        links.iter().any(|l| l["by"] == by && l["from"] == from && l["to"] == to && l["state"] == "holds")
    };
    for (by, from, to) in [
        ("bootloader key", "u-boot-spl.dtb", "u-boot.itb"),
        ("bootloader key", "u-boot-spl.bin", "u-boot.itb"),
        ("fit key", "u-boot.dtb", "fit.itb"),
        ("fit key", "u-boot.bin", "fit.itb"),
        ("fit key", "u-boot.itb:/images/fdt-1", "fit.itb"),
        ("root hash", "fit.itb", "rootfs.ext4.verity"),
        ("update certificate", "fit.itb", "update.swu"),
        ("bundle", "update.swu", "update.swu:rootfs.ext4.verity"),
    ] {
        assert!(holds(by, from, to), "{by}: {from} -> {to} in {report:#}");
    }
    assert!(links.iter().all(|l| l["state"] != "broken"), "{report:#}");
}

#[test]
fn a_dev_directory_passes_in_dev_and_tells_what_a_release_would_refuse() {
    let Some(deploy) = Deploy::dev() else { return };
    deploy.gate(&[]).exits(0).says("good for development").says("a release gate would refuse");
    let report = deploy.report(0);
    for (path, expected) in STATES {
        assert_eq!(state(&report, path), expected, "{path} in {report:#}");
    }
    assert!(!report["release_would_refuse"].as_array().unwrap().is_empty());
}

#[test]
fn other_makers_tools_say_the_same_of_the_directory() {
    let Some(deploy) = Deploy::release() else { return };
    let bench = &deploy.bench;
    let hash = String::from_utf8(deploy.read("rootfs.ext4.verity.roothash")).unwrap();
    let offset = "--hash-offset=2097152";
    let verity = ["verify", "deploy/rootfs.ext4.verity", "deploy/rootfs.ext4.verity", &hash, offset];
    assert_ne!(accepts("veritysetup", bench, &verity), Some(false));
    let separate = String::from_utf8(deploy.read("data.squashfs.verity.roothash")).unwrap();
    deploy.sh("cp deploy/data.squashfs padded; truncate -s %4096 padded");
    let verity = ["verify", "padded", "deploy/data.squashfs.verity", &separate];
    assert_ne!(accepts("veritysetup", bench, &verity), Some(false));
    for image in ["rootfs.ext4.verity", "data.squashfs.verity"] {
        let p7s = format!("deploy/{image}.roothash.p7s");
        let content = format!("deploy/{image}.roothash");
        let smime = [
            "smime",
            "-verify",
            "-binary",
            "-inform",
            "der",
            "-in",
            &p7s,
            "-content",
            &content,
            "-certfile",
            "rootfs.crt",
            "-nointern",
            "-noverify",
            "-out",
            "/dev/null",
        ];
        assert_ne!(accepts("openssl", bench, &smime), Some(false), "{image}");
    }
    std::fs::create_dir(bench.path("tmp")).unwrap();
    // With what the FIT carries for it, and with the certificate that signed, which another one issued
    if let Some(swupdate) = crate::common::find_tool("swupdate") {
        for (key, takes) in [("deploy/update.pem", true), ("update.crt", false)] {
            let mut command = std::process::Command::new(&swupdate);
            command.current_dir(bench.directory()).env("TMPDIR", bench.path("tmp"));
            command.args(["-c", "-H", "board:1.0", "-k", key, "-i", "deploy/update.swu"]);
            let outcome = crate::common::run(&mut command);
            assert_eq!(outcome.stdout.contains("SWUPDATE successful"), takes, "{key}: {outcome:?}");
        }
    }
    // U-Boot's own reading of the tree: the key in it is the pinned one's modulus.
    if let Some(fdtget) = crate::common::find_tool("fdtget") {
        let tree = bench.tool(
            &fdtget,
            &["-t", "bx", "deploy/u-boot.dtb", "/signature/key-hsmsign-release-fit", "rsa,modulus"],
        );
        let image = bench.tool(&fdtget, &["-l", "deploy/fit.itb", "/configurations/conf-1"]);
        assert!(tree.stdout.len() > 256 * 2 && image.stdout.contains("signature"), "{tree:?} {image:?}");
    }
}

/// swupdate would refuse every bundle; the judge above shows it.
#[test]
fn a_fit_whose_update_certificate_is_no_root_is_warned_of() {
    let Some(deploy) = Deploy::release() else { return };
    let says = "update-certificate: holds no self-signed certificate";
    let good = deploy.gate(&[]).exits(0);
    assert!(!good.stdout.contains(says), "{}", good.stdout);
    deploy.take_spare("fit-issued-update.itb", "fit.itb");
    let warned = deploy.gate(&[]);
    assert!(warned.stdout.contains(says), "{}", warned.stdout);
}

#[test]
fn the_gate_writes_nothing() {
    let Some(deploy) = Deploy::release() else { return };
    let digest = || {
        deploy.sh("find . -path ./.hsmsign -prune -o -type f -print0 | sort -z | xargs -0 sha256sum").stdout
    };
    let before = digest();
    deploy.gate(&[]).exits(0);
    assert_eq!(digest(), before);
    deploy.sh("chmod -R a-w deploy");
    deploy.gate(&[]).exits(0);
    deploy.sh("chmod -R u+w deploy");
}

#[test]
fn a_file_that_cannot_be_signed_passes_if_the_policy_says_why() {
    let Some(deploy) = Deploy::release() else { return };
    deploy.write("boot/program.elf", b"\x7fELF\x02\x01\x01 and so on");
    deploy.refuses("cannot check: hsmsign knows no signature of this format");
    deploy.policy(
        "gate:\n  allow:\n    - { path: boot/*.elf, reason: signed by the ROM tool in the factory }\n    \
         - { path: gone.bin, reason: no board has this any more }\n",
    );
    deploy
        .gate(&[])
        .exits(0)
        .says("signed by the ROM tool in the factory")
        .says("`gone.bin` lets nothing pass");
    let report = deploy.report(0);
    assert_eq!(state(&report, "boot/program.elf"), "excepted");
}

#[test]
fn a_detached_signature_covers_any_file() {
    let Some(deploy) = Deploy::dev() else { return };
    deploy.write("program.elf", b"\x7fELF\x02\x01\x01 and so on");
    deploy.refuses("cannot check");
    let sign = ["sign", "blob", "deploy/program.elf", "--role", "update", "--format", "cms", "-o"];
    deploy.bench.hsmsign(&[&sign[..], &["deploy/program.elf.p7s"]].concat()).exits(0);
    deploy.gate(&[]).exits(0).says("signed by a trusted key of role update: program.elf.p7s");
    deploy.write("program.elf", b"\x7fELF\x02\x01\x01 and so forth");
    deploy.refuses("no trusted key made this signature of program.elf");
}

#[test]
fn a_detached_signature_covers_text_and_archives_too() {
    let Some(deploy) = Deploy::dev() else { return };
    deploy.write("own.txt", b"what a recipe of the product made\n");
    deploy.write("own.zip", b"PK\x03\x04 and so on\0");
    deploy.sh("ln -s own.txt deploy/latest.txt");
    let sign = ["sign", "blob", "--role", "update", "--format", "cms"];
    for (file, signature) in [("own.txt", "latest.txt.p7s"), ("own.zip", "own.zip.sig")] {
        let (file, signature) = (format!("deploy/{file}"), format!("deploy/{signature}"));
        deploy.bench.hsmsign(&[&sign[..], &[file.as_str(), "-o", signature.as_str()]].concat()).exits(0);
    }
    deploy
        .gate(&[])
        .exits(0)
        .says("signed by a trusted key of role update: latest.txt.p7s")
        .says("signed by a trusted key of role update: own.zip.sig");
    deploy.write("own.txt", b"what somebody else made\n");
    deploy.refuses("no trusted key made this signature of own.txt");
}

#[test]
fn directories_may_hold_more_files_than_a_process_may_open_at_once() {
    let Some(deploy) = Deploy::dev() else { return };
    deploy.sh(
        "mkdir deploy/many; for i in $(seq 400); do printf '\\001\\002\\000%d' $i > deploy/many/$i.bin; done",
    );
    let binary = env!("CARGO_BIN_EXE_hsmsign");
    let gate = format!("ulimit -S -n 100; {binary} --dev-dir .hsmsign verify deploy deploy");
    deploy.sh(&gate).says("not recognised: nothing here says what it is");
}
