//! Disk images: what is on them, and what lies beside their partitions.

use crate::{common::find_tool, fixture::Deploy};

const SECTOR: usize = 512;
/// Where the one partition begins.
const START: usize = 2048 * SECTOR;

/// A disk with `content` in one Linux partition, which is a little larger (MBR; UEFI 2.10, section 5.2).
pub(crate) fn disk(content: &[u8]) -> Vec<u8> {
    let sectors = content.len().div_ceil(SECTOR) + 16;
    let mut disk = vec![0; START + sectors * SECTOR];
    disk[440..444].copy_from_slice(b"disk");
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&u32::try_from(START / SECTOR).unwrap().to_le_bytes());
    disk[458..462].copy_from_slice(&u32::try_from(sectors).unwrap().to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[START..START + content.len()].copy_from_slice(content);
    disk
}

#[test]
fn a_disk_ships_if_all_that_is_on_it_may() {
    let Some(deploy) = Deploy::release() else { return };
    let good = disk(&deploy.read("rootfs.ext4.verity"));
    deploy.write("sdcard.img", &good);
    let report = deploy.report(0);
    let files = report["files"].as_array().unwrap();
    let state = |path: &str| files.iter().find(|f| f["path"] == path).unwrap()["state"].clone();
    assert_eq!(state("sdcard.img"), "covered", "{report:#}");
    assert_eq!(state("sdcard.img:partition 1"), "covered", "{report:#}");

    // A second partition behind it, which is empty.
    let mut two = good.clone();
    let (start, sectors) = (two.len() / SECTOR, 64);
    two[466] = 0x83;
    two[470..474].copy_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
    two[474..478].copy_from_slice(&u32::to_le_bytes(sectors));
    two.resize(two.len() + 64 * SECTOR, 0);
    deploy.write("sdcard.img", &two);
    deploy.gate(&[]).exits(0).says("nothing but zeros");
    two[start * SECTOR + 5] = 1;
    deploy.write("sdcard.img", &two);
    deploy.refuses("partition 2");

    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        deploy.write("sdcard.img", bytes);
    };
    with(|d| d[START + 1_000_000] ^= 1);
    deploy.refuses("partition 1");
    with(|d| *d.last_mut().unwrap() = 1);
    deploy.refuses("partition 1");
    // A boot loader in the gap, and boot code in the first sector: a device would run both.
    with(|d| d[8192] = 1);
    deploy.refuses("at byte 8192");
    with(|d| d[0] = 0xeb);
    deploy.refuses("at byte 0");
    with(|d| d.extend([0, 0, 7]));
    deploy.refuses("in no partition");
}

#[test]
fn nothing_hides_in_what_a_gpt_reserves() {
    let (Some(deploy), Some(sfdisk)) = (Deploy::release(), find_tool("sfdisk")) else { return };
    let rootfs = deploy.read("rootfs.ext4.verity");
    let sectors = rootfs.len().div_ceil(SECTOR) + 16;
    deploy.write("sdcard.img", vec![0; START + (sectors + 2048) * SECTOR]);
    let script = format!("label: gpt\nstart=2048, size={sectors}, type=L, name=root\n");
    let path = deploy.bench.write("layout", script);
    let made = std::process::Command::new(sfdisk)
        .arg("--quiet")
        .arg(deploy.file("sdcard.img"))
        .stdin(std::fs::File::open(path).unwrap())
        .status();
    assert!(made.unwrap().success());
    let mut good = deploy.read("sdcard.img");
    good[START..START + rootfs.len()].copy_from_slice(&rootfs);
    deploy.write("sdcard.img", &good);
    deploy.gate(&[]).exits(0).says("sdcard.img");

    // Behind the header, in the second entry and in the last, before and in the backup at the end.
    let end = good.len();
    for at in [SECTOR + 92, 2 * SECTOR + 128 + 60, 34 * SECTOR - 1, end - SECTOR - 1, end - 1] {
        let mut bytes = good.clone();
        bytes[at] = 0x90;
        deploy.write("sdcard.img", bytes);
        deploy.refuses(&format!("at byte {at}"));
    }
    // An entry that begins like one in use is a partition, which has to be covered.
    good[2 * SECTOR + 128] = 0x90;
    deploy.write("sdcard.img", good);
    deploy.refuses("partition 2");
}
