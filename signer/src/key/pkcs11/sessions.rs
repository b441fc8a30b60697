//! Sessions of one token, lent to one thread each.

use cryptoki::session::Session;
use std::{
    array,
    ops::Deref,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Sessions that one token gets at most: more than any token signs with at a time.
const MAX_LEN: usize = 16;

/// Open sessions of one token: the first, and more when threads would wait for it.
///
/// A process that signs one thing after the other never opens a second one.
#[derive(Debug)]
pub(super) struct Sessions<S = Session> {
    /// Filled from the first on, and never emptied.
    slots: [OnceLock<Mutex<S>>; MAX_LEN],
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    /// Slots that no thread has on loan.
    idle: Vec<usize>,
    /// Sessions that are open or being opened.
    open: usize,
    /// How many the token allows, as far as that is known.
    allowed: usize,
}

impl<S> Sessions<S> {
    pub(super) fn new(first: S, allowed: usize) -> Self {
        let mut first = Some(Mutex::new(first));
        let slots = array::from_fn(|_| first.take().map_or_else(OnceLock::new, OnceLock::from));
        let state = State { idle: vec![0], open: 1, allowed: allowed.clamp(1, MAX_LEN) };
        Self { slots, state: Mutex::new(state), returned: Condvar::new() }
    }

    /// A session: an idle one, else a new one, else the first that another thread gives back.
    pub(super) fn lease<E>(&self, open: impl Fn() -> Result<S, E>) -> Lease<'_, S> {
        let mut state = self.state();
        loop {
            if let Some(lease) = state.idle.pop().and_then(|slot| self.lend(slot)) {
                return lease;
            }
            if state.open < state.allowed {
                state.open += 1;
                drop(state);
                let opened = open();
                state = self.state();
                match opened {
                    Ok(session) => state.idle.extend(self.keep(session)),
                    // CKR_SESSION_COUNT, or a token that just died: what is open has to do.
                    Err(_) => {
                        state.open -= 1;
                        state.allowed = state.open.max(1);
                    }
                }
                continue;
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts a new session in the first free slot, and says in which.
    fn keep(&self, session: S) -> Option<usize> {
        let (slot, free) = self.slots.iter().enumerate().find(|(_, slot)| slot.get().is_none())?;
        free.set(Mutex::new(session)).ok().map(|()| slot)
    }

    fn lend(&self, slot: usize) -> Option<Lease<'_, S>> {
        let session = self.slots.get(slot)?.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Lease { session, slot, sessions: self })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session on loan; goes back when dropped.
#[derive(Debug)]
pub(super) struct Lease<'a, S = Session> {
    session: MutexGuard<'a, S>,
    slot: usize,
    sessions: &'a Sessions<S>,
}

impl<S> Deref for Lease<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.session
    }
}

impl<S> Drop for Lease<'_, S> {
    fn drop(&mut self) {
        // Whoever takes the slot waits for its lock, which is given back in a moment.
        self.sessions.state().idle.push(self.slot);
        self.sessions.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn opener(opened: &AtomicUsize, limit: usize) -> impl Fn() -> Result<usize, ()> {
        move || match opened.fetch_add(1, Ordering::SeqCst) {
            n if n + 1 < limit => Ok(n + 1),
            _ => {
                opened.fetch_sub(1, Ordering::SeqCst);
                Err(())
            }
        }
    }

    #[test]
    fn one_after_the_other_needs_one_session() {
        let (sessions, opened) = (Sessions::new(0, 8), AtomicUsize::new(0));
        for _ in 0..5 {
            assert_eq!(*sessions.lease(opener(&opened, 8)), 0);
        }
        assert_eq!(opened.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn many_threads_share_what_the_token_allows() {
        // Told by the token beforehand, or found out by an error.
        for (told, real) in [(3, 9), (9, 3), (1, 9), (9, 1)] {
            let (sessions, opened) = (Sessions::new(0, told), AtomicUsize::new(0));
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let _lease = sessions.lease(opener(&opened, real));
                            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::yield_now();
                            now.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert!(most.load(Ordering::SeqCst) <= told.min(real), "{told} {real} {most:?}");
        }
    }
}
