//! FAT12, FAT16 and FAT32 file systems: boot partitions, EFI system partitions.
//!
//! Looked at is what has a name. Freed clusters, the rest of a file's last cluster and the boot code are not.

use super::{
    Kind, Obstacle, Window,
    body::{Body, skip_zeros, to_io},
    guard::{Whole, guarded},
    walk::{Opened, Walk, member},
};
use crate::format::Source as _;
use fatfs::{Dir, DirEntry, FileSystem, FsOptions};
use std::{
    cell::Cell,
    collections::HashSet,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::ControlFlow,
    rc::Rc,
};

/// The sectors at the beginning that boot code and what goes with it have, with their copy.
const BOOT_SECTORS: u64 = 16;
/// Deepest directory.
const MAX_DEPTH: usize = 128;
/// Most that is read of one directory, which has at most 65,536 entries of 32 bytes; the rest is for its clusters' numbers.
const MAX_DIRECTORY_LEN_BYTES: u64 = 4 << 20;
/// How much is read at once where the library wants a few bytes.
const PAGE_LEN_BYTES: u64 = 4096;

/// Takes a file's path, and its bytes or why they are not to be had. Directories that cannot be read count as such a file.
type Each<'e> = dyn FnMut(&str, Result<&mut dyn Read, Obstacle>) -> ControlFlow<()> + 'e;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let budget = Rc::clone(&walk.budget);
    guarded(|| {
        files(window, &mut |path, file| {
            if !walk.count() {
                return ControlFlow::Break(());
            }
            let location = member(location, path);
            match file {
                Ok(bytes) => walk.body(&location, depth, Body::Stream(&mut budget.metered(bytes))),
                Err(obstacle) => walk.report(&location, obstacle),
            }
            ControlFlow::Continue(())
        })
    })
    .map_err(malformed)??;
    if let Some(end) = len_bytes(window) {
        walk.behind(location, depth, window, end);
    }
    Ok(())
}

/// Shows `each` every file, the first `most` of them.
///
/// # Errors
///
/// [`Obstacle`] if it cannot be opened at all.
pub(crate) fn each_file(window: &Window, most: usize, each: &mut Each<'_>) -> Result<(), Obstacle> {
    let mut left = most;
    guarded(|| {
        files(window, &mut |path, file| {
            let Some(less) = left.checked_sub(1) else { return ControlFlow::Break(()) };
            left = less;
            each(path, file)
        })
    })
    .map_err(malformed)?
}

/// Whether the first bytes of something are a boot sector with a sound BIOS parameter block.
///
/// Source: Microsoft, "FAT: General Overview of On-Disk Format", 1.03; Linux `fs/fat/inode.c`, `fat_read_bpb`.
pub(crate) fn is_fat(head: &[u8]) -> bool {
    Parameters::read(head).is_some()
}

/// Where it first holds something in sectors that belong to nothing: reserved ones behind the boot sectors, and those behind its end.
///
/// # Errors
///
/// What the operating system says.
pub(crate) fn stray_byte(window: &Window) -> io::Result<Option<u64>> {
    let head = window.read_range(0..window.len_bytes().min(512), 512).map_err(to_io)?;
    let Some(parameters) = Parameters::read(&head) else { return Ok(None) };
    let (sector, len_bytes) = (parameters.sector_len_bytes, window.len_bytes());
    let reserved = sector * BOOT_SECTORS..sector * parameters.reserved_sectors;
    for range in [reserved, sector.saturating_mul(parameters.sectors)..len_bytes] {
        let part = window.part(range.start, range.end.min(len_bytes).saturating_sub(range.start));
        let zeros = skip_zeros(&mut io::BufReader::with_capacity(64 << 10, part.reader()))?;
        if zeros < part.len_bytes() {
            return Ok(Some(range.start + zeros));
        }
    }
    Ok(None)
}

struct Parameters {
    sector_len_bytes: u64,
    reserved_sectors: u64,
    sectors: u64,
}

impl Parameters {
    fn read(head: &[u8]) -> Option<Self> {
        let byte = |offset: usize| head.get(offset).copied();
        let half = |offset: usize| head.get(offset..)?.first_chunk().map(|b| u16::from_le_bytes(*b));
        let word = |offset: usize| head.get(offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        let jumps = matches!((byte(0)?, byte(2)?), (0xeb, 0x90) | (0xe9, _));
        let sector_len_bytes = half(11)?;
        let sound = matches!(sector_len_bytes, 512 | 1024 | 2048 | 4096)
            && byte(13)?.is_power_of_two()
            && half(14)? > 0
            && matches!(byte(16)?, 1 | 2)
            && matches!(byte(21)?, 0xf0 | 0xf8..);
        let root_entries = half(17)?;
        let tables = match half(22)? {
            0 => root_entries == 0 && word(36)? > 0,
            _ => root_entries > 0,
        };
        let sectors = match half(19)? {
            0 => word(32)?,
            sectors => sectors.into(),
        };
        let marked = half(510)? == 0xaa55;
        (jumps && sound && tables && marked && sectors > 0).then_some(())?;
        Some(Self {
            sector_len_bytes: sector_len_bytes.into(),
            reserved_sectors: half(14)?.into(),
            sectors: sectors.into(),
        })
    }
}

/// The length of the file system, as it says.
fn len_bytes(window: &Window) -> Option<u64> {
    let parameters = Parameters::read(&window.read_range(0..512, 512).ok()?)?;
    parameters.sectors.checked_mul(parameters.sector_len_bytes)
}

fn files(window: &Window, each: &mut Each<'_>) -> Opened {
    let watch = Rc::new(Watch::default());
    let disk = Disk { window: window.clone(), position: 0, page: None, watch: Rc::clone(&watch) };
    let system = FileSystem::new(disk, FsOptions::new()).map_err(obstacle)?;
    let mut seen = HashSet::new();
    let mut directories = vec![(system.root_dir(), String::new(), 0)];
    while let Some((directory, path, level)) = directories.pop() {
        let found = match guarded(|| entries(&directory, &watch, &mut seen, level)) {
            Ok(Ok(found)) => found,
            Ok(Err(e)) | Err(e) if level == 0 => return Err(malformed(e)),
            Ok(Err(e)) | Err(e) => {
                if each(&path, Err(malformed(e))).is_break() {
                    return Ok(());
                }
                continue;
            }
        };
        for entry in found {
            let path = format!("{path}/{}", entry.file_name());
            if entry.is_dir() {
                directories.push((entry.to_dir(), path, level + 1));
                continue;
            }
            let mut bytes = Whole::new(entry.to_file(), entry.len());
            if each(&path, Ok(&mut bytes)).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The entries of a directory. Its clusters are a list that can lead anywhere, and so can the number of its first: what is read
/// is limited, and where it begins is remembered.
fn entries<'a>(
    directory: &Dir<'a, Disk>,
    watch: &Watch,
    seen: &mut HashSet<u64>,
    level: usize,
) -> Result<Vec<DirEntry<'a, Disk>>, String> {
    if level > MAX_DEPTH {
        return Err(format!("directories more than {MAX_DEPTH} deep"));
    }
    watch.first.set(None);
    watch.left_bytes.set(Some(MAX_DIRECTORY_LEN_BYTES));
    let mut found = Vec::new();
    let mut result = Ok(());
    for entry in directory.iter() {
        match entry {
            Ok(entry) if matches!(entry.short_file_name_as_bytes(), b"." | b"..") => {}
            Ok(entry) => found.push(entry),
            Err(e) => {
                result = Err(e.to_string());
                break;
            }
        }
    }
    watch.left_bytes.set(None);
    result?;
    match watch.first.get() {
        Some(place) if !seen.insert(place) => Err("a directory that lies in itself, or in two others".into()),
        _ => Ok(found),
    }
}

fn malformed(detail: impl Into<String>) -> Obstacle {
    Obstacle::Malformed { kind: Kind::Fat, detail: detail.into() }
}

fn obstacle(error: io::Error) -> Obstacle {
    Obstacle::from_io(&error, Kind::Fat)
}

/// What the library reads.
#[derive(Default)]
struct Watch {
    /// Where it read first since this was cleared.
    first: Cell<Option<u64>>,
    /// How much it may still read; `None` is any amount.
    left_bytes: Cell<Option<u64>>,
}

/// A disk that cannot be written, which the library never has a reason to do.
struct Disk {
    window: Window,
    position: u64,
    /// What was read last of what was asked for in small pieces, and where it stands.
    page: Option<(u64, Vec<u8>)>,
    watch: Rc<Watch>,
}

impl Disk {
    fn page(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let at = self.position - self.position % PAGE_LEN_BYTES;
        let found = match self.page.take() {
            Some((start, bytes)) if start == at => bytes,
            _ => {
                let end = self.window.len_bytes().min(at + PAGE_LEN_BYTES);
                let len_bytes = usize::try_from(PAGE_LEN_BYTES).unwrap_or(0);
                self.window.read_range(at..end, len_bytes).map_err(to_io)?
            }
        };
        let offset = usize::try_from(self.position - at).unwrap_or(0);
        let (_, page) = self.page.insert((at, found));
        let wanted = page.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(wanted);
        Ok(())
    }
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.first.get().is_none() {
            self.watch.first.set(Some(self.position));
        }
        let left = self.window.len_bytes().saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(left) = self.watch.left_bytes.get() {
            let left = left.checked_sub(count as u64);
            let left = left.ok_or_else(|| io::Error::other("a directory longer than one may be"))?;
            self.watch.left_bytes.set(Some(left));
        }
        let Some(buffer) = buffer.get_mut(..count) else { return Ok(0) };
        let page_end = PAGE_LEN_BYTES - self.position % PAGE_LEN_BYTES;
        if (count as u64) < 512.min(page_end) {
            self.page(buffer)?;
        } else {
            self.window.read_at(self.position, buffer).map_err(to_io)?;
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.window.len_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for Disk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
