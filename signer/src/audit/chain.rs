//! Reads a log and says whether it is whole. Pure: it takes any reader, such as a copied file.

use super::{
    Hash, Head,
    record::{Event, MAX_LINE_LEN_BYTES, Record},
};
use crate::crypto::{HashAlgorithm, Hasher};
use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

/// Most problems that are told one by one: a log of something else has one in every line.
const MAX_PROBLEMS_LEN: usize = 50;

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// How many records there are.
    pub records: u64,
    /// Where the log ends.
    pub head: Head,
    /// What is wrong, each with its line; empty if the log is whole.
    pub problems: Vec<Finding>,
    /// What is not as usual, and legal: a crash left it.
    pub notes: Vec<Finding>,
}

/// Something about one line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The line, from 1; 0 for the log as a whole.
    pub line: u64,
    /// What was found there.
    pub detail: String,
}

/// Checks every record of a log, and that it has the records that `anchors` name; gives each record to
/// `each`, also those of a log that is not whole.
///
/// Without an anchor it is not known whether records were cut off the end.
///
/// # Errors
///
/// [`io::Error`] if the log cannot be read.
pub fn verify(
    mut log: impl BufRead,
    anchors: &[Head],
    mut each: impl FnMut(&Record),
) -> io::Result<Findings> {
    let mut walk = Walk::new(anchors);
    loop {
        let bytes = match log.fill_buf() {
            Ok([]) => return Ok(walk.end()),
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let line_end = bytes.iter().position(|b| *b == b'\n');
        let len = line_end.map_or(bytes.len(), |at| at + 1);
        walk.bytes(bytes.get(..len).unwrap_or_default());
        log.consume(len);
        if line_end.is_some() {
            walk.line(&mut each);
        }
    }
}

/// A walk through a log, line by line.
struct Walk<'a> {
    anchors: &'a [Head],
    /// Numbers of records that an anchor names and that were met.
    met: BTreeSet<u64>,
    /// The bytes of the line being read, its line break included.
    line: Vec<u8>,
    /// Set when that line is too long to be a record; its bytes went into `span` then.
    is_too_long: bool,
    /// The line's number.
    number: u64,
    /// Over everything from the beginning of the last record's line.
    span: Hasher,
    /// How many of those bytes are no record.
    torn_len_bytes: u64,
    findings: Findings,
}

impl<'a> Walk<'a> {
    fn new(anchors: &'a [Head]) -> Self {
        Self {
            anchors,
            met: BTreeSet::new(),
            line: Vec::new(),
            is_too_long: false,
            number: 1,
            span: Hasher::new(HashAlgorithm::Sha256),
            torn_len_bytes: 0,
            findings: Findings { records: 0, head: Head::empty(), problems: Vec::new(), notes: Vec::new() },
        }
    }

    /// Further bytes of the current line.
    fn bytes(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
        if self.is_too_long || self.line.len() > MAX_LINE_LEN_BYTES {
            self.is_too_long = true;
            self.set_apart();
        }
    }

    /// What is in `line` belongs to no record.
    fn set_apart(&mut self) {
        self.span.update(&self.line);
        self.torn_len_bytes += self.line.len() as u64;
        self.line.clear();
    }

    /// The current line is complete.
    fn line(&mut self, each: &mut impl FnMut(&Record)) {
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        match Record::parse(text) {
            Some(record) if !self.is_too_long => {
                self.record(&record);
                each(&record);
            }
            _ => self.set_apart(),
        }
        self.line.clear();
        self.is_too_long = false;
        self.number += 1;
    }

    fn record(&mut self, record: &Record) {
        let last = self.findings.head.sequence;
        let sequence = record.sequence;
        let span = std::mem::replace(&mut self.span, Hasher::new(HashAlgorithm::Sha256));
        let torn_len_bytes = std::mem::take(&mut self.torn_len_bytes);
        if sequence <= last {
            self.problem(format!("record {sequence} follows record {last}: it was moved or copied"));
        } else if sequence - last > 1 {
            let missing = sequence - last - 1;
            self.problem(format!("record {sequence} follows record {last}: {missing} missing"));
        } else if record.previous != Hash::finish(span) {
            let before = match last {
                0 => "what is before it".to_owned(),
                _ => format!("record {last}"),
            };
            self.problem(format!("record {sequence} does not fit: {before} was changed"));
        }
        let repaired = match &record.event {
            Event::Repair(repair) => repair.torn_len_bytes,
            Event::Signature(_) => 0,
        };
        if repaired != torn_len_bytes {
            self.problem(format!(
                "before record {sequence} stand {torn_len_bytes} bytes that are no record, and it tells of {repaired}"
            ));
        } else if repaired > 0 {
            let detail =
                format!("record {sequence} tells that a crash left {repaired} bytes of a record before it");
            self.findings.notes.push(Finding { line: self.number, detail });
        }
        self.span.update(&self.line);
        let head = Head { sequence, hash: Hash::of(&self.line) };
        let anchors = self.anchors;
        for anchor in anchors.iter().filter(|a| a.sequence == sequence) {
            self.met.insert(sequence);
            if *anchor != head {
                self.problem(format!("record {sequence} is not the one that the head {anchor} names"));
            }
        }
        self.findings.head = head;
        self.findings.records += 1;
    }

    fn problem(&mut self, detail: String) {
        if self.findings.problems.len() < MAX_PROBLEMS_LEN {
            self.findings.problems.push(Finding { line: self.number, detail });
        }
    }

    fn end(mut self) -> Findings {
        let torn = self.torn_len_bytes + self.line.len() as u64;
        if torn > 0 {
            let detail = format!(
                "the last {torn} bytes are no whole record: a crash cut it short before its signature was handed out"
            );
            self.findings.notes.push(Finding { line: self.number, detail });
        }
        let last = self.findings.head.sequence;
        let anchors = self.anchors;
        let met = std::mem::take(&mut self.met);
        for anchor in anchors.iter().filter(|a| a.sequence > 0 && !met.contains(&a.sequence)) {
            self.problem(format!("the head {anchor} names a record that is missing; the last one is {last}"));
        }
        self.findings
    }
}
