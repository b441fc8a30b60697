//! tar archives.

use super::{
    Kind, Obstacle,
    body::{Body, Peeked, rest},
    limits::HEADER_BYTES,
    obstacle::Limit,
    walk::{Opened, Walk, member},
};
use std::{
    cell::Cell,
    io::{self, BufReader, Read},
    rc::Rc,
};

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, mut peeked: Peeked<'_>) -> Opened {
    peeked.read(|reader| members(walk, location, depth, reader)).map_err(|e| Obstacle::from_io(&e, Kind::Tar))
}

fn members(walk: &mut Walk<'_>, location: &str, depth: usize, reader: &mut dyn Read) -> io::Result<()> {
    let allowance = Allowance::default();
    let mut archive = tar::Archive::new(Allowed { reader, allowance: allowance.clone() });
    let mut entries = archive.entries()?;
    loop {
        // The library holds names and extended headers in memory, as long as they say they are.
        allowance.set(Some(HEADER_BYTES));
        let entry = entries.next();
        allowance.set(None);
        let Some(entry) = entry else { break };
        let mut entry = entry?;
        if !walk.count() {
            return Ok(());
        }
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()) {
            drain(&mut entry)?;
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let budget = Rc::clone(&walk.budget);
        walk.body(&member(location, &name), depth, Body::Stream(&mut budget.metered(&mut entry)));
        drain(&mut entry)?;
    }
    let mut reader = BufReader::new(archive.into_inner());
    rest(&mut reader, |body| walk.body(&member(location, "[behind it]"), depth, body))
}

/// So that the next entry's header is the next thing that is read.
fn drain(entry: &mut impl Read) -> io::Result<()> {
    io::copy(entry, &mut io::sink()).map(drop)
}

/// How much may still be read; `None` is any amount.
type Allowance = Rc<Cell<Option<u64>>>;

struct Allowed<R> {
    reader: R,
    allowance: Allowance,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(left) = self.allowance.get() {
            let left = left.checked_sub(count as u64).ok_or_else(|| Limit::Header(HEADER_BYTES).into_io())?;
            self.allowance.set(Some(left));
        }
        Ok(count)
    }
}
