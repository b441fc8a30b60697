//! Signs firmware artifacts with keys held in PKCS#11 tokens.
//!
//! Data flows one way: command (`cli`) → `policy` (mode, role, pins) → `key` (opened, checked) →
//! `format` (plan, digest out, signature in, edits out) → `io` (atomic output).
//!
//! * [`vocabulary`]: mode and role.
//! * [`crypto`]: the vocabulary all others share: digests, algorithms, public keys, signatures.
//! * [`request`]: the signing request, the seam between formats and keys.
//! * [`format`]: artifact formats; bytes in, edits out; know nothing of keys, files or modes.
//! * [`content`]: what a file holds: archives, compressed files, file systems, one inside the other.
//! * [`policy`]: where dev and release part, and the only place; decisions over plain data.
//! * [`key`]: finds one object in a token and answers one request; knows no file format.
//! * [`audit`]: the log of release signatures, written before they are handed out.
//! * [`agent`]: holds release keys for builds, which ask it over a Unix socket.
//! * [`config`]: `hsmsign.yaml` and the host settings.
//! * [`gate`]: the release gate: recognises artifacts, judges them and the chain of trust between them.
//! * [`scan`]: private keys, PINs and example keys in whatever `content` shows.
//! * [`io`]: bounded reads of files; whole outputs or none.
//! * [`cli`]: one file per subcommand, each a flow read from top to bottom.

#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod cli;
pub mod config;
pub mod content;
pub mod crypto;
pub mod error;
pub mod format;
pub mod gate;
pub mod io;
pub mod key;
pub mod policy;
pub mod report;
pub mod request;
pub mod scan;
pub mod vocabulary;

#[cfg(test)]
mod testing;
