//! Control device trees: the public keys that a boot stage trusts, under `/signature`.

pub mod appended;
mod rsa_numbers;

pub use rsa_numbers::{RsaNumbers, RsaNumbersError};

/// Control trees are read whole; honest ones have tens of KiB, QEMU's padded dump 1 MiB.
pub const MAX_TREE_BYTES: usize = 16 << 20;
