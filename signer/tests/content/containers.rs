//! Every kind of container, made by the tool that people make it with.

use super::{
    Seen,
    common::{Bench, find_tool},
    noise, plant, shell,
};
use hsmsign::content::{Kind, Limits, Obstacle};

/// Makes `out` with `line`, and expects the tree's large file at `location` with the same bytes.
#[track_caller]
fn finds(tools: &[&str], line: &str, location: &str) {
    if tools.iter().any(|tool| find_tool(tool).is_none()) {
        return;
    }
    let bench = Bench::new();
    let bytes = plant(&bench);
    shell(&bench, line);
    let seen = Seen::of(&bench.path("out"), Limits::default());
    let found = seen.files.get(location);
    let names: Vec<_> = seen.files.keys().collect();
    let found = found.unwrap_or_else(|| panic!("no {location} in {names:?}, {:?}", seen.obstacles));
    assert!(*found == bytes, "{line}: other bytes");
    assert_eq!(seen.obstacles, [], "{line}");
}

#[test]
fn tar_in_every_format() {
    for format in ["gnu", "pax", "ustar", "v7"] {
        finds(&["tar"], &format!("tar --format={format} -cf out -C tree ."), "out!/etc/deep/noise.bin");
    }
}

#[test]
fn tar_with_long_names_and_holes() {
    let long = "n".repeat(200);
    for format in ["gnu", "pax"] {
        let make =
            format!("mv tree/etc/deep/noise.bin tree/{long}; tar --format={format} -cf out -C tree {long}");
        finds(&["tar"], &make, &format!("out!/{long}"));
    }
    let bench = Bench::new();
    shell(&bench, "truncate -s 10M holes; printf x >> holes; tar --sparse -cf out holes");
    let seen = Seen::of(&bench.path("out"), Limits::default());
    assert_eq!(seen.files["out!/holes"].len(), (10 << 20) + 1);
}

#[test]
fn compressed_tar() {
    let tools = [
        ("gzip", "gzip -9"),
        ("xz", "xz -1"),
        ("xz", "xz --format=lzma -1"),
        // As OpenWrt has its kernels.
        ("xz", "xz --format=lzma --lzma1=preset=1,lc=1,lp=2,pb=2"),
        ("zstd", "zstd -q"),
        ("bzip2", "bzip2"),
        ("lz4", "lz4 -q"),
        ("lz4", "lz4 -q -l"),
    ];
    for (tool, compress) in tools {
        let line = format!("tar -cf- -C tree . | {compress} > out");
        finds(&["tar", tool], &line, "out!/etc/deep/noise.bin");
    }
}

#[test]
fn a_compressed_file_alone() {
    for (tool, compress) in
        [("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd -q"), ("bzip2", "bzip2"), ("lz4", "lz4 -q")]
    {
        finds(&[tool], &format!("{compress} < tree/etc/deep/noise.bin > out"), "out!");
    }
}

#[test]
fn several_members_are_one_file() {
    for (tool, compress) in
        [("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd -q --check"), ("bzip2", "bzip2"), ("lz4", "lz4 -q")]
    {
        let line = format!(
            "head -c 100000 tree/etc/deep/noise.bin | {compress} > out; \
             tail -c +100001 tree/etc/deep/noise.bin | {compress} >> out"
        );
        finds(&[tool], &line, "out!");
    }
}

#[test]
fn what_lies_behind_a_compressed_file_is_seen() {
    let tools = [("gzip", "gzip"), ("zstd", "zstd -q"), ("bzip2", "bzip2"), ("xz", "xz --format=lzma")];
    for (tool, compress) in tools {
        let line = format!(
            "echo x | {compress} > out; head -c 100 /dev/zero >> out; cat tree/etc/deep/noise.bin >> out"
        );
        finds(&[tool], &line, "out!/[behind it]");
    }
}

#[test]
fn zip_stored_and_deflated() {
    finds(&["zip"], "cd tree; zip -qr ../out.zip . ; mv ../out.zip ../out", "out!/etc/deep/noise.bin");
    finds(&["zip"], "cd tree; zip -q0r ../out.zip . ; mv ../out.zip ../out", "out!/etc/deep/noise.bin");
    finds(&["zip"], "cd tree; zip -qrZ bzip2 ../out.zip . ; mv ../out.zip ../out", "out!/etc/deep/noise.bin");
}

#[test]
fn an_encrypted_zip_is_told() {
    if find_tool("zip").is_none() {
        return;
    }
    let bench = Bench::new();
    plant(&bench);
    shell(&bench, "cd tree; zip -qr -P secret ../out.zip . ; mv ../out.zip ../out");
    let seen = Seen::of(&bench.path("out"), Limits::default());
    let encrypted = Obstacle::Encrypted { kind: Kind::Zip };
    assert!(seen.obstacles.contains(&("out!/etc/deep/noise.bin".into(), encrypted)), "{seen:?}");
}

#[test]
fn cpio_and_initramfs() {
    let pack = "cd tree; find . | cpio -o --quiet -H newc";
    finds(&["cpio"], &format!("{pack} > ../out"), "out!/etc/deep/noise.bin");
    finds(&["cpio"], &format!("{pack} | gzip > ../out"), "out!/etc/deep/noise.bin");
    // The microcode that goes before an initramfs, and is not compressed.
    let line = "echo code > microcode; echo microcode | cpio -o --quiet -H newc > out; ".to_owned();
    finds(&["cpio"], &format!("{line} {pack} | gzip >> ../out"), "out!/[behind it]!/etc/deep/noise.bin");
    finds(&["cpio"], &format!("{line} {pack} >> ../out"), "out!/[behind it]!/etc/deep/noise.bin");
}

#[test]
fn debian_packages() {
    let line =
        "tar -cJf data.tar.xz -C tree .; echo 2.0 > debian-binary; ar rc out debian-binary data.tar.xz";
    finds(&["ar", "xz", "tar"], line, "out!/data.tar.xz!/etc/deep/noise.bin");
}

#[test]
fn ext_of_every_kind() {
    for kind in ["ext2", "ext3", "ext4"] {
        for block in [1024, 4096] {
            let line = format!("mke2fs -q -F -t {kind} -b {block} -d tree out 4M");
            finds(&["mke2fs"], &line, "out!/etc/deep/noise.bin");
        }
    }
}

#[test]
fn squashfs_with_every_compression() {
    for compression in
        ["gzip", "xz", "zstd", "lz4", "xz -Xbcj x86", "gzip -noI -noD -noF", "gzip -no-fragments"]
    {
        let line = format!("mksquashfs tree out -comp {compression} -quiet -no-progress > /dev/null");
        finds(&["mksquashfs"], &line, "out!/etc/deep/noise.bin");
    }
}

#[test]
fn a_file_system_with_a_verity_tree_behind_it() {
    let verity =
        "truncate -s %4096 out; veritysetup format --hash-offset $(stat -c %s out) out out > /dev/null";
    finds(
        &["mke2fs", "veritysetup"],
        &format!("mke2fs -q -F -t ext4 -d tree out 4M; {verity}"),
        "out!/etc/deep/noise.bin",
    );
    let line = format!("mksquashfs tree out -quiet -no-progress > /dev/null; {verity}");
    finds(&["mksquashfs", "veritysetup"], &line, "out!/etc/deep/noise.bin");
}

#[test]
fn what_lies_behind_a_file_system_is_seen() {
    finds(
        &["mke2fs"],
        "mke2fs -q -F -t ext4 out 4M; cat tree/etc/deep/noise.bin >> out",
        "out!/[at 0x400000]",
    );
}

#[test]
fn fit_images_with_data_inside_and_outside() {
    let its = r#"printf '/dts-v1/; / { description = "d"; images { one { description = "i"; data = /incbin/("image"); type = "firmware"; compression = "none"; }; two { description = "i"; data = /incbin/("tree/a.txt"); type = "firmware"; compression = "none"; }; }; configurations { default = "c"; c { description = "c"; firmware = "one"; }; }; };' > x.its"#;
    for (place, option) in [("inside", ""), ("outside", "-E"), ("at a place", "-E -p 0x1000")] {
        for (pack, location) in [
            ("cp tree/etc/deep/noise.bin image", "out!/images/one/data"),
            ("tar -czf image -C tree .", "out!/images/one/data!/etc/deep/noise.bin"),
        ] {
            let line = format!("{pack}; {its}; mkimage {option} -f x.its out > /dev/null # {place}");
            finds(&["mkimage", "dtc"], &line, location);
        }
    }
}

#[test]
fn legacy_images() {
    let line =
        "tar -czf image -C tree .; mkimage -A arm64 -O linux -T ramdisk -C gzip -d image out > /dev/null";
    finds(&["mkimage"], line, "out!/etc/deep/noise.bin");
}

#[test]
fn one_inside_the_other() {
    let line = "mke2fs -q -F -t ext4 -d tree rootfs.ext4 4M; gzip rootfs.ext4; \
                printf 'rootfs.ext4.gz\n' | cpio -o --quiet -H crc > x.swu; zip -q x.zip x.swu; \
                tar -cJf out x.zip";
    finds(&["mke2fs", "cpio", "zip", "xz"], line, "out!/x.zip!/x.swu!/rootfs.ext4.gz!/etc/deep/noise.bin");
}

#[test]
fn names_are_no_part_of_the_judgement() {
    let bench = Bench::new();
    bench.write("x.tar.gz", noise(5000));
    let seen = Seen::of(&bench.path("x.tar.gz"), Limits::default());
    assert_eq!((seen.files.len(), seen.containers.len(), seen.obstacles.len()), (1, 0, 0));
}

#[test]
fn fat_of_every_kind() {
    let noise = "out!/etc/deep/noise.bin";
    for make in [
        "truncate -s 1M out; mkfs.vfat -F 12 out > /dev/null",
        "truncate -s 16M out; mkfs.vfat -F 16 out > /dev/null",
        "truncate -s 64M out; mkfs.vfat -F 32 out > /dev/null",
        // Without the text that says FAT, and made by another tool.
        "truncate -s 1M out; mkfs.vfat -F 12 out > /dev/null; printf NAME-IS-NOT | dd of=out bs=1 seek=51 conv=notrunc status=none",
        "truncate -s 1440K out; mformat -f 1440 -i out ::",
        "truncate -s 64M out; mformat -F -i out ::",
    ] {
        finds(&["mkfs.vfat", "mcopy"], &format!("{make}; mcopy -s -i out tree/* ::"), noise);
    }
}

#[test]
fn fat_with_long_names_and_scattered_files() {
    if find_tool("mkfs.vfat").is_none() || find_tool("mcopy").is_none() {
        return;
    }
    let bench = Bench::new();
    // Each other small file is deleted, so that the large one lies in the gaps; a directory of several clusters.
    let line = "truncate -s 4M out; mkfs.vfat -F 16 -s 1 out > /dev/null; mmd -i out ::/many
        for i in $(seq 200); do seq $i > one; mcopy -i out one \"::/many/A rather long näme with ünicode $i\"; done
        for i in $(seq 1 2 199); do mdel -i out \"::/many/A rather long näme with ünicode $i\"; done
        seq 300000 > large; mcopy -i out large ::/many/large.text";
    shell(&bench, line);
    let seen = Seen::of(&bench.path("out"), Limits::default());
    assert_eq!(seen.obstacles, []);
    assert!(seen.files["out!/many/large.text"] == bench.read("large"));
    assert_eq!(seen.files.len(), 101);
    assert_eq!(seen.files["out!/many/A rather long näme with ünicode 4"], b"1\n2\n3\n4\n");
}

#[test]
fn disks_and_what_lies_beside_their_partitions() {
    let line = "truncate -s 8M fat; mkfs.vfat -F 16 -s 1 fat > /dev/null; mcopy -s -i fat tree/* ::
        mksquashfs tree squashfs -quiet -no-progress -comp xz > /dev/null
        truncate -s 32M out; echo beside | dd of=out bs=512 seek=40 conv=notrunc status=none
        printf '%s' \"$TABLE\" | sfdisk -q out
        dd if=fat of=out bs=1M seek=1 conv=notrunc status=none; dd if=squashfs of=out bs=1M seek=16 conv=notrunc status=none";
    for table in ["label: dos\n2048,8M,c\n32768,,83\n", "label: gpt\n2048,8M,U\n32768,,L\n"] {
        let line = format!("TABLE=$'{}'; {line}", table.replace('\n', "\\n"));
        for partition in ["partition 1", "partition 2"] {
            let tools = ["mkfs.vfat", "mcopy", "mksquashfs", "sfdisk"];
            finds(&tools, &line, &format!("out!/{partition}!/etc/deep/noise.bin"));
        }
        if find_tool("sfdisk").is_some() && find_tool("mcopy").is_some() {
            let bench = Bench::new();
            plant(&bench);
            shell(&bench, &line);
            let seen = Seen::of(&bench.path("out"), Limits::default());
            assert!(
                seen.files.values().any(|bytes| bytes.starts_with(b"beside\n")),
                "{:?}",
                seen.files.keys()
            );
        }
    }
}
