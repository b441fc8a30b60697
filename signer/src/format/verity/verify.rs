//! Judges a dm-verity image with all that lies beside it.

use super::{Description, Findings, Tree, VerityError, Work, check, parse_root_hash, signature};
use crate::{
    crypto::Digest,
    format::{Source, cms::KnownSigner},
    report::{Report, SignedBy, Verdict},
};

/// A signed image. What stands beside it comes with the place where it was found or looked for, for people.
pub struct SignedImage<'a> {
    /// The data, and unless there is a hash file the hash area behind it.
    pub data: &'a dyn Source,
    /// Superblock and tree, where they are not behind the data.
    pub hash_file: Option<&'a dyn Source>,
    /// Where everything lies.
    pub tree: &'a Tree,
    /// The root hash, hexadecimal.
    pub root_hash: (&'a str, Option<&'a str>),
    /// Its signature, DER.
    pub signature: (&'a str, Option<&'a [u8]>),
    /// The description, which may be absent.
    pub description: (&'a str, Option<&'a Description>),
}

/// Adds what it finds to `report`: the root hash's signature by one of `known`, the description, and once these
/// are good every hash block and every data block. Returns the root hash if a trusted signature of it was found.
///
/// # Errors
///
/// [`VerityError::Read`], and [`VerityError::Truncated`] and [`VerityError::DataSize`] for files that end early.
pub fn verify(
    image: &SignedImage<'_>,
    known: &[KnownSigner<'_>],
    work: Work<'_>,
    report: &mut Report,
) -> Result<Option<Digest>, VerityError> {
    check_extent(image, report);
    let Some(root_hash) = check_root_hash(image, known, report) else { return Ok(None) };
    check_description(image, &root_hash, report);
    if report.failure().is_none() {
        let area = image.hash_file.unwrap_or(image.data);
        add_findings(image.tree, &check(image.data, area, image.tree, &root_hash, work)?, report);
    }
    Ok(Some(root_hash))
}

/// The data must be as long as the tree says: neither is covered by the root hash alone.
fn check_extent(image: &SignedImage<'_>, report: &mut Report) {
    let tree = image.tree;
    let p = &tree.parameters;
    report.add(
        "hash area",
        Verdict::Pass,
        format!(
            "{} over {} blocks of {} bytes, hash blocks of {} bytes",
            p.hash, tree.data_blocks, p.data_block_size, p.hash_block_size
        ),
    );
    let Some(hash_file) = image.hash_file else { return };
    let data_len = image.data.len_bytes();
    if data_len.div_ceil(p.data_block_size.bytes_u64()) != tree.data_blocks {
        let error = VerityError::DataSize { claimed_bytes: tree.data_len_bytes(), found_bytes: data_len };
        report.add("data", Verdict::Fail, error.to_string());
    } else if data_len != tree.data_len_bytes() {
        let missing = tree.data_len_bytes() - data_len;
        report.add("data", Verdict::Warn, format!("{missing} zero bytes are missing to a whole block"));
    }
    if hash_file.len_bytes() > tree.end_bytes() {
        let more = hash_file.len_bytes() - tree.end_bytes();
        report.add("hash area", Verdict::Warn, format!("{more} bytes behind it are not covered"));
    }
}

/// The root hash, once a trusted signature of it was found.
fn check_root_hash(
    image: &SignedImage<'_>,
    known: &[KnownSigner<'_>],
    report: &mut Report,
) -> Option<Digest> {
    let (place, text) = image.root_hash;
    let Some(text) = text else {
        report.add(place, Verdict::Fail, "there is no such root hash file: the image is not signed");
        return None;
    };
    let root_hash = match parse_root_hash(image.tree.parameters.hash, text) {
        Ok(root_hash) => root_hash,
        Err(e) => {
            report.add(place, Verdict::Fail, e.to_string());
            return None;
        }
    };
    let (place, der) = image.signature;
    let Some(der) = der else {
        report.add(place, Verdict::Fail, "there is no such signature file: the root hash is not signed");
        return None;
    };
    match signature::verify(der, &root_hash, known) {
        Err(e) => {
            report.add(place, Verdict::Fail, e.to_string());
            None
        }
        Ok(verified) => {
            report.add(place, Verdict::Pass, format!("signature of root hash {text}"));
            if verified.has_certificates {
                report.add(place, Verdict::Warn, "it carries certificates, which the kernel does not need");
            }
            if let Some(signer) = known.get(verified.signer) {
                report.signed_by.push(SignedBy {
                    place: place.to_owned(),
                    fingerprint: signer.public_key.fingerprint(),
                    algorithm: verified.algorithm.to_string(),
                });
            }
            Some(root_hash)
        }
    }
}

/// A description that says something else would open the device wrongly.
fn check_description(image: &SignedImage<'_>, root_hash: &Digest, report: &mut Report) {
    let (place, description) = image.description;
    match description {
        None => {}
        Some(found)
            if found.tree().is_ok_and(|t| t == *image.tree) && found.root_hash == root_hash.to_hex() =>
        {
            report.add(place, Verdict::Pass, "describes this image");
        }
        Some(_) => report.add(place, Verdict::Fail, "describes another image or other parameters"),
    }
}

fn add_findings(tree: &Tree, findings: &Findings, report: &mut Report) {
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
