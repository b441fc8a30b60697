//! The dev directory: where it is, whose it is, and the files in it.
//!
//! `set-id` names the set of keys before they exist; `pin` opens the token; `tokens/` is SoftHSMv2's;
//! `token` says that the token is complete, `certificates/ROLE-TYPE.pem` the same of one key; `token.spare`
//! mends the token.

use crate::{
    crypto::KeyType,
    io::AtomicFile,
    key::{KeyError, certificate},
    vocabulary::Role,
};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::{
    fs::{self, DirBuilder, File},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use zeroize::Zeroizing;

/// The dev directory that applies.
///
/// `explicit` (option or environment) wins, then `.hsmsign` beside the policy, then
/// `$XDG_DATA_HOME/hsmsign`, then `~/.local/share/hsmsign`. `None` if there is no home either.
#[must_use]
pub fn locate(
    explicit: Option<&Path>,
    policy: Option<&Path>,
    xdg_data_home: Option<&Path>,
    home: Option<&Path>,
) -> Option<PathBuf> {
    if let Some(explicit) = explicit {
        return Some(explicit.to_owned());
    }
    if let Some(policy) = policy {
        return Some(policy.parent().unwrap_or(Path::new("")).join(".hsmsign"));
    }
    // The XDG base directory specification has relative paths ignored.
    match (xdg_data_home.filter(|p| p.is_absolute()), home) {
        (Some(data), _) => Some(data.join("hsmsign")),
        (None, Some(home)) => Some(home.join(".local/share/hsmsign")),
        (None, None) => None,
    }
}

/// Where SoftHSMv2's configuration stands in the dev directory `path`, absolute.
pub(super) fn configuration_path(path: &Path) -> Result<PathBuf, KeyError> {
    let absolute = std::path::absolute(path).map_err(KeyError::file("locate", path))?;
    Ok(absolute.join("softhsm2.conf"))
}

/// A dev directory that belongs to the user.
#[derive(Debug)]
pub struct DevDirectory {
    path: PathBuf,
}

impl DevDirectory {
    /// Opens the directory and makes it first if it is missing.
    ///
    /// # Errors
    ///
    /// [`KeyError::DevDirectory`] if it is a link, someone else's, or writable by others.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let path = std::path::absolute(path).map_err(KeyError::file("locate", path))?;
        if !path.exists() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(KeyError::file("create", parent))?;
            }
            // Another process may be as far: then its directory is ours.
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(KeyError::file("create", &path)(e));
                }
                _ => {}
            }
        }
        let directory = Self { path };
        directory.check()?;
        if !directory.file("tokens").exists() {
            directory.make_directory("tokens")?;
            // Nobody wants these keys in a repository, not even worthless ones.
            directory.write(".gitignore", b"*\n", 0o600)?;
        }
        directory.write_configuration()?;
        Ok(directory)
    }

    /// Opens the directory if it exists.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn open(path: &Path) -> Result<Option<Self>, KeyError> {
        let path = std::path::absolute(path).map_err(KeyError::file("locate", path))?;
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let directory = Self { path };
        directory.check()?;
        Ok(Some(directory))
    }

    /// Whose directory is it, and who else can write to it?
    fn check(&self) -> Result<(), KeyError> {
        // `rustix` asks the kernel itself, so the answer is true also under fakeroot and pseudo.
        let stat = rustix::fs::lstat(&self.path).map_err(|e| KeyError::file("read", &self.path)(e.into()))?;
        let refuse = |reason: &str, hint: String| {
            Err(KeyError::DevDirectory { path: self.path.clone(), reason: reason.into(), hint })
        };
        let mode = stat.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Directory {
            return refuse("not a directory, but a link or a file", "name the directory itself".into());
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return refuse(
                "belongs to another user",
                format!(
                    "each member of a team has a copy: `cp -r {} YOURS`, then `--dev-dir YOURS` or HSMSIGN_DEV_DIR",
                    self.path.display()
                ),
            );
        }
        if mode & 0o022 != 0 {
            return refuse("others can write to it", format!("chmod go-w {}", self.path.display()));
        }
        // SoftHSMv2's configuration has no quoting: `#` starts a comment.
        if self.path.to_string_lossy().contains(['#', '\n']) || self.path.to_str().is_none() {
            return refuse(
                "SoftHSMv2 cannot use a path with `#`, a line break or bytes outside UTF-8",
                "choose another place with `--dev-dir`".into(),
            );
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn make_directory(&self, name: &str) -> Result<(), KeyError> {
        let path = self.file(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(KeyError::file("create", &path)(e))
            }
            _ => Ok(()),
        }
    }

    /// SoftHSMv2's configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.file("softhsm2.conf")
    }

    /// Writes SoftHSMv2's configuration, unless it stands there with the directory's present path.
    fn write_configuration(&self) -> Result<(), KeyError> {
        let text = format!(
            "# Made by hsmsign, and again whenever the directory has moved.\n\
             directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            self.file("tokens").display()
        );
        if fs::read(self.configuration()).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        self.write("softhsm2.conf", text.as_bytes(), 0o600)
    }

    /// Writes a file whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
        let path = self.file(name);
        let write = || {
            let mut file = AtomicFile::create_with_mode(&path, mode)?;
            file.write_all(bytes).map_err(crate::error::Error::file("write", &path))?;
            file.commit()
        };
        write().map_err(|e| match e {
            crate::error::Error::File { action, path, source } => KeyError::File { action, path, source },
            other => KeyError::file("write", &path)(std::io::Error::other(other.to_string())),
        })
    }

    /// Reads a small file; `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        let path = self.file(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(KeyError::file("read", &path)(e.into())),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
        file.take(1 << 16).read_to_end(&mut bytes).map_err(KeyError::file("read", &path))?;
        Ok(Some(bytes))
    }

    /// The set id: 16 hexadecimal digits.
    pub(super) fn set_id(&self) -> Result<String, KeyError> {
        let bytes = self.read("set-id")?.unwrap_or_default();
        let id = String::from_utf8_lossy(&bytes).trim().to_owned();
        if id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(id);
        }
        Err(self.damaged("`set-id` is not 16 hexadecimal digits"))
    }

    /// Files that do not belong together: nothing that a process which was killed leaves behind.
    pub(super) fn damaged(&self, reason: impl Into<String>) -> KeyError {
        KeyError::DevDirectory {
            path: self.path.clone(),
            reason: reason.into(),
            hint: "remove the directory; new development keys are made on next use".into(),
        }
    }

    /// Whether the set id was chosen already.
    pub(super) fn has_set_id(&self) -> bool {
        self.file("set-id").exists()
    }

    /// Takes away what an interrupted provisioning left of the token.
    pub(super) fn clear_tokens(&self) -> Result<(), KeyError> {
        let path = self.file("tokens");
        fs::remove_dir_all(&path).map_err(KeyError::file("clear", &path))?;
        self.make_directory("tokens")
    }

    /// Keeps a copy of what makes `tokens/` a token, for [`mend_token`](Self::mend_token).
    pub(super) fn keep_spare_token(&self) -> Result<(), KeyError> {
        for name in self.token_objects()? {
            if let Some(bytes) = self.read(&name)? {
                self.write("token.spare", &bytes, 0o600)?;
            }
        }
        Ok(())
    }

    /// Puts that copy back if a killed process left a stump.
    ///
    /// SoftHSMv2 (2.6.1) writes its token object anew at each login, in place: killed at that moment, it
    /// leaves an empty file and no token. Only flags differ between the copy and what was there. To be called
    /// under the lock, which every process holds while it logs in.
    pub(super) fn mend_token(&self) -> Result<(), KeyError> {
        let Some(spare) = self.read("token.spare")? else { return Ok(()) };
        for name in self.token_objects()? {
            if self.read(&name)?.is_some_and(|bytes| bytes.len() < spare.len()) {
                self.write(&name, &spare, 0o600)?;
            }
        }
        Ok(())
    }

    /// `tokens/SERIAL/token.object`, of which there is one.
    fn token_objects(&self) -> Result<Vec<String>, KeyError> {
        let path = self.file("tokens");
        let entries = fs::read_dir(&path).map_err(KeyError::file("read", &path))?;
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        Ok(names
            .map(|name| format!("tokens/{name}/token.object"))
            .filter(|n| self.file(n).exists())
            .collect())
    }

    /// The role's certificate, DER; `None` if the key was not completed yet.
    pub(super) fn certificate(&self, role: Role, key_type: KeyType) -> Result<Option<Vec<u8>>, KeyError> {
        let name = certificate_name(role, key_type);
        let Some(pem) = self.read(&name)? else { return Ok(None) };
        certificate::read_all(&pem)
            .map(|all| all.into_iter().next())
            .map_err(|reason| KeyError::Certificate { label: self.file(&name).display().to_string(), reason })
    }

    /// When the role's key was completed, unless the directory was copied without its times since.
    pub(super) fn completed(&self, role: Role, key_type: KeyType) -> Option<SystemTime> {
        fs::symlink_metadata(self.file(&certificate_name(role, key_type))).ok()?.modified().ok()
    }

    /// Says that the key is complete.
    pub(super) fn write_certificate(&self, role: Role, key_type: KeyType, pem: &str) -> Result<(), KeyError> {
        self.make_directory("certificates")?;
        self.write(&certificate_name(role, key_type), pem.as_bytes(), 0o644)
    }

    /// Waits until no other process provisions or opens the token; the lock is held until the file is
    /// dropped.
    ///
    /// SoftHSMv2 (2.6.1) truncates its token object before it locks it, at each login, so another process
    /// that looks just then sees no token: of 320 signatures by eight processes at once twelve failed.
    pub(super) fn lock(&self) -> Result<File, KeyError> {
        let path = self.file("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
            .open(&path)
            .map_err(KeyError::file("lock", &path))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|e| KeyError::file("lock", &path)(e.into()))?;
        Ok(file)
    }
}

fn certificate_name(role: Role, key_type: KeyType) -> String {
    format!("certificates/{role}-{key_type}.pem")
}
