//! The socket the agent listens at.

use super::super::AgentError;
use crate::io::is_own_or_roots;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    net::{AddressFamily, SocketType, sockopt},
    process::{PidfdFlags, PidfdGetfdFlags},
};
use std::{
    fs::File,
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// A socket that clients can connect to.
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    /// What this process has to remove in the end; `None` where systemd made it.
    own: Option<Own>,
}

struct Own {
    path: PathBuf,
    /// Held as long as the socket is ours, so that of two agents that start at once one is told.
    _lock: File,
}

impl Listener {
    /// The socket that systemd hands over (sd_listen_fds(3)), if it does.
    pub(super) fn inherited(path: &Path) -> Result<Option<Self>, AgentError> {
        let hint = "the unit has exactly one `ListenStream=`, with a path";
        let failed =
            |e: io::Error| refuse(path)(format!("what systemd hands over is no such socket: {e}"), hint);
        let mut given = sd_notify::listen_fds().map_err(failed)?;
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some(number), None) => Ok(Some(Self { socket: adopt(number).map_err(failed)?, own: None })),
            (Some(_), Some(_)) => Err(failed(io::Error::other("there are several"))),
        }
    }

    /// Makes the socket `path`, for the own user alone or, with `others`, for everybody; who may ask is
    /// decided by peer credentials then.
    ///
    /// A socket that a dead agent left is replaced, a living agent's is not.
    pub(super) fn bind(path: &Path, others: bool) -> Result<Self, AgentError> {
        let refuse = refuse(path);
        check_directory(path).map_err(|reason| {
            refuse(reason, "its directory must belong to you or root, and nobody else may write it")
        })?;
        let lock = lock(path).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => refuse(
                "another agent is at it".into(),
                "ask it with `hsmsign agent --status`, or name another `--socket`",
            ),
            _ => refuse(e.to_string(), "name a place that you may write with `--socket`"),
        })?;
        remove_stale(path)
            .map_err(|reason| refuse(reason, "remove it, or name another place with `--socket`"))?;
        let bind = || {
            // Not even for a moment anybody else's to write, which is what connecting takes (unix(7)).
            let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
            let socket = UnixListener::bind(path);
            rustix::process::umask(before);
            if others {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
            }
            socket
        };
        let failed = |e: io::Error| refuse(e.to_string(), "a socket's path has at most 107 bytes (unix(7))");
        let socket = bind().map_err(failed)?;
        Ok(Self { socket, own: Some(Own { path: path.to_owned(), _lock: lock }) })
    }
}

/// The listening socket that this process has as descriptor `number`.
///
/// Safe Rust cannot adopt a number; the kernel gives a copy of the descriptor for it (pidfd_getfd(2), Linux 5.6).
fn adopt(number: i32) -> io::Result<UnixListener> {
    let process = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let socket = rustix::process::pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
    let is_stream = sockopt::socket_domain(&socket)? == AddressFamily::UNIX
        && sockopt::socket_type(&socket)? == SocketType::STREAM
        && sockopt::socket_acceptconn(&socket)?;
    match is_stream {
        true => Ok(socket.into()),
        false => Err(io::Error::other("it is no listening Unix stream socket")),
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            let _ = std::fs::remove_file(&own.path);
        }
    }
}

fn refuse(path: &Path) -> impl Fn(String, &str) -> AgentError {
    let socket = path.to_owned();
    move |reason, hint| AgentError::Listen { socket: socket.clone(), reason, hint: hint.to_owned() }
}

/// Who can write the directory could put another socket in ours' place, and see what is to be signed.
fn check_directory(path: &Path) -> Result<(), String> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = directory.metadata().map_err(|e| format!("`{}`: {e}", directory.display()))?;
    if !is_own_or_roots(metadata.uid()) {
        return Err(format!("`{}` belongs to another user", directory.display()));
    }
    // In a sticky directory only the owner of a file may replace it.
    if metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
        return Err(format!("`{}` can be written by others", directory.display()));
    }
    Ok(())
}

/// The lock that belongs to the socket; it stays when the agent ends, as two could hold a removed one.
fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(Path::new(&name), flags, Mode::RUSR | Mode::WUSR)?);
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn remove_stale(path: &Path) -> Result<(), String> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err("something that is no socket stands there".into());
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| e.to_string())
        }
        Ok(_) => Err("another program listens there".into()),
        Err(e) => Err(format!("the socket that stands there cannot be asked: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<Listener, AgentError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_not() {
        let bench = tempfile::tempdir().unwrap();
        let path = bench.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let living = Listener::bind(&path, false).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(reason(Listener::bind(&path, false)).contains("another agent"));
        drop(living);
        assert!(!path.exists());
        let foreign = UnixListener::bind(&path).unwrap();
        assert!(reason(Listener::bind(&path, true)).contains("another program"));
        drop(foreign);
        assert!(Listener::bind(&path, true).is_ok());
    }

    #[test]
    fn other_things_in_its_place_stay() {
        let bench = tempfile::tempdir().unwrap();
        let path = bench.path().join("s");
        std::fs::write(&path, "kept").unwrap();
        assert!(reason(Listener::bind(&path, false)).contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let bench = tempfile::tempdir().unwrap();
        std::fs::set_permissions(bench.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(reason(Listener::bind(&bench.path().join("s"), false)).contains("written by others"));
    }
}
