//! `verify rootfs`.

use super::{Beside, locate, on_all_cores};
use crate::{
    cli::{Context, options::TrustArgs},
    crypto::Digest,
    error::Error,
    format::{
        Source as _,
        cms::KnownSigner,
        verity::{Findings, Tree, VerityError, check, parse_root_hash, signature},
    },
    io::FileSource,
    report::{Report, SignedBy, Verdict},
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

Examples:
  hsmsign verify rootfs rootfs.ext4.verity
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
    check_extent(&mut report, &tree, &data, hash_file.as_ref());
    let known: Vec<_> = trusted
        .iter()
        .map(|t| KnownSigner { public_key: &t.public_key, certificate: t.certificate.as_deref() })
        .collect();
    if let Some(root_hash) = check_root_hash(&mut report, args, &beside, &tree, &known)? {
        check_description(&mut report, &beside, &tree, &root_hash)?;
        if report.failure().is_none() {
            let bar = context.output.progress("verifying", tree.data_len_bytes());
            let findings = on_all_cores(&bar, |work| check(&data, area, &tree, &root_hash, work))
                .map_err(Error::malformed(&args.image))?;
            add_findings(&mut report, &tree, &findings);
        }
    }
    context.output.report(&report)
}

/// The data must be as long as the tree says: neither is covered by the root hash alone.
fn check_extent(report: &mut Report, tree: &Tree, data: &FileSource, hash_file: Option<&FileSource>) {
    let p = &tree.parameters;
    report.add(
        "hash area",
        Verdict::Pass,
        format!(
            "{} over {} blocks of {} bytes, hash blocks of {} bytes",
            p.hash, tree.data_blocks, p.data_block_size, p.hash_block_size
        ),
    );
    let Some(hash_file) = hash_file else { return };
    if data.len_bytes().div_ceil(p.data_block_size.bytes_u64()) != tree.data_blocks {
        let error =
            VerityError::DataSize { claimed_bytes: tree.data_len_bytes(), found_bytes: data.len_bytes() };
        report.add("data", Verdict::Fail, error.to_string());
    } else if data.len_bytes() != tree.data_len_bytes() {
        let missing = tree.data_len_bytes() - data.len_bytes();
        report.add("data", Verdict::Warn, format!("{missing} zero bytes are missing to a whole block"));
    }
    if hash_file.len_bytes() > tree.end_bytes() {
        let more = hash_file.len_bytes() - tree.end_bytes();
        report.add("hash area", Verdict::Warn, format!("{more} bytes behind it are not covered"));
    }
}

/// The root hash, once a trusted signature of it was found.
fn check_root_hash(
    report: &mut Report,
    args: &VerifyRootfsArgs,
    beside: &Beside,
    tree: &Tree,
    known: &[KnownSigner<'_>],
) -> Result<Option<Digest>, Error> {
    let root_hash_file = args.root_hash_file.as_ref().unwrap_or(&beside.root_hash);
    let place = root_hash_file.display().to_string();
    let text = match &args.root_hash {
        Some(text) => text.clone(),
        None => match locate::small_file(root_hash_file, MAX_ROOT_HASH_LEN_BYTES)? {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => {
                report.add(place, Verdict::Fail, "there is no such root hash file: the image is not signed");
                return Ok(None);
            }
        },
    };
    let root_hash = match parse_root_hash(tree.parameters.hash, &text) {
        Ok(root_hash) => root_hash,
        Err(e) => {
            report.add(place, Verdict::Fail, e.to_string());
            return Ok(None);
        }
    };
    let signature_file = args.root_hash_signature.as_ref().unwrap_or(&beside.signature);
    let place = signature_file.display().to_string();
    let Some(der) = locate::small_file(signature_file, MAX_SIGNATURE_LEN_BYTES)? else {
        report.add(place, Verdict::Fail, "there is no such signature file: the root hash is not signed");
        return Ok(None);
    };
    match signature::verify(&der, &root_hash, known) {
        Err(e) => {
            report.add(place, Verdict::Fail, e.to_string());
            Ok(None)
        }
        Ok(verified) => {
            report.add(&place, Verdict::Pass, format!("signature of root hash {text}"));
            if verified.has_certificates {
                report.add(&place, Verdict::Warn, "it carries certificates, which the kernel does not need");
            }
            if let Some(signer) = known.get(verified.signer) {
                report.signed_by.push(SignedBy {
                    place,
                    fingerprint: signer.public_key.fingerprint(),
                    algorithm: verified.algorithm.to_string(),
                });
            }
            Ok(Some(root_hash))
        }
    }
}

/// A description that says something else would open the device wrongly.
fn check_description(
    report: &mut Report,
    beside: &Beside,
    tree: &Tree,
    root_hash: &Digest,
) -> Result<(), Error> {
    let place = beside.description.display().to_string();
    match locate::description(&beside.description)? {
        None => {}
        Some(found) if found.tree().is_ok_and(|t| t == *tree) && found.root_hash == root_hash.to_hex() => {
            report.add(place, Verdict::Pass, "describes this image");
        }
        Some(_) => report.add(place, Verdict::Fail, "describes another image or other parameters"),
    }
    Ok(())
}

fn add_findings(report: &mut Report, tree: &Tree, findings: &Findings) {
    if !findings.root_matches {
        report.add("hash tree", Verdict::Fail, "it does not lead to the root hash");
    }
    if findings.bad_hash_blocks > 0 {
        let places = named(&findings.first_bad_hash_blocks, findings.bad_hash_blocks);
        report.add("hash tree", Verdict::Fail, format!("hash block {places} is not as the level above says"));
    }
    if findings.bad_data_blocks > 0 {
        let places = named(&findings.first_bad_data_blocks, findings.bad_data_blocks);
        report.add("data", Verdict::Fail, format!("data block {places} is not as the hash tree says"));
    }
    if findings.is_good() {
        report.add(
            "hash tree",
            Verdict::Pass,
            format!("{} levels lead to the root hash", tree.levels().len()),
        );
        report.add(
            "data",
            Verdict::Pass,
            format!("all {} blocks are as the hash tree says", tree.data_blocks),
        );
    }
}

/// `5`, `5, 7`, `5, 7 and 90 more`.
fn named(first: &[u64], count: u64) -> String {
    let text = first.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(first.len() as u64) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
