//! Keys in PKCS#11 tokens: found, checked, and asked to sign one digest.
//!
//! A [`dev::DevKey`] and a release key are different types, made by different constructors; what they
//! share is the private machinery in `pkcs11`.

pub mod certificate;
pub mod dev;
mod error;
pub mod latch;
mod module_file;
mod pin;
mod pkcs11;
pub mod release;
pub mod uri;

pub use error::KeyError;
pub use module_file::check as check_module_file;
