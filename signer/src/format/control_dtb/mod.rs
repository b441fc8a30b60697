//! Control device trees: the public keys that a boot stage trusts, under `/signature`.
//!
//! Source: U-Boot `doc/usage/fit/signature.rst`, `lib/rsa/rsa-sign.c`, `lib/ecdsa/ecdsa-libcrypto.c`.

pub mod appended;
mod error;
mod key_node;
mod place;
mod read;
mod rsa_numbers;
mod settings;
mod verify;

pub use error::ControlDtbError;
pub use key_node::{KeyEntry, Required, crypto_name};
pub use place::{ForeignKey, Location, Placed, put_key, put_key_in_file};
pub use read::{KeyNode, Keys, read_keys};
pub use rsa_numbers::{RsaNumbers, RsaNumbersError};
pub use settings::weaknesses;
pub use verify::{Expected, Stage, check_tree};

/// Control trees are read whole; honest ones have tens of KiB, QEMU's padded dump 1 MiB.
pub const MAX_TREE_BYTES: usize = 16 << 20;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
