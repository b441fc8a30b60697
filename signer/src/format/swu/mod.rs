//! swupdate bundles: a cpio archive of `sw-description`, its signature, and the files that it names.
//!
//! [`Plan`] puts a bundle together, [`Bundle`] reads one, [`measure`] hashes (and copies) payloads in one
//! pass, [`seal`] signs the description and [`verify`] judges all of it.
//!
//! Source: swupdate `doc/source/swupdate.rst`, `doc/source/signed_images.rst`, `core/stream_interface.c`.

mod bundle;
mod error;
mod measure;
mod plan;
mod seal;
mod verify;

#[cfg(test)]
mod tests;

pub use bundle::Bundle;
pub use error::SwuError;
pub use measure::{Copy, Fault, Measured, Payload, Work, measure};
pub use plan::Plan;
pub use seal::{Form, Seal, seal};
pub use verify::{Trusted, verify};

/// The first member of every bundle.
pub const DESCRIPTION_NAME: &str = "sw-description";
/// The second member of a signed bundle.
pub const SIGNATURE_NAME: &str = "sw-description.sig";
