//! `verify deploy` with the real binary over a whole deploy directory (invariant 4): good ones ship, and each kind of
//! mistake and tampering is refused for the reason expected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod accepted;
mod anchors;
#[path = "../common/mod.rs"]
mod common;
mod disks;
mod enclosed;
mod fixture;
mod refused;
