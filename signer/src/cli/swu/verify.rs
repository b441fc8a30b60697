//! `verify swu`.

use super::{form, read_payloads};
use crate::{
    cli::{Context, examples, options::TrustArgs},
    error::Error,
    format::swu::{self, Bundle, SIGNATURE_NAME, Trusted},
    io::FileSource,
    report::{Report, Verdict},
    request::Role,
};
use std::{path::PathBuf, time::SystemTime};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Every payload is hashed and compared with the signed sw-description, whatever board or software set it is for. A member
that no entry names fails, and so does an entry without sha256.

Examples:
  hsmsign verify swu update.swu
  hsmsign verify swu update.swu --trust update-2026.pem")]
pub struct VerifySwuArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE.swu")]
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(in crate::cli) fn verify(context: &Context<'_>, args: &VerifySwuArgs) -> Result<(), Error> {
    let source = FileSource::open(&args.bundle)?;
    let malformed = |e: swu::SwuError| Error::malformed(&args.bundle)(e);
    let bundle = Bundle::read(&source).map_err(malformed)?;
    let keys = context.trust(Role::Update, &args.trust)?;
    let path = args.bundle.as_path();
    let measured = read_payloads(context, &bundle.payloads(&source), &|_| path, path, &|_, _, _| Ok(()))?;

    let trusted: Vec<_> = keys
        .iter()
        .map(|t| Trusted {
            public_key: &t.public_key,
            certificate: t.certificate.as_deref(),
            chain: &t.chain,
            origin: &t.origin,
        })
        .collect();
    let mut report = Report::new(args.bundle.display().to_string());
    let found =
        swu::verify(&bundle, &measured, &trusted, SystemTime::now(), &mut report).map_err(malformed)?;
    let wanted = form(context);
    // A key from elsewhere has its own policy, which is not at hand.
    let by_policy = args.trust.trust.iter().all(|t| matches!(t.as_str(), "dev" | "release"));
    if found.is_some_and(|f| f != wanted) && by_policy {
        let detail =
            format!("the policy's form is {wanted}; devices that take that one alone refuse the bundle");
        report.add(SIGNATURE_NAME, Verdict::Warn, detail);
    }
    examples::judge_chains(context, &args.trust, &keys, &mut report);
    context.output.report(&report)
}
