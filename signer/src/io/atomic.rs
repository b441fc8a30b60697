//! Outputs that appear whole or not at all.

use super::FileSource;
use crate::{
    error::Error,
    format::{Edits, Piece},
};
use rustix::fs::{FlockOperation, OFlags, copy_file_range, flock};
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::NamedTempFile;

/// How temporary files are called: this, something random, and that.
const PREFIX: &str = ".hsmsign-";
const SUFFIX: &str = ".tmp";
/// A temporary file is not locked yet for the first moment of its life.
const MIN_AGE: Duration = Duration::from_secs(60);

/// A file being written beside its final place.
///
/// Dropped without [`commit`](Self::commit), it leaves nothing; a killed process leaves at most a
/// temporary file that no one takes for the output, and the next output there takes it away.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts writing what will become `path`, in the same directory, readable as usual files are.
    ///
    /// A symbolic link there is itself replaced, and what it points to stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the directory cannot be written, or something stands there that is neither a
    /// regular file nor a link: a renamed file would take the place of a device or FIFO.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_with_mode(path, 0o644)
    }

    /// The same with permission bits `mode`.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn create_with_mode(path: &Path, mode: u32) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok_and(|m| !m.is_file() && !m.is_symlink()) {
            return Err(Error::file("replace", path)(io::Error::other("not a regular file")));
        }
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempfile_in(directory)
            .map_err(|e| Error::file("create", path)(without_temporary_path(e)))?;
        // Held as long as the file is open, hence as long as this process lives. Where there are no locks,
        // nothing is swept.
        if flock(temporary.as_file(), FlockOperation::NonBlockingLockShared).is_ok() {
            sweep(directory);
        }
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// The final place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The temporary file.
    #[must_use]
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Appends `source` as changed by `edits`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if reading or writing fails, such as on a full disk.
    pub fn write_edited(&mut self, source: &FileSource, edits: &Edits) -> Result<(), Error> {
        use crate::format::Source as _;
        for piece in edits.pieces(source.len_bytes()) {
            match piece {
                Piece::Copy(range) => copy_range(source, range, self.temporary.as_file())
                    .map_err(Error::file("copy into", &self.path))?,
                Piece::Bytes(bytes) => {
                    self.temporary.as_file().write_all(bytes).map_err(Error::file("write", &self.path))?;
                }
            }
        }
        Ok(())
    }

    /// Makes what is written so far durable, without putting it in place yet.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it cannot be synced.
    pub fn sync(&self) -> Result<(), Error> {
        self.temporary.as_file().sync_all().map_err(Error::file("sync", &self.path))
    }

    /// Puts several outputs in place, in this order, after all of them are durable: a run that ends in
    /// between leaves whole files, and a full disk leaves all the old ones.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for the first that cannot be synced or renamed.
    pub fn commit_all(outputs: Vec<Self>) -> Result<(), Error> {
        for output in &outputs {
            output.sync()?;
        }
        outputs.into_iter().try_for_each(Self::commit)
    }

    /// Makes the output durable and puts it in place of whatever was there.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it cannot be synced or renamed; the old file then still stands.
    pub fn commit(self) -> Result<(), Error> {
        let Self { temporary, path } = self;
        temporary.as_file().sync_all().map_err(Error::file("sync", &path))?;
        temporary.persist(&path).map_err(|e| Error::file("replace", &path)(e.error))?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The rename is durable only once the directory is; not every file system can sync one.
        match File::open(directory).and_then(|d| d.sync_all()) {
            Err(e) if e.kind() != io::ErrorKind::InvalidInput => Err(Error::file("sync", directory)(e)),
            _ => Ok(()),
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file().flush()
    }
}

/// Takes away what killed runs of the same user left in `directory`: temporary files that no process has
/// locked. Whatever goes wrong here is no reason to fail.
fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX)) {
            let _ = sweep_one(&entry.path());
        }
    }
}

fn sweep_one(path: &Path) -> io::Result<()> {
    // Neither a link nor a FIFO: who else can write here shall not choose what is removed or opened.
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age >= MIN_AGE);
    if metadata.is_file() && own && old && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// What the system said. The library puts the temporary file's path behind it, which means nothing to anybody.
fn without_temporary_path(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((message, _)) => io::Error::new(error.kind(), message.to_owned()),
        None => error,
    }
}

/// Copies a range within the kernel where it can, else through a buffer.
fn copy_range(source: &FileSource, range: std::ops::Range<u64>, mut output: &File) -> io::Result<()> {
    let (mut offset, mut left) = (range.start, range.end - range.start);
    while left > 0 {
        let chunk = usize::try_from(left.min(1 << 30)).unwrap_or(usize::MAX);
        match copy_file_range(source.file(), Some(&mut offset), output, None, chunk) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input became shorter")),
            Ok(copied) => left -= copied as u64,
            Err(_) => break, // across file systems, or not supported there
        }
    }
    let mut buffer = vec![0; usize::try_from(left.min(1 << 20)).unwrap_or(1 << 20)];
    while left > 0 {
        let chunk = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..chunk).unwrap_or_default();
        source.file().read_exact_at(piece, offset)?;
        output.write_all(piece)?;
        offset += chunk as u64;
        left -= chunk as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_taken_away_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let old = std::time::SystemTime::now() - 2 * MIN_AGE;
        let make = |name: &str| {
            let file = File::create(path(name)).unwrap();
            file.set_modified(old).unwrap();
            file
        };
        let (left, held, other) = (".hsmsign-aaaaaa.tmp", ".hsmsign-bbbbbb.tmp", ".hsmsign-cccccc");
        drop(make(left));
        drop(make(other));
        let held_by_another = make(held);
        flock(&held_by_another, FlockOperation::LockShared).unwrap();
        // Not old enough to be surely locked by its run.
        File::create(path(".hsmsign-dddddd.tmp")).unwrap();
        std::os::unix::fs::symlink(path(other), path(".hsmsign-eeeeee.tmp")).unwrap();

        let first = AtomicFile::create(&path("output")).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert!(!path(left).exists());
        names.retain(|entry| entry.as_ref().unwrap().path() != first.temporary.path());
        assert_eq!(names.len(), 4, "{names:?}");
        // A run that lives keeps its own, however long it takes.
        first.file().set_modified(old).unwrap();
        AtomicFile::create(&path("another")).unwrap();
        first.commit().unwrap();
        drop(held_by_another);
        AtomicFile::create(&path("another")).unwrap();
        assert!(path("output").exists() && !path(held).exists());
    }
}
