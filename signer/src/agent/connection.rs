//! Messages over a Unix socket, each with a limit in length and in time.

use super::protocol::{decode, encode, message_len_bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// How long the bytes of one message may take once its first byte is there, or there is room to write it.
pub(super) const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How much of a message is made room for at a time.
const PIECE_LEN_BYTES: usize = 64 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
}

/// What came instead of a message.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other end is done.
    Closed,
    /// What came is no message.
    Malformed(String),
    /// The socket failed, or took too long.
    Io(io::Error),
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// The next message, whose first byte may take as long as `patience`.
    pub(super) fn receive<T: DeserializeOwned>(&self, patience: Duration) -> Result<T, Broken> {
        decode(&self.receive_bytes(patience)?).map_err(Broken::Malformed)
    }

    /// The next message's bytes.
    pub(super) fn receive_bytes(&self, patience: Duration) -> Result<Vec<u8>, Broken> {
        let mut header = [0; 4];
        let (first, rest) = header.split_at_mut(1);
        if !self.read(first, Instant::now() + patience)? {
            return Err(Broken::Closed);
        }
        // A deadline for the whole message: a byte now and then must not keep anyone waiting.
        let deadline = Instant::now() + MESSAGE_TIME;
        let half = || Broken::Malformed("the connection ended within a message".into());
        if !self.read(rest, deadline)? {
            return Err(half());
        }
        let len = message_len_bytes(header).map_err(Broken::Malformed)?;
        let mut bytes = Vec::new();
        // Memory is for what came, not for what was announced.
        while bytes.len() < len {
            let filled = bytes.len();
            bytes.resize(len.min(filled + PIECE_LEN_BYTES), 0);
            if !self.read(bytes.get_mut(filled..).unwrap_or_default(), deadline)? {
                return Err(half());
            }
        }
        Ok(bytes)
    }

    /// Whether the other end closed, with nothing left to be read.
    pub(super) fn is_gone(&self) -> bool {
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut ends, Some(&now)).is_ok() && ends.iter().any(|end| end.revents().intersects(gone))
    }

    /// Fills `buffer`; false if the other end closed before that.
    fn read(&self, buffer: &mut [u8], deadline: Instant) -> Result<bool, Broken> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            self.stream.set_read_timeout(Some(left(deadline)?)).map_err(Broken::Io)?;
            match (&self.stream).read(room) {
                Ok(0) => return Ok(false),
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Broken::Io(timed_out(e))),
            }
        }
        Ok(true)
    }

    pub(super) fn send<T: Serialize>(&self, message: &T) -> Result<(), Broken> {
        let bytes = encode(message).map_err(Broken::Malformed)?;
        let deadline = Instant::now() + MESSAGE_TIME;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            self.stream.set_write_timeout(Some(left(deadline)?)).map_err(Broken::Io)?;
            match (&self.stream).write(rest) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => written += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Broken::Io(timed_out(e))),
            }
        }
        Ok(())
    }
}

/// A socket's time-out shows as EAGAIN, which tells people nothing.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Time until `deadline`; never zero, which would mean no limit.
fn left(deadline: Instant) -> Result<Duration, Broken> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Broken::Io(io::ErrorKind::TimedOut.into())) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::Ask;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours), theirs)
    }

    #[test]
    fn messages_arrive_one_after_the_other() {
        let (ours, theirs) = pair();
        let theirs = Connection::new(theirs);
        for _ in 0..3 {
            theirs.send(&Ask::Status).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(ours.receive::<Ask>(MESSAGE_TIME).unwrap(), Ask::Status);
        }
        drop(theirs);
        assert!(matches!(ours.receive::<Ask>(MESSAGE_TIME), Err(Broken::Closed)));
    }

    #[test]
    fn half_a_message_and_a_long_one_are_malformed() {
        for bytes in [&b"\0\0\0\x20{"[..], b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02{]"] {
            let (ours, mut theirs) = pair();
            theirs.write_all(bytes).unwrap();
            drop(theirs);
            assert!(matches!(ours.receive::<Ask>(MESSAGE_TIME), Err(Broken::Malformed(_))), "{bytes:?}");
        }
    }

    #[test]
    fn silence_has_a_limit() {
        let (ours, _theirs) = pair();
        let Err(Broken::Io(error)) = ours.receive::<Ask>(Duration::from_millis(20)) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
