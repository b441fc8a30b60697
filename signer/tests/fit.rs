//! `sign fit` and `verify fit` with the real binary, judged by U-Boot and its tools.
//!
//! `FIT_CHECK_SIGN` names U-Boot's tool of that name, which no package has; `HSMSIGN_TEST_IMAGES` the directory
//! that `test-images/make.sh` filled, for the tests that boot.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Bench, find_tool, optional_tool, repository, skip};
use std::path::PathBuf;

const HINT: &str = "hsmsign-dev-fit";

/// Two configurations; the second has an overlay and a loadable that `sign-images` does not name.
const SOURCE: &str = r#"/dts-v1/;
/ {
	description = "test";
	#address-cells = <1>;
	images {
		kernel-1 { description = "k"; data = /incbin/("kernel-1"); type = "kernel"; arch = "arm64"; os = "linux";
			compression = "none"; load = <0x44000000>; entry = <0x44000000>; hash-1 { algo = "sha256"; }; };
		kernel-2 { description = "k"; data = /incbin/("kernel-2"); type = "kernel"; arch = "arm64"; os = "linux";
			compression = "none"; load = <0x44000000>; entry = <0x44000000>; hash-1 { algo = "sha256"; }; };
		fdt-1 { description = "f"; data = /incbin/("board.dtb"); type = "flat_dt"; arch = "arm64";
			compression = "none"; hash-1 { algo = "sha256"; }; hash-2 { algo = "sha512"; }; };
		fdt-overlay { description = "o"; data = /incbin/("overlay.dtbo"); type = "flat_dt"; arch = "arm64";
			compression = "none"; load = <0x4f000000>; hash-1 { algo = "sha384"; }; };
		ramdisk-1 { description = "r"; data = /incbin/("ramdisk"); type = "ramdisk"; arch = "arm64"; os = "linux";
			compression = "none"; hash-1 { algo = "crc32"; }; };
		firmware-1 { description = "m"; data = /incbin/("firmware"); type = "firmware"; arch = "arm64"; os = "linux";
			compression = "none"; load = <0x4e000000>; hash-1 { algo = "sha1"; }; };
	};
	configurations {
		default = "conf-1";
		conf-1 { description = "one"; kernel = "kernel-1"; fdt = "fdt-1"; ramdisk = "ramdisk-1";
			signature-1 { algo = "sha256,rsa2048"; key-name-hint = "test"; sign-images = "kernel", "fdt"; }; };
		conf-2 { description = "two"; kernel = "kernel-2"; fdt = "fdt-1", "fdt-overlay"; ramdisk = "ramdisk-1";
			loadables = "firmware-1"; };
	};
};
"#;

/// Data without period, and different for each seed.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| byte()).collect()
}

/// A bench with `fit`, made by `mkimage` with these options, and `u-boot.dtb`; `None` without the tools.
fn unsigned(options: &[&str]) -> Option<Bench> {
    let (mkimage, dtc) = (find_tool("mkimage")?, find_tool("dtc")?);
    let bench = Bench::new();
    bench.write("fit.its", SOURCE);
    for (seed, (name, len)) in [("kernel-1", 70_001), ("kernel-2", 70_002), ("ramdisk", 333), ("firmware", 1)]
        .into_iter()
        .enumerate()
    {
        bench.write(name, noise(u32::try_from(seed).unwrap(), len));
    }
    bench.write("board.dts", "/dts-v1/; / { model = \"board\"; chosen { }; };");
    bench
        .write("overlay.dts", "/dts-v1/; / { fragment-1 { target-path = \"/\"; __overlay__ { more; }; }; };");
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-o", "board.dtb", "board.dts"]);
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-o", "overlay.dtbo", "overlay.dts"]);
    bench.tool(&dtc, &["-q", "-I", "dts", "-O", "dtb", "-o", "u-boot.dtb", "board.dts"]);
    let mut command = std::process::Command::new(&mkimage);
    command.current_dir(bench.directory()).args(options).args(["-f", "fit.its", "fit"]);
    command.env("SOURCE_DATE_EPOCH", "1767225600");
    assert!(command.output().unwrap().status.success(), "{command:?}");
    Some(bench)
}

/// The same, signed as `out` by the key in `u-boot.dtb`.
fn signed(options: &[&str]) -> Option<Bench> {
    let bench = unsigned(options)?;
    bench.hsmsign(&["sign", "fit", "fit", "-o", "out", "--control-dtb", "u-boot.dtb"]).exits(0);
    Some(bench)
}

/// What U-Boot's newest verification code says; `None` where it is not at hand.
fn u_boot_accepts(bench: &Bench, fit: &str, configuration: &str) -> Option<bool> {
    let tool = optional_tool("FIT_CHECK_SIGN")?;
    let outcome = bench.try_tool(&tool, &["-f", fit, "-k", "u-boot.dtb", "-c", configuration]);
    // Without a required key it accepts anything, so its exit code alone says nothing.
    let checked = format!("{}{}", outcome.stdout, outcome.stderr).contains(&format!(":{HINT}+"));
    Some(outcome.code == 0 && checked)
}

#[test]
fn every_place_of_data_and_every_algorithm_is_accepted() {
    let places: [&[&str]; 4] = [&[], &["-E"], &["-E", "-B", "0x200"], &["-E", "-p", "0x4000"]];
    let algorithms = [
        "algorithm: rsa2048",
        "algorithm: rsa3072, padding: pss, hash: sha384",
        "algorithm: rsa2048, padding: pss, hash: sha512",
        "algorithm: ecdsa-p256",
        "algorithm: ecdsa-p384, hash: sha384",
    ];
    for (place, algorithm) in
        places.iter().cycle().zip(algorithms).chain(places.iter().map(|p| (p, algorithms[0])))
    {
        let Some(bench) = unsigned(place) else { return };
        bench.write("hsmsign.yaml", format!("version: 1\nproduct: test\nroles:\n  fit: {{ {algorithm} }}\n"));
        bench
            .hsmsign(&["sign", "fit", "fit", "-o", "out", "--control-dtb", "u-boot.dtb"])
            .exits(0)
            .says("`/images/ramdisk-1/hash-2`: added")
            .says("`/images/firmware-1/hash-2`: added");
        bench.hsmsign(&["verify", "fit", "out"]).exits(0).says("/configurations/conf-2/signature-1");
        for configuration in ["conf-1", "conf-2"] {
            let verdict = u_boot_accepts(&bench, "out", configuration);
            assert!(verdict.unwrap_or(true), "{place:?} {algorithm} {configuration}");
        }
        // Data is where it was, as another reader sees it.
        let Some(dumpimage) = find_tool("dumpimage") else { return };
        for (position, name) in
            ["kernel-1", "kernel-2", "board.dtb", "overlay.dtbo", "ramdisk", "firmware"].iter().enumerate()
        {
            bench.tool(&dumpimage, &["-T", "flat_dt", "-p", &position.to_string(), "-o", "extracted", "out"]);
            assert!(bench.read("extracted") == bench.read(name), "{place:?} {name}");
        }
    }
}

#[test]
fn tampered_copies_are_refused() {
    let Some(python) = find_tool("python3") else { return };
    let Some(bench) = signed(&[]) else { return };
    let tamper = repository().join("test-images/src/tamper.py");
    let list = bench.tool(&python, &[tamper.to_str().unwrap(), "--list"]).stdout;
    let kinds: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("fit\t")?.split('\t').next()).collect();
    assert!(kinds.len() > 8, "{list}");
    for kind in kinds {
        bench.tool(&python, &[tamper.to_str().unwrap(), "fit", kind, "out", "bad"]);
        bench.hsmsign(&["verify", "fit", "bad"]).exits(7).says("FAIL");
        assert!(!u_boot_accepts(&bench, "bad", "conf-1").unwrap_or(false), "{kind}");
    }
    bench.hsmsign(&["verify", "fit", "fit"]).exits(7).says("is not signed");
    // Nothing of it is signed, and U-Boot would boot it with a lax control tree.
    let other = signed(&[]).unwrap();
    std::fs::copy(other.path("out"), bench.path("foreign")).unwrap();
    bench.hsmsign(&["verify", "fit", "foreign"]).exits(7).says("not by a trusted key");
    assert!(!u_boot_accepts(&bench, "foreign", "conf-1").unwrap_or(false));
}

#[test]
fn parts_that_u_boot_loads_unchecked_are_checked() {
    let Some(bench) = signed(&[]) else { return };
    let fdtput = find_tool("fdtput").unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["-t", "bx", "bad", "/images/firmware-1", "data", "1"], "does not match the data"),
        (&["-t", "s", "bad", "/configurations", "default", "conf-3"], "`conf-3` that is not there"),
        (&["-t", "s", "bad", "/configurations/conf-1", "loadables", "firmware-1"], "FAIL"),
        (&["-d", "bad", "/configurations/conf-1/signature-1", "hashed-strings"], "no `hashed-strings`"),
        (&["-p", "-t", "s", "bad", "/images/extra", "data", "x"], "no good signature covers this image"),
        (&["-p", "-t", "s", "bad", "/images/kernel-1@1", "data", "x"], "has an `@` in its name"),
    ];
    for (arguments, complaint) in cases {
        std::fs::copy(bench.path("out"), bench.path("bad")).unwrap();
        bench.tool(&fdtput, arguments);
        let outcome = bench.hsmsign(&["verify", "fit", "bad"]).says(complaint);
        assert!(matches!(outcome.code, 6 | 7), "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn signing_again_gives_equal_bytes() {
    for options in [&[][..], &["-E"], &["-E", "-p", "0x4000"]] {
        let Some(bench) = signed(options) else { return };
        bench.hsmsign(&["sign", "fit", "out", "-o", "again"]).exits(0);
        assert!(bench.read("out") == bench.read("again"), "{options:?}");
        bench.hsmsign(&["sign", "fit", "fit", "-o", "other", "--image-signatures"]).exits(0);
        bench.hsmsign(&["verify", "fit", "other"]).exits(0).says("/images/firmware-1/signature-1");
        // In place, with the time that reproducible builds agree on.
        let mut command = bench.command(&["sign", "fit", "other", "-o", "other"]);
        assert!(command.env("SOURCE_DATE_EPOCH", "1234").output().unwrap().status.success());
        let fdtget = find_tool("fdtget").unwrap();
        let node = "/configurations/conf-1/signature-1";
        assert_eq!(bench.tool(&fdtget, &["other", node, "timestamp"]).stdout.trim(), "1234");
        assert_eq!(bench.tool(&fdtget, &["out", node, "timestamp"]).stdout.trim(), "1767225600");
        assert_eq!(bench.tool(&fdtget, &["out", node, "signer-name"]).stdout.trim(), "hsmsign");
    }
}

#[test]
fn trust_anchors_go_into_the_device_tree() {
    for options in [&[][..], &["-E"]] {
        let Some(bench) = signed(options) else { return };
        bench.write("rootfs", noise(9, 50 * 4096));
        bench.hsmsign(&["sign", "rootfs", "rootfs", "-o", "rootfs.verity"]).exits(0);
        bench.hsmsign(&["keys", "certificate", "--role", "update", "-o", "update.pem"]).exits(0);
        let sign = |input: &str, output: &str| {
            let anchors = ["--rootfs", "rootfs.verity.verity.json", "--update-certificate", "update.pem"];
            bench.hsmsign(&[&["sign", "fit", input, "-o", output][..], &anchors[..]].concat()).exits(0)
        };
        sign("out", "anchored");
        bench.hsmsign(&["verify", "fit", "anchored"]).exits(0);
        assert!(u_boot_accepts(&bench, "anchored", "conf-2").unwrap_or(true));
        let (dumpimage, fdtget) = (find_tool("dumpimage").unwrap(), find_tool("fdtget").unwrap());
        bench.tool(&dumpimage, &["-T", "flat_dt", "-p", "2", "-o", "tree", "anchored"]);
        let get = |name: &str| {
            bench.tool(&fdtget, &["tree", "/firmware/hsmsign", name]).stdout.trim_end().to_owned()
        };
        assert_eq!(get("root-hash").as_bytes(), bench.read("rootfs.verity.roothash"));
        assert_eq!((get("data-blocks"), get("hash-algorithm")), ("50".into(), "sha256".into()));
        assert_eq!(bench.tool(&fdtget, &["tree", "/", "model"]).stdout.trim(), "board");
        let certificate =
            bench.tool(&fdtget, &["-t", "bx", "tree", "/firmware/hsmsign", "update-certificate"]).stdout;
        let certificate: Vec<u8> =
            certificate.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert!(certificate == bench.read("update.pem"));
        for (position, name) in
            [("0", "kernel-1"), ("3", "overlay.dtbo"), ("4", "ramdisk"), ("5", "firmware")]
        {
            bench.tool(&dumpimage, &["-T", "flat_dt", "-p", position, "-o", "same", "anchored"]);
            assert!(bench.read("same") == bench.read(name), "{name}");
        }
        sign("anchored", "again");
        assert!(bench.read("anchored") == bench.read("again"));
        // Another root filesystem: the node is replaced, the certificate stays.
        bench.write("rootfs", noise(10, 60 * 4096));
        bench.hsmsign(&["sign", "rootfs", "rootfs", "-o", "rootfs.verity"]).exits(0);
        bench
            .hsmsign(&["sign", "fit", "again", "-o", "new", "--rootfs", "rootfs.verity.verity.json"])
            .exits(0);
        bench.tool(&dumpimage, &["-T", "flat_dt", "-p", "2", "-o", "tree", "new"]);
        assert_eq!(get("root-hash").as_bytes(), bench.read("rootfs.verity.roothash"));
        assert!(!get("update-certificate").is_empty());
    }
}

#[test]
fn what_goes_wrong_is_said_and_leaves_nothing() {
    let Some(bench) = unsigned(&[]) else { return };
    let fdtput = find_tool("fdtput").unwrap();
    let before = bench.files();
    let good = bench.read("fit");
    let (half, end) = (good.len() / 2, good.len() - 1);
    bench.write("elf", b"\x7fELF, which is no FIT at all, whatever its name says");
    bench.write("cut", &good[..half]);
    bench.write("cut-by-one", &good[..end]);
    bench.write("empty", b"");
    for (input, code, complaint) in [
        ("elf", 6, "not a flattened device tree"),
        ("cut", 6, "bytes, but"),
        ("cut-by-one", 6, "bytes, but"),
        ("empty", 6, "not a flattened device tree"),
        ("absent", 8, "cannot open `absent`"),
        ("board.dtb", 6, "`/images` is missing"),
    ] {
        bench.hsmsign(&["sign", "fit", input, "-o", "out"]).exits(code).says(complaint).says(input);
        bench.hsmsign(&["verify", "fit", input]).exits(code).says(complaint);
    }
    for (arguments, complaint) in [
        (
            ["-t", "s", "bad", "/configurations/conf-1", "fdt", "fdt-9"],
            "an image `fdt-9` in `fdt` that is not there",
        ),
        (["-t", "s", "bad", "/images/kernel-1", "data", "other"], "does not match the image's data"),
        (["-t", "s", "bad", "/images/kernel-1/hash-1", "algo", "rot13"], "unknown hash algorithm `rot13`"),
    ] {
        std::fs::copy(bench.path("fit"), bench.path("bad")).unwrap();
        bench.tool(&fdtput, &arguments);
        bench.hsmsign(&["sign", "fit", "bad", "-o", "out"]).exits(6).says(complaint).says("hint: ");
    }
    bench.hsmsign(&["--mode", "off", "sign", "fit", "fit", "-o", "out"]).exits(4);
    bench.hsmsign(&["sign", "fit", "fit", "-o", "no/such/directory/out"]).exits(8);
    let tree = bench.read("u-boot.dtb");
    bench.hsmsign(&["sign", "fit", "bad", "-o", "out", "--control-dtb", "u-boot.dtb"]).exits(6);
    bench.hsmsign(&["sign", "fit", "fit", "-o", "out", "--control-dtb", "elf"]).exits(6);
    for output in ["u-boot.dtb", "./u-boot.dtb"] {
        bench
            .hsmsign(&["sign", "fit", "fit", "-o", output, "--control-dtb", "u-boot.dtb"])
            .exits(2)
            .says("one file is named for both");
    }
    for part in ["--rootfs", "--update-certificate"] {
        let sign = ["sign", "fit", "fit", part, "ramdisk", "-o", "./ramdisk"];
        bench.hsmsign(&sign).exits(2).says("would be overwritten").says("hint: ");
    }
    let part = bench.write("part", "");
    std::fs::File::options().write(true).open(&part).unwrap().set_len(1 << 40).unwrap();
    let sign = ["sign", "fit", "fit", "--update-certificate", "part", "-o", "out"];
    bench.hsmsign(&sign).exits(8).says("at most 1048576");
    std::fs::remove_file(part).unwrap();
    assert!(bench.read("ramdisk") == noise(2, 333));
    assert!(bench.read("u-boot.dtb") == tree && bench.read("fit") == good);
    for name in ["elf", "cut", "cut-by-one", "empty", "bad"] {
        std::fs::remove_file(bench.path(name)).unwrap();
    }
    assert_eq!(bench.files(), before, "no output and no temporary file");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_old_file() {
    let Some(bench) = signed(&[]) else { return };
    let old = bench.write("out", b"what stood there before");
    // A limit on file sizes (in blocks of 512 bytes) fails a write as a full disk does; the signal is ignored.
    let limited = format!("trap '' XFSZ; ulimit -f 100; exec \"$0\" sign fit fit -o {}", old.display());
    let command = bench.command::<&str>(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &limited]).arg(command.get_program()).current_dir(bench.directory());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let before = bench.files();
    let outcome = shell.output().unwrap();
    assert_eq!(outcome.status.code(), Some(8), "{}", String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(bench.files(), before);
    assert_eq!(bench.read("out"), b"what stood there before");
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let Some(bench) = signed(&["-E"]) else { return };
    let new = bench.read("out");
    let tree = bench.read("u-boot.dtb");
    let started = std::time::Instant::now();
    bench.hsmsign(&["sign", "fit", "fit", "-o", "again", "--control-dtb", "u-boot.dtb"]).exits(0);
    let whole = started.elapsed();
    for step in 0..16 {
        bench.write("out", b"old");
        let mut child = bench
            .command(&["-q", "sign", "fit", "fit", "-o", "out", "--control-dtb", "u-boot.dtb"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * step / 14);
        let _ = child.kill();
        child.wait().unwrap();
        let found = bench.read("out");
        assert!(found == b"old" || found == new, "step {step}: {} bytes", found.len());
        assert!(bench.read("u-boot.dtb") == tree);
    }
}

#[test]
fn names_in_artifacts_cannot_forge_output() {
    let Some(bench) = signed(&[]) else { return };
    let fdtput = find_tool("fdtput").unwrap();
    let node = "/configurations/conf-1/signature-1";
    bench.tool(&fdtput, &["-t", "s", "out", node, "key-name-hint", "x\n\u{1b}[2Jok  all is well"]);
    bench.tool(&fdtput, &["-t", "s", "out", node, "algo", "sha256,none\u{1b}[1A"]);
    let outcome = bench.hsmsign(&["verify", "fit", "out"]).exits(7).says(r"x\n\u{1b}[2Jok  all is well");
    let said = [outcome.stdout, outcome.stderr].concat();
    assert!(!said.contains('\u{1b}') && !said.contains("\nok  all"), "{said}");
    // The error on stderr names the hint too; and a line must not be read from right to left.
    bench.tool(&fdtput, &["-t", "s", "out", node, "algo", "sha256,rsa4096"]);
    bench.tool(&fdtput, &["-t", "s", "out", node, "key-name-hint", "x\nok   all is well\u{202e}"]);
    let outcome = bench.hsmsign(&["verify", "fit", "out"]).exits(7).says(r"x\nok   all is well\u{202e}");
    let said = [outcome.stdout, outcome.stderr].concat();
    assert!(!said.contains('\u{202e}') && !said.contains("\nok   all"), "{said}");
}

#[test]
fn hostile_trees_are_refused_by_name_and_place() {
    let bench = Bench::new();
    bench.hsmsign(&["keys", "check"]).exits(0);
    let vectors = include_str!("vectors/bad-fdt.txt");
    let mut seen = 0;
    for vector in vectors.split("\n## ").skip(1) {
        let mut lines = vector.lines();
        let (name, complaint) = (lines.next().unwrap(), lines.next().unwrap());
        let hex: String = lines.collect();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        bench.write("bad", (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>());
        bench.hsmsign(&["sign", "fit", "bad", "-o", "out"]).exits(6).says("`bad`").says(complaint);
        let verified = if name.starts_with("sign:") { 7 } else { 6 };
        bench.hsmsign(&["verify", "fit", "bad"]).exits(verified);
        assert_eq!(bench.files(), ["bad"], "{name}");
        seen += 1;
    }
    assert!(seen > 40);
}

#[test]
fn results_are_machine_readable() {
    let Some(bench) = unsigned(&[]) else { return };
    let signed =
        bench.hsmsign(&["--json", "sign", "fit", "fit", "-o", "out", "--control-dtb", "u-boot.dtb"]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&signed.stdout).unwrap();
    assert_eq!(json["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(json["key_name_hint"], HINT);
    assert_eq!(json["control_tree"]["node"], format!("/signature/key-{HINT}"));
    let verified = bench.hsmsign(&["--json", "verify", "fit", "out"]).exits(0);
    let report: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["signed_by"][0]["fingerprint"], json["fingerprint"]);
}

/// A FIT of `test-images/make.sh` and a control tree, signed; `None` where there are none.
fn bootable(fit: &str) -> Option<Bench> {
    let Some(images) = std::env::var_os("HSMSIGN_TEST_IMAGES").map(PathBuf::from) else {
        skip("HSMSIGN_TEST_IMAGES names no directory (test-images/make.sh DIR fills one)");
        return None;
    };
    find_tool("qemu-system-aarch64")?;
    let bench = Bench::new();
    for name in [fit, "u-boot.dtb"] {
        std::fs::copy(images.join(name), bench.path(name)).unwrap();
    }
    bench.hsmsign(&["sign", "fit", fit, "-o", "out", "--control-dtb", "u-boot.dtb"]).exits(0);
    Some(bench)
}

/// Boots with stock U-Boot in QEMU; the verdict's exit code.
fn boot(bench: &Bench, fit: &str, options: &[&str]) -> (i32, String) {
    let script = repository().join("test-images/qemu-boot.sh");
    let arguments = [options, &["--log", "console", "u-boot.dtb", fit, HINT]].concat();
    let outcome = bench.try_tool(&script, &arguments);
    (outcome.code, outcome.stdout)
}

#[test]
fn u_boot_boots_what_is_signed_and_refuses_what_is_not() {
    let Some(bench) = bootable("fit.itb") else { return };
    assert_eq!(boot(&bench, "out", &[]).0, 0);
    assert_eq!(boot(&bench, "out", &["--config", "conf-2"]).0, 0);
    assert_eq!(boot(&bench, "fit.itb", &[]).0, 1, "unsigned");
    let (python, tamper) = (find_tool("python3").unwrap(), repository().join("test-images/src/tamper.py"));
    for kind in ["payload", "payload-rehashed", "signature", "mixed", "load-address"] {
        bench.tool(&python, &[tamper.to_str().unwrap(), "fit", kind, "out", "bad"]);
        let (code, verdict) = boot(&bench, "bad", &[]);
        assert_eq!(code, 1, "{kind}: {verdict}");
    }
}

#[test]
fn u_boot_boots_external_data_and_fits_without_signature_nodes() {
    for fit in ["fit-external.itb", "fit-external-position.itb", "fit-nosig.itb", "fit-overlay.itb"] {
        let Some(bench) = bootable(fit) else { return };
        let (code, verdict) = boot(&bench, "out", &[]);
        assert_eq!(code, 0, "{fit}: {verdict}");
    }
}
