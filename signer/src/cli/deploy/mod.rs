//! `verify deploy`: the release gate.

mod render;
mod walk;

use super::{Context, options::TrustArgs, trust_file};
use crate::{
    config::Config,
    crypto::Fingerprint,
    error::Error,
    format::{Source, verity::Work},
    gate::{self, GateReport, Item, RoleTrust, Trust, Unreadable},
    io::FileSource,
    key::certificate,
    report::Verdict,
    vocabulary::{Mode, Role},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::PathBuf,
    time::SystemTime,
};

/// Arguments of `verify deploy`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Walks DIR, recognises artifacts by content, judges each one and the chain of trust between them: which key SPL's tree
and U-Boot's tree demand, which root hash and update certificate the FIT carries, and whether the images in a bundle
are those beside it. An unsigned file passes only if something signed covers its very bytes, or if `gate.allow` of
the policy names it with a reason. Ends with 7 if anything must not ship; never writes.

Examples:
  hsmsign --mode release verify deploy output/images
  hsmsign --json verify deploy tmp/deploy/images/board --trust release
  hsmsign verify deploy target/demo/signed --trust dev")]
pub struct VerifyDeployArgs {
    /// The deploy directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Whom to trust
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn verify(context: &Context<'_>, args: &VerifyDeployArgs) -> Result<(), Error> {
    let given = given(context, &args.trust)?;
    let trust = trust(context, &given)?;
    let found = walk::walk(&args.directory)?;
    let total: u64 = found.iter().filter_map(|f| f.source.as_deref()).map(Source::len_bytes).sum();
    let items: Vec<Item<'_>> = found.iter().map(walk::Found::item).collect();

    let rehearsal = !trust.dev && context.config().release.as_ref().is_some_and(|r| r.rehearsal);
    let run = gate::Run {
        directory: args.directory.display().to_string(),
        trust: given.name(),
        rehearsal,
        allow: &context.config().gate.allow,
    };
    let bar = context.output.progress("verifying", total);
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let report = gate::judge(items, trust, &run, Work { threads, progress: &|bytes| bar.inc(bytes) });
    bar.finish_and_clear();
    let report = report.map_err(|Unreadable { path, source }| Error::Malformed {
        file: args.directory.join(path),
        source,
    })?;
    finish(context, &report)
}

fn finish(context: &Context<'_>, report: &GateReport) -> Result<(), Error> {
    context.output.result(report, || render::human(report))?;
    if report.rehearsal {
        context
            .output
            .warn("REHEARSAL: the policy's release keys are in a software token; nothing here may ship");
    }
    if report.verdict != Verdict::Fail {
        return Ok(());
    }
    Err(Error::Verification { subject: report.directory.clone(), reason: render::why(report) })
}

/// Whom the command line names, or else the mode.
struct Given<'a> {
    dev: bool,
    release: bool,
    /// Files with keys, for one role each or for all.
    files: Vec<&'a str>,
}

impl Given<'_> {
    fn name(&self) -> &'static str {
        match (self.dev, self.files.is_empty()) {
            (true, _) => "dev",
            (false, true) => "release",
            (false, false) => "given",
        }
    }
}

fn given<'a>(context: &Context<'_>, args: &'a TrustArgs) -> Result<Given<'a>, Error> {
    let mut given = Given { dev: false, release: false, files: Vec::new() };
    for whom in &args.trust {
        match whom.as_str() {
            "dev" => given.dev = true,
            "release" => given.release = true,
            file => given.files.push(file),
        }
    }
    if args.trust.is_empty() {
        match context.mode() {
            Mode::Dev => given.dev = true,
            Mode::Release => given.release = true,
            Mode::Off => {
                return Err(Error::Usage {
                    message: "mode `off` trusts no key".into(),
                    hint: Some("say whom to trust with `--trust dev|release|FILE`".into()),
                });
            }
        }
    }
    Ok(given)
}

fn trust(context: &Context<'_>, given: &Given<'_>) -> Result<Trust, Error> {
    let mut roles: BTreeMap<Role, RoleTrust> = BTreeMap::new();
    for role in Role::ALL {
        let mut trust = RoleTrust::default();
        if given.dev {
            trust.keys.push(context.trusted_dev_key(role)?);
        }
        if given.release {
            add_release(context, context.config(), role, &mut trust)?;
        }
        for file in &given.files {
            trust.keys.extend(trust_file::read(file, role)?);
        }
        roles.insert(role, trust);
    }
    if given.release && roles.values().all(|r| r.keys.is_empty() && r.pins.is_empty()) {
        return Err(crate::policy::Refusal::NoReleaseSection.into());
    }
    Ok(Trust {
        roles,
        dev: given.dev,
        known_dev: if given.dev { BTreeSet::new() } else { known_dev(context) },
        examples: context.examples().clone(),
        at: SystemTime::now(),
    })
}

/// A role's pins, and its certificate and who issued it, where the policy names files.
fn add_release(
    context: &Context<'_>,
    config: &Config,
    role: Role,
    trust: &mut RoleTrust,
) -> Result<(), Error> {
    let Some(key) = config.release.as_ref().and_then(|r| r.keys.get(&role)) else { return Ok(()) };
    trust.pins.extend(key.pins.iter().copied());
    if key.certificate.is_some() {
        let trusted = context.trusted_release_keys(role)?;
        trust.issuers.extend(trusted.iter().flat_map(|t| t.chain.iter().cloned()));
        trust.keys.extend(trusted);
    }
    Ok(())
}

/// The keys in this project's dev directory, as far as they can be read: they are refused by name then. Nothing rests
/// on this, since only pinned keys are trusted.
fn known_dev(context: &Context<'_>) -> BTreeSet<Fingerprint> {
    let Ok(directory) = context.dev_dir() else { return BTreeSet::new() };
    let Ok(entries) = std::fs::read_dir(directory.join("certificates")) else { return BTreeSet::new() };
    let read =
        |path: PathBuf| FileSource::read_small(&path).ok().and_then(|b| certificate::read_all(&b).ok());
    let certificates = entries.filter_map(Result::ok).take(64).filter_map(|e| read(e.path())).flatten();
    certificates
        .filter_map(|der| certificate::public_key(&der).ok())
        .map(|key| Fingerprint::of(&key))
        .collect()
}
