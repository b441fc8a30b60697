//! How far one file is looked into.

use super::obstacle::Limit;
use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

/// How far one file is looked into; honest artifacts stay far below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside each other.
    pub depth: usize,
    /// Bytes that come out of containers, all levels added.
    pub expanded_bytes: u64,
    /// Files and directories in containers, all levels added.
    pub entries: u64,
    /// Bytes of one container that has to be kept, since it came from a stream and needs random access:
    /// in memory up to [`KEPT_IN_MEMORY_BYTES`], else in an unnamed temporary file.
    pub kept_bytes: u64,
}

/// How much of a kept container stays in memory.
pub(crate) const KEPT_IN_MEMORY_BYTES: usize = 16 << 20;
/// Most memory that one decoder may take for its window.
pub(super) const WINDOW_BYTES: u32 = 256 << 20;
/// Longest header of an archive's member, names and extended headers included.
pub(super) const HEADER_BYTES: u64 = 4 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, expanded_bytes: 64 << 30, entries: 8 << 20, kept_bytes: 16 << 30 }
    }
}

/// What has been used of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
    bytes: Cell<u64>,
    entries: Cell<u64>,
    /// The first limit that was reached; then everything ends.
    reached: Cell<Option<Limit>>,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self { limits, bytes: Cell::new(0), entries: Cell::new(0), reached: Cell::new(None) })
    }

    /// The limit on everything that was reached, if any.
    pub(super) fn reached(&self) -> Option<Limit> {
        self.reached.get()
    }

    /// Counts an entry of a container.
    pub(super) fn entry(&self) -> Result<(), Limit> {
        let entries = self.entries.get() + 1;
        self.entries.set(entries);
        if entries > self.limits.entries {
            Err(self.reach(Limit::Entries(self.limits.entries)))
        } else {
            Ok(())
        }
    }

    fn reach(&self, limit: Limit) -> Limit {
        self.reached.set(Some(limit));
        limit
    }

    /// `reader`, whose bytes are counted.
    pub(super) fn metered<R: Read>(self: &Rc<Self>, reader: R) -> Metered<R> {
        Metered { reader, budget: Rc::clone(self) }
    }

    /// Counts bytes that came out of a container.
    pub(super) fn spend(&self, count: usize) -> io::Result<()> {
        let bytes = self.bytes.get().saturating_add(count as u64);
        self.bytes.set(bytes);
        let limit = self.limits.expanded_bytes;
        if bytes > limit { Err(self.reach(Limit::Bytes(limit)).into_io()) } else { Ok(()) }
    }
}

/// A reader whose bytes count.
pub(super) struct Metered<R> {
    reader: R,
    budget: Rc<Budget>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.budget.spend(count)?;
        Ok(count)
    }
}
