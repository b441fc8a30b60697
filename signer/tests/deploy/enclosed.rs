//! FAT file systems and compressed files: what is in them is judged as if it lay in the directory.

use crate::{
    common::find_tool,
    disks::disk,
    fixture::{Deploy, noise},
};
use serde_json::Value;

const FAT: &str = "truncate -s 8M boot.vfat; mkfs.vfat -F 16 -s 1 boot.vfat > /dev/null";

fn release() -> Option<Deploy> {
    for tool in ["mkfs.vfat", "mcopy", "xz", "zstd", "bzip2", "lz4", "gzip"] {
        find_tool(tool)?;
    }
    Deploy::release()
}

#[track_caller]
fn file<'a>(report: &'a Value, path: &str) -> &'a Value {
    let files = report["files"].as_array().unwrap();
    files.iter().find(|f| f["path"] == path).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

#[test]
fn a_boot_partition_ships_if_every_file_on_it_may() {
    let Some(deploy) = release() else { return };
    deploy.sh(&format!(
        "cd deploy; {FAT}; mmd -i boot.vfat ::/EFI ::/overlays; mcopy -i boot.vfat fit.itb u-boot.itb Image board.dtb ::/
         mcopy -i boot.vfat initramfs.cpio.gz '::/EFI/a long name of an initramfs'"
    ));
    let report = deploy.report(0);
    assert_eq!(file(&report, "boot.vfat")["state"], "covered", "{report:#}");
    assert_eq!(file(&report, "boot.vfat:fit.itb")["state"], "signed");
    assert_eq!(file(&report, "boot.vfat:Image")["state"], "covered");
    assert_eq!(file(&report, "boot.vfat:EFI/a long name of an initramfs")["state"], "covered");

    // The same on a disk, with and without the image beside it.
    deploy.write("sdcard.img", disk(&deploy.read("boot.vfat")));
    assert_eq!(file(&deploy.report(0), "sdcard.img")["state"], "covered");
    deploy.remove("boot.vfat");
    let report = deploy.report(0);
    assert_eq!(file(&report, "sdcard.img")["state"], "covered");
    assert_eq!(file(&report, "sdcard.img:partition 1:fit.itb")["state"], "signed");
}

#[test]
fn whatever_nothing_covers_on_a_boot_partition_is_refused() {
    let Some(deploy) = release() else { return };
    deploy.sh(&format!("cd deploy; {FAT}; mcopy -i boot.vfat fit.itb ::/; cp boot.vfat ../good"));
    deploy.gate(&[]).exits(0);
    deploy.bench.write("other-kernel", [&noise(4000, 9)[..0x38], b"ARM\x64", &noise(4000, 9)].concat());
    deploy.bench.write("nonsense", noise(5000, 10));
    deploy.bench.write("cmdline.txt", "init=/bin/sh\n");
    for (put, place) in [
        ("other-kernel", "boot.vfat:other-kernel"),
        ("nonsense", "boot.vfat:nonsense"),
        ("cmdline.txt", "boot.vfat:cmdline.txt"),
        ("build/fit.itb", "boot.vfat:fit-2.itb"),
        ("spare/fit-dev-update.itb", "boot.vfat:fit-2.itb"),
        ("ca.key", "boot.vfat:ca.key"),
    ] {
        let name = place.split(':').nth(1).unwrap();
        deploy.sh(&format!("cp good deploy/boot.vfat; mcopy -i deploy/boot.vfat {put} ::/{name}"));
        let report = deploy.report(7);
        assert_eq!(file(&report, place)["verdict"], "fail", "{report:#}");
        // The same in a partition, where nothing else is wrong.
        deploy.write("sdcard.img", disk(&deploy.read("boot.vfat")));
        deploy.remove("boot.vfat");
        let report = deploy.report(7);
        let place = place.replace("boot.vfat", "sdcard.img:partition 1");
        assert_eq!(file(&report, &place)["verdict"], "fail", "{report:#}");
        deploy.remove("sdcard.img");
    }
}

#[test]
fn what_a_boot_partition_has_beside_its_files_is_refused() {
    let Some(deploy) = release() else { return };
    let large = "truncate -s 60M boot.vfat; mkfs.vfat -F 32 -R 8192 boot.vfat > /dev/null";
    for (make, place) in [(FAT, 8 << 20), (large, 16 << 9), (large, 8191 << 9)] {
        deploy.sh(&format!(
            "cd deploy; rm -f boot.vfat; {make}; mcopy -i boot.vfat fit.itb ::/; truncate -s %1M boot.vfat"
        ));
        let mut image = deploy.read("boot.vfat");
        image.resize(image.len() + 512, 0);
        deploy.write("boot.vfat", &image);
        deploy.gate(&[]).exits(0);
        image[place] = 1;
        deploy.write("boot.vfat", image);
        deploy.refuses(&format!("at byte {place} it holds something that is in no file"));
    }
}

#[test]
fn what_lies_compressed_on_a_boot_partition_is_judged() {
    let Some(deploy) = release() else { return };
    deploy.bench.write("nonsense", noise(5000, 10));
    let put = |script: &str| {
        deploy.sh(&format!(
            "cd deploy; rm -f boot.vfat; {FAT}; ({script}) > ../packed; mcopy -i boot.vfat ../packed ::/packed.gz"
        ));
    };
    // One that lies beside it, with and without a signature of its own.
    put("gzip -n < fit.itb");
    assert_eq!(file(&deploy.report(0), "boot.vfat:packed.gz")["state"], "covered");
    put("gzip -n < Image");
    assert_eq!(file(&deploy.report(0), "boot.vfat:packed.gz")["state"], "covered");
    for script in ["gzip < ../nonsense", "echo init=/bin/sh | gzip | xz", "echo init=/bin/sh | gzip"] {
        put(script);
        deploy.refuses("boot.vfat:packed.gz");
    }
}

#[test]
fn an_unknown_file_may_lie_beside_its_compressed_form() {
    let Some(deploy) = release() else { return };
    deploy.write("nonsense", noise(5000, 10));
    deploy.sh("gzip -nk deploy/nonsense");
    assert_eq!(file(&deploy.report(0), "nonsense.gz")["state"], "part");
}

#[test]
fn a_single_byte_behind_a_compressed_file_is_refused() {
    let Some(deploy) = release() else { return };
    for (ending, compress) in [
        ("gz", "gzip -n"),
        ("xz", "xz -0"),
        ("lzma", "xz -0 --format=lzma"),
        ("zst", "zstd -q"),
        ("bz2", "bzip2"),
        ("lz4", "lz4 -q"),
    ] {
        let pack =
            format!("rm -f deploy/copy.*; {compress} < deploy/rootfs.ext4.verity > deploy/copy.{ending}");
        deploy.sh(&pack);
        deploy.gate(&[]).exits(0);
        deploy.sh(&format!("{pack}; printf x >> deploy/copy.{ending}"));
        deploy.refuses(&format!("copy.{ending}"));
    }
}

#[test]
fn lzma_that_takes_too_much_memory_cannot_be_checked() {
    let Some(deploy) = release() else { return };
    // A compressor would take gigabytes of memory; the size of the dictionary says so to a reader as well.
    deploy.sh("xz -0 --format=lzma < build/rootfs.ext4 > deploy/rootfs.lzma");
    let mut bytes = deploy.read("rootfs.lzma");
    bytes[1..5].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    deploy.write("rootfs.lzma", bytes);
    deploy.refuses("takes too much memory");
}

#[test]
fn an_exception_names_one_file_of_a_boot_partition() {
    let Some(deploy) = release() else { return };
    deploy.sh(&format!(
        "cd deploy; {FAT}; echo quiet > config.txt; mcopy -i boot.vfat fit.itb config.txt ::/; rm config.txt"
    ));
    deploy.write("sdcard.img", disk(&deploy.read("boot.vfat")));
    deploy.refuses("boot.vfat:config.txt");
    deploy.policy("gate:\n  allow:\n    - path: \"*:config.txt\"\n      reason: the board needs it\n");
    let report = deploy.report(0);
    assert_eq!(file(&report, "boot.vfat:config.txt")["state"], "excepted", "{report:#}");
    assert_eq!(file(&report, "sdcard.img:partition 1:config.txt")["state"], "excepted", "{report:#}");
    deploy.sh("echo bad > two.txt; mcopy -i deploy/boot.vfat two.txt ::/");
    deploy.refuses("boot.vfat:two.txt");
}

#[test]
fn a_fat_file_system_that_cannot_be_opened_is_refused() {
    let Some(deploy) = release() else { return };
    deploy.sh(&format!("cd deploy; {FAT}; mcopy -i boot.vfat fit.itb ::/FIT.ITB"));
    let mut image = deploy.read("boot.vfat");
    let entry = image.windows(11).position(|w| w == b"FIT     ITB").unwrap();
    image[entry + 31] = 0x7f;
    deploy.write("boot.vfat", image);
    deploy.refuses("cannot be looked into");
}

#[test]
fn a_development_certificate_on_a_boot_partition_is_refused() {
    let Some(deploy) = release() else { return };
    deploy.sh(&format!("cd deploy; {FAT}; mcopy -i boot.vfat fit.itb ../dev-update.pem ::/"));
    deploy.refuses("development key");
    // No exception for it helps.
    deploy.policy("gate:\n  allow:\n    - path: \"boot.vfat:**\"\n      reason: everything\n");
    deploy.refuses("development key");
}

#[test]
fn what_a_compressed_file_holds_is_judged() {
    let Some(deploy) = release() else { return };
    for (ending, compress) in [
        ("gz", "gzip -n"),
        ("xz", "xz -0"),
        ("lzma", "xz -0 --format=lzma"),
        ("zst", "zstd -q"),
        ("bz2", "bzip2"),
        ("lz4", "lz4 -q"),
    ] {
        let deploy_of = |script: &str| deploy.sh(&format!("rm -f deploy/*.{ending}; {script}"));
        let packed = |from: &str, name: &str| {
            deploy_of(&format!(
                "cp {from} x; rm -f x.*; {compress} < x > x.{ending}; cp x.{ending} deploy/{name}.{ending}"
            ));
            format!("{name}.{ending}")
        };
        // Beside what it holds, and alone.
        let name = packed("deploy/rootfs.ext4.verity", "copy");
        let report = deploy.report(0);
        assert_eq!(file(&report, &name)["state"], "covered", "{report:#}");
        let name = packed("build/rootfs.ext4", "rootfs.ext4");
        assert_eq!(file(&deploy.report(0), &name)["state"], "covered");
        let name = packed("deploy/Image", "kernel");
        assert_eq!(file(&deploy.report(0), &name)["state"], "covered");
        let name = packed("deploy/fit.itb", "image.itb");
        assert_eq!(file(&deploy.report(0), &name)["state"], "covered");

        let name = packed("build/fit.itb", "image.itb");
        let report = deploy.report(7);
        assert_eq!(file(&report, &format!("{name}:image.itb"))["verdict"], "fail", "{report:#}");
        let name = packed("ca.crt", "unlike");
        assert_eq!(file(&deploy.report(0), &name)["state"], "part");
        deploy.bench.write("ext4", {
            let mut b = deploy.bench.read("build/rootfs.ext4");
            b[9000] ^= 1;
            b
        });
        packed("ext4", "rootfs.ext4");
        deploy.refuses("not signed");
        // Half of one, and one with something behind it.
        packed("deploy/rootfs.ext4.verity", "half");
        deploy.sh(&format!("truncate -s 1000 deploy/half.{ending}"));
        deploy.refuses(&format!("half.{ending}"));
        packed("deploy/rootfs.ext4.verity", "more");
        deploy.sh(&format!("cat build/fit.itb >> deploy/more.{ending}"));
        deploy.refuses(&format!("more.{ending}"));
        deploy_of("true");
    }
}

#[test]
fn a_compressed_disk_is_judged_partition_by_partition() {
    let Some(deploy) = release() else { return };
    deploy.bench.write("sdcard.img", disk(&deploy.read("rootfs.ext4.verity")));
    deploy.sh("xz -0k sdcard.img; cp sdcard.img.xz deploy/");
    let report = deploy.report(0);
    assert_eq!(file(&report, "sdcard.img.xz")["state"], "covered", "{report:#}");
    assert_eq!(file(&report, "sdcard.img.xz:sdcard.img:partition 1")["state"], "covered");
    let bad = |image: &[u8]| {
        let mut image = disk(image);
        image[9_000_000 % (1 << 20) + 1_500_000] ^= 1;
        image
    };
    deploy.bench.write("sdcard.img", bad(&deploy.read("rootfs.ext4.verity")));
    deploy.sh("xz -0kf sdcard.img; cp sdcard.img.xz deploy/");
    deploy.refuses("sdcard.img.xz:sdcard.img");
    // An exception for the compressed file is one for what it holds.
    let partition = "    - path: \"*.img.xz:**\"\n      reason: its partition\n";
    deploy.policy(&format!(
        "gate:\n  allow:\n    - path: \"*.img.xz\"\n      reason: a tool of the factory\n{partition}"
    ));
    assert_eq!(file(&deploy.report(0), "sdcard.img.xz:sdcard.img")["state"], "excepted");
}
