//! `sign swu`.

use super::{form, read_payloads};
use crate::{
    audit::Head,
    cli::{Context, overwrite::refuse_overwrite},
    config::ConfigError,
    error::Error,
    format::{
        Source as _,
        cpio::Layout,
        sw_description::{self, Description},
        swu::{Bundle, Measured, Payload, Plan, Seal, SwuError, seal},
    },
    io::{AtomicFile, FileSource},
    policy::Mode,
    request::{Answer, Role},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// The description and its signature come before the payloads.
const MEMBERS_BEFORE_PAYLOADS: usize = 2;

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The sha256 of every entry is filled in where it is missing, empty or a placeholder ($swupdate_get_sha256(FILE), @FILE),
and checked where it stands already. Nothing else of sw-description changes.

Examples:
  hsmsign sign swu --description sw-description --image rootfs.ext4.gz --image fitImage -o update.swu
  hsmsign sign swu update.swu -o update-signed.swu
  swupdate -c -H board:1.0 -k update.pem -i update.swu")]
pub struct SignSwuArgs {
    /// A bundle to sign again; its payloads are copied as they are
    #[arg(value_name = "IN.swu", required_unless_present = "description", conflicts_with_all = ["description", "images"])]
    bundle: Option<PathBuf>,
    /// The sw-description of a new bundle, libconfig or JSON
    #[arg(long, value_name = "SW-DESCRIPTION")]
    description: Option<PathBuf>,
    /// A file that sw-description names: image, script, archive
    #[arg(long = "image", value_name = "FILE", num_args = 1.., requires = "description")]
    images: Vec<PathBuf>,
    /// Where to write the signed bundle
    #[arg(short, long, value_name = "OUT.swu")]
    output: PathBuf,
}

/// What `sign swu` did.
#[derive(Debug, serde::Serialize)]
struct Signed {
    /// The bundle.
    output: String,
    /// SHA-256 of its sw-description, hexadecimal.
    description_sha256: String,
    /// Whether hashes or sizes were filled in.
    filled_in: bool,
    /// Its files, in the order of the bundle.
    files: Vec<SignedFile>,
    /// Form of sw-description.sig: `cms`, `rsa`, `rsa-pss`.
    format: String,
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

/// A file of the bundle.
#[derive(Debug, serde::Serialize)]
struct SignedFile {
    /// Its name.
    name: String,
    /// Its length in bytes.
    len_bytes: u64,
    /// Its SHA-256, hexadecimal.
    sha256: String,
}

pub(in crate::cli) fn sign(context: &Context<'_>, args: &SignSwuArgs) -> Result<(), Error> {
    let signer = context.signer(Role::Update)?;
    // A key that cannot sign bundles is told before gigabytes are read.
    let longest = seal("", form(context), signer.identity())
        .and_then(|s| s.max_len_bytes(signer.identity()))
        .map_err(|e| ConfigError::Setup { message: format!("role `update`: {e}"), hint: e.hint() })?;
    match (&args.bundle, &args.description) {
        (Some(bundle), _) => sign_again(context, args, bundle, signer.as_ref(), longest),
        (None, Some(description)) => sign_new(context, args, description, signer.as_ref(), longest),
        (None, None) => Err(Error::Usage { message: "nothing to sign".into(), hint: None }),
    }
}

fn sign_new(
    context: &Context<'_>,
    args: &SignSwuArgs,
    description_path: &Path,
    signer: &dyn Answer,
    longest: usize,
) -> Result<(), Error> {
    // A bundle may replace one that is signed again, but not what it is made of.
    let inputs = args.images.iter().map(PathBuf::as_path);
    refuse_overwrite(&args.output, inputs.chain([description_path]))?;
    let source = FileSource::open(description_path)?;
    let bytes = source
        .read_range(0..source.len_bytes(), sw_description::MAX_LEN_BYTES)
        .map_err(Error::malformed(description_path))?;
    let sources = args.images.iter().map(|i| FileSource::open(i)).collect::<Result<Vec<_>, _>>()?;
    let mut payloads = Vec::with_capacity(sources.len());
    for source in &sources {
        let name = source.path().file_name().and_then(|n| n.to_str()).ok_or_else(|| Error::Usage {
            message: format!("`{}` has no file name in UTF-8", source.path().display()),
            hint: None,
        })?;
        let (name, range) = (name.to_owned(), 0..source.len_bytes());
        payloads.push(Payload { name, source, range, checksum: None });
    }
    let description = Description::parse(&bytes).map_err(Error::malformed(description_path))?;
    let input = Input {
        description_path,
        is_bundle: false,
        payloads,
        paths: sources.iter().map(FileSource::path).collect(),
    };
    build(context, &args.output, description, &input, signer, longest)
}

fn sign_again(
    context: &Context<'_>,
    args: &SignSwuArgs,
    path: &Path,
    signer: &dyn Answer,
    longest: usize,
) -> Result<(), Error> {
    let source = FileSource::open(path)?;
    let bundle = Bundle::read(&source).map_err(Error::malformed(path))?;
    let description =
        Description::parse(&bundle.description).map_err(|e| Error::malformed(path)(SwuError::from(e)))?;
    let payloads = bundle.payloads(&source);
    let input =
        Input { description_path: path, is_bundle: true, paths: vec![path; payloads.len()], payloads };
    build(context, &args.output, description, &input, signer, longest)
}

/// What a bundle is made of.
struct Input<'a> {
    /// The file that holds the description: itself, or a bundle.
    description_path: &'a Path,
    is_bundle: bool,
    payloads: Vec<Payload<'a>>,
    /// The file of each payload.
    paths: Vec<&'a Path>,
}

/// Payloads are read once: hashed, summed up and copied to where they will stand. Only then can the
/// description be completed and signed, and the frame around them be written.
fn build(
    context: &Context<'_>,
    output: &Path,
    description: Description,
    input: &Input<'_>,
    signer: &dyn Answer,
    longest: usize,
) -> Result<(), Error> {
    let malformed = |e: SwuError| match e {
        SwuError::Description(e) if !input.is_bundle => Error::malformed(input.description_path)(e),
        e => Error::malformed(input.description_path)(e),
    };
    let identity = signer.identity();
    let before = description.text().to_owned();
    let plan = Plan::new(description, &input.payloads).map_err(malformed)?;
    let description_len_bytes = plan.description_len_bytes().map_err(malformed)?;
    let expected = plan.layout(description_len_bytes, longest).map_err(malformed)?;

    let file = AtomicFile::create(output)?;
    let write = |e| Error::file("write", output)(e);
    let path = |index: usize| input.paths.get(index).copied().unwrap_or(input.description_path);
    let measured = read_payloads(context, &input.payloads, &path, output, &|index, offset, bytes| {
        let start = payload_offset(&expected, index)?;
        file.file().write_all_at(bytes, start + offset)
    })?;
    check_checksums(&input.payloads, &measured).map_err(malformed)?;

    let text = plan.fill(&measured).map_err(malformed)?;
    let (seal, signature) = ask(context, &text, output, signer).map_err(|e| e.into_error(malformed))?;
    let actual = plan.layout(text.len(), signature.len()).map_err(malformed)?;
    move_payloads(file.file(), &input.payloads, &expected, &actual).map_err(write)?;
    for (offset, bytes) in plan.frame(&text, &signature, &measured).map_err(malformed)? {
        file.file().write_all_at(&bytes, offset).map_err(write)?;
    }
    file.file().set_len(actual.len_bytes()).map_err(write)?;
    file.commit()?;

    let files = input.payloads.iter().zip(&measured);
    let signed = Signed {
        output: output.display().to_string(),
        description_sha256: seal.description_sha256().to_hex(),
        filled_in: text != before,
        files: files
            .map(|(p, m)| SignedFile {
                name: p.name.clone(),
                len_bytes: p.len_bytes(),
                sha256: m.sha256.to_hex(),
            })
            .collect(),
        format: form(context).to_string(),
        algorithm: identity.algorithm.to_string(),
        fingerprint: identity.public_key.fingerprint(),
        mode: identity.mode,
        rehearsal: identity.rehearsal,
        audit_head: context.audit_head(),
    };
    for file in &signed.files {
        context.output.detail(format_args!("{} {} ({} bytes)", file.sha256, file.name, file.len_bytes));
    }
    context.output.result(&signed, String::new)?;
    context.output.note(format_args!(
        "signed `{}` with {} files by {} ({}, {})",
        output.display(),
        signed.files.len(),
        signed.fingerprint,
        signed.format,
        signed.algorithm
    ));
    Ok(())
}

/// What can go wrong when a signature is asked for.
enum AskError {
    Format(SwuError),
    Key(Error),
}

impl AskError {
    fn into_error(self, malformed: impl FnOnce(SwuError) -> Error) -> Error {
        match self {
            Self::Format(e) => malformed(e),
            Self::Key(e) => e,
        }
    }
}

fn ask(
    context: &Context<'_>,
    description: &str,
    output: &Path,
    signer: &dyn Answer,
) -> Result<(Seal, Vec<u8>), AskError> {
    let seal = seal(description, form(context), signer.identity()).map_err(AskError::Format)?;
    let request = seal.request(signer.identity(), &output.display().to_string());
    let answer = signer.answer(&request).map_err(AskError::Key)?;
    let signature = seal.attach(&answer).map_err(AskError::Format)?;
    Ok((seal, signature))
}

/// Payloads of a bundle that is signed again must be what its checksums say.
fn check_checksums(payloads: &[Payload<'_>], measured: &[Measured]) -> Result<(), SwuError> {
    for (payload, found) in payloads.iter().zip(measured) {
        match payload.checksum {
            Some(written) if written != found.checksum => {
                let (name, actual) = (payload.name.clone(), found.checksum);
                return Err(SwuError::Damaged { name, written, actual });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Moves payloads towards the start when the signature turned out shorter than it might have been,
/// which only ECDSA signatures do.
fn move_payloads(
    file: &File,
    payloads: &[Payload<'_>],
    expected: &Layout,
    actual: &Layout,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for (index, payload) in payloads.iter().enumerate() {
        let (from, to) = (payload_offset(expected, index)?, payload_offset(actual, index)?);
        if from == to {
            continue;
        }
        if to > from {
            return Err(io::Error::other("a signature is longer than its key allows"));
        }
        let mut moved = 0;
        while moved < payload.len_bytes() {
            let left = usize::try_from(payload.len_bytes() - moved).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..left).unwrap_or_default();
            file.read_exact_at(chunk, from + moved)?;
            file.write_all_at(chunk, to + moved)?;
            moved += left as u64;
        }
    }
    Ok(())
}

fn payload_offset(layout: &Layout, index: usize) -> io::Result<u64> {
    let offset = layout.data_offset(index + MEMBERS_BEFORE_PAYLOADS);
    offset.ok_or_else(|| io::Error::other("a payload has no place"))
}
