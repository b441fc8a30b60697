//! The log's two files: opened, checked, locked, and where the log ends.

use super::{AuditError, HEAD_NAME, Hash, Head, LOG_NAME, record::Record};
use crate::io::{PrivateDirectory, is_unsafe, lock, unlock};
use rustix::fs::OFlags;
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long another process may hold the log's lock: each holds it for one write and one sync.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that is open for appending.
#[derive(Debug)]
pub(super) struct Files {
    directory: PrivateDirectory,
    log: File,
    head: File,
    /// How long the log was after our last write, and where it ended: spares reading its end again.
    known: Option<(u64, Head)>,
}

/// Where the log in `directory` ends, checked against its head; `None` if there is none. Makes nothing.
///
/// # Errors
///
/// [`AuditError`] as for appending.
pub fn look(directory: &Path) -> Result<Option<Head>, AuditError> {
    if directory.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let files = Files::open(directory)?;
    files.lock()?;
    let tail = files.tail();
    files.unlock();
    tail.map(|tail| Some(tail.head))
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its length.
    pub(super) len_bytes: u64,
    /// Whether a line break is missing at the end; what follows is told as if it were there.
    pub(super) is_open: bool,
    /// Number of the last record, and the hash of all bytes from the beginning of its line.
    pub(super) head: Head,
    /// Bytes behind the last record's line, after a crash.
    pub(super) torn_len_bytes: u64,
}

impl Files {
    /// Opens the log in `directory`, or makes one.
    pub(super) fn open(directory: &Path) -> Result<Self, AuditError> {
        let failed = |action, path: PathBuf| {
            move |e: std::io::Error| match is_unsafe(&e) {
                true => AuditError::Unsafe { path, reason: e.to_string() },
                false => AuditError::File { action, path, reason: e.to_string() },
            }
        };
        let private =
            PrivateDirectory::open_or_create(directory).map_err(failed("open", directory.to_owned()))?;
        let open = |name: &str, flags| {
            private.file(name, flags | OFlags::CREATE).map_err(failed("open", directory.join(name)))
        };
        // Appending alone, so that `chattr +a` can hold the log to it.
        let log = open(LOG_NAME, OFlags::RDWR | OFlags::APPEND)?;
        let head = open(HEAD_NAME, OFlags::RDWR)?;
        let mut files = Self { directory: private, log, head, known: None };
        files.lock()?;
        let begun = files.begin();
        files.unlock();
        begun.map(|()| files)
    }

    /// Writes the head of an empty log, so that one that is missing later was removed.
    fn begin(&mut self) -> Result<(), AuditError> {
        let empty = |file: &File| file.metadata().is_ok_and(|m| m.len() == 0);
        if !empty(&self.log) || !empty(&self.head) {
            return Ok(());
        }
        self.write_head(Head::empty())?;
        let path = self.path(HEAD_NAME);
        self.head.sync_all().map_err(AuditError::file("sync", &path))?;
        self.directory.sync().map_err(AuditError::file("sync", self.directory.path()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Takes the lock that all writers of this log share.
    pub(super) fn lock(&self) -> Result<(), AuditError> {
        let path = self.path(LOG_NAME);
        match lock(&self.log, PATIENCE).map_err(AuditError::file("lock", &path))? {
            true => Ok(()),
            false => Err(AuditError::Locked { path, seconds: PATIENCE.as_secs() }),
        }
    }

    pub(super) fn unlock(&self) {
        // Closing the file would do the same.
        let _ = unlock(&self.log);
    }

    /// Whether these are still the files of that name; else the directory was cleared or the log rotated.
    pub(super) fn are_current(&self) -> bool {
        let moved = PrivateDirectory::open(self.directory.path());
        moved.is_ok_and(|now| now.holds(LOG_NAME, &self.log) && now.holds(HEAD_NAME, &self.head))
    }

    /// Where the log ends, checked against its head. Call it with the lock held.
    pub(super) fn tail(&self) -> Result<Tail, AuditError> {
        let path = self.path(LOG_NAME);
        let len_bytes = self.log.metadata().map_err(AuditError::file("read", &path))?.len();
        if let Some((known, head)) = self.known
            && known == len_bytes
        {
            return Ok(Tail { len_bytes, head, torn_len_bytes: 0, is_open: false });
        }
        let tail = find_tail(&self.log, len_bytes).map_err(AuditError::file("read", &path))?;
        let head = self.read_head()?;
        // A record that a crash kept from the head is fine; one that the head knows must be there.
        if tail.head.sequence < head.sequence {
            return Err(AuditError::Truncated { path, found: tail.head, head });
        }
        if tail.head.sequence == head.sequence && tail.torn_len_bytes == 0 && tail.head != head {
            return Err(AuditError::Edited { path, sequence: head.sequence });
        }
        Ok(tail)
    }

    fn read_head(&self) -> Result<Head, AuditError> {
        let path = self.path(HEAD_NAME);
        let mut bytes = [0; 128];
        let read = self.head.read_at(&mut bytes, 0).map_err(AuditError::file("read", &path))?;
        let text = bytes.get(..read).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
        match text.strip_suffix('\n').map(str::parse) {
            Some(Ok(head)) => Ok(head),
            _ if read == 0 => Err(AuditError::Head { path, reason: "is empty".into() }),
            _ => Err(AuditError::Head { path, reason: "does not say where the log ends".into() }),
        }
    }

    /// Appends whole lines and makes them durable. Call it with the lock held.
    pub(super) fn append(&mut self, tail: &Tail, lines: &[u8], head: Head) -> Result<(), AuditError> {
        use std::io::Write as _;
        let path = self.path(LOG_NAME);
        self.known = None;
        if let Err(e) = self.log.write_all(lines) {
            // A full disk. What was written of these lines is nobody's record yet; if it cannot be taken
            // back, the next writer finds it torn.
            let _ = self.log.set_len(tail.len_bytes);
            return Err(AuditError::file("write", &path)(e));
        }
        self.log.sync_data().map_err(AuditError::file("sync", &path))?;
        self.write_head(head)?;
        self.known = Some((tail.len_bytes + lines.len() as u64, head));
        Ok(())
    }

    /// Writes in place: less than a sector, and only ever longer. It is not synced, so after a power failure
    /// it may name an earlier record than the log has, and never a later one.
    fn write_head(&self, head: Head) -> Result<(), AuditError> {
        let path = self.path(HEAD_NAME);
        self.head.write_all_at(format!("{head}\n").as_bytes(), 0).map_err(AuditError::file("write", &path))
    }
}

/// Reads the log backwards as far as its last record.
fn find_tail(log: &File, len_bytes: u64) -> std::io::Result<Tail> {
    let mut window = 256 * 1024_u64;
    loop {
        let start = len_bytes.saturating_sub(window);
        let mut bytes = vec![0; usize::try_from(len_bytes - start).unwrap_or(usize::MAX)];
        log.read_exact_at(&mut bytes, start)?;
        let is_open = bytes.last().is_some_and(|b| *b != b'\n');
        if is_open {
            bytes.push(b'\n');
        }
        // The first line of a window may have begun before it.
        let whole = match start {
            0 => 0,
            _ => bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1),
        };
        let bytes = bytes.get(whole..).unwrap_or_default();
        if let Some((head, torn_len_bytes)) = last_record(bytes) {
            return Ok(Tail { len_bytes, is_open, head, torn_len_bytes });
        }
        if start == 0 {
            let head = Head { sequence: 0, hash: Hash::of(bytes) };
            return Ok(Tail { len_bytes, is_open, head, torn_len_bytes: bytes.len() as u64 });
        }
        window *= 8;
    }
}

/// The head at the last record in `lines`, and how many bytes of other things follow it.
fn last_record(lines: &[u8]) -> Option<(Head, u64)> {
    let mut end = lines.len();
    while end > 0 {
        // Every line ends in a break.
        let line = lines.get(..end - 1)?;
        let start = line.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if let Some(record) = line.get(start..).and_then(Record::parse) {
            let head = Head { sequence: record.sequence, hash: Hash::of(lines.get(start..)?) };
            return Some((head, (lines.len() - end) as u64));
        }
        end = start;
    }
    None
}
