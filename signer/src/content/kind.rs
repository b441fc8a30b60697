//! What a container is, by its first bytes.

use super::fat::is_fat;
use crate::format::{disk::is_disk, verity::Superblock};
use std::fmt;

/// How many first bytes [`Kind::of`] looks at.
pub const HEAD_LEN_BYTES: usize = 2048;

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// lzma alone, the older format.
    Lzma,
    /// zstd (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
    /// LZ4, frames or the legacy format of Linux kernels.
    Lz4,
    /// tar: ustar, pax, GNU, v7.
    Tar,
    /// zip, and what is built on it.
    Zip,
    /// cpio in newc or crc format: initramfs, swupdate bundles.
    Cpio,
    /// ar: Debian packages, opkg packages, static libraries.
    Ar,
    /// ext2, ext3, ext4; also with a dm-verity tree behind it.
    Ext4,
    /// squashfs 4.0; also with a dm-verity tree behind it.
    Squashfs,
    /// FAT12, FAT16 and FAT32.
    Fat,
    /// A disk with an MBR or GPT.
    Disk,
    /// A flattened device tree: FIT images, control trees.
    DeviceTree,
    /// U-Boot's legacy image with its header of 64 bytes.
    LegacyImage,
    /// A dm-verity hash area by itself. Hashes alone: it holds nothing.
    VerityHashArea,
    /// Something that hsmsign knows by its first bytes and cannot open.
    Other(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Containers that are recognised and not opened: name, where, first bytes.
const OTHERS: [(&str, usize, &[u8]); 11] = [
    ("7-Zip archive", 0, b"7z\xbc\xaf\x27\x1c"),
    ("RAR archive", 0, b"Rar!\x1a\x07"),
    ("RPM package", 0, b"\xed\xab\xee\xdb"),
    ("LUKS volume", 0, b"LUKS\xba\xbe"),
    ("lzip file", 0, b"LZIP\x01"),
    ("lzop file", 0, b"\x89LZO\0\r\n\x1a\n"),
    ("UBI image", 0, b"UBI#\x01"),
    ("UBIFS image", 0, b"\x31\x18\x10\x06"),
    ("cramfs image", 0, b"\x45\x3d\xcd\x28"),
    ("EROFS image", 1024, b"\xe2\xe1\xf5\xe0"),
    ("F2FS image", 1024, b"\x10\x20\xf5\xf2"),
];

impl Kind {
    /// What it is called in messages and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip file",
            Self::Xz => "xz file",
            Self::Lzma => "lzma file",
            Self::Zstd => "zstd file",
            Self::Bzip2 => "bzip2 file",
            Self::Lz4 => "lz4 file",
            Self::Tar => "tar archive",
            Self::Zip => "zip archive",
            Self::Cpio => "cpio archive",
            Self::Ar => "ar archive",
            Self::Ext4 => "ext4 image",
            Self::Squashfs => "squashfs image",
            Self::Fat => "FAT image",
            Self::Disk => "disk image",
            Self::DeviceTree => "device tree",
            Self::LegacyImage => "U-Boot legacy image",
            Self::VerityHashArea => "dm-verity hash area",
            Self::Other(name) => name,
        }
    }

    /// Whether it holds one thing, without a name of its own.
    #[must_use]
    pub fn is_wrapper(self) -> bool {
        use Kind::{Bzip2, Gzip, LegacyImage, Lz4, Lzma, Xz, Zstd};
        matches!(self, Gzip | Xz | Lzma | Zstd | Bzip2 | Lz4 | LegacyImage)
    }

    /// Whether its first bytes are so few that something else may have them too; then bytes that do not
    /// read as it are a plain file, not a damaged container.
    pub(super) fn is_weak(self) -> bool {
        matches!(self, Self::Lzma | Self::Disk)
    }

    /// What `head`, the first [`HEAD_LEN_BYTES`] of something, begins. `None` is a plain file.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
        let starts = |bytes: &[u8]| at(0, bytes);
        if starts(b"\x1f\x8b\x08") && head.get(3).is_some_and(|flags| *flags < 0x20) {
            Some(Self::Gzip)
        } else if starts(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if starts(b"\x28\xb5\x2f\xfd") {
            Some(Self::Zstd)
        } else if starts(b"BZh") && (at(4, b"\x31\x41\x59\x26\x53\x59") || at(4, b"\x17\x72\x45\x38\x50\x90"))
        {
            Some(Self::Bzip2)
        } else if starts(b"\x04\x22\x4d\x18") || starts(b"\x02\x21\x4c\x18") {
            Some(Self::Lz4)
        } else if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if starts(b"070701") || starts(b"070702") {
            is_cpio(head).then_some(Self::Cpio)
        } else if starts(b"!<arch>\n") {
            Some(Self::Ar)
        } else if starts(b"hsqs") || starts(b"sqsh") {
            Some(Self::Squashfs)
        } else if starts(b"\xd0\x0d\xfe\xed") {
            is_device_tree(head).then_some(Self::DeviceTree)
        } else if starts(b"\x27\x05\x19\x56") {
            is_legacy_image(head).then_some(Self::LegacyImage)
        } else if starts(b"verity\0\0\x01\0\0\0") {
            (Superblock::read(&head, 0).is_ok()).then_some(Self::VerityHashArea)
        } else if let Some((name, ..)) = OTHERS.iter().find(|(_, offset, bytes)| at(*offset, bytes)) {
            Some(Self::Other(name))
        } else if is_fat(head) {
            Some(Self::Fat)
        } else if is_tar(head) {
            Some(Self::Tar)
        } else if is_ext4(head) {
            Some(Self::Ext4)
        } else if is_disk(head) {
            Some(Self::Disk)
        } else if is_lzma(head) {
            Some(Self::Lzma)
        } else {
            None
        }
    }
}

/// A header's checksum is right: magic alone would take any file with `ustar` at that place, and v7 has none.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else { return false };
    let Some(field) = header.get(148..156) else { return false };
    let digits = field.iter().skip_while(|b| **b == b' ').take_while(|b| (b'0'..=b'7').contains(*b));
    let stated = digits.fold(0_u32, |sum, digit| sum.wrapping_mul(8).wrapping_add(u32::from(digit - b'0')));
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    let field: u32 = field.iter().map(|b| u32::from(*b)).sum();
    header.first() != Some(&0) && sum - field + 8 * u32::from(b' ') == stated
}

/// All thirteen fields are hexadecimal.
fn is_cpio(head: &[u8]) -> bool {
    head.get(6..110).is_some_and(|fields| fields.iter().all(u8::is_ascii_hexdigit))
}

/// The blocks lie behind the header and the version is one that is in use.
fn is_device_tree(head: &[u8]) -> bool {
    let field = |index: usize| head.get(index * 4..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
    match (field(1), field(2), field(3), field(5), field(6)) {
        (Some(total), Some(structure), Some(strings), Some(version), Some(compatible)) => {
            version >= 16 && compatible <= 17 && structure < total && strings <= total && total >= 40
        }
        _ => false,
    }
}

/// The header's own CRC is right.
///
/// Source: U-Boot `include/image.h`, `struct legacy_img_hdr`.
fn is_legacy_image(head: &[u8]) -> bool {
    let Some(mut header) = head.first_chunk::<64>().copied() else { return false };
    let stated = header.get(4..8).map(|b| b.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)));
    header.iter_mut().skip(4).take(4).for_each(|b| *b = 0);
    stated == Some(crc32fast::hash(&header))
}

/// Magic, and fields that are small numbers in every such file system.
///
/// Source: Linux `Documentation/filesystems/ext4/super.rst`.
fn is_ext4(head: &[u8]) -> bool {
    let field = |offset: usize| head.get(1024 + offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let half = |offset: usize| head.get(1024 + offset..)?.first_chunk().map(|b| u16::from_le_bytes(*b));
    half(56) == Some(0xef53)
        && field(0).is_some_and(|inodes| inodes > 0)
        && field(24).is_some_and(|log_block_size| log_block_size <= 6)
        && field(76).is_some_and(|revision| revision <= 1)
        && half(58).is_some_and(|state| state <= 7)
}

/// Properties of lc, lp and pb that encoders take, a dictionary whose size is one that they choose, and a length
/// that is not told or below 256 GiB, as xz judges.
fn is_lzma(head: &[u8]) -> bool {
    let Some((properties, rest)) = head.split_first() else { return false };
    let Some((dictionary, rest)) = rest.split_first_chunk() else { return false };
    let Some(len_bytes) = rest.first_chunk() else { return false };
    let dictionary = u32::from_le_bytes(*dictionary);
    let is_chosen = |size: u32| {
        size >= 4096 && (size.is_power_of_two() || (size.is_multiple_of(3) && (size / 3).is_power_of_two()))
    };
    let len_bytes = u64::from_le_bytes(*len_bytes);
    let (lc, lp, pb) = (properties % 9, properties / 9 % 5, properties / 45);
    // The first byte of the range coder is always zero.
    lc + lp <= 4
        && pb <= 4
        && is_chosen(dictionary)
        && (len_bytes == u64::MAX || len_bytes < 256 << 30)
        && rest.get(8) == Some(&0)
}
