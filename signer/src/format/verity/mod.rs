//! dm-verity: hash tree, superblock, root hash and its signature, as `veritysetup format` makes them.
//!
//! A [`Tree`] says where everything lies for given parameters and image size. [`build`] computes the hash
//! area and [`check`] compares one with its data; both read the image once, on all cores, with memory
//! that does not depend on its size. [`signature`] wraps the root hash for the kernel, [`Description`] tells
//! boot scripts all they need.
//!
//! Source: Linux `Documentation/admin-guide/device-mapper/verity.rst`; cryptsetup's wiki page `DMVerity`.

mod build;
mod check;
mod derive;
mod description;
mod engine;
mod error;
mod file_system;
mod parameters;
pub mod signature;
mod superblock;
mod table;
mod tree;
mod uuid;
mod verify;

pub use build::{HashArea, build, stored_root_hash};
pub use check::{Findings, check};
pub use derive::{derived_salt, derived_uuid};
pub use description::{Description, DescriptionSignature, Placement, parse_root_hash};
pub use engine::Work;
pub use error::VerityError;
pub use file_system::ext_block_size;
pub use parameters::{BlockSize, MAX_SALT_LEN_BYTES, Parameters, parse_salt};
pub use superblock::{SUPERBLOCK_LEN_BYTES, Superblock, find_appended};
pub use table::{dm_mod_create, dm_table};
pub use tree::{Level, Tree};
pub use uuid::Uuid;
pub use verify::{SignedImage, verify};
