//! Who is connected, so that an agent that ends can send everybody away.

use std::{
    collections::BTreeMap,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Connections at a time: far more than builds have tasks, and few enough for a process.
pub(super) const MAX_LEN: usize = 256;

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, UnixStream>,
    next: u64,
    sent_away: bool,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Crowd {
    /// A place for a connection, if there is one.
    pub(super) fn enter(crowd: &Arc<Self>, stream: &UnixStream) -> Option<Place> {
        let copy = stream.try_clone().ok()?;
        let mut state = crowd.state();
        if state.streams.len() >= MAX_LEN || state.sent_away {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.streams.insert(number, copy);
        drop(state);
        Some(Place { crowd: Arc::clone(crowd), number })
    }

    /// Ends every connection; their threads notice.
    pub(super) fn send_away(&self) {
        let mut state = self.state();
        state.sent_away = true;
        for stream in state.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether everybody has gone.
    pub(super) fn is_empty(&self) -> bool {
        self.state().streams.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.state().streams.remove(&self.number);
    }
}

/// How many requests are being answered.
#[derive(Debug, Default)]
pub(super) struct Answering(AtomicUsize);

/// One request that is being answered, until dropped.
#[derive(Debug)]
pub(super) struct Answer<'a>(&'a Answering);

impl Answering {
    pub(super) fn enter(&self) -> Answer<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Answer(self)
    }

    pub(super) fn is_nobody(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn there_are_so_many_places_and_no_more() {
        let crowd = Arc::new(Crowd::default());
        let (one, _other) = UnixStream::pair().unwrap();
        let mut places: Vec<_> = (0..MAX_LEN).map(|_| Crowd::enter(&crowd, &one).unwrap()).collect();
        assert!(Crowd::enter(&crowd, &one).is_none());
        places.pop();
        assert!(Crowd::enter(&crowd, &one).is_some());
        drop(places);
        assert!(crowd.is_empty());
    }

    #[test]
    fn whoever_is_sent_away_notices() {
        let crowd = Arc::new(Crowd::default());
        let (mut one, _other) = UnixStream::pair().unwrap();
        let _place = Crowd::enter(&crowd, &one).unwrap();
        crowd.send_away();
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        assert!(Crowd::enter(&crowd, &one).is_none());
    }
}
