//! Tells what a file is by its content. Names decide only between a control tree and another device tree.
//!
//! Sources: Linux `Documentation/arch/arm64/booting.rst`, `Documentation/arch/x86/boot.rst`,
//! `Documentation/arch/riscv/boot-image-header.rst`, `include/uapi/linux/magic.h` and the headers of the file systems;
//! UEFI Specification 2.10, chapter 5 (GPT); U-Boot `include/image.h`, `include/env_internal.h`; TF-A
//! `include/tools_share/firmware_image_package.h`; NXP's i.MX reference manuals (IVT); file(1)'s magic.

use super::{
    compression,
    kind::{Compression, FAT, Kind},
};
use crate::content::is_fat;
use crate::format::{
    ReadError, Section, Source,
    control_dtb::{Stage, appended},
    disk::partitions,
    fdt::Fdt,
    verity::{Superblock, VerityError, find_appended},
};

/// How much of a file's beginning is read.
const HEAD_LEN_BYTES: u64 = 72 << 10;
/// Longest unrecognised file that is searched for U-Boot's version and for a tree behind it.
const MAX_PROGRAM_LEN_BYTES: u64 = 64 << 20;
/// Longest environment that is looked for.
const MAX_ENVIRONMENT_LEN_BYTES: u64 = 4 << 20;
/// Programs are searched in pieces of this size.
const CHUNK_LEN_BYTES: u64 = 1 << 20;
/// Deepest compression in compression that is looked into.
const MAX_DEPTH: usize = 3;

/// What `source` is; `name` is its path.
///
/// # Errors
///
/// [`ReadError`] if it cannot be read. What is malformed is a [`Kind::Damaged`].
pub fn recognise(source: &dyn Source, name: &str) -> Result<Kind, ReadError> {
    recognise_at(source, name, 0)
}

fn recognise_at(source: &dyn Source, name: &str, depth: usize) -> Result<Kind, ReadError> {
    let len = source.len_bytes();
    let head = source.read_range(0..len.min(HEAD_LEN_BYTES), usize::try_from(HEAD_LEN_BYTES).unwrap_or(0))?;
    if head.is_empty() {
        return Ok(Kind::ByProduct("empty file"));
    }
    let at = |offset: usize, magic: &[u8]| {
        head.get(offset..offset.saturating_add(magic.len())).is_some_and(|b| b == magic)
    };
    if at(0, &[0xd0, 0x0d, 0xfe, 0xed]) {
        return tree_kind(source, name);
    }
    if let Some(kind) = key_kind(&head) {
        return Ok(kind);
    }
    if at(0, b"070701") || at(0, b"070702") {
        let is_bundle = at(110, b"sw-description\0");
        return Ok(if is_bundle { Kind::Bundle } else { Kind::Initramfs });
    }
    if let Some(compression) = Compression::of(&head)
        && let Some(kind) = compressed_kind(source, name, compression, depth)?
    {
        return Ok(kind);
    }
    if let Some(kind) = opaque_kind(&at, name) {
        return Ok(kind);
    }
    if at(0, b"verity\0\0") {
        return Ok(match Superblock::read(source, 0) {
            Ok(_) => Kind::HashArea,
            Err(VerityError::Read(e)) => return Err(e),
            Err(e) => Kind::Damaged { what: "dm-verity hash area", reason: e.to_string() },
        });
    }
    // Before the file systems: a signed one begins like an unsigned one.
    match find_appended(source) {
        Ok(Some(tree)) => return Ok(Kind::Verity(tree)),
        Err(VerityError::Read(e)) => return Err(e),
        Ok(None) | Err(_) => {}
    }
    if let Some(name) = file_system(&at) {
        return Ok(Kind::FileSystem(name));
    }
    if is_fat(&head) {
        return Ok(Kind::FileSystem(FAT));
    }
    if let Some(form) = kernel_form(&at) {
        return Ok(Kind::Kernel(form));
    }
    if let Some(partitions) = partitions(source, &head)? {
        return Ok(Kind::Disk(partitions));
    }
    if at(0, &[0x27, 0x05, 0x19, 0x56]) {
        return Ok(Kind::LegacyImage);
    }
    if at(257, b"ustar") || is_text(&head) {
        return Ok(if is_text(&head) { text_kind(source, &head)? } else { Kind::ByProduct("tar archive") });
    }
    if len <= MAX_ENVIRONMENT_LEN_BYTES && is_environment(source)? {
        return Ok(Kind::Environment);
    }
    if len <= MAX_PROGRAM_LEN_BYTES {
        if let Some(stage) = program_stage(source)? {
            return program_kind(source, stage);
        }
        if contains(source, &[b"Linux version "])? == Some(0) {
            return Ok(Kind::Kernel(if at(0, b"\x7fELF") { "ELF" } else { "by its text" }));
        }
    }
    if let Some(name) = firmware(&at, &head) {
        return Ok(Kind::Firmware(name));
    }
    Ok(Kind::Unknown)
}

/// A device tree: FIT, control tree or another.
fn tree_kind(source: &dyn Source, name: &str) -> Result<Kind, ReadError> {
    let fdt = match Fdt::parse(source) {
        Ok(fdt) => fdt,
        Err(crate::format::fdt::FdtError::Read(e)) if e.is_io() => return Err(e),
        Err(e) => return Ok(Kind::Damaged { what: "device tree", reason: e.to_string() }),
    };
    let has = |path: &str| fdt.find(path).is_some();
    if has("/images") {
        return Ok(Kind::Fit);
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    let named = ["u-boot", "uboot", "spl", "tpl", "vpl"].iter().any(|n| file.contains(n));
    if has("/signature") || has("/binman") || has("/config") || named {
        return Ok(Kind::ControlTree);
    }
    Ok(Kind::DeviceTree)
}

/// Keys, certificates and signatures.
fn key_kind(head: &[u8]) -> Option<Kind> {
    let has = |text: &str| head.windows(text.len()).any(|w| w == text.as_bytes());
    // A file system may hold one near its beginning, too.
    if is_text(head) && has("-----BEGIN ") {
        // Only a whole line of its own begins a key; documentation quotes such lines as well.
        let lines =
            || head.split(|b| *b == b'\n').filter_map(|l| std::str::from_utf8(l).ok()).map(str::trim_end);
        let label = |line: &str| Some(line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned());
        let labels: Vec<String> = lines().filter_map(label).collect();
        if labels.iter().any(|l| l.ends_with("PRIVATE KEY")) {
            return Some(Kind::PrivateKey);
        }
        if labels.iter().any(|l| l == "CERTIFICATE" || l == "TRUSTED CERTIFICATE") {
            return Some(Kind::Certificates);
        }
        if labels.iter().any(|l| l.ends_with("PUBLIC KEY")) {
            return Some(Kind::PublicKey);
        }
    }
    if head.first() != Some(&0x30) {
        return None;
    }
    // id-signedData (RFC 5652, section 5.1), right behind the lengths.
    const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let body = head.get(..head.len().min(24)).unwrap_or_default();
    if body.windows(SIGNED_DATA.len()).any(|w| w == SIGNED_DATA) {
        return Some(Kind::Signature);
    }
    if super::keys::is_private_der(head) {
        return Some(Kind::PrivateKey);
    }
    if crate::key::certificate::read_all(head).is_ok() {
        return Some(Kind::Certificates);
    }
    crate::crypto::PublicKey::from_spki_der(head).is_ok().then_some(Kind::PublicKey)
}

/// `None` if it is not compressed, though it begins so: the beginning of an lzma file is a weak mark.
fn compressed_kind(
    source: &dyn Source,
    name: &str,
    compression: Compression,
    depth: usize,
) -> Result<Option<Kind>, ReadError> {
    if depth == MAX_DEPTH {
        return Ok(Some(Kind::Opaque("compressed many times")));
    }
    let inner = match compression::beginning(source, compression, HEAD_LEN_BYTES) {
        Ok(bytes) => recognise_at(&bytes, unpacked_name(name), depth + 1)?,
        Err(e) if e.kind() == std::io::ErrorKind::OutOfMemory => {
            return Ok(Some(Kind::Opaque("unpacking it takes too much memory")));
        }
        Err(_) if compression == Compression::Lzma => return Ok(None),
        Err(e) => return Ok(Some(Kind::Damaged { what: "compressed file", reason: e.to_string() })),
    };
    // The beginning alone is there: what is cut off here may be whole, so the gate unpacks it to see.
    Ok(Some(Kind::Compressed(compression, Box::new(inner))))
}

/// What a compressed file is called without its compression.
pub(super) fn unpacked_name(name: &str) -> &str {
    let endings = [".gz", ".tgz", ".xz", ".lzma", ".zst", ".bz2", ".lz4"];
    endings.into_iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// A compression that this program does not look into, and archives.
fn opaque_kind(at: &dyn Fn(usize, &[u8]) -> bool, name: &str) -> Option<Kind> {
    if at(0, b"PK\x03\x04") || at(0, b"!<arch>\n") {
        return Some(Kind::ByProduct("archive"));
    }
    if !at(0, b"\x89LZO\0\x0d\x0a\x1a\x0a") {
        return None;
    }
    Some(if name.contains(".tar.") { Kind::ByProduct("archive") } else { Kind::Opaque("lzo") })
}

fn file_system(at: &dyn Fn(usize, &[u8]) -> bool) -> Option<&'static str> {
    let known: [(usize, &[u8], &'static str); 18] = [
        (0x438, &[0x53, 0xef], "ext"),
        (0, b"hsqs", "squashfs"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
        (0, b"UBI#", "UBI"),
        (0, &[0x31, 0x18, 0x10, 0x06], "ubifs"),
        (0, &[0x85, 0x19], "jffs2"),
        (0, &[0x19, 0x85], "jffs2"),
        (0, &[0x45, 0x3d, 0xcd, 0x28], "cramfs"),
        (0, b"-rom1fs-", "romfs"),
        (1024, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
        (0x1_0040, b"_BHRfS_M", "btrfs"),
        (0, b"XFSB", "xfs"),
        (0x8001, b"CD001", "iso9660"),
        (3, b"EXFAT   ", "exFAT"),
        (3, b"NTFS    ", "NTFS"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (54, b"FAT", FAT),
        (82, b"FAT32", FAT),
    ];
    known.into_iter().find(|(offset, magic, _)| at(*offset, magic)).map(|(_, _, name)| name)
}

fn kernel_form(at: &dyn Fn(usize, &[u8]) -> bool) -> Option<&'static str> {
    let known: [(usize, &[u8], &'static str); 4] = [
        (0x38, b"ARM\x64", "arm64 Image"),
        (0x24, &[0x18, 0x28, 0x6f, 0x01], "zImage"),
        (0x202, b"HdrS", "bzImage"),
        (0x38, b"RSC\x05", "RISC-V Image"),
    ];
    known.into_iter().find(|(offset, magic, _)| at(*offset, magic)).map(|(_, _, name)| name)
}

/// What else a device may run, and nothing here can check.
fn firmware(at: &dyn Fn(usize, &[u8]) -> bool, head: &[u8]) -> Option<&'static str> {
    let known: [(usize, &[u8], &'static str); 15] = [
        (0, b"MZ", "UEFI program"),
        (0, b"\x7fELF", "ELF program"),
        (0, &[0x01, 0x00, 0x64, 0xaa], "firmware image package (TF-A)"),
        (0, b"OPTE", "OP-TEE"),
        (0, b"HSV1", "Atmel image"),
        (0, b"ANDROID!", "Android boot image"),
        (0, &[0x3a, 0xff, 0x26, 0xed], "Android sparse image"),
        (0, b"QFI\xfb", "qcow2 disk"),
        (0, b"KDMV", "VMDK disk"),
        (0x40, &[0x7f, 0x10, 0xda, 0xbe], "VDI disk"),
        (0, b"vhdxfile", "VHDX disk"),
        (4, b"eGON.BT", "Allwinner boot image"),
        (0, b"STM\x32", "STM32 boot image"),
        (0, &[0x3b, 0x8c, 0xdc, 0xfc], "Rockchip boot image"),
        (0x24, b"XNLX", "Zynq boot image"),
    ];
    if let Some((_, _, name)) = known.into_iter().find(|(offset, magic, _)| at(*offset, magic)) {
        return Some(name);
    }
    // An i.MX image vector table: tag, length 32, version 4.x; at 0 or behind the first KiB.
    let vector =
        |offset: usize| matches!(head.get(offset..offset + 4), Some([0xd1, 0x00, 0x20, 0x40..=0x45]));
    [0, 0x400, 0x1000].into_iter().any(vector).then_some("i.MX boot image")
}

/// Text has no control characters but white space; a piece of UTF-8 may be cut off at the end.
fn is_text(head: &[u8]) -> bool {
    let head = head.get(..head.len().min(4096)).unwrap_or_default();
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => {
            head.get(..e.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}'))
}

fn text_kind(source: &dyn Source, head: &[u8]) -> Result<Kind, ReadError> {
    let text = head.trim_ascii();
    let digits = text.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    if digits && matches!(text.len(), 64 | 96 | 128) && source.len_bytes() < 256 {
        return Ok(Kind::RootHash);
    }
    let has = |word: &str| text.windows(word.len()).any(|w| w == word.as_bytes());
    if text.first() == Some(&b'{') && has("\"root_hash\"") && has("\"dm_table\"") {
        return Ok(Kind::VerityDescription);
    }
    if let Some(name) = program_as_text(text) {
        return Ok(Kind::Firmware(name));
    }
    Ok(Kind::ByProduct("text"))
}

/// Programs as lines of hexadecimal digits, by their first line and its checksum (srec(5); Intel, "Hexadecimal Object
/// File Format Specification", revision A).
fn program_as_text(text: &[u8]) -> Option<&'static str> {
    let line = text.split(|b| *b == b'\n').next()?.trim_ascii();
    let (digits, expected, name) = match line {
        [b'S', b'0'..=b'9', digits @ ..] => (digits, 0xff, "Motorola S-records"),
        [b':', digits @ ..] => (digits, 0, "Intel HEX"),
        _ => return None,
    };
    let bytes = hex::decode(digits).ok().filter(|bytes| bytes.len() > 3)?;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    (sum == expected).then_some(name)
}

/// A checksum of all that follows it, then `name=value` strings (a byte of flags may stand between).
fn is_environment(source: &dyn Source) -> Result<bool, ReadError> {
    let len = usize::try_from(MAX_ENVIRONMENT_LEN_BYTES).unwrap_or(usize::MAX);
    let bytes = source.read_range(0..source.len_bytes(), len)?;
    let Some((sum, rest)) = bytes.split_first_chunk::<4>() else { return Ok(false) };
    let sum = [u32::from_le_bytes(*sum), u32::from_be_bytes(*sum)];
    let holds = |data: &[u8]| {
        let first = data.split(|b| *b == 0).next().unwrap_or_default();
        first.contains(&b'=') && sum.contains(&crc32fast::hash(data))
    };
    Ok(holds(rest) || rest.get(1..).is_some_and(holds))
}

/// U-Boot or SPL, by the version text that each of them has.
fn program_stage(source: &dyn Source) -> Result<Option<Stage>, ReadError> {
    // In this order: SPL's text is looked for first, though both begin alike.
    let found = contains(source, &[b"U-Boot SPL 2", b"U-Boot TPL 2", b"U-Boot 2"])?;
    Ok(found.map(|index| if index < 2 { Stage::Spl } else { Stage::UBoot }))
}

fn program_kind(source: &dyn Source, stage: Stage) -> Result<Kind, ReadError> {
    let parses = |bytes: &[u8]| Fdt::parse(&bytes).map(|_| ()).map_err(|e| e.to_string());
    match appended::find(source, parses) {
        Ok(range) => Ok(Kind::Program { stage, tree: Some(range) }),
        Err(appended::AppendedError::None) => Ok(Kind::Program { stage, tree: None }),
        Err(appended::AppendedError::Read(e)) => Err(e),
        Err(e) => Ok(Kind::Damaged { what: "U-Boot program", reason: e.to_string() }),
    }
}

/// The first of `needles` that stands anywhere in `source`.
fn contains(source: &dyn Source, needles: &[&[u8]]) -> Result<Option<usize>, ReadError> {
    let overlap = needles.iter().map(|n| n.len()).max().unwrap_or(0) as u64;
    let mut found: Option<usize> = None;
    let mut start = 0;
    while start < source.len_bytes() && found != Some(0) {
        let end = source.len_bytes().min(start + CHUNK_LEN_BYTES + overlap);
        let chunk = Section::new(source, start..end);
        let chunk =
            chunk.read_range(0..chunk.len_bytes(), usize::try_from(2 * CHUNK_LEN_BYTES).unwrap_or(0))?;
        for (index, needle) in needles.iter().enumerate() {
            if found.is_none_or(|f| index < f) && memchr::memmem::find(&chunk, needle).is_some() {
                found = Some(index);
            }
        }
        start += CHUNK_LEN_BYTES;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(bytes: &[u8], name: &str) -> Kind {
        recognise(&bytes, name).unwrap()
    }

    fn at(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2; 0x1_1000];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn magics_are_known_at_their_places() {
        for (offset, magic, expected) in [
            (0x38, b"ARM\x64".as_slice(), Kind::Kernel("arm64 Image")),
            (0x24, &[0x18, 0x28, 0x6f, 0x01], Kind::Kernel("zImage")),
            (0x202, b"HdrS", Kind::Kernel("bzImage")),
            (0x438, &[0x53, 0xef], Kind::FileSystem("ext")),
            (0, b"hsqs", Kind::FileSystem("squashfs")),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Kind::FileSystem("erofs")),
            (0x1_0040, b"_BHRfS_M", Kind::FileSystem("btrfs")),
            (0, b"UBI#", Kind::FileSystem("UBI")),
            (0, &[0x27, 0x05, 0x19, 0x56], Kind::LegacyImage),
            (0, b"\x7fELF", Kind::Firmware("ELF program")),
            (0, b"MZ", Kind::Firmware("UEFI program")),
            (0x400, &[0xd1, 0x00, 0x20, 0x41], Kind::Firmware("i.MX boot image")),
            (0, &[0x3a, 0xff, 0x26, 0xed], Kind::Firmware("Android sparse image")),
            (0, b"QFI\xfb", Kind::Firmware("qcow2 disk")),
            (3, b"EXFAT   ", Kind::FileSystem("exFAT")),
            (5000, b"Linux version 6.12.1 (a@b)", Kind::Kernel("by its text")),
            (0, b"\x89LZO\0\x0d\x0a\x1a\x0a", Kind::Opaque("lzo")),
            (0, b"070701", Kind::Initramfs),
            (20_000, b"U-Boot 2026.01", Kind::Program { stage: Stage::UBoot, tree: None }),
            (65_000, b"U-Boot SPL 2026.01", Kind::Program { stage: Stage::Spl, tree: None }),
            (70, b"nothing", Kind::Unknown),
        ] {
            assert_eq!(kind(&at(offset, magic), "x"), expected);
        }
        assert!(matches!(kind(&at(0, &[0xd0, 0x0d, 0xfe, 0xed]), "x"), Kind::Damaged { .. }));
    }

    #[test]
    fn programs_as_text_are_programs() {
        let srec = b"S00F000068656C6C6F202020202000003C\nS11F00007C0802A6900100049421FFF07C6C1B787C8C23783C6000003863000026\n";
        assert_eq!(kind(srec, "u-boot.srec"), Kind::Firmware("Motorola S-records"));
        let hex = b":10010000214601360121470136007EFE09D2190140\r\n:00000001FF\r\n";
        assert_eq!(kind(hex, "u-boot.hex"), Kind::Firmware("Intel HEX"));
        for text in
            ["S0 is a state\n", ":10010000214601360121470136007EFE09D2190141\n", "S00F\n", ":\n", ": x\n"]
        {
            assert_eq!(kind(text.as_bytes(), "x"), Kind::ByProduct("text"), "{text}");
        }
    }

    #[test]
    fn what_ordinary_builds_leave_is_no_artifact() {
        for text in
            ["base-files 3.0\n", "{\"a\": 1}\n", "# <img> -o rootfs.ext4\n", "\u{feff}ü\n", "/dts-v1/;\n"]
        {
            assert_eq!(kind(text.as_bytes(), "x"), Kind::ByProduct("text"), "{text}");
        }
        assert_eq!(kind(b"", "x"), Kind::ByProduct("empty file"));
        assert_eq!(kind(b"PK\x03\x04 and so on\0", "x.zip"), Kind::ByProduct("archive"));
        // Text that speaks of a key holds none.
        assert_eq!(kind(b"see -----BEGIN PRIVATE KEY----- in the file\n", "x"), Kind::ByProduct("text"));
    }

    #[test]
    fn a_key_within_an_image_does_not_make_it_a_key() {
        let mut image = at(0, b"hsqs");
        image[500..].iter_mut().for_each(|b| *b = 0);
        let pem = b"\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        image[600..600 + pem.len()].copy_from_slice(pem);
        assert_eq!(kind(&image, "x"), Kind::FileSystem("squashfs"));
        assert_eq!(kind(pem, "x"), Kind::Certificates);
        assert_eq!(kind(b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "x"), Kind::PrivateKey);
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic in 0usize..12, offset in 0usize..1500,
        ) {
            let magics: [(usize, &[u8]); 12] = [
                (0, &[0xd0, 0x0d, 0xfe, 0xed]), (0, b"070701"), (0, &[0x1f, 0x8b, 0x08, 0]), (0, b"verity\0\0"),
                (510, &[0x55, 0xaa]), (0, &[0x30, 0x82]), (offset, b"U-Boot 2"), (0x438, &[0x53, 0xef]),
                (512, b"EFI PART"), (0, b"-----BEGIN PRIVATE KEY-----\n"), (257, b"ustar"), (offset, b"="),
            ];
            let (place, magic) = magics[magic];
            if let Some(slot) = bytes.get_mut(place..place + magic.len()) {
                slot.copy_from_slice(magic);
            }
            let _ = recognise(&bytes, "u-boot.bin");
        }
    }
}
