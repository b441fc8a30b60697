//! What a file of a deploy directory can be.

use crate::format::{control_dtb::Stage, disk::Partition, verity::Tree};
use std::{fmt, ops::Range};

/// What a FAT file system is called.
pub(super) const FAT: &str = "vfat";

/// What a file is, by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A FIT.
    Fit,
    /// The control tree of a boot stage.
    ControlTree,
    /// Another device tree, or an overlay.
    DeviceTree,
    /// U-Boot or SPL.
    Program {
        /// Which of them.
        stage: Stage,
        /// Where its control tree lies, if it has one behind it.
        tree: Option<Range<u64>>,
    },
    /// A file system with a dm-verity hash area behind it.
    Verity(Tree),
    /// A dm-verity hash area in a file of its own.
    HashArea,
    /// A root hash, hexadecimal.
    RootHash,
    /// `OUT.verity.json`.
    VerityDescription,
    /// A detached CMS signature, such as a root hash's.
    Signature,
    /// A swupdate bundle.
    Bundle,
    /// A kernel, in the form named.
    Kernel(&'static str),
    /// A file system of that type.
    FileSystem(&'static str),
    /// A cpio archive.
    Initramfs,
    /// A disk with these partitions.
    Disk(Vec<Partition>),
    /// U-Boot's legacy image, which has no signature.
    LegacyImage,
    /// A stored U-Boot environment.
    Environment,
    /// Something else that a device runs.
    Firmware(&'static str),
    /// Certificates, PEM or DER.
    Certificates,
    /// A public key, PEM or DER.
    PublicKey,
    /// A private key.
    PrivateKey,
    /// A compressed file, and what it holds as far as its beginning tells.
    Compressed(Compression, Box<Kind>),
    /// A compressed file that cannot be looked into.
    Opaque(&'static str),
    /// It begins like something that it is not, or is cut off.
    Damaged {
        /// What it begins like.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Nothing that a device runs or trusts: what it is, for people.
    ByProduct(&'static str),
    /// Bytes that tell nothing.
    Unknown,
}

/// A compression that can be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// The .lzma format.
    Lzma,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// LZ4 frames, or the legacy format of Linux kernels.
    Lz4,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        })
    }
}

impl Kind {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Fit => "FIT".into(),
            Self::ControlTree => "control tree".into(),
            Self::DeviceTree => "device tree".into(),
            Self::Program { stage, tree } => {
                let name = match stage {
                    Stage::Spl => "SPL",
                    Stage::UBoot => "U-Boot",
                };
                let tree = if tree.is_some() { "with" } else { "without" };
                format!("{name} {tree} control tree")
            }
            Self::Verity(_) => "dm-verity image".into(),
            Self::HashArea => "dm-verity hash area".into(),
            Self::RootHash => "root hash".into(),
            Self::VerityDescription => "dm-verity description".into(),
            Self::Signature => "CMS signature".into(),
            Self::Bundle => "swupdate bundle".into(),
            Self::Kernel(form) => format!("kernel ({form})"),
            Self::FileSystem(name) => format!("file system ({name})"),
            Self::Initramfs => "cpio archive".into(),
            Self::Disk(partitions) => format!("disk with {} partitions", partitions.len()),
            Self::LegacyImage => "legacy image".into(),
            Self::Environment => "U-Boot environment".into(),
            Self::Firmware(name) | Self::ByProduct(name) => (*name).into(),
            Self::Certificates => "certificates".into(),
            Self::PublicKey => "public key".into(),
            Self::PrivateKey => "private key".into(),
            Self::Compressed(compression, inner) => format!("{}, {compression}", inner.describe()),
            Self::Opaque(name) => format!("compressed ({name})"),
            Self::Damaged { what, .. } => format!("damaged {what}"),
            Self::Unknown => "unknown".into(),
        }
    }

    /// What is behind any compression.
    #[must_use]
    pub fn inner(&self) -> &Self {
        match self {
            Self::Compressed(_, inner) => inner.inner(),
            other => other,
        }
    }

    /// Whether there is anything to check about it.
    #[must_use]
    pub fn is_artifact(&self) -> bool {
        !matches!(self.inner(), Self::ByProduct(_) | Self::Unknown)
    }
}
