//! One queue per token, and the threads that sign what is in it.

use super::{
    super::protocol::{Cause, Problem},
    Vault,
    job::{Answered, Job},
};
use crate::{audit::Head, crypto::Signature, error::Error};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::JoinHandle,
};

/// Requests for one token, and the threads that sign them.
pub(super) struct Queue {
    jobs: Mutex<Option<SyncSender<Job>>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    token: String,
    jobs: Mutex<Receiver<Job>>,
    waiting: AtomicUsize,
    /// Threads whose call into the module has taken longer than anybody would wait.
    stuck: AtomicIsize,
    trouble: Mutex<Trouble>,
    vault: Arc<dyn Vault>,
    /// Counts how often the token was opened again; locked while one thread does so.
    reopened: Mutex<()>,
    generation: AtomicU64,
}

#[derive(Default)]
struct Trouble {
    /// What is wrong with the token.
    now: Option<String>,
    /// What is wrong with it until the agent is started anew.
    for_good: Option<String>,
}

impl Queue {
    /// A queue of at most `len` requests, signed by so many threads.
    pub(super) fn new(token: &str, len: usize, threads: usize, vault: Arc<dyn Vault>) -> Self {
        let (sender, receiver) = mpsc::sync_channel(len);
        let shared = Arc::new(Shared {
            token: token.to_owned(),
            jobs: Mutex::new(receiver),
            waiting: AtomicUsize::new(0),
            stuck: AtomicIsize::new(0),
            trouble: Mutex::default(),
            vault,
            reopened: Mutex::new(()),
            generation: AtomicU64::new(0),
        });
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.serve())
        };
        let threads = (0..threads.max(1)).map(spawn).collect();
        Self { jobs: Mutex::new(Some(sender)), shared, threads }
    }

    /// Puts a request in line.
    pub(super) fn push(&self, job: Job) -> Result<(), Problem> {
        let shared = &self.shared;
        if usize::try_from(shared.stuck.load(Ordering::Acquire))
            .is_ok_and(|stuck| stuck >= self.threads.len())
        {
            return Err(shared.hangs());
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else { return Err(ending()) };
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        jobs.try_send(job).map_err(|error| {
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Problem::new(
                    Cause::Busy,
                    format!("token `{}` has too many requests in line", shared.token),
                    "try again; `agent: queue_len` in the agent's host settings sets this limit",
                ),
                TrySendError::Disconnected(_) => ending(),
            }
        })
    }

    /// Notes that a request's call into the module takes too long.
    pub(super) fn stuck(&self) -> Problem {
        self.shared.stuck.fetch_add(1, Ordering::AcqRel);
        let problem = self.shared.hangs();
        self.shared.note(Some(problem.message.clone()));
        problem
    }

    /// Requests that wait or are being signed.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// What is wrong with the token, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble();
        trouble.for_good.clone().or_else(|| trouble.now.clone())
    }

    /// Takes no more requests. What is in line is still signed.
    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether every thread has ended, which they do once the queue is closed and empty.
    pub(super) fn is_idle(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

fn ending() -> Problem {
    Problem::new(Cause::Busy, "the agent is ending", "start it again with `hsmsign agent`")
}

impl Shared {
    fn serve(&self) {
        loop {
            let next = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            // Nobody would see the signature of one that was abandoned, so none is made.
            if job.progress.begin() {
                let answer = self.answer(&job);
                if job.progress.finish() == Answered::TooLate {
                    self.stuck.fetch_sub(1, Ordering::AcqRel);
                    self.note(None);
                }
                // The client may have gone in the meantime; the signature is on record then.
                let _ = job.reply.send(answer);
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, job: &Job) -> Result<(Signature, Head), Problem> {
        if let Some(trouble) = &self.trouble().for_good {
            let hint = "mend it, and start the agent again";
            return Err(Problem::new(Cause::Token, format!("token `{}`: {trouble}", self.token), hint));
        }
        let generation = self.generation.load(Ordering::Acquire);
        let sign = || self.vault.sign(&job.request, &job.requester);
        let answer = sign().or_else(|error| {
            if !is_session_lost(&error) {
                return Err(error);
            }
            self.note(Some(error.to_string()));
            // No signature was made, so it can be asked for once more in a session that is alive.
            self.reopen(generation)?;
            sign().inspect(|_| self.note(None))
        });
        answer.map_err(|error| {
            if is_pin_refused(&error) {
                // Another try could lock the token.
                super::tell(format_args!("token `{}` is given up: {error}", self.token));
                self.trouble().for_good = Some(error.to_string());
            }
            problem(&error)
        })
    }

    /// Opens the token again, unless another thread has done so since `generation`.
    fn reopen(&self, generation: u64) -> Result<(), Error> {
        let _one = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        if self.generation.load(Ordering::Acquire) != generation {
            return Ok(());
        }
        self.vault.reopen(&self.token).inspect_err(|error| self.note(Some(error.to_string())))?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn hangs(&self) -> Problem {
        Problem::new(
            Cause::Token,
            format!("token `{}` does not answer: a call into its module hangs", self.token),
            "look after the token; an agent whose module hangs has to be started anew",
        )
    }

    /// Keeps, and tells on stderr, what is wrong with the token, or that nothing is any more.
    fn note(&self, trouble: Option<String>) {
        let mut known = self.trouble();
        match &trouble {
            Some(trouble) if known.now.as_ref() != Some(trouble) => {
                super::tell(format_args!("token `{}`: {trouble}", self.token));
            }
            None if known.now.is_some() => super::tell(format_args!("token `{}` is back", self.token)),
            _ => {}
        }
        known.now = trouble;
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `error` means that the session, not the request, is at fault.
fn is_session_lost(error: &Error) -> bool {
    matches!(error, Error::Key(key) if key.is_session_lost())
}

fn is_pin_refused(error: &Error) -> bool {
    matches!(error, Error::Key(key) if key.is_pin_refused())
}

/// `error` for the client.
pub(super) fn problem(error: &Error) -> Problem {
    use crate::error::Exit;
    let cause = match error.exit() {
        Exit::Refused => Cause::Refused,
        Exit::Done
        | Exit::Internal
        | Exit::Usage
        | Exit::Configuration
        | Exit::Token
        | Exit::Malformed
        | Exit::Verification
        | Exit::File => Cause::Token,
    };
    Problem { cause, message: error.to_string(), hint: error.hint() }
}
