//! Finds what must not be in a source archive, an image or a repository: private keys, PINs, key stores,
//! tokens, and public example keys where something may trust them.
//!
//! [`Scanner`] is a [`Visitor`](crate::content::Visitor): `content` opens whatever holds something, and shows it
//! every file. A [`stream`](Scanner::bytes) is searched for a short list of markers in one pass; what
//! is around a marker is then read by a parser of that format, so that a finding is a key and not a word.
//! No secret is ever in a finding: it says where, what, and the fingerprint of the public half.

mod allow;
mod der;
mod file;
mod finding;
mod markers;
mod pem;
mod pin;
mod scanner;
mod self_test;
mod ssh;
mod stream;

pub use allow::{Judged, judge};
pub use finding::Finding;
pub use scanner::{Known, Scanner};
