//! cpio archives in newc and crc format, as swupdate bundles use them.
//!
//! [`read`] lists what is in one, [`Layout`] says what a new one looks like around its payloads.
//!
//! Source: cpio(5); swupdate `core/cpio_utils.c` for what swupdate takes.

mod error;
mod header;
mod layout;
mod read;
mod sum;

#[cfg(test)]
mod tests;

pub use error::{CpioError, NameProblem};
pub(crate) use header::{HEADER_LEN_BYTES, Header, TRAILER};
pub use layout::{Layout, NewMember};
pub use read::{Member, read};
pub use sum::Sum;
