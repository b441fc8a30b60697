//! `sign bootloader --fit`: U-Boot proper as a FIT, judged by stock U-Boot, which stands in for SPL.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Bench, find_tool, optional_tool, repository, skip};
use std::path::PathBuf;

const UBOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// As test-images/src/u-boot.its: `kernel` is there because bootm loads what it names.
const ITS: &str = r#"/dts-v1/;
/ {
    description = "U-Boot proper and its control tree";
    #address-cells = <1>;
    images {
        u-boot {
            description = "U-Boot"; data = /incbin/("program.bin"); type = "firmware"; arch = "arm64";
            os = "u-boot"; compression = "none"; load = <0x60000000>; entry = <0x60000000>;
            hash-1 { algo = "sha256"; };
        };
        fdt-1 {
            description = "control tree"; data = /incbin/("u-boot.dtb"); type = "flat_dt"; arch = "arm64";
            compression = "none"; hash-1 { algo = "sha256"; };
        };
        blob {
            description = "more"; data = /incbin/("blob.bin"); type = "firmware"; arch = "arm64";
            os = "u-boot"; compression = "none"; load = <0x61000000>; hash-1 { algo = "sha256"; };
        };
    };
    configurations {
        default = "conf-1";
        conf-1 { description = "board"; firmware = "u-boot"; kernel = "u-boot"; loadables = "blob"; fdt = "fdt-1"; };
    };
};"#;

/// The tools that these tests need.
struct Tools {
    mkimage: PathBuf,
    dtc: PathBuf,
    qemu: PathBuf,
}

fn tools() -> Option<Tools> {
    if !std::path::Path::new(UBOOT).is_file() {
        skip("u-boot-qemu is not installed");
        return None;
    }
    Some(Tools {
        mkimage: find_tool("mkimage")?,
        dtc: find_tool("dtc")?,
        qemu: find_tool("qemu-system-aarch64")?,
    })
}

/// Makes `spl.dtb`, `u-boot.dtb` and `u-boot.itb`; the trees have no free space, so they must grow.
fn prepare(bench: &Bench, tools: &Tools, mkimage_options: &[&str]) {
    let machine = "virt,dumpdtb=raw.dtb";
    let common = ["-cpu", "cortex-a57", "-m", "1024", "-smp", "1", "-display", "none", "-nic", "none"];
    let arguments = [&["-machine", machine, "-bios", UBOOT][..], &common].concat();
    bench.tool(&tools.qemu, &arguments);
    for name in ["spl.dtb", "u-boot.dtb"] {
        bench.tool(&tools.dtc, &["-q", "-I", "dtb", "-O", "dtb", "-o", name, "raw.dtb"]);
    }
    bench.write("program.bin", (0..50_001_u32).map(|i| (i % 251).to_le_bytes()[0]).collect::<Vec<_>>());
    bench.write("blob.bin", (0..3333_u32).map(|i| (i % 241).to_le_bytes()[0]).collect::<Vec<_>>());
    bench.write("u-boot.its", ITS);
    let arguments = [mkimage_options, &["-f", "u-boot.its", "u-boot.itb"]].concat();
    bench.tool(&tools.mkimage, &arguments);
}

const SIGN: [&str; 8] =
    ["sign", "bootloader", "--fit", "u-boot.itb", "-o", "signed.itb", "--spl-dtb", "spl.dtb"];
const VERIFY: [&str; 6] = ["verify", "bootloader", "--fit", "signed.itb", "--spl-dtb", "spl.dtb"];

/// What U-Boot says of a FIT: the exit code of qemu-boot.sh (0 accepted, 1 refused), and its verdict.
fn boot(bench: &Bench, control: &str, fit: &str, key: &str) -> (i32, String) {
    let script = repository().join("test-images/qemu-boot.sh");
    let arguments = ["--no-userspace", "--log", "console.txt", control, fit, key];
    let outcome = bench.try_tool(&script, &arguments);
    (outcome.code, format!("{}{}", outcome.stdout, outcome.stderr))
}

#[track_caller]
fn accepted(bench: &Bench, control: &str, fit: &str, key: &str) {
    let (code, verdict) = boot(bench, control, fit, key);
    assert_eq!(code, 0, "{verdict}");
    assert!(verdict.contains(&format!("accepted {key}")), "{verdict}");
}

#[track_caller]
fn refused(bench: &Bench, control: &str, fit: &str, reason: &str) {
    let (code, verdict) = boot(bench, control, fit, "nobody");
    assert_eq!(code, 1, "{verdict}");
    assert!(verdict.contains(reason), "{verdict}");
}

#[test]
fn u_boot_accepts_the_bootloader_fit_and_refuses_others() {
    let Some(tools) = tools() else { return };
    let bench = Bench::new();
    prepare(&bench, &tools, &[]);
    bench.hsmsign(&SIGN).exits(0);
    bench.hsmsign(&VERIFY).exits(0);
    accepted(&bench, "spl.dtb", "signed.itb", "hsmsign-dev-bootloader");

    // Tampered: a bit of the program, of the signature, of the configuration.
    let signed = bench.read("signed.itb");
    let find = |needle: &[u8]| signed.windows(needle.len()).position(|w| w == needle).unwrap();
    let program = find(&bench.read("program.bin")[..64]);
    let flipped = |at: usize| {
        let mut bytes = signed.clone();
        bytes[at] ^= 1;
        bytes
    };
    bench.write("bad.itb", flipped(program + 1000));
    refused(&bench, "spl.dtb", "bad.itb", "Bad hash value");
    bench.hsmsign(&["verify", "bootloader", "--fit", "bad.itb"]).exits(7);
    bench.write("bad.itb", flipped(find(b"U-Boot\0")));
    refused(&bench, "spl.dtb", "bad.itb", "Failed to verify required signature");
    bench.hsmsign(&["verify", "bootloader", "--fit", "bad.itb"]).exits(7);

    // Unsigned.
    refused(&bench, "spl.dtb", "u-boot.itb", "Failed to verify required signature");
    bench.hsmsign(&["verify", "bootloader", "--fit", "u-boot.itb"]).exits(7);

    // Somebody else's key.
    let other = Bench::new();
    prepare(&other, &tools, &[]);
    other.hsmsign(&SIGN).exits(0);
    bench.write("bad.itb", other.read("signed.itb"));
    refused(&bench, "spl.dtb", "bad.itb", "Failed to verify required signature");
    bench.hsmsign(&["verify", "bootloader", "--fit", "bad.itb"]).exits(7);
    bench.write("other-spl.dtb", other.read("spl.dtb"));
    refused(&bench, "other-spl.dtb", "signed.itb", "Failed to verify required signature");
    bench.hsmsign(&["verify", "bootloader", "--spl-dtb", "other-spl.dtb"]).exits(7);
}

#[test]
fn the_fit_key_goes_into_u_boots_tree_before_it_is_hashed() {
    let Some(tools) = tools() else { return };
    let (Some(dumpimage), Some(fdtget)) = (find_tool("dumpimage"), find_tool("fdtget")) else { return };
    for options in [&[][..], &["-E"], &["-E", "-B", "0x200"]] {
        let bench = Bench::new();
        prepare(&bench, &tools, options);
        bench.hsmsign(&SIGN).exits(0);
        bench.hsmsign(&VERIFY).exits(0).says("fdt-1");
        accepted(&bench, "spl.dtb", "signed.itb", "hsmsign-dev-bootloader");
        // The tree that U-Boot will run with, as another tool takes it out.
        bench.tool(&dumpimage, &["-T", "flat_dt", "-p", "1", "-o", "carried.dtb", "signed.itb"]);
        let node = "/signature/key-hsmsign-dev-fit";
        let required = bench.tool(&fdtget, &["carried.dtb", node, "required"]).stdout;
        assert_eq!(required.trim(), "conf", "{options:?}");
        bench.hsmsign(&["verify", "bootloader", "--control-dtb", "carried.dtb"]).exits(0);
        // The images behind the tree, which grew, are still what they were.
        bench.tool(&dumpimage, &["-T", "flat_dt", "-p", "2", "-o", "carried.bin", "signed.itb"]);
        assert!(bench.read("carried.bin") == bench.read("blob.bin"), "{options:?}");
        // Signing what is signed already changes nothing.
        let again = ["sign", "bootloader", "--fit", "signed.itb", "-o", "again.itb"];
        bench.hsmsign(&again).exits(0);
        assert!(bench.read("again.itb") == bench.read("signed.itb"), "{options:?}");
    }
}

#[test]
fn a_fit_verifies_against_the_tree_that_we_wrote() {
    let Some(tools) = tools() else { return };
    let bench = Bench::new();
    prepare(&bench, &tools, &[]);
    bench.hsmsign(&["sign", "bootloader", "--control-dtb", "u-boot.dtb"]).exits(0);
    bench.hsmsign(&["sign", "fit", "u-boot.itb", "-o", "fit.signed.itb"]).exits(0);
    accepted(&bench, "u-boot.dtb", "fit.signed.itb", "hsmsign-dev-fit");
    // The two roles are two keys.
    bench.hsmsign(&SIGN).exits(0);
    refused(&bench, "u-boot.dtb", "signed.itb", "Failed to verify required signature");
    refused(&bench, "spl.dtb", "fit.signed.itb", "Failed to verify required signature");
    bench.hsmsign(&["verify", "bootloader", "--fit", "fit.signed.itb"]).exits(7);
}

#[test]
fn the_newest_u_boot_accepts_it_too() {
    let Some(fit_check_sign) = optional_tool("HSMSIGN_TEST_FIT_CHECK_SIGN") else { return };
    let Some(tools) = tools() else { return };
    // Among them what Debian's U-Boot was built without: PSS and ECDSA.
    let algorithms = [
        "algorithm: rsa4096",
        "algorithm: rsa3072, padding: pss",
        "algorithm: ecdsa-p256",
        "algorithm: ecdsa-p384",
    ];
    for (options, algorithm) in [&[][..], &["-E"]].iter().cycle().zip(algorithms) {
        let bench = Bench::new();
        prepare(&bench, &tools, options);
        let policy = format!("version: 1\nproduct: test\nroles:\n  bootloader: {{ {algorithm} }}\n");
        bench.write("hsmsign.yaml", policy);
        bench.hsmsign(&SIGN).exits(0);
        bench.hsmsign(&VERIFY).exits(0);
        let check = ["-f", "signed.itb", "-k", "spl.dtb"];
        let outcome = bench.tool(&fit_check_sign, &check);
        assert!(outcome.stdout.contains("hsmsign-dev-bootloader+"), "{algorithm}: {outcome:?}");
        let mut bad = bench.read("signed.itb");
        let at = bad.windows(7).position(|w| w == b"U-Boot\0").unwrap();
        bad[at] ^= 1;
        bench.write("signed.itb", bad);
        assert_ne!(bench.try_tool(&fit_check_sign, &check).code, 0, "{algorithm}: tampered");
        bench.write("signed.itb", bench.read("u-boot.itb"));
        assert_ne!(bench.try_tool(&fit_check_sign, &check).code, 0, "{algorithm}: unsigned");
    }
}

#[test]
fn nothing_is_written_when_one_output_cannot_be() {
    let Some(tools) = tools() else { return };
    let bench = Bench::new();
    prepare(&bench, &tools, &[]);
    let spl = bench.read("spl.dtb");
    let before = bench.files();
    let nowhere =
        ["sign", "bootloader", "--fit", "u-boot.itb", "-o", "no/such/dir/o.itb", "--spl-dtb", "spl.dtb"];
    bench.hsmsign(&nowhere).exits(8);
    bench.write("cut.itb", &bench.read("u-boot.itb")[..5000]);
    bench
        .hsmsign(&["sign", "bootloader", "--fit", "cut.itb", "-o", "o.itb", "--spl-dtb", "spl.dtb"])
        .exits(6);
    bench.hsmsign(&["sign", "bootloader", "--fit", "spl.dtb", "-o", "o.itb"]).exits(6);
    bench.hsmsign(&["sign", "bootloader", "--fit", "u-boot.itb"]).exits(2);
    bench.hsmsign(&["sign", "bootloader", "-o", "o.itb"]).exits(2);
    std::fs::remove_file(bench.path("cut.itb")).unwrap();
    assert!(bench.read("spl.dtb") == spl, "SPL's tree was changed");
    assert_eq!(bench.files(), before);
}
