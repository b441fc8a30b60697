//! `verify rootfs`.

use super::{Beside, by_fit, locate, on_all_cores};
use crate::{
    cli::{Context, options::TrustArgs},
    error::Error,
    format::{
        Source,
        cms::KnownSigner,
        verity::{self, Placement, SignedImage, VerityError},
    },
    io::FileSource,
    report::Report,
    request::Role,
};
use std::path::PathBuf;

/// Longest root hash file that is read; more than any root hash has.
const MAX_ROOT_HASH_LEN_BYTES: usize = 4096;
/// Longest signature that is read.
const MAX_SIGNATURE_LEN_BYTES: usize = 64 * 1024;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Checks the root hash's signature, every hash block and every data block. Root hash, signature and description are
looked for beside the image (or the hash file), under the names that `sign rootfs` gives them.

The root hash does not cover how many data blocks there are: an image in which a level of the hash tree stands in the
data's place has the same root hash. The signed FIT names the sizes; with --fit it is verified too, and must agree.

Examples:
  hsmsign verify rootfs rootfs.ext4.verity --fit fitImage.signed
  hsmsign verify rootfs rootfs.squashfs --hash-file rootfs.hash --trust certs/rootfs-2026.pem")]
pub struct VerifyRootfsArgs {
    /// The signed image, or with --hash-file the data alone
    image: PathBuf,
    /// Superblock and hash tree, where they are not behind the data
    #[arg(long, value_name = "FILE")]
    hash_file: Option<PathBuf>,
    /// The root hash, hexadecimal, from a source you trust [default: from the root hash file]
    #[arg(long, value_name = "HEX")]
    root_hash: Option<String>,
    /// The file with the root hash [default: IMAGE.roothash]
    #[arg(long, value_name = "FILE", alias = "roothash")]
    root_hash_file: Option<PathBuf>,
    /// The root hash's signature [default: IMAGE.roothash.p7s]
    #[arg(long, value_name = "FILE")]
    root_hash_signature: Option<PathBuf>,
    /// The signed FIT that names this root filesystem: it must be good, and say the same sizes
    #[arg(long, value_name = "FIT")]
    fit: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(in crate::cli) fn verify(context: &Context<'_>, args: &VerifyRootfsArgs) -> Result<(), Error> {
    let trusted = context.trust(Role::Rootfs, &args.trust)?;
    let data = FileSource::open(&args.image)?;
    let hash_file = args.hash_file.as_deref().map(FileSource::open).transpose()?;
    let area = hash_file.as_ref().unwrap_or(&data);
    let beside = Beside::new(area.path());
    let mut report = Report::new(args.image.display().to_string());

    let tree = match &hash_file {
        Some(hash_file) => locate::separate(hash_file)?,
        None => {
            locate::appended(&data)?.ok_or(VerityError::NoHashArea).map_err(Error::malformed(&args.image))?
        }
    };
    let known: Vec<_> = trusted
        .iter()
        .map(|t| KnownSigner { public_key: &t.public_key, certificate: t.certificate.as_deref() })
        .collect();
    let root_hash_file = args.root_hash_file.as_ref().unwrap_or(&beside.root_hash);
    let root_hash = match &args.root_hash {
        Some(text) => Some(text.clone()),
        None => locate::small_file(root_hash_file, MAX_ROOT_HASH_LEN_BYTES)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    };
    let signature_file = args.root_hash_signature.as_ref().unwrap_or(&beside.signature);
    let signature = locate::small_file(signature_file, MAX_SIGNATURE_LEN_BYTES)?;
    let description = locate::description(&beside.description)?;
    let places = [root_hash_file, signature_file, &beside.description].map(|p| p.display().to_string());
    let [root_hash_place, signature_place, description_place] = &places;
    let image = SignedImage {
        data: &data,
        hash_file: hash_file.as_ref().map(|file| file as &dyn Source),
        tree: &tree,
        root_hash: (root_hash_place, root_hash.as_deref()),
        signature: (signature_place, signature.as_deref()),
        description: (description_place, description.as_ref()),
    };
    let bar = context.output.progress("verifying", tree.data_len_bytes());
    let root_hash = on_all_cores(&bar, |work| verity::verify(&image, &known, work, &mut report))
        .map_err(Error::malformed(&args.image))?;
    if let (Some(fit), Some(root_hash)) = (&args.fit, root_hash) {
        let placement = if hash_file.is_some() { Placement::Separate } else { Placement::Appended };
        let found = (&tree, placement, &root_hash);
        by_fit::check(context, &args.trust, fit, found, &mut report)?;
    }
    context.output.report(&report)
}
