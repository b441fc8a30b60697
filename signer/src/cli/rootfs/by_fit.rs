//! What a signed FIT says of the root filesystem: the sizes too, which the root hash does not cover.

use crate::{
    cli::{Context, examples, options::TrustArgs},
    crypto::Digest,
    error::Error,
    format::{
        Source as _,
        fit::{self, Fit, StageTrust},
        verity::{Description, Placement, Tree},
    },
    io::FileSource,
    report::{Report, Verdict},
    vocabulary::Role,
};
use std::path::Path;

/// Verifies the FIT in `path`, then compares what each of its device trees says with `tree`.
///
/// Good checks of the FIT are summed up in one; what is wrong or weak about it is told in full.
pub(super) fn check(
    context: &Context<'_>,
    trust: &TrustArgs,
    path: &Path,
    (tree, placement, root_hash): (&Tree, Placement, &Digest),
    report: &mut Report,
) -> Result<(), Error> {
    let keys: Vec<_> = context.trust(Role::Fit, trust)?.into_iter().map(|key| key.public_key).collect();
    let source = FileSource::open(path)?;
    let name = path.display().to_string();
    let bar = context.output.progress("hashing", source.len_bytes());
    let found = fit::verify(&source, &name, &keys, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let found = found.map_err(Error::malformed(path))?;
    let good = found.failure().is_none();
    for check in found.checks.into_iter().filter(|check| check.verdict != Verdict::Pass) {
        report.add(format!("{name}:{}", check.place), check.verdict, check.detail);
    }
    if !good {
        return Ok(());
    }
    report.add(&name, Verdict::Pass, "every configuration is signed and every image is covered");
    report.signed_by.extend(found.signed_by.into_iter().map(|mut signed| {
        signed.place = format!("{name}:{}", signed.place);
        signed
    }));

    examples::judge_fit(context, trust, &source, report)?;
    let image = Description::unsigned(tree, root_hash, placement);
    let fit = Fit::parse(&source).map_err(Error::malformed(path))?;
    let trees = fit.device_trees().map_err(Error::malformed(path))?;
    if trees.is_empty() {
        report.add(&name, Verdict::Fail, "carries no device tree that could name a root filesystem");
    }
    for (node, bytes) in trees {
        let place = format!("{name}:{}:/firmware/hsmsign", fit.fdt.path(node));
        let trust = StageTrust::read(&bytes).map_err(Error::malformed(path))?.unwrap_or_default();
        match trust.differs_from(&image) {
            None => report.add(place, Verdict::Pass, "names this root hash and these parameters"),
            Some(why) => report.add(place, Verdict::Fail, why),
        }
    }
    Ok(())
}
