//! A directory that nobody but the user and root can change, and files in it.

use super::is_own_or_roots;
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode, OFlags, Stat},
};
use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// An open directory of the user's own. Its files are reached through it, so that nobody can exchange it
/// for another in between.
#[derive(Debug)]
pub struct PrivateDirectory {
    directory: OwnedFd,
    path: PathBuf,
}

impl PrivateDirectory {
    /// Opens the directory, or makes it with mode 0700; what is missing above it as well.
    ///
    /// # Errors
    ///
    /// [`io::Error`], with [`is_unsafe`] true if it is a symbolic link, belongs to another user, or can be
    /// written by others.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                Self::open(path)
            }
            other => other,
        }
    }

    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// As [`open_or_create`](Self::open_or_create), and if there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(not_followed)?;
        check(&rustix::fs::fstat(&directory)?)?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the regular file `name` in it; with [`OFlags::CREATE`] made with mode 0600.
    ///
    /// # Errors
    ///
    /// [`io::Error`], with [`is_unsafe`] true as for the directory, and for whatever is no regular file.
    pub fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Not blocking, so that a FIFO in the file's place is refused rather than waited for.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, name, flags, mode).map_err(not_followed)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(danger("is not a regular file"));
        }
        check(&stat)?;
        Ok(file.into())
    }

    /// Puts `bytes` in the place of the file `name`, whole and durable. One writer at a time.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if it cannot be written; the old file then still stands.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use io::Write as _;
        let temporary = format!("{name}.tmp");
        let mut file = self.file(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.directory, &temporary, &self.directory, name)?;
        self.sync()
    }

    /// Removes the file `name`; one that is not there is fine.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether `file` is still what `name` leads to.
    #[must_use]
    pub fn holds(&self, name: &str, file: &File) -> bool {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match (rustix::fs::statat(&self.directory, name, flags), rustix::fs::fstat(file)) {
            (Ok(there), Ok(here)) => (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino),
            _ => false,
        }
    }

    /// Makes new names in it durable.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if it cannot be synced; a file system that knows no such thing is fine.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.directory) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Whether `error` says that others could change what was opened.
#[must_use]
pub fn is_unsafe(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<Danger>())
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Danger(&'static str);

fn danger(reason: &'static str) -> io::Error {
    io::Error::other(Danger(reason))
}

fn not_followed(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::LOOP => danger("is a symbolic link"),
        rustix::io::Errno::NOTDIR => danger("is not a directory, or is a symbolic link"),
        other => other.into(),
    }
}

fn check(stat: &Stat) -> io::Result<()> {
    if !is_own_or_roots(stat.st_uid) {
        return Err(danger("belongs to another user"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(danger("can be written by others"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_is_private() {
        let bench = tempfile::tempdir().unwrap();
        let path = bench.path().join("a/b");
        let directory = PrivateDirectory::open_or_create(&path).unwrap();
        directory.file("f", OFlags::RDWR | OFlags::CREATE).unwrap();
        let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&path.join("f"))), (0o700, 0o600));
    }

    #[test]
    fn links_foreign_files_and_open_modes_are_refused() {
        let bench = tempfile::tempdir().unwrap();
        let path = bench.path().join("d");
        let directory = PrivateDirectory::open_or_create(&path).unwrap();
        let link = bench.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(is_unsafe(&PrivateDirectory::open_or_create(&link).unwrap_err()));
        std::fs::write(bench.path().join("target"), "").unwrap();
        symlink(bench.path().join("target"), path.join("l")).unwrap();
        rustix::fs::mknodat(&directory.directory, "fifo", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        std::fs::write(path.join("open"), "").unwrap();
        set_mode(&path.join("open"), 0o620);
        for name in ["l", "fifo", "open"] {
            let error = directory.file(name, OFlags::RDWR | OFlags::CREATE).unwrap_err();
            assert!(is_unsafe(&error), "{name}: {error}");
        }
        for mode in [0o720, 0o702] {
            set_mode(&path, mode);
            assert!(is_unsafe(&PrivateDirectory::open(&path).unwrap_err()));
        }
        set_mode(&path, 0o700);
        if rustix::process::geteuid().is_root() {
            std::fs::write(path.join("foreign"), "").unwrap();
            for foreign in [path.join("foreign"), path.clone()] {
                std::os::unix::fs::chown(foreign, Some(12345), None).unwrap();
            }
            assert!(is_unsafe(&directory.file("foreign", OFlags::RDWR).unwrap_err()));
            assert!(is_unsafe(&PrivateDirectory::open(&path).unwrap_err()));
        }
    }

    #[test]
    fn a_file_that_was_exchanged_is_noticed() {
        let bench = tempfile::tempdir().unwrap();
        let directory = PrivateDirectory::open_or_create(&bench.path().join("d")).unwrap();
        let file = directory.file("f", OFlags::RDWR | OFlags::CREATE).unwrap();
        assert!(directory.holds("f", &file));
        directory.remove("f").unwrap();
        assert!(!directory.holds("f", &file));
        directory.file("f", OFlags::RDWR | OFlags::CREATE).unwrap();
        assert!(!directory.holds("f", &file));
    }
}
