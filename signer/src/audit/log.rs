//! Appends records, for many threads and many processes, synced before it returns.

use super::{
    AuditError, Hash, Head, Signed,
    file::{Files, Tail},
    record::{Event, Record, Repaired, VERSION},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Most records that one write takes: bounds how long the lock is held.
const MAX_BATCH_LEN: usize = 256;

/// An audit log, appended to by the threads of this process and by other processes.
///
/// One thread at a time writes and syncs; what the others want written meanwhile goes into the next write
/// together, so that many signatures cost few syncs.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    queue: Mutex<Queue>,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Records to be written, by ticket.
    waiting: Vec<(u64, Signed)>,
    /// What became of those that were.
    done: BTreeMap<u64, Result<Head, AuditError>>,
    next_ticket: u64,
    /// Whether a thread is writing; it has `files` then.
    busy: bool,
    files: Option<Files>,
    last: Option<Head>,
}

/// What release keys need to leave a record: the log, and which policy they act on.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Where records go.
    pub log: Arc<Log>,
    /// SHA-256 of the policy file's bytes, `sha256:…`.
    pub policy: String,
}

impl Log {
    /// The log in `directory`; nothing is opened yet.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, queue: Mutex::default(), written: Condvar::new() }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens or makes the log, to find out before a PIN is read or a token is asked whether records can be
    /// written.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if they cannot.
    pub fn prepare(&self) -> Result<(), AuditError> {
        let mut queue = self.queue();
        if queue.files.is_none() && !queue.busy {
            let files = Files::open(&self.directory)?;
            files.lock()?;
            let tail = files.tail();
            files.unlock();
            tail?;
            queue.files = Some(files);
        }
        Ok(())
    }

    /// Writes a record and waits until it is on disk. Returns the log's head at that record, which can be
    /// kept elsewhere to notice later that records were cut off.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; then the signature must not be handed out.
    pub fn append(&self, signed: Signed) -> Result<Head, AuditError> {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, signed.bounded()));
        loop {
            if let Some(result) = queue.done.remove(&ticket) {
                return result;
            }
            if queue.busy {
                queue = self.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let count = queue.waiting.len().min(MAX_BATCH_LEN);
            let batch: Vec<_> = queue.waiting.drain(..count).collect();
            let mut files = queue.files.take();
            drop(queue);
            let written = commit(&self.directory, &mut files, batch.iter().map(|(_, signed)| signed));
            queue = self.queue();
            queue.busy = false;
            // After a failure the files are opened anew: the directory may have been mended.
            queue.files = files.filter(|_| written.is_ok());
            match written {
                Ok(heads) => {
                    queue.last = heads.last().copied().or(queue.last);
                    queue.done.extend(batch.iter().map(|(t, _)| *t).zip(heads.into_iter().map(Ok)));
                }
                Err(error) => queue.done.extend(batch.iter().map(|(t, _)| (*t, Err(error.clone())))),
            }
            self.written.notify_all();
        }
    }

    /// The head at the last record that this process wrote.
    #[must_use]
    pub fn last(&self) -> Option<Head> {
        self.queue().last
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one batch. Returns the head at each of its records.
fn commit<'a>(
    directory: &Path,
    files: &mut Option<Files>,
    batch: impl Iterator<Item = &'a Signed>,
) -> Result<Vec<Head>, AuditError> {
    let files = locked(directory, files)?;
    let result = files.tail().and_then(|tail| {
        let (lines, heads) = lines(&tail, batch).map_err(AuditError::Record)?;
        match heads.last() {
            Some(last) => files.append(&tail, &lines, *last).map(|()| heads),
            None => Ok(heads),
        }
    });
    files.unlock();
    result
}

/// The log, open and locked, also if it was moved away since it was opened.
fn locked<'f>(directory: &Path, files: &'f mut Option<Files>) -> Result<&'f mut Files, AuditError> {
    if let Some(open) = files {
        open.lock()?;
        if !open.are_current() {
            *files = None;
        }
    }
    match files {
        Some(open) => Ok(open),
        None => {
            let open = Files::open(directory)?;
            open.lock()?;
            Ok(files.insert(open))
        }
    }
}

/// The lines of a batch behind `tail`, and the head at each of its records.
fn lines<'a>(tail: &Tail, batch: impl Iterator<Item = &'a Signed>) -> Result<(Vec<u8>, Vec<Head>), String> {
    let mut lines = Vec::new();
    let mut heads = Vec::new();
    let mut head = tail.head;
    let mut add = |lines: &mut Vec<u8>, previous, event| {
        let time = jiff::Timestamp::now().to_string();
        let record = Record { version: VERSION, sequence: head.sequence + 1, previous, time, event };
        let line = record.to_line()?;
        lines.extend_from_slice(&line);
        head = Head { sequence: record.sequence, hash: Hash::of(&line) };
        Ok::<_, String>(head)
    };
    if tail.is_open {
        lines.push(b'\n');
    }
    let mut previous = tail.head.hash;
    if tail.torn_len_bytes > 0 {
        // What is there stays: a log is never cut. The repair's hash covers it.
        let torn = Repaired { torn_len_bytes: tail.torn_len_bytes };
        previous = add(&mut lines, previous, Event::Repair(torn))?.hash;
    }
    for signed in batch {
        let head = add(&mut lines, previous, Event::Signature(Box::new(signed.clone())))?;
        previous = head.hash;
        heads.push(head);
    }
    Ok((lines, heads))
}
