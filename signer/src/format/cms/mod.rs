//! Detached CMS `SignedData` (RFC 5652) over a digest, with a signature made elsewhere.
//!
//! [`plan`] builds everything but the signature, [`attach`] puts it in; [`Message`] reads one back and
//! checks it strictly. Content never enters: callers hash it themselves, so its size does not matter.
//!
//! Two shapes are in use here: swupdate's (certificates, with or without signed attributes) and the
//! kernel's for dm-verity root hashes (neither).

mod algorithm;
mod chain;
mod error;
mod message;
mod plan;
mod structure;

pub use chain::{ChainRules, Purpose};
pub use error::CmsError;
pub use message::{ChainSigner, KnownSigner, Message};
pub use plan::{Options, Plan, attach, plan};
