//! File systems that no tool makes: each an obstacle that names the place, never an abort.

use super::{Seen, common::find_tool, noise, shell};
use crate::common::Bench;
use hsmsign::content::{Limits, Obstacle};

/// Where something stands in a squashfs image whose metadata are not compressed.
fn find(image: &[u8], from: usize, what: &[u8]) -> usize {
    image[from..].windows(what.len()).position(|w| w == what).unwrap() + from
}

fn squashfs_table(image: &[u8], field: usize) -> usize {
    u64::from_le_bytes(image[field..field + 8].try_into().unwrap()).try_into().unwrap()
}

/// An image of `tree`, its metadata as they are.
fn squashfs(bench: &Bench) -> Vec<u8> {
    shell(bench, "mksquashfs tree out -quiet -no-progress -noI -noX -no-xattrs > /dev/null");
    bench.read("out")
}

#[track_caller]
fn one_obstacle(seen: &Seen, place: &str, words: &str) {
    let [(location, obstacle)] = seen.obstacles.as_slice() else { panic!("{:?}", seen.obstacles) };
    assert!(location.ends_with(place), "{location}");
    assert!(obstacle.to_string().contains(words), "{obstacle}");
    assert!(matches!(obstacle, Obstacle::Malformed { .. }), "{obstacle:?}");
}

#[test]
fn a_squashfs_whose_directory_lies_in_itself_is_told() {
    if find_tool("mksquashfs").is_none() {
        return;
    }
    let bench = Bench::new();
    shell(&bench, "mkdir -p tree/loopa/loopb/loopc; echo within > tree/loopa/loopb/near");
    let mut image = squashfs(&bench);
    let directories = squashfs_table(&image, 72);
    // The entry `loopc` gets the inode of `loopa`: header (count, start, inode number), then offset, difference, type.
    let (of_a, of_c) = (find(&image, directories, b"loopa") - 20, find(&image, directories, b"loopc") - 20);
    image.copy_within(of_a + 4..of_a + 16, of_c + 4);
    let seen = Seen::of_bytes(image, Limits::default());
    one_obstacle(&seen, "/loopa/loopb/loopc", "in itself");
    assert_eq!(seen.files["x!/loopa/loopb/near"], b"within\n");
}

#[test]
fn a_very_deep_squashfs_is_told() {
    if find_tool("mksquashfs").is_none() {
        return;
    }
    let bench = Bench::new();
    shell(&bench, "p=tree; for i in $(seq 400); do p=$p/d; done; mkdir -p $p; echo x > tree/d/near");
    let seen = Seen::of_bytes(squashfs(&bench), Limits::default());
    one_obstacle(&seen, "/d/d/d", "deep");
    assert_eq!(seen.files["x!/d/near"], b"x\n");
}

#[test]
fn a_squashfs_with_a_block_of_four_gigabytes_is_told() {
    if find_tool("mksquashfs").is_none() {
        return;
    }
    let bench = Bench::new();
    shell(&bench, "mkdir tree");
    bench.write("tree/noise.bin", noise(300_000));
    bench.write("tree/z.txt", "small\n");
    let mut image = squashfs(&bench);
    let inodes = squashfs_table(&image, 64);
    // Two blocks of 128 KiB each that did not compress.
    let sizes = find(&image, inodes, &[0, 0, 2, 1, 0, 0, 2, 1]);
    image[sizes..sizes + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0xfe]);
    let seen = Seen::of_bytes(image, Limits::default());
    one_obstacle(&seen, "/noise.bin", "block");
    assert_eq!(seen.files["x!/z.txt"], b"small\n");
}

#[test]
fn what_linux_reads_of_a_squashfs_is_what_is_seen() {
    if find_tool("mksquashfs").is_none() {
        return;
    }
    let bench = Bench::new();
    // More names than a block of metadata holds, more small files than a fragment, a hole, and links.
    let line = "mkdir -p tree/many tree/few; cd tree
        for i in $(seq 1500); do seq $i > many/a-rather-long-name-of-a-small-file-$i; done
        cp many/*-7 few/seven; ln few/seven few/again; ln -s seven few/link; mkfifo few/pipe
        seq 100000 > few/large; truncate -s 3M few/hole; seq 9 >> few/hole; : > few/empty";
    shell(&bench, line);
    for options in ["", "-noI -noX", "-b 4096 -comp lz4", "-no-fragments", "-always-use-fragments -b 1M"] {
        shell(&bench, &format!("rm -f out; mksquashfs tree out -quiet -no-progress {options} > /dev/null"));
        let seen = Seen::of(&bench.path("out"), Limits::default());
        assert_eq!(seen.obstacles, [], "{options}");
        assert_eq!(seen.files.len(), 1500 + 5, "{options}");
        for (location, bytes) in seen.files {
            let path = location.strip_prefix("out!/").unwrap();
            assert!(bench.read(&format!("tree/{path}")) == bytes, "{options}: {location}");
        }
    }
}

#[test]
fn an_ext2_whose_directory_lies_in_itself_ends() {
    if find_tool("debugfs").is_none() {
        return;
    }
    let bench = Bench::new();
    // Two ways back, so that each level doubles what there is to see.
    let line = "mkdir -p tree/a/b; echo within > tree/a/b/near; mke2fs -q -F -t ext2 -d tree out 1M
        printf 'ln a a/b/one\\nln a a/b/two\\n' | debugfs -w -f - out 2> /dev/null > /dev/null";
    shell(&bench, line);
    let seen = Seen::of(&bench.path("out"), Limits::default());
    one_obstacle(&seen, "out", "in itself");
    assert_eq!(seen.files["out!/a/b/near"].get(..7), Some(b"within\n".as_slice()));
}

#[test]
fn an_ext2_with_more_groups_than_it_has_room_for_is_told() {
    if find_tool("mke2fs").is_none() {
        return;
    }
    let bench = Bench::new();
    shell(&bench, "mke2fs -q -F -t ext2 out 1M");
    let mut image = bench.read("out");
    // `s_blocks_count_lo`, `s_blocks_per_group`
    image[1024 + 4..][..4].copy_from_slice(&[0xff; 4]);
    image[1024 + 32..][..4].copy_from_slice(&[1, 0, 0, 0]);
    let seen = Seen::of_bytes(image, Limits::default());
    one_obstacle(&seen, "x", "groups");
}

/// A FAT16 image with clusters of 512 bytes: its bytes, where its first table is, and where cluster 2 is.
fn fat16(bench: &Bench, line: &str) -> (Vec<u8>, usize, usize) {
    shell(bench, &format!("truncate -s 4M out; mkfs.vfat -F 16 -s 1 out > /dev/null; {line}"));
    let image = bench.read("out");
    let half = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let (reserved, fats, root, len) = (half(14), usize::from(image[16]), half(17), half(22));
    (image.clone(), reserved * 512, (reserved + fats * len) * 512 + root * 32)
}

/// The number of the first cluster of the entry with that short name.
fn first_cluster<'a>(image: &'a mut [u8], name: &[u8; 11]) -> &'a mut [u8] {
    let at = find(image, 0, name);
    &mut image[at + 26..at + 28]
}

#[test]
fn a_fat_directory_that_lies_in_itself_is_told() {
    if find_tool("mkfs.vfat").is_none() || find_tool("mcopy").is_none() {
        return;
    }
    let bench = Bench::new();
    let (mut image, ..) =
        fat16(&bench, "echo within > near; mmd -i out ::/A ::/A/B ::/A/B/C; mcopy -i out near ::/A/B/NEAR");
    let of_a = first_cluster(&mut image, b"A          ").to_vec();
    first_cluster(&mut image, b"C          ").copy_from_slice(&of_a);
    let seen = Seen::of_bytes(image, Limits::default());
    one_obstacle(&seen, "/A/B/C", "in itself");
    assert_eq!(seen.files["x!/A/B/NEAR"], b"within\n");
}

#[test]
fn a_fat_directory_without_end_is_told() {
    if find_tool("mkfs.vfat").is_none() || find_tool("mcopy").is_none() {
        return;
    }
    let bench = Bench::new();
    let (mut image, table, data) = fat16(&bench, "echo x > near; mmd -i out ::/A; mcopy -i out near ::/NEAR");
    let cluster = first_cluster(&mut image, b"A          ").to_vec();
    let number = usize::from(u16::from_le_bytes([cluster[0], cluster[1]]));
    // Its cluster is followed by itself, and all in it was deleted: no entry would ever come.
    image[table + number * 2..][..2].copy_from_slice(&cluster);
    let at = data + (number - 2) * 512;
    image[at..at + 512].chunks_mut(32).for_each(|entry| entry[0] = 0xe5);
    let seen = Seen::of_bytes(image, Limits::default());
    one_obstacle(&seen, "/A", "longer than one may be");
    assert_eq!(seen.files["x!/NEAR"], b"x\n");
}

#[test]
fn a_fat_file_longer_than_its_clusters_is_told() {
    if find_tool("mkfs.vfat").is_none() || find_tool("mcopy").is_none() {
        return;
    }
    let bench = Bench::new();
    let (mut image, table, data) = fat16(&bench, "seq 1000 > near; mcopy -i out near ::/NEAR");
    let entry = find(&image, 0, b"NEAR       ");
    image[entry + 31] = 0xff;
    let seen = Seen::of_bytes(image.clone(), Limits::default());
    one_obstacle(&seen, "/NEAR", "shorter");
    // Four gigabytes around in a circle end at the limit.
    let number = usize::from(u16::from_le_bytes([image[entry + 26], image[entry + 27]]));
    image[table + number * 2..][..2].copy_from_slice(&u16::try_from(number).unwrap().to_le_bytes());
    let seen = Seen::of_bytes(image.clone(), Limits { expanded_bytes: 4 << 20, ..Limits::default() });
    assert!(matches!(seen.obstacles[..], [(_, Obstacle::Limit(_))]), "{:?}", seen.obstacles);
    // And a cluster that is outside of the image.
    image[entry + 26..entry + 28].copy_from_slice(&[0xef, 0xff]);
    let seen = Seen::of_bytes(image, Limits::default());
    assert!(!seen.obstacles.is_empty(), "{data}");
}

#[test]
fn partitions_over_each_other_are_looked_into_once() {
    let mut disk = vec![0; 64 * 512];
    // Four times all that is behind the table, where the same table stands again.
    for sector in 0..32 {
        let at = sector * 512;
        for entry in 0..4_u8 {
            let at = at + 446 + usize::from(entry) * 16;
            disk[at + 4] = 0x83;
            disk[at + 8] = 1;
            disk[at + 12] = 60;
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    }
    let seen = Seen::of_bytes(disk, Limits::default());
    assert!(seen.obstacles.iter().any(|(_, o)| o.to_string().contains("lies over another")));
    assert!(seen.files.len() < 200, "{}", seen.files.len());
}
