//! A request on its way through a queue.

use super::super::protocol::Problem;
use crate::{
    audit::{Head, Requester},
    crypto::Signature,
    request::Request,
};
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
    mpsc::SyncSender,
};

/// A request on its way.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) requester: Requester,
    pub(super) progress: Progress,
    pub(super) reply: SyncSender<Result<(Signature, Head), Problem>>,
}

/// How far a request is; shared by whoever waits and whoever signs. A request is signed by one thread, once, and
/// not at all after it was abandoned in line.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const ABANDONED: u8 = 2;
const TOO_LONG: u8 = 3;
const FINISHED: u8 = 4;

/// Whether somebody still waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// As it should be.
    InTime,
    /// The module took longer than anybody waits.
    TooLate,
}

/// Where a request was when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// In line; it will not be signed.
    InLine,
    /// With the module.
    InModule,
    /// Signed this very moment.
    Finished,
}

impl Progress {
    /// Takes the request out of the line; false if it was abandoned.
    pub(super) fn begin(&self) -> bool {
        self.change(WAITING, BEGUN)
    }

    /// Nobody waits any more.
    pub(super) fn abandon(&self) {
        self.change(WAITING, ABANDONED);
    }

    /// Its time is over.
    pub(super) fn expire(&self) -> Overdue {
        if self.change(WAITING, ABANDONED) {
            Overdue::InLine
        } else if self.change(BEGUN, TOO_LONG) {
            Overdue::InModule
        } else {
            Overdue::Finished
        }
    }

    /// It was answered.
    pub(super) fn finish(&self) -> Answered {
        if self.change(BEGUN, FINISHED) { Answered::InTime } else { Answered::TooLate }
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_abandoned_in_line_is_not_signed() {
        let progress = Progress::default();
        progress.abandon();
        assert!(!progress.begin());
        let progress = Progress::default();
        assert_eq!(progress.expire(), Overdue::InLine);
        assert!(!progress.begin());
    }

    #[test]
    fn what_was_begun_is_finished_once() {
        let progress = Progress::default();
        assert!(progress.begin() && !progress.begin());
        progress.abandon();
        assert_eq!(progress.finish(), Answered::InTime);
        assert_eq!(progress.expire(), Overdue::Finished);
    }

    #[test]
    fn a_module_that_hangs_is_told_from_a_long_line() {
        let progress = Progress::default();
        assert!(progress.begin());
        assert_eq!(progress.expire(), Overdue::InModule);
        assert_eq!(progress.finish(), Answered::TooLate);
    }
}
