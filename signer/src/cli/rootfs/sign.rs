//! `sign rootfs`.

use super::{Beside, locate, on_all_cores};
use crate::{
    audit::Head,
    cli::{Context, overwrite::refuse_overwrite},
    config::ConfigError,
    crypto::{Digest, HashAlgorithm},
    error::Error,
    format::{
        Source,
        verity::{
            self, BlockSize, Description, DescriptionSignature, Parameters, Placement, Tree, Uuid,
            VerityError, build, derived_salt, derived_uuid, ext_block_size, parse_salt, signature,
        },
    },
    io::{AtomicFile, FileArea, FileSource},
    policy::{Mode, Refusal},
    request::{Answer, Role},
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Beside OUT appear OUT.roothash (the root hash in hexadecimal), OUT.roothash.p7s (its signature, as the kernel and
veritysetup take it) and OUT.verity.json (all that a boot script needs, and a template for dm-mod.create).

Signing a signed image again keeps its data, salt, UUID and block sizes, and replaces the signature.

Examples:
  hsmsign sign rootfs rootfs.ext4 -o rootfs.ext4.verity
  hsmsign sign rootfs rootfs.squashfs -o rootfs.hash --hash-file
  veritysetup open --hash-offset=OFFSET --root-hash-signature=rootfs.ext4.verity.roothash.p7s \\
      /dev/mmcblk0p2 rootfs /dev/mmcblk0p2 $(cat rootfs.ext4.verity.roothash)")]
pub struct SignRootfsArgs {
    /// The root filesystem: ext4, squashfs, erofs or anything else
    image: PathBuf,
    /// Where to write image, superblock and hash tree
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Write superblock and hash tree alone, without the image
    #[arg(long)]
    hash_file: bool,
    /// The salt, hexadecimal; `-` for none [default: derived from product and size]
    #[arg(long, value_name = "HEX", value_parser = parse_salt)]
    salt: Option<Salt>,
    /// The superblock's UUID [default: derived from product and size]
    #[arg(long, conflicts_with = "no_superblock")]
    uuid: Option<Uuid>,
    /// The hash function: sha256, sha384 or sha512 [default: sha256]
    #[arg(long, value_name = "NAME", value_parser = parse_hash)]
    hash: Option<HashAlgorithm>,
    /// Size of data blocks; kernels take it up to their page size [default: 4096]
    #[arg(long, value_name = "BYTES", value_parser = parse_block_size)]
    data_block_size: Option<BlockSize>,
    /// Size of the tree's blocks [default: 4096]
    #[arg(long, value_name = "BYTES", value_parser = parse_block_size)]
    hash_block_size: Option<BlockSize>,
    /// Write no superblock; the parameters then stand in OUT.verity.json alone
    #[arg(long)]
    no_superblock: bool,
}

/// clap takes a bare `Vec` for an option that may be given several times.
type Salt = Vec<u8>;

fn parse_hash(name: &str) -> Result<HashAlgorithm, String> {
    HashAlgorithm::from_name(name).ok_or_else(|| "one of sha256, sha384, sha512 is expected".into())
}

fn parse_block_size(text: &str) -> Result<BlockSize, String> {
    let bytes = text.parse().map_err(|_| "a number of bytes is expected".to_owned())?;
    BlockSize::new(bytes).map_err(|e| e.to_string())
}

/// What `sign rootfs` did.
#[derive(Debug, serde::Serialize)]
struct Signed {
    /// The image, or with `--hash-file` the superblock and tree alone.
    output: String,
    /// The file with the root hash.
    root_hash_file: String,
    /// The file with its signature.
    signature: String,
    /// The file with the description.
    description: String,
    /// The root hash, hexadecimal.
    root_hash: String,
    /// Where the hash area begins in `output`, in bytes.
    hash_offset_bytes: u64,
    /// Zero bytes that the image lacked to a whole number of data blocks.
    padding_bytes: u64,
    /// Whether the image was signed before, so that its tree and signature were replaced.
    signed_before: bool,
    /// Algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    algorithm: String,
    /// SubjectPublicKeyInfo SHA-256 of the key, `sha256:…`.
    fingerprint: String,
    /// Whose key it is: `dev` or `release`.
    mode: Mode,
    /// Whether a software token stood in for the HSM: what is signed so is not to be shipped.
    rehearsal: bool,
    /// Where the audit log ends after this signature, `SEQUENCE:HASH`, to be kept elsewhere; null in dev mode.
    audit_head: Option<Head>,
}

/// An image, and what is known about it before it is hashed.
struct Input {
    source: FileSource,
    /// The hash area behind the data, if it was signed before.
    old: Option<Tree>,
    /// Length of the data without that.
    len_bytes: u64,
}

pub(in crate::cli) fn sign(context: &Context<'_>, args: &SignRootfsArgs) -> Result<(), Error> {
    let signer = context.signer(Role::Rootfs)?;
    let identity = signer.identity();
    signature::check_algorithm(identity.algorithm)
        .map_err(|e| ConfigError::Setup { message: format!("role `rootfs`: {e}"), hint: e.hint() })?;
    let certificate = identity.certificate.as_deref().ok_or(Refusal::NoCertificate(Role::Rootfs))?;

    let input = open(&args.image)?;
    refuse_to_overwrite_the_image(args)?;
    let tree = tree(context, args, &input)?;
    say_what_may_surprise(context, args, &input, &tree);
    let mut output = AtomicFile::create(&args.output)?;
    let root_hash = write_area(context, args, &input, &tree, &mut output)?;
    say_whether_data_changed(context, &input, &root_hash);

    let malformed = |e: VerityError| Error::malformed(&args.image)(e);
    let plan = signature::plan(&root_hash, identity.algorithm, certificate).map_err(malformed)?;
    let answer = signer.answer(&plan.request(&args.image.display().to_string()))?;
    let pkcs7 = signature::attach(&plan, &answer).map_err(malformed)?;

    let placement = if args.hash_file { Placement::Separate } else { Placement::Appended };
    let description = describe(&tree, &root_hash, input.len_bytes, placement, signer.as_ref());
    let json = serde_json::to_string_pretty(&description).map_err(|e| Error::Internal(e.to_string()))?;

    let beside = Beside::new(&args.output);
    let small = |path: &Path, bytes: &[u8]| {
        let mut file = AtomicFile::create(path)?;
        file.write_all(bytes).map_err(Error::file("write", path))?;
        Ok::<_, Error>(file)
    };
    let outputs = vec![
        output,
        small(&beside.root_hash, root_hash.to_hex().as_bytes())?,
        small(&beside.signature, &pkcs7)?,
        // Last: whoever finds a new description finds all the rest.
        small(&beside.description, format!("{json}\n").as_bytes())?,
    ];
    AtomicFile::commit_all(outputs)?;

    let signed = Signed {
        output: args.output.display().to_string(),
        root_hash_file: beside.root_hash.display().to_string(),
        signature: beside.signature.display().to_string(),
        description: beside.description.display().to_string(),
        root_hash: root_hash.to_hex(),
        hash_offset_bytes: tree.hash_offset_bytes,
        padding_bytes: tree.data_len_bytes().saturating_sub(input.len_bytes),
        signed_before: input.old.is_some(),
        algorithm: identity.algorithm.to_string(),
        fingerprint: identity.public_key.fingerprint(),
        mode: identity.mode,
        rehearsal: identity.rehearsal,
        audit_head: context.audit_head(),
    };
    context.output.result(&signed, String::new)?;
    context.output.note(format_args!(
        "signed `{}`: root hash {} by {} ({})",
        args.image.display(),
        signed.root_hash,
        signed.fingerprint,
        signed.algorithm
    ));
    Ok(())
}

fn open(image: &Path) -> Result<Input, Error> {
    let source = FileSource::open(image)?;
    let old = locate::appended(&source)?;
    let len_bytes = old.as_ref().map_or(source.len_bytes(), Tree::data_len_bytes);
    Ok(Input { source, old, len_bytes })
}

/// Whole output over image is signing in place; anything else over it would lose the data.
fn refuse_to_overwrite_the_image(args: &SignRootfsArgs) -> Result<(), Error> {
    let beside = Beside::new(&args.output);
    let mut outputs = vec![&beside.root_hash, &beside.signature, &beside.description];
    if args.hash_file {
        outputs.push(&args.output);
    }
    outputs.into_iter().try_for_each(|output| refuse_overwrite(output, [args.image.as_path()]))
}

/// The tree to make: as the options say, else as the image was signed before, else the defaults.
fn tree(context: &Context<'_>, args: &SignRootfsArgs, input: &Input) -> Result<Tree, Error> {
    let old = input.old.as_ref().map(|t| &t.parameters);
    let data_block_size =
        args.data_block_size.or(old.map(|p| p.data_block_size)).unwrap_or(BlockSize::DEFAULT);
    let data_len_bytes = input.len_bytes.next_multiple_of(data_block_size.bytes_u64());
    let superblock = !args.no_superblock && old.is_none_or(|p| p.uuid.is_some() || args.uuid.is_some());
    let uuid = superblock.then(|| {
        let kept = args.uuid.or(old.and_then(|p| p.uuid));
        kept.unwrap_or_else(|| derived_uuid(context.product(), Role::Rootfs, data_len_bytes))
    });
    let salt = args.salt.clone().or(old.map(|p| p.salt.clone()));
    let parameters = Parameters {
        hash: args.hash.or(old.map(|p| p.hash)).unwrap_or(HashAlgorithm::Sha256),
        data_block_size,
        hash_block_size: args
            .hash_block_size
            .or(old.map(|p| p.hash_block_size))
            .unwrap_or(BlockSize::DEFAULT),
        salt: salt.unwrap_or_else(|| derived_salt(context.product(), Role::Rootfs, data_len_bytes)),
        uuid,
    };
    let tree = if args.hash_file {
        Tree::separate(parameters, input.len_bytes)
    } else {
        Tree::appended(parameters, input.len_bytes)
    };
    tree.map_err(Error::malformed(&args.image))
}

fn say_what_may_surprise(context: &Context<'_>, args: &SignRootfsArgs, input: &Input, tree: &Tree) {
    let image = args.image.display();
    let data_block_size = tree.parameters.data_block_size;
    let padded = tree.data_len_bytes();
    if padded != input.len_bytes {
        let missing = padded - input.len_bytes;
        let text = format!(
            "`{image}` is not a whole number of {data_block_size}-byte blocks: it counts as padded with {missing} zero bytes"
        );
        if args.hash_file {
            context
                .output
                .warn(format_args!("{text}; pad it to {padded} bytes where it is written to a device"));
        } else {
            context.output.note(text);
        }
    }
    if input.old.is_some() && !args.hash_file {
        context
            .output
            .note(format_args!("`{image}` is signed already: its hash tree and signature are replaced"));
    }
    if data_block_size > BlockSize::DEFAULT {
        context.output.warn(format_args!(
            "data blocks of {data_block_size} bytes work only on kernels whose pages are as large"
        ));
    }
    match ext_block_size(&input.source) {
        Some(size) if size < data_block_size.bytes_u64() => context.output.warn(format_args!(
            "`{image}` is an ext4 file system with blocks of {size} bytes, which the kernel does not mount on \
             dm-verity's {data_block_size}-byte blocks; make it with `mkfs.ext4 -b {data_block_size}`, or sign with \
             `--data-block-size {size}`"
        )),
        _ => {}
    }
}

/// A promoted image must be the one that was tested, so a change since the last signature is worth knowing.
fn say_whether_data_changed(context: &Context<'_>, input: &Input, root_hash: &Digest) {
    let Some(old) = &input.old else { return };
    match verity::stored_root_hash(&input.source, old) {
        Ok(Some(stored)) if stored != *root_hash && old.parameters.hash == root_hash.algorithm() => {
            context.output.warn(format_args!(
                "`{}` had root hash {} when it was signed before: data or parameters have changed since",
                input.source.path().display(),
                stored.to_hex()
            ));
        }
        _ => {}
    }
}

/// Writes data (unless only the hash area is wanted), superblock and tree.
fn write_area(
    context: &Context<'_>,
    args: &SignRootfsArgs,
    input: &Input,
    tree: &Tree,
    output: &mut AtomicFile,
) -> Result<Digest, Error> {
    let write_error = |e| Error::file("write", &args.output)(e);
    let cloned = !args.hash_file && share_data(output, input).map_err(write_error)?;
    let area = FileArea::new(output.file(), tree.end_bytes()).map_err(write_error)?;
    let bar = context.output.progress("hashing", tree.data_len_bytes());
    let image = input.source.prefix(input.len_bytes);
    // A clone is hashed itself: it stays what it is even if someone writes to the image meanwhile.
    let data: &dyn Source = if cloned { &area } else { &image };
    let copy_data = !args.hash_file && !cloned;
    let root_hash = on_all_cores(&bar, |work| build(data, &area, tree, work, copy_data));
    root_hash.map_err(|e| match e {
        VerityError::Write(e) => write_error(e),
        e => Error::malformed(&args.image)(e),
    })
}

/// Lets the output share the data's blocks with the image, where the file system can (btrfs, XFS); that
/// saves the copy.
fn share_data(output: &AtomicFile, input: &Input) -> std::io::Result<bool> {
    let shared = rustix::fs::ioctl_ficlone(output.file(), input.source.file()).is_ok();
    if shared {
        // What lies behind the data, an old hash area, must read as zeros.
        output.file().set_len(input.len_bytes)?;
    }
    Ok(shared)
}

fn describe(
    tree: &Tree,
    root_hash: &Digest,
    image_len_bytes: u64,
    placement: Placement,
    signer: &dyn Answer,
) -> Description {
    let identity = signer.identity();
    let certificate = identity.certificate.as_deref().unwrap_or_default();
    let signature = DescriptionSignature {
        format: "pkcs7-der".into(),
        algorithm: identity.algorithm.to_string(),
        signer: identity.public_key.fingerprint(),
        certificate_sha256: HashAlgorithm::Sha256.digest(certificate).to_hex(),
        mode: identity.mode.to_string(),
    };
    Description::new(tree, root_hash, image_len_bytes, placement, signature)
}
