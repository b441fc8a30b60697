//! FIT images: which bytes U-Boot's signatures cover, signing and verifying them.
//!
//! The list of signed nodes is computed from each configuration, as U-Boot does since March 2026, and
//! never read from `hashed-nodes`. Data of images is hashed where it lies and never held in memory.
//!
//! Sources: the FIT specification v1.0 (<https://fitspec.osfw.foundation>); U-Boot
//! `doc/usage/fit/signature.rst`, and for the regions `boot/image-fit-sig.c` and `boot/fdt_region.c`.

mod content;
mod error;
mod external;
mod hash;
mod image;
mod nodes;
mod plan;
mod properties;
mod region;
mod signature_node;
mod stage_trust;
mod verify;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use content::ImageData;
pub use error::{FitError, Problem};
pub use image::{Fit, Place};
pub use plan::{Plan, Signing, plan};
pub use stage_trust::{DeviceTreeEdit, StageTrust};
pub use verify::verify;

/// Deepest nesting that U-Boot's signature code walks.
pub const MAX_DEPTH: usize = 31;
/// Longest node path that U-Boot's signature code walks, in bytes.
pub const MAX_PATH_LEN_BYTES: usize = 197;
/// Most nodes that U-Boot lets one signature cover, an image counted each time it is named.
pub const MAX_SIGNED_NODES: usize = 100;
/// Most bytes that their paths may take, each with its terminator.
pub const MAX_SIGNED_PATHS_LEN_BYTES: usize = 4096;
/// Most images, and most configurations, that a FIT may have.
pub const MAX_IMAGES: usize = 4096;
/// Most `hash` nodes, and most `signature` nodes, that one image or configuration may have.
pub const MAX_HASHES: usize = 32;
/// Most `signature` nodes that all images and configurations of a FIT may have together: enough for a FIT
/// of every board of an architecture.
pub const MAX_SIGNATURES: usize = 2048;
/// Most tags (nodes' begins and ends, properties) that all signatures of a FIT may cover together: 2,048
/// configurations with a thousand each.
pub const MAX_SIGNED_TAGS: usize = 2 << 20;
/// The largest FIT that U-Boot verifies unless built otherwise (`FIT_SIGNATURE_MAX_SIZE`), in bytes.
pub const DEFAULT_MAX_FIT_LEN_BYTES: u64 = 256 << 20;
/// Largest device tree image that a [`StageTrust`] is written into, in bytes.
pub const MAX_DEVICE_TREE_LEN_BYTES: usize = 16 << 20;
/// Most bytes of device tree images that are looked into in one FIT, since they are held in memory: Linux'
/// trees of all arm64 boards take some 90 MiB.
pub const MAX_DEVICE_TREES_LEN_BYTES: usize = 128 << 20;

/// What `signer-name` says in signature nodes of ours.
pub const SIGNER_NAME: &str = "hsmsign";
