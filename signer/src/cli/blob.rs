//! `sign blob` and `verify blob`: a detached signature of any file.

use super::{Context, options::TrustArgs, overwrite::refuse_overwrite};
use crate::{
    audit::Head,
    crypto::{Digest, HashAlgorithm, Hasher, PublicKeyError, Scheme, Signature},
    error::Error,
    format::{
        Source as _,
        cms::{self, KnownSigner, Message},
    },
    io::{AtomicFile, FileSource},
    policy::{Mode, TrustedKey},
    report::{Report, SignedBy, Verdict},
    request::{Format, Identity, Request, Role, Subject},
};
use std::{io::Write as _, path::PathBuf};

/// What the signature file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BlobFormat {
    /// The bare signature, as `openssl dgst -verify` takes it (ECDSA in DER)
    Raw,
    /// Detached CMS with signed attributes and certificates, DER
    Cms,
}

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign sign blob app.bin --role update --format cms -o app.bin.p7s")]
pub struct SignBlobArgs {
    /// What to sign
    file: PathBuf,
    /// Whose key
    #[arg(long)]
    role: Role,
    /// Form of the signature
    #[arg(long, value_enum)]
    format: BlobFormat,
    /// Where to write the signature
    #[arg(short, long, value_name = "SIG")]
    output: PathBuf,
}

/// What `sign blob` did.
#[derive(Debug, serde::Serialize)]
struct Signed {
    /// The signature's file.
    signature: String,
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

pub(super) fn sign(context: &Context<'_>, args: &SignBlobArgs) -> Result<(), Error> {
    refuse_overwrite(&args.output, [args.file.as_path()])?;
    let source = FileSource::open(&args.file)?;
    let signer = context.signer(args.role)?;
    let identity = signer.identity();
    let digest = digest(context, &source, identity.algorithm.hash)?;
    let small = usize::try_from(source.len_bytes()).is_ok_and(|l| l <= Request::MAX_MESSAGE_LEN_BYTES);
    let content = if small {
        let range = 0..source.len_bytes();
        let read = source.read_range(range, Request::MAX_MESSAGE_LEN_BYTES);
        Some(read.map_err(Error::malformed(&args.file))?)
    } else {
        None
    };
    let name = args.file.display().to_string();
    let subject = Subject { format: Format::Blob, name, identity: digest.to_hex() };
    let bytes = match args.format {
        BlobFormat::Raw => {
            let algorithm = identity.algorithm;
            let request = Request { role: args.role, algorithm, digest, message: content, subject };
            raw(identity, signer.answer(&request)?).map_err(Error::malformed(&args.file))?
        }
        BlobFormat::Cms => {
            let certificate =
                identity.certificate.as_deref().ok_or(crate::policy::Refusal::NoCertificate(args.role))?;
            let options = cms::Options { signed_attributes: true, certificates: true, signing_time: None };
            let plan = cms::plan(&digest, identity.algorithm, certificate, &identity.chain, options)
                .map_err(Error::malformed(&args.file))?;
            let signature = signer.answer(&plan.request(args.role, subject, None))?;
            cms::attach(&plan, &signature).map_err(Error::malformed(&args.file))?
        }
    };
    let mut output = AtomicFile::create(&args.output)?;
    output.write_all(&bytes).map_err(Error::file("write", &args.output))?;
    output.commit()?;
    let signed = Signed {
        signature: args.output.display().to_string(),
        algorithm: identity.algorithm.to_string(),
        fingerprint: identity.public_key.fingerprint(),
        mode: identity.mode,
        rehearsal: identity.rehearsal,
        audit_head: context.audit_head(),
    };
    context.output.result(&signed, String::new)?;
    context.output.note(format_args!(
        "signed `{}` by {} ({})",
        args.file.display(),
        signed.fingerprint,
        signed.algorithm
    ));
    Ok(())
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign verify blob app.bin --role update --format cms --signature app.bin.p7s"
)]
pub struct VerifyBlobArgs {
    /// What was signed
    file: PathBuf,
    /// Whose key
    #[arg(long)]
    role: Role,
    /// Form of the signature
    #[arg(long, value_enum)]
    format: BlobFormat,
    /// The signature
    #[arg(long, value_name = "SIG")]
    signature: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn verify(context: &Context<'_>, args: &VerifyBlobArgs) -> Result<(), Error> {
    const MAX_SIGNATURE_LEN_BYTES: usize = 64 * 1024;
    let source = FileSource::open(&args.file)?;
    let signature_source = FileSource::open(&args.signature)?;
    let bytes = signature_source
        .read_range(0..signature_source.len_bytes(), MAX_SIGNATURE_LEN_BYTES)
        .map_err(Error::malformed(&args.signature))?;
    let trusted = context.trust(args.role, &args.trust)?;
    let mut report = Report::new(args.file.display().to_string());
    let place = args.signature.display().to_string();
    let outcome = match args.format {
        BlobFormat::Raw => verify_raw(context, &source, &bytes, &trusted)?,
        BlobFormat::Cms => {
            let message = Message::parse(&bytes).map_err(Error::malformed(&args.signature))?;
            let content = digest(context, &source, message.hash())?;
            let known: Vec<_> = trusted
                .iter()
                .map(|t| KnownSigner { public_key: &t.public_key, certificate: t.certificate.as_deref() })
                .collect();
            message
                .verify_by_known(&content, &known)
                .map(|index| (index, message.algorithm().to_string()))
                .map_err(|e| e.to_string())
        }
    };
    match outcome {
        Ok((index, algorithm)) => {
            if let Some(key) = trusted.get(index) {
                report.add(&place, Verdict::Pass, format!("signed by {}", key.origin));
                let fingerprint = key.public_key.fingerprint();
                report.signed_by.push(SignedBy { place, fingerprint, algorithm });
            }
        }
        Err(reason) => report.add(place, Verdict::Fail, reason),
    }
    context.output.report(&report)
}

/// A bare signature names no algorithm, so each trusted key is tried with each that fits it.
fn verify_raw(
    context: &Context<'_>,
    source: &FileSource,
    bytes: &[u8],
    trusted: &[TrustedKey],
) -> Result<Result<(usize, String), String>, Error> {
    let mut reason = "no key is trusted".to_owned();
    for hash in HashAlgorithm::ALL {
        let digest = digest(context, source, hash)?;
        for (index, key) in trusted.iter().enumerate() {
            for scheme in [Scheme::RsaPkcs1v15, Scheme::RsaPss, Scheme::Ecdsa] {
                let algorithm = crate::crypto::SignatureAlgorithm { scheme, hash };
                let signature = match key.public_key.material() {
                    crate::crypto::KeyMaterial::Rsa { .. } => Ok(Signature::from_bytes(bytes.to_vec())),
                    crate::crypto::KeyMaterial::Ec { curve, .. } => {
                        Signature::from_ecdsa_der(bytes, curve.width_bytes())
                    }
                };
                let Ok(signature) = signature else {
                    reason = "not the DER of an ECDSA signature".into();
                    continue;
                };
                match key.public_key.verify(algorithm, &digest, &signature) {
                    Ok(()) => return Ok(Ok((index, algorithm.to_string()))),
                    Err(PublicKeyError::AlgorithmMismatch(_)) => {}
                    Err(e) => reason = e.to_string(),
                }
            }
        }
    }
    Ok(Err(reason))
}

/// RSA signatures as they are; ECDSA in the form that OpenSSL and X.509 use.
fn raw(identity: &Identity, signature: Signature) -> Result<Vec<u8>, cms::CmsError> {
    match identity.algorithm.scheme {
        Scheme::RsaPkcs1v15 | Scheme::RsaPss => Ok(signature.as_bytes().to_vec()),
        Scheme::Ecdsa => Ok(signature.to_ecdsa_der()?),
    }
}

fn digest(context: &Context<'_>, source: &FileSource, hash: HashAlgorithm) -> Result<Digest, Error> {
    let progress = context.output.progress("hashing", source.len_bytes());
    let mut hasher = Hasher::new(hash);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < source.len_bytes() {
        let left = usize::try_from(source.len_bytes() - offset).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..left).unwrap_or_default();
        source.read_at(offset, piece).map_err(Error::malformed(source.path()))?;
        hasher.update(piece);
        offset += left as u64;
        progress.inc(left as u64);
    }
    progress.finish_and_clear();
    Ok(hasher.finish())
}
