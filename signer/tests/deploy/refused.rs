//! What must not ship, and why.

use crate::fixture::{Deploy, ROLES};

/// Changes one byte in the middle of a file, or at `at`.
fn flip(deploy: &Deploy, name: &str, at: usize) {
    let mut bytes = deploy.read(name);
    bytes[at] ^= 0x20;
    deploy.write(name, bytes);
}

/// Puts a covered kernel behind another file.
fn append(deploy: &Deploy, name: &str) {
    let bytes = [deploy.read(name), deploy.read("Image")].concat();
    deploy.write(name, bytes);
}

/// What is done to a good directory, and what the gate must then say.
type Mutation = (&'static str, fn(&Deploy), &'static str);

const MUTATIONS: &[Mutation] = &[
    ("a bit of the FIT's kernel", |d| flip(d, "fit.itb", 100_000), "bad signature"),
    (
        "a bit of the FIT's signed text",
        |d| {
            let mut bytes = d.read("fit.itb");
            let at = bytes.windows(11).position(|w| w == b"description").unwrap();
            bytes[at] ^= 1;
            d.write("fit.itb", bytes);
        },
        "fit.itb",
    ),
    ("a kernel behind the FIT", |d| append(d, "fit.itb"), "no part of it"),
    ("a kernel behind a device tree", |d| append(d, "board.dtb"), "nothing signed covers it"),
    ("a kernel behind U-Boot's tree", |d| append(d, "u-boot.dtb"), "no part of it"),
    ("a bit of U-Boot's FIT", |d| flip(d, "u-boot.itb", 20_000), "bad signature"),
    ("a bit of the image's data", |d| flip(d, "rootfs.ext4.verity", 1_000_000), "data block 244"),
    (
        "a bit of the hash tree",
        |d| {
            let len = d.read("rootfs.ext4.verity").len();
            flip(d, "rootfs.ext4.verity", len - 3000);
        },
        "bad signature",
    ),
    (
        "a bit of the root hash's signature",
        |d| {
            let len = d.read("rootfs.ext4.verity.roothash.p7s").len();
            flip(d, "rootfs.ext4.verity.roothash.p7s", len - 5);
        },
        "rootfs.ext4.verity.roothash.p7s",
    ),
    ("a bit of the data beside the hash file", |d| flip(d, "data.squashfs", 5000), "bad signature"),
    (
        "a bit of the bundle's payload",
        |d| {
            let len = d.read("update.swu").len();
            flip(d, "update.swu", len / 2);
        },
        "update.swu",
    ),
    ("a bit of the unsigned kernel beside the FIT", |d| flip(d, "Image", 150_000), "Image"),
    (
        "a bit of the unsigned ext4 beside the image",
        |d| flip(d, "rootfs.ext4", 1_900_000),
        "nothing signed covers it",
    ),
    (
        "a bit of the unsigned device tree",
        |d| {
            let mut bytes = d.read("board.dtb");
            let at = bytes.windows(5).position(|w| w == b"quiet").unwrap();
            bytes[at] ^= 1;
            d.write("board.dtb", bytes);
        },
        "nothing signed covers it",
    ),
    ("a bit of U-Boot without its tree", |d| flip(d, "u-boot-nodtb.bin", 100), "holds no control tree"),
    (
        "another kernel",
        |d| {
            let mut kernel = vec![7; 5000];
            kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
            d.write("Image-debug", kernel);
        },
        "nothing signed covers it",
    ),
    (
        "no signature of the root hash",
        |d| d.remove("rootfs.ext4.verity.roothash.p7s"),
        "the root hash is not signed",
    ),
    ("no root hash", |d| d.remove("rootfs.ext4.verity.roothash"), "the image is not signed"),
    ("no data to the hash file", |d| d.remove("data.squashfs"), "is not in the directory"),
    ("a FIT that a dev key signed", |d| d.take_spare("fit-dev.itb", "fit.itb"), "development key"),
    (
        "an image whose root hash a dev key signed",
        |d| {
            d.take_spare("dev.ext4.verity.roothash.p7s", "rootfs.ext4.verity.roothash.p7s");
        },
        "development key",
    ),
    ("a bundle that a dev key signed", |d| d.take_spare("update-dev.swu", "update.swu"), "development key"),
    ("U-Boot's tree with a dev key", |d| d.take_spare("u-boot-dev.dtb", "u-boot.dtb"), "development key"),
    (
        "SPL's tree with a dev key",
        |d| d.take_spare("u-boot-spl-dev.dtb", "u-boot-spl.dtb"),
        "development key",
    ),
    (
        "U-Boot whose tree has a dev key",
        |d| {
            d.sh("cat deploy/u-boot-nodtb.bin spare/u-boot-dev.dtb > deploy/u-boot.bin");
        },
        "development key",
    ),
    (
        "SPL whose tree has a dev key",
        |d| {
            d.sh("cat deploy/u-boot-spl-nodtb.bin spare/u-boot-spl-dev.dtb > deploy/u-boot-spl.bin");
        },
        "development key",
    ),
    (
        "a tree without any key",
        |d| {
            d.sh("dtc -q -I dts -O dtb -o deploy/u-boot.dtb build/control.dts");
        },
        "accepts unsigned images",
    ),
    (
        "a FIT with a dev certificate for updates",
        |d| d.take_spare("fit-dev-update.itb", "fit.itb"),
        "development key",
    ),
    (
        "a FIT with a stranger's certificate for updates",
        |d| {
            d.take_spare("fit-foreign-update.itb", "fit.itb");
        },
        "neither pinned for role update nor in its chain",
    ),
    (
        "a FIT with another root hash",
        |d| {
            d.take_spare("fit-other-root.itb", "fit.itb");
        },
        "which no good image here has",
    ),
    (
        "another image in the bundle than beside it",
        |d| {
            d.take_spare("update-other-image.swu", "update.swu");
        },
        "differs from rootfs.ext4.verity",
    ),
    (
        "a bundle of nobody",
        |d| {
            let swu = d.read("update.swu");
            let at = swu.windows(18).position(|w| w == b"sw-description.sig").unwrap();
            let mut swu = swu;
            swu[at + 100] ^= 1;
            d.write("update.swu", swu);
        },
        "update.swu",
    ),
    (
        "a FIT that was never signed",
        |d| {
            d.sh("cp build/fit.itb deploy/other.itb");
        },
        "no configuration and no image of it is signed",
    ),
    ("a truncated FIT", |d| d.write("fit.itb", &d.read("fit.itb")[..120_000]), "fit.itb"),
    (
        "a truncated image",
        |d| {
            d.write("rootfs.ext4.verity", &d.read("rootfs.ext4.verity")[..2_100_000]);
        },
        "rootfs.ext4.verity",
    ),
    ("a truncated bundle", |d| d.write("update.swu", &d.read("update.swu")[..500_000]), "update.swu"),
    (
        "a truncated control tree",
        |d| d.write("u-boot.dtb", &d.read("u-boot.dtb")[..500]),
        "damaged device tree",
    ),
    (
        "a link out of the directory",
        |d| {
            std::os::unix::fs::symlink("/etc/hostname", d.file("Image-link")).unwrap();
        },
        "leads out of the directory",
    ),
    (
        "a private key",
        |d| {
            d.sh("openssl genrsa -out deploy/key.txt 2048 2>/dev/null");
        },
        "private key",
    ),
    (
        "a private key in DER",
        |d| {
            d.sh("openssl genrsa 2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -outform der -out deploy/key.bin");
        },
        "private key",
    ),
    (
        "a dev certificate beside the artifacts",
        |d| {
            d.sh("cp dev-update.pem deploy/swupdate.pem");
        },
        "development key",
    ),
    (
        "a legacy image",
        |d| {
            d.sh("mkimage -A arm64 -T script -C none -n boot -d deploy/config deploy/boot.scr >/dev/null");
        },
        "legacy images carry no signature",
    ),
    (
        "a stored environment",
        |d| {
            let data = b"bootcmd=go 0\0bootdelay=3\0\0\0\0";
            let mut bytes = crc32(data).to_le_bytes().to_vec();
            bytes.extend(data);
            d.write("uboot.env", bytes);
        },
        "environments carry no signature",
    ),
    (
        "an empty directory",
        |d| {
            d.sh("rm -r deploy; mkdir deploy");
        },
        "no artifact in this directory",
    ),
];

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn each_change_of_a_release_directory_is_refused() {
    let mut wrong = Vec::new();
    for (what, change, says) in MUTATIONS {
        let Some(deploy) = Deploy::release() else { return };
        change(&deploy);
        let outcome = deploy.gate(&[]);
        if outcome.code != 7 || !outcome.stdout.contains(says) {
            wrong.push(format!(
                "{what}: {} without `{says}`\n{}{}",
                outcome.code, outcome.stdout, outcome.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} changes:\n{}", wrong.len(), MUTATIONS.len(), wrong.join("\n\n"));
}

#[test]
fn no_exception_lets_dev_keys_private_keys_or_bad_signatures_pass() {
    let Some(deploy) = Deploy::release() else { return };
    deploy
        .policy("gate:\n  allow:\n    - { path: u-boot.dtb, reason: we have always shipped it like this }\n");
    deploy.gate(&[]).exits(0).says("lets nothing pass");
    deploy.take_spare("u-boot-dev.dtb", "u-boot.dtb");
    deploy.refuses("development key");
    let Some(deploy) = Deploy::release() else { return };
    deploy.policy("gate:\n  allow:\n    - { path: '*.itb', reason: we have always shipped it like this }\n");
    deploy.take_spare("fit-dev.itb", "fit.itb");
    deploy.refuses("development key");
}

#[test]
fn another_developers_artifact_is_refused_in_dev() {
    let Some(deploy) = Deploy::dev() else { return };
    let other = ["--dev-dir", "other-dev", "sign", "fit", "build/fit.itb", "-o", "deploy/fit.itb"];
    deploy.bench.hsmsign(&other).exits(0);
    deploy.refuses("bad signature");
}

#[test]
fn a_release_gate_refuses_a_dev_directory() {
    let Some(deploy) = Deploy::dev() else { return };
    let Some(release) = Deploy::release() else { return };
    let policy = String::from_utf8(release.bench.read("hsmsign.yaml")).unwrap();
    deploy.bench.write("hsmsign.yaml", policy);
    for role in ["rootfs", "update"] {
        deploy.bench.write(&format!("{role}.crt"), release.bench.read(&format!("{role}.crt")));
    }
    deploy.bench.write("ca.crt", release.bench.read("ca.crt"));
    let outcome = deploy.bench.hsmsign(&["--mode", "release", "verify", "deploy", "deploy"]).exits(7);
    for file in [
        "fit.itb",
        "rootfs.ext4.verity ",
        "u-boot.dtb",
        "u-boot-spl.dtb",
        "u-boot.itb",
        "update.swu ",
        "update.pem",
    ] {
        let line = outcome.stdout.lines().find(|l| l.contains(&format!(" {file}"))).unwrap_or_default();
        assert!(
            line.starts_with("FAIL") && line.contains("development key"),
            "{file}: {line}\n{}",
            outcome.stdout
        );
    }
    let _ = ROLES;
}
