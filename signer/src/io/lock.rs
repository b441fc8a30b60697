//! A lock on a file that other processes respect, waited for with a limit.

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

/// Takes the exclusive lock (flock(2)) of `file`; released when the file is closed or unlocked. Returns
/// whether it was taken within `patience`.
///
/// # Errors
///
/// [`io::Error`] if the file system knows no locks.
pub fn lock(file: &File, patience: Duration) -> io::Result<bool> {
    let end = Instant::now() + patience;
    // flock(2) itself waits without limit, behind a stopped process for ever.
    let mut pause = Duration::from_millis(1);
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Gives the lock back.
///
/// # Errors
///
/// [`io::Error`], which a held lock does not give.
pub fn unlock(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::Unlock)?)
}
