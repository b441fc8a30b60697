//! What a file holds: opens archives, compressed files and file systems, one inside the other.
//!
//! [`look`] walks down to the files that hold no others and hands each to a [`Visitor`]. What a thing is
//! follows from its bytes, never from its name. Every container is hostile: depth, bytes, entries and
//! memory are limited by [`Limits`], and what cannot be opened is an [`Obstacle`] that the visitor is told
//! of, never a silent omission.
//!
//! Archives and file systems are read by libraries, all of them in Rust. Ours are the cpio reader (swupdate's
//! bundles are our subject) and the device tree.
//!
//! Not looked at: names and targets of links, extended attributes, freed blocks of a file system, and gaps
//! between a file system's files.

mod ar;
mod body;
mod compressed;
mod cpio;
mod disk;
mod ext4;
mod fat;
mod guard;
mod kind;
mod limits;
mod obstacle;
mod squashfs;
mod tape;
mod tree;
mod walk;
mod window;
mod zip;

pub(crate) use compressed::unpack;
pub(crate) use fat::{each_file as each_fat_file, is_fat, stray_byte as fat_stray_byte};
pub use kind::{HEAD_LEN_BYTES, Kind};
pub use limits::Limits;
pub use obstacle::Obstacle;
pub use walk::{Entry, Visitor, look};
pub use window::{SharedSource, Window};
