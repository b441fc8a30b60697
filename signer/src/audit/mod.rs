//! The audit log of release signatures: append-only JSON lines, each bound to the one before by its hash.
//!
//! The format is documented in `docs/audit-log.md`, well enough to check a log without this program.
//!
//! * [`record`]: what stands in a line.
//! * [`Head`]: where a log ends: the last record's number and the hash of its line.
//! * [`chain`]: reads a log and says whether it is whole. Pure.
//! * [`Log`]: appends, synced before [`Log::append`] returns; for many threads and many processes.

pub mod chain;
mod error;
mod file;
mod head;
mod log;
pub mod record;
mod requester;

pub use error::AuditError;
pub use file::look;
pub use head::{Hash, Head};
pub use log::{Journal, Log};
pub use record::Signed;
pub use requester::{Requester, Via};

/// Name of the log in its directory.
pub const LOG_NAME: &str = "log.jsonl";

/// Name of the file beside it that says where the log ends.
pub const HEAD_NAME: &str = "head";

#[cfg(test)]
mod tests;
