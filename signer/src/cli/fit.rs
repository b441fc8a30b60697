//! `sign fit` and `verify fit`.

use super::{
    Context,
    control_tree::{PendingTree, TreeResult},
    examples,
    options::TrustArgs,
    overwrite::{is_same_file, refuse_overwrite},
};
use crate::{
    audit::Head,
    config::UpdateFormat,
    crypto::PublicKey,
    error::Error,
    format::{
        Source as _,
        control_dtb::{Location, Required},
        fit::{self, DeviceTreeEdit, Signing, StageTrust},
        verity::{Description, VerityError},
    },
    io::{AtomicFile, FileSource},
    key::certificate,
    policy::Mode,
    request::{Answer, Role},
};
use der::{EncodePem as _, pem::LineEnding};
use std::path::{Path, PathBuf};

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Every configuration gets a signature, and every image that has a signature node. What a signature covers is \
computed from the configuration, whatever `sign-images` says. Hashes are computed, and compared with those that \
are there. Signing again replaces our signature, in the other mode too, and leaves those of others. OUT may be \
the input.

`timestamp` is SOURCE_DATE_EPOCH, or else the FIT's own, so equal inputs give equal outputs (RSA with PKCS#1 v1.5).

Examples:
  hsmsign sign fit fitImage -o fitImage.signed --control-dtb u-boot.dtb
  hsmsign sign fit fitImage -o fitImage.signed --rootfs rootfs.verity.json \\
      --update-certificate update.pem")]
pub struct SignFitArgs {
    /// The FIT: made by mkimage, signed already or not
    input: PathBuf,
    /// Where to write the signed FIT
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Put the public key into this control tree too, in place
    #[arg(long, value_name = "DTB")]
    control_dtb: Option<PathBuf>,
    #[command(flatten)]
    parts: FitParts,
}

/// What becomes of a FIT beside its configurations' signatures.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct FitParts {
    /// Write this root filesystem's root hash and parameters into the FIT's device trees
    #[arg(long, value_name = "JSON")]
    pub(super) rootfs: Option<PathBuf>,
    /// Write the certificate of update bundles into the FIT's device trees
    #[arg(long, value_name = "CERT")]
    pub(super) update_certificate: Option<PathBuf>,
    /// Sign each image by itself too, also where it has no signature node
    #[arg(long)]
    pub(super) image_signatures: bool,
}

/// What `sign fit` did.
#[derive(Debug, serde::Serialize)]
pub(super) struct SignedFit {
    /// The signed FIT.
    output: String,
    /// Each signature.
    signatures: Vec<SignatureResult>,
    /// Algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    algorithm: String,
    /// SubjectPublicKeyInfo SHA-256 of the key, `sha256:…`.
    fingerprint: String,
    /// Whose key it is: `dev` or `release`.
    mode: Mode,
    /// Whether a software token stood in for the HSM: what is signed so is not to be shipped.
    rehearsal: bool,
    /// Where the audit log ends after these signatures, `SEQUENCE:HASH`, to be kept elsewhere; null in dev mode.
    audit_head: Option<Head>,
    /// What U-Boot calls the key on its console.
    key_name_hint: String,
    /// What was done beside signing, and what weakens the result: sentences for people.
    notes: Vec<String>,
    /// The control tree, with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    control_tree: Option<TreeResult>,
}

/// One signature that was made.
#[derive(Debug, serde::Serialize)]
struct SignatureResult {
    /// What it signs: the artifact and the configuration or image.
    subject: String,
    /// Digest of what it covers, hexadecimal.
    digest: String,
}

pub(super) fn sign(context: &Context<'_>, args: &SignFitArgs) -> Result<(), Error> {
    refuse_one_file_twice(args)?;
    let signer = context.signer(Role::Fit)?;
    let trust = stage_trust(context, signer.as_ref(), &args.parts)?;
    let images = args.parts.image_signatures;
    let (file, mut result) =
        write_signed(context, signer.as_ref(), &args.input, &args.output, &trust, images)?;
    let tree = args
        .control_dtb
        .as_deref()
        .map(|path| PendingTree::write(path, Location::Whole, signer.identity(), Required::Conf));
    let tree = tree.transpose()?;
    // The tree goes first: one that demands a signature nobody made stops a device from booting, but a
    // signed FIT beside a tree that demands none looks done, and boots anything.
    if let Some(tree) = tree {
        let tree = tree.commit(signer.identity())?;
        tree.tell(context.output);
        result.control_tree = Some(tree);
    }
    file.commit()?;
    result.tell(context);
    context.output.result(&result, String::new)
}

/// A FIT written over the control tree, or into it, would be lost at once, and what goes into a FIT too.
fn refuse_one_file_twice(args: &SignFitArgs) -> Result<(), Error> {
    let parts = [&args.parts.rootfs, &args.parts.update_certificate];
    refuse_overwrite(&args.output, parts.into_iter().filter_map(Option::as_deref))?;
    let Some(tree) = &args.control_dtb else { return Ok(()) };
    for file in [&args.input, &args.output] {
        if is_same_file(file, tree) {
            return Err(Error::Usage {
                message: "the FIT and the control tree are two things, but one file is named for both".into(),
                hint: Some("the control tree is usually `u-boot.dtb`".into()),
            });
        }
    }
    Ok(())
}

impl SignedFit {
    /// Says what happened, one line each.
    pub(super) fn tell(&self, context: &Context<'_>) {
        let Self { output, signatures, key_name_hint, algorithm, .. } = self;
        for signature in signatures {
            context.output.detail(format_args!("signed {}: {}", signature.subject, signature.digest));
        }
        context.output.note(format_args!(
            "{output}: {} signature(s) by `{key_name_hint}` ({algorithm})",
            signatures.len()
        ));
    }
}

/// Signs `input` into a temporary file beside `output`, to be committed by the caller. Its device trees
/// are changed by `edit` first.
pub(super) fn write_signed(
    context: &Context<'_>,
    signer: &dyn Answer,
    input: &Path,
    output: &Path,
    edit: &dyn DeviceTreeEdit,
    image_signatures: bool,
) -> Result<(AtomicFile, SignedFit), Error> {
    let source = FileSource::open(input)?;
    // Before the work, so that a directory that cannot be written costs no signature.
    let mut file = AtomicFile::create(output)?;
    let identity = signer.identity();
    let signing = Signing {
        identity,
        artifact: &input.file_name().unwrap_or(input.as_os_str()).to_string_lossy(),
        timestamp: source_date_epoch()?,
        stage_trust: Some(edit),
        image_signatures,
    };
    let bar = context.output.progress("hashing", source.len_bytes());
    let plan = fit::plan(&source, &signing, &|bytes| bar.inc(bytes)).map_err(Error::malformed(input))?;
    bar.finish_and_clear();
    for note in plan.notes() {
        context.output.note(note);
    }
    for warning in plan.warnings() {
        context.output.warn(warning);
    }
    let answers =
        plan.requests().iter().map(|request| signer.answer(request)).collect::<Result<Vec<_>, _>>()?;
    let signature = |request: &crate::request::Request| SignatureResult {
        subject: request.subject.name.clone(),
        digest: request.digest.to_hex(),
    };
    let result = SignedFit {
        output: output.display().to_string(),
        signatures: plan.requests().iter().map(signature).collect(),
        algorithm: identity.algorithm.to_string(),
        fingerprint: identity.public_key.fingerprint(),
        mode: identity.mode,
        rehearsal: identity.rehearsal,
        audit_head: context.audit_head(),
        key_name_hint: identity.key_name_hint.clone(),
        notes: [plan.notes(), plan.warnings()].concat(),
        control_tree: None,
    };
    let edits = plan.attach(&answers).map_err(Error::malformed(input))?;
    file.write_edited(&source, &edits)?;
    Ok((file, result))
}

fn stage_trust(context: &Context<'_>, signer: &dyn Answer, parts: &FitParts) -> Result<StageTrust, Error> {
    let mut trust = StageTrust::default();
    if let Some(path) = &parts.rootfs {
        let source = FileSource::open(path)?;
        let json = source
            .read_range(0..source.len_bytes(), Description::MAX_LEN_BYTES)
            .map_err(Error::malformed(path))?;
        let rootfs = Description::parse(&json).map_err(Error::malformed::<VerityError>(path))?;
        let mode = signer.identity().mode.to_string();
        if rootfs.signature.mode != mode {
            context.output.warn(format_args!(
                "`{}` was signed in mode {}, and this FIT is signed in mode {mode}",
                path.display(),
                rootfs.signature.mode
            ));
        }
        trust.rootfs = Some(StageTrust::describe_rootfs(&rootfs));
    }
    if let Some(path) = &parts.update_certificate {
        let (pem, has_root) = certificates_pem(path)?;
        let format = context.role_settings(Role::Update).update_format;
        if !has_root && matches!(format, None | Some(UpdateFormat::Cms)) {
            context.output.warn(format_args!(
                "`{}` holds no self-signed certificate, and swupdate trusts no other: a device that gives it to \
                 `swupdate -k` refuses every bundle; name the issuers in the policy (`release: keys: update: chain`), \
                 up to the root, and take what `hsmsign keys certificate --role update` writes",
                path.display()
            ));
        }
        trust.update_certificate = Some(pem);
    }
    Ok(trust)
}

/// The certificates of a file, PEM, and nothing else that the file may hold; and whether one issued itself.
fn certificates_pem(path: &Path) -> Result<(Vec<u8>, bool), Error> {
    let usage = |reason: String| Error::Usage {
        message: format!("`{}` holds no certificate: {reason}", path.display()),
        hint: Some("`hsmsign keys certificate --role update -o FILE` writes the right one".into()),
    };
    let bytes = FileSource::read_small(path)?;
    let certificates = certificate::read_all(&bytes).map_err(usage)?;
    if certificates.is_empty() {
        return Err(usage("it is empty".into()));
    }
    let has_root = certificates.iter().any(|der| certificate::is_self_issued(der));
    let mut pem = String::new();
    for der in certificates {
        let certificate =
            <x509_cert::Certificate as der::Decode>::from_der(&der).map_err(|e| usage(e.to_string()))?;
        pem.push_str(&certificate.to_pem(LineEnding::LF).map_err(|e| usage(e.to_string()))?);
    }
    Ok((pem.into_bytes(), has_root))
}

/// The time that reproducible builds agree on (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn source_date_epoch() -> Result<Option<u32>, Error> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(None),
        Ok(text) => text.trim().parse().map(Some).map_err(|_| Error::Usage {
            message: format!("SOURCE_DATE_EPOCH is `{text}`, which is no number of seconds since 1970"),
            hint: Some("unset it, or set it to such a number below 2^32".into()),
        }),
    }
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Every configuration must be signed by a trusted key, and every image must be covered. What a signature has to \
cover is computed from the configuration, and every hash is computed from the data.

Examples:
  hsmsign verify fit fitImage.signed
  hsmsign --json verify fit fitImage.signed --trust release")]
pub struct VerifyFitArgs {
    /// The FIT
    input: PathBuf,
    /// Whom to trust
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn verify(context: &Context<'_>, args: &VerifyFitArgs) -> Result<(), Error> {
    let keys = trusted_keys(context, Role::Fit, &args.trust)?;
    let source = FileSource::open(&args.input)?;
    let bar = context.output.progress("hashing", source.len_bytes());
    let name = args.input.display().to_string();
    let report = fit::verify(&source, &name, &keys, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let mut report = report.map_err(Error::malformed(&args.input))?;
    examples::judge_fit(context, &args.trust, &source, &mut report)?;
    context.output.report(&report)
}

fn trusted_keys(context: &Context<'_>, role: Role, trust: &TrustArgs) -> Result<Vec<PublicKey>, Error> {
    Ok(context.trust(role, trust)?.into_iter().map(|key| key.public_key).collect())
}
