//! `audit`: the log of release signatures, shown and checked. Works on a copied log without any settings.

use super::{
    Output,
    options::Global,
    settings::{Given, Settings, Surroundings},
};
use crate::{
    audit::{
        HEAD_NAME, Head, LOG_NAME,
        chain::{self, Finding, Findings},
        record::{Event, Record},
    },
    error::Error,
    io::FileSource,
};
use serde::Serialize;
use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Show the records of the audit log
    Show(ShowArgs),
    /// Check that no record was edited, removed, moved or cut off; exit code 7 if one was
    Verify(VerifyArgs),
}

/// Arguments of `audit show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign audit show --last 20")]
pub struct ShowArgs {
    /// A copied log [default: this host's]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Only the last N records
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign audit verify --log copy.jsonl --head 17:0c5e1f…\n\nThe head of this host's log stands beside it. Whoever can write the log can write that too, so keep heads that \
                  `sign` prints somewhere else, and give them here."
)]
pub struct VerifyArgs {
    /// A copied log [default: this host's]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// A head that was kept elsewhere: the log must have this record
    #[arg(long, value_name = "SEQUENCE:HASH")]
    head: Vec<Head>,
}

/// The records of a log.
#[derive(Debug, Serialize)]
struct Shown {
    /// The log.
    log: PathBuf,
    /// Its records, oldest first.
    records: Vec<Record>,
    /// Whether the log is whole as far as it can be told without a head that was kept elsewhere.
    whole: bool,
}

/// What `audit verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    /// The log.
    log: PathBuf,
    /// How many records it has.
    records: u64,
    /// Where it ends, `SEQUENCE:HASH`: to be kept elsewhere.
    head: Head,
    /// The heads that it was held against, `SEQUENCE:HASH` each.
    anchors: Vec<Head>,
    /// What is wrong; empty if the log is whole.
    problems: Vec<Finding>,
    /// What is legal and worth knowing: what a crash left, and what cannot be told.
    notes: Vec<Finding>,
}

pub(super) fn run(
    global: &Global,
    given: &Given,
    command: &AuditCommand,
    output: &Output,
) -> Result<(), Error> {
    match command {
        AuditCommand::Show(args) => {
            show(&Place::find(global, given, args.log.as_deref())?, args.last, output)
        }
        AuditCommand::Verify(args) => {
            verify(&Place::find(global, given, args.log.as_deref())?, &args.head, output)
        }
    }
}

/// Which log is meant.
struct Place {
    log: PathBuf,
    /// The file that names its end; a copied log has none.
    head: Option<PathBuf>,
}

impl Place {
    fn find(global: &Global, given: &Given, log: Option<&Path>) -> Result<Self, Error> {
        if let Some(log) = log {
            return Ok(Self { log: log.to_owned(), head: None });
        }
        let settings = Settings::resolve(global, given, &Surroundings::of_process())?;
        let directory = settings.audit_directory(&settings.load_host()?)?.value;
        Ok(Self { log: directory.join(LOG_NAME), head: Some(directory.join(HEAD_NAME)) })
    }

    /// Reads the log to its end.
    fn read(&self, anchors: &[Head], each: impl FnMut(&Record)) -> Result<Findings, Error> {
        let source = FileSource::open(&self.log)?;
        let reader = BufReader::with_capacity(1 << 16, source.file());
        chain::verify(reader, anchors, each).map_err(Error::file("read", &self.log))
    }

    /// The end of the log by the file beside it. To be read before the log: records may be added meanwhile.
    fn head(&self) -> Result<Option<Head>, String> {
        let Some(path) = &self.head else { return Ok(None) };
        let bytes = FileSource::read_small(path).map_err(|e| e.to_string())?;
        let text = std::str::from_utf8(&bytes).ok().and_then(|t| t.strip_suffix('\n'));
        let head = text.and_then(|t| t.parse().ok());
        head.map(Some).ok_or_else(|| format!("`{}` does not say where the log ends", path.display()))
    }
}

fn verify(place: &Place, given: &[Head], output: &Output) -> Result<(), Error> {
    let (beside, damage) = match place.head() {
        Ok(head) => (head, None),
        Err(reason) => (None, Some(reason)),
    };
    let anchors: Vec<Head> = beside.into_iter().chain(given.iter().copied()).collect();
    let Findings { records, head, mut problems, mut notes } = place.read(&anchors, |_| {})?;
    if let Some(detail) = damage {
        problems.push(Finding { line: 0, detail });
    }
    if let Some(beside) = beside.filter(|b| b.sequence < head.sequence) {
        let detail = format!(
            "the log goes on behind its head, record {}: a crash, a power failure, or a signature that is made now",
            beside.sequence
        );
        notes.push(Finding { line: 0, detail });
    }
    if anchors.is_empty() {
        let detail = "without `--head` nobody can tell whether records were cut off the end".into();
        notes.push(Finding { line: 0, detail });
    }
    let verified = Verified { log: place.log.clone(), records, head, anchors, problems, notes };
    output.result(&verified, || human(&verified))?;
    match verified.problems.first() {
        None => Ok(()),
        Some(problem) => {
            Err(Error::Verification { subject: place.log.display().to_string(), reason: line_of(problem) })
        }
    }
}

fn line_of(finding: &Finding) -> String {
    match finding.line {
        0 => finding.detail.clone(),
        line => format!("line {line}: {}", finding.detail),
    }
}

fn human(verified: &Verified) -> String {
    let mut text = String::new();
    for problem in &verified.problems {
        text.push_str(&format!("FAIL {}\n", line_of(problem)));
    }
    for note in &verified.notes {
        text.push_str(&format!("warn {}\n", line_of(note)));
    }
    let mark = if verified.problems.is_empty() { "ok  " } else { "FAIL" };
    text.push_str(&format!("{mark} `{}`: {} records\n", verified.log.display(), verified.records));
    text.push_str(&format!("head {}\n", verified.head));
    text
}

fn show(place: &Place, last: Option<usize>, output: &Output) -> Result<(), Error> {
    let mut records = std::collections::VecDeque::new();
    let findings = place.read(&[], |record| {
        if last.is_some_and(|last| records.len() >= last.max(1)) {
            records.pop_front();
        }
        if last != Some(0) {
            records.push_back(record.clone());
        }
    })?;
    let whole = findings.problems.is_empty();
    let shown = Shown { log: place.log.clone(), records: records.into(), whole };
    output.result(&shown, || shown.records.iter().map(row).collect())?;
    if !whole {
        output.warn(format_args!("`{}` is not whole; `hsmsign audit verify` says why", place.log.display()));
    }
    Ok(())
}

fn row(record: &Record) -> String {
    let Record { sequence, time, .. } = record;
    let time = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    let line = match &record.event {
        Event::Repair(repair) => {
            format!(
                "{sequence:>6} {time} repair: {} bytes that are no record stand before",
                repair.torn_len_bytes
            )
        }
        Event::Signature(signed) => {
            let who = signed.requester.user.clone().unwrap_or_else(|| signed.requester.uid.to_string());
            let rehearsal = if signed.rehearsal { " REHEARSAL" } else { "" };
            format!(
                "{sequence:>6} {time} {:<10} {} {} in `{}` ({}) {} for {who}{rehearsal}",
                signed.role,
                signed.artifact,
                signed.algorithm,
                signed.token.label,
                signed.token.serial,
                short(&signed.key)
            )
        }
    };
    format!("{}\n", super::output::printable(&line, &[]))
}

/// Enough of a fingerprint to tell keys apart.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..19).unwrap_or(fingerprint)
}
