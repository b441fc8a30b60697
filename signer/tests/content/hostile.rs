//! Damage, bombs and hostile offsets: an obstacle each time, never a hang, a panic or silence.

use super::{
    Seen,
    common::{Bench, find_tool},
    noise, plant, shell,
};
use hsmsign::content::{Kind, Limits, Obstacle};
use proptest::prelude::*;

const SMALL: Limits = Limits { depth: 16, expanded_bytes: 8 << 20, entries: 10_000, kept_bytes: 8 << 20 };

/// Each kind of container, small, by `(name, how it is made)`.
const KINDS: [(&str, &str); 16] = [
    ("tar", "tar -cf out -C tree ."),
    ("tar.gz", "tar -czf out -C tree ."),
    ("tar.xz", "tar -cJf out -C tree ."),
    ("tar.zst", "tar -cf- -C tree . | zstd -q --check > out"),
    ("tar.bz2", "tar -cjf out -C tree ."),
    ("tar.lz4", "tar -cf- -C tree . | lz4 -q > out"),
    ("zip", "cd tree; zip -qr ../out.zip .; mv ../out.zip ../out"),
    ("cpio", "cd tree; find . | cpio -o --quiet -H newc > ../out"),
    ("ar", "ar rc out tree/a.txt tree/etc/deep/noise.bin"),
    ("ext2", "mke2fs -q -F -t ext2 -d tree out 1M"),
    ("ext4", "mke2fs -q -F -t ext4 -O ^has_journal -d tree out 1M"),
    ("squashfs", "mksquashfs tree out -quiet -no-progress > /dev/null"),
    ("squashfs.xz", "mksquashfs tree out -comp xz -quiet -no-progress > /dev/null"),
    ("fat12", "truncate -s 1M out; mkfs.vfat -F 12 out > /dev/null; mcopy -s -i out tree/* ::"),
    ("fat16", "truncate -s 3M out; mkfs.vfat -F 16 -s 1 out > /dev/null; mcopy -s -i out tree/* ::"),
    (
        "fit",
        "printf '/dts-v1/; / { images { one { data = /incbin/(\"tree/etc/deep/noise.bin\"); }; }; };' | dtc -q -O dtb > out",
    ),
];

/// Those containers that this machine's tools can make.
fn made() -> Vec<(&'static str, Vec<u8>)> {
    let tools = [
        "tar",
        "zstd",
        "xz",
        "bzip2",
        "lz4",
        "zip",
        "cpio",
        "ar",
        "mke2fs",
        "mksquashfs",
        "dtc",
        "mkfs.vfat",
        "mcopy",
    ];
    if tools.iter().any(|tool| find_tool(tool).is_none()) {
        return Vec::new();
    }
    let make = |(name, line): &(&'static str, &str)| {
        let bench = Bench::new();
        plant(&bench);
        bench.write("tree/etc/deep/noise.bin", noise(20_000));
        shell(&bench, line);
        (*name, bench.read("out"))
    };
    KINDS.iter().map(make).collect()
}

#[test]
fn truncation_is_told_wherever_it_happens() {
    for (name, bytes) in made() {
        let whole = Seen::of_bytes(bytes.clone(), SMALL);
        assert_eq!(whole.obstacles, [], "{name}");
        let noise = whole.files.values().filter(|bytes| **bytes == noise(20_000)).count();
        assert_eq!(noise, 1, "{name}");
        for part in [3, 5, 7, 9] {
            let seen = Seen::of_bytes(bytes[..bytes.len() * part / 10].to_vec(), SMALL);
            let complete = seen.files.values().any(|bytes| *bytes == self::noise(20_000));
            assert!(
                !seen.obstacles.is_empty() || complete,
                "{name} cut to {part}0 %: {:?}",
                seen.files.keys()
            );
        }
    }
}

#[test]
fn a_damaged_byte_never_passes_for_the_whole() {
    // These have checksums, so that damage in the data shows.
    for (name, mut bytes) in made() {
        if !["tar.gz", "tar.xz", "tar.zst", "tar.bz2", "tar.lz4", "zip"].contains(&name) {
            continue;
        }
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        let seen = Seen::of_bytes(bytes, SMALL);
        assert!(!seen.obstacles.is_empty(), "{name}");
    }
}

#[test]
fn mangled_containers_end_and_do_not_panic() {
    for (name, bytes) in made() {
        let strategy = proptest::collection::vec((0..bytes.len(), any::<u8>()), 1..24);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(16));
        runner
            .run(&strategy, |changes| {
                let mut bytes = bytes.clone();
                for (place, byte) in changes {
                    bytes[place] = byte;
                }
                Seen::of_bytes(bytes, SMALL);
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn headers_with_hostile_numbers_end_and_do_not_panic() {
    for (name, bytes) in made() {
        // What says where things are stands at the beginning: the superblock, the first header.
        let places = if name.starts_with("ext") { 1024..1300 } else { 0..bytes.len().min(200) };
        for place in places.step_by(4) {
            for number in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0; 4], [0, 0, 0, 0x80]] {
                let mut bytes = bytes.clone();
                if let Some(field) = bytes.get_mut(place..place + 4) {
                    field.copy_from_slice(&number);
                }
                Seen::of_bytes(bytes, SMALL);
            }
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let bench = Bench::new();
    shell(&bench, "head -c 100M /dev/zero | gzip > out");
    let seen = Seen::of(&bench.path("out"), SMALL);
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
    assert!(seen.files["out!"].len() as u64 <= SMALL.expanded_bytes);
}

#[test]
fn a_bomb_in_a_bomb_ends_at_the_limit() {
    let bench = Bench::new();
    shell(&bench, "head -c 100M /dev/zero | gzip | gzip | gzip > out; tar -cf x out out out; mv x out");
    let seen = Seen::of(&bench.path("out"), SMALL);
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
}

#[test]
fn what_has_to_be_kept_is_limited() {
    let bench = Bench::new();
    shell(&bench, "mke2fs -q -F -t ext4 out.img 20M; gzip -c out.img > out");
    let limits = Limits { expanded_bytes: 1 << 30, ..SMALL };
    let seen = Seen::of(&bench.path("out"), limits);
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
}

#[test]
fn depth_is_limited_and_the_innermost_is_still_seen() {
    let bench = Bench::new();
    shell(&bench, "echo x > out; for i in 1 2 3 4 5 6; do gzip < out > y; mv y out; done");
    let seen = Seen::of(&bench.path("out"), Limits { depth: 3, ..SMALL });
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
    assert_eq!(seen.files.len(), 1);
    assert_eq!(Seen::of(&bench.path("out"), SMALL).files["out!"], b"x\n");
}

#[test]
fn entries_are_limited() {
    let bench = Bench::new();
    shell(&bench, "mkdir d; for i in $(seq 200); do echo $i > d/$i; done; tar -cf out d");
    let seen = Seen::of(&bench.path("out"), Limits { entries: 100, ..SMALL });
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
    assert!(seen.files.len() <= 100);
}

#[test]
fn a_name_as_long_as_an_archive_is_refused() {
    // GNU's long name, 100 MiB of it, well packed.
    let bench = Bench::new();
    let script = "import tarfile, sys\n\
                  t = tarfile.TarInfo('././@LongLink'); t.type = b'L'; t.size = 100 << 20\n\
                  sys.stdout.buffer.write(t.tobuf(format=tarfile.GNU_FORMAT))\n\
                  [sys.stdout.buffer.write(b'n' * (1 << 20)) for _ in range(100)]";
    bench.write("make.py", script);
    shell(&bench, "python3 make.py | gzip > out");
    let seen = Seen::of(&bench.path("out"), Limits::default());
    assert!(matches!(seen.obstacles[0].1, Obstacle::Limit(_)), "{:?}", seen.obstacles);
}

#[test]
fn what_cannot_be_opened_is_told_and_shown_as_it_is() {
    let mut bytes = b"7z\xbc\xaf\x27\x1c".to_vec();
    bytes.extend(noise(5000));
    let seen = Seen::of_bytes(bytes.clone(), SMALL);
    assert!(matches!(
        &seen.obstacles[..],
        [(_, Obstacle::Unsupported { kind: Kind::Other("7-Zip archive"), .. })]
    ));
    assert_eq!(seen.files["x"], bytes);
}

proptest! {
    #[test]
    fn nonsense_behind_every_magic_ends(kind in 0_usize..12, bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let magic: [&[u8]; 12] = [
            b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh91AY&SY", b"\x04\x22\x4d\x18",
            b"\x02\x21\x4c\x18", b"PK\x03\x04", b"!<arch>\n", b"hsqs", b"\xd0\x0d\xfe\xed\0\0\x08\0\0\0\0\x38",
            b"\x5d\0\0\x10\0\xff\xff\xff\xff\xff\xff\xff\xff\0", b"070701",
        ];
        let mut all = magic[kind].to_vec();
        all.extend(bytes);
        Seen::of_bytes(all, SMALL);
    }
}
