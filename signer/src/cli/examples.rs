//! Public example keys in artifacts: what a verification finds of them beside the signer's key.
//!
//! Whom a device trusts stands in the artifact. An example key there lets everybody sign: a failure where a release
//! is judged, else a warning.

use super::{Context, options::TrustArgs};
use crate::{
    crypto::Fingerprint,
    error::Error,
    format::{
        control_dtb::read_keys,
        fdt::Fdt,
        fit::{Fit, StageTrust},
    },
    io::FileSource,
    key::certificate,
    policy::{Mode, TrustedKey},
    report::{Report, Verdict},
};
use der::{Decode as _, Encode as _};

/// Adds to `report` which issuers in the chains of `trusted` are public example keys: whoever has such a key can
/// certify one of their own.
pub(super) fn judge_chains(
    context: &Context<'_>,
    trust: &TrustArgs,
    trusted: &[TrustedKey],
    report: &mut Report,
) {
    for key in trusted {
        for fingerprint in key.chain.iter().filter_map(|der| certified(der)) {
            judge(context, trust, &key.origin, "its chain leads through", fingerprint, report);
        }
    }
}

/// Adds to `report` which keys in a control tree are public example keys. A tree that cannot be read is none of
/// this function's business.
pub(super) fn judge_tree(
    context: &Context<'_>,
    trust: &TrustArgs,
    name: &str,
    tree: &[u8],
    report: &mut Report,
) {
    let Ok(fdt) = Fdt::parse(&tree) else { return };
    let Ok(Some(keys)) = read_keys(&fdt) else { return };
    for node in keys.nodes {
        if let Ok(key) = node.key {
            let place = format!("{name}:{}", node.path);
            judge(context, trust, &place, "trusts", Fingerprint::of(&key), report);
        }
    }
}

/// Adds to `report` which certificates in a FIT's device trees are of public example keys. Trees that cannot be
/// looked into, such as compressed ones, are no error: what the report says already stands.
///
/// # Errors
///
/// [`Error::Malformed`] if the FIT cannot be read.
pub(super) fn judge_fit(
    context: &Context<'_>,
    trust: &TrustArgs,
    source: &FileSource,
    report: &mut Report,
) -> Result<(), Error> {
    let fit = Fit::parse(source).map_err(Error::malformed(source.path()))?;
    let trees = match fit.device_trees() {
        Ok(trees) => trees,
        Err(e) if e.is_read() => return Err(Error::malformed(source.path())(e)),
        Err(e) => {
            let detail = format!("what the device trees trust was not looked at: {e}");
            report.add("/images", Verdict::Warn, detail);
            return Ok(());
        }
    };
    for (node, tree) in trees {
        let Ok(anchors) = StageTrust::read(&tree).map(Option::unwrap_or_default) else { continue };
        let place = format!("{}:/firmware/hsmsign", fit.fdt.path(node));
        let certificates = anchors.update_certificate.map(|pem| certificate::read_all(&pem));
        for der in certificates.and_then(Result::ok).unwrap_or_default() {
            if let Some(fingerprint) = certified(&der) {
                judge(context, trust, &place, "the update certificate is for", fingerprint, report);
            }
        }
    }
    Ok(())
}

/// The key that a certificate is for, whatever its type.
fn certified(certificate: &[u8]) -> Option<Fingerprint> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let spki = certificate.tbs_certificate.subject_public_key_info.to_der().ok()?;
    Some(Fingerprint::of_bytes(&spki))
}

fn judge(
    context: &Context<'_>,
    trust: &TrustArgs,
    place: &str,
    how: &str,
    fingerprint: Fingerprint,
    report: &mut Report,
) {
    if let Some(seen) = context.example_keys().find(&fingerprint) {
        let release = context.mode() == Mode::Release || trust.trust.iter().any(|whom| whom == "release");
        let verdict = if release { Verdict::Fail } else { Verdict::Warn };
        report.add(place, verdict, format!("{how} a public example key (seen at {seen}): {fingerprint}"));
    }
}
