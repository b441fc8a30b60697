//! Judges a control tree: whom does the boot stage that it controls trust?

use super::{ControlDtbError, KeyNode, crypto_name, read_keys, weaknesses};
use crate::{
    crypto::{HashAlgorithm, PublicKey},
    format::fdt::Fdt,
    report::{Report, Verdict},
};

/// The boot stage that a control tree belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// SPL: it has no command line and no environment.
    Spl,
    /// U-Boot proper.
    UBoot,
}

/// Whom a control tree may trust.
pub struct Expected<'a> {
    /// The keys of which one must be there and required.
    pub trusted: &'a [PublicKey],
    /// Keys of another role, which are told of when they are there too.
    pub other_roles: &'a [PublicKey],
    /// What a hint says when it is one of hsmsign's: `development key of role fit`.
    pub describe: &'a dyn Fn(&str) -> Option<String>,
}

/// Adds what it finds in `tree` to `report`; places begin with `name`.
///
/// # Errors
///
/// [`ControlDtbError`] if the tree cannot be read at all.
pub fn check_tree(
    tree: &[u8],
    name: &str,
    stage: Stage,
    expected: &Expected<'_>,
    report: &mut Report,
) -> Result<(), ControlDtbError> {
    let fdt = Fdt::parse(&tree)?;
    check_keys(&fdt, name, expected, report)?;
    if stage == Stage::UBoot {
        for (place, what) in weaknesses(&fdt) {
            report.add(format!("{name}:{place}"), Verdict::Warn, what);
        }
    }
    Ok(())
}

fn check_keys(
    fdt: &Fdt<'_>,
    name: &str,
    expected: &Expected<'_>,
    report: &mut Report,
) -> Result<(), ControlDtbError> {
    let place = format!("{name}:/signature");
    let Some(keys) = read_keys(fdt)? else {
        report.add(place, Verdict::Fail, "absent: this stage accepts unsigned images");
        return Ok(());
    };
    let any = keys.required_mode.as_deref() == Some("any");
    match keys.required_mode.as_deref() {
        None | Some("all") => {}
        Some("any") => report.add(
            format!("{place}/required-mode"),
            Verdict::Warn,
            "`any`: one required key suffices, so the weakest key decides",
        ),
        Some(other) => report.add(
            format!("{place}/required-mode"),
            Verdict::Warn,
            format!("`{other}` is no mode that U-Boot knows; it takes it for `all`"),
        ),
    }
    let mut trusted = 0;
    for node in &keys.nodes {
        let (verdict, detail) = judge(node, any, expected);
        if matches!(&node.key, Ok(key) if expected.trusted.contains(key)) {
            trusted += 1;
        }
        report.add(format!("{name}:{}", node.path), verdict, detail);
    }
    if trusted == 0 {
        report.add(place, Verdict::Fail, "holds none of the trusted keys");
    }
    Ok(())
}

fn judge(node: &KeyNode, any: bool, expected: &Expected<'_>) -> (Verdict, String) {
    let described = (expected.describe)(&node.hint);
    let required = node.required.as_deref();
    let key = match &node.key {
        Ok(key) => key,
        Err(problem) if described.is_some() || required.is_some() => {
            return (Verdict::Fail, format!("U-Boot cannot use this key: {problem}"));
        }
        Err(problem) => return (Verdict::Warn, format!("another's node, and no usable key: {problem}")),
    };
    let fingerprint = key.fingerprint();
    if expected.trusted.contains(key) {
        return judge_trusted(node, key);
    }
    if expected.other_roles.contains(key) {
        if any && required.is_some() {
            let detail = "a required key of another role: with `required-mode = \"any\"` it alone suffices";
            return (Verdict::Fail, format!("{detail}: {fingerprint}"));
        }
        return (Verdict::Warn, format!("a trusted key, but of another role: {fingerprint}"));
    }
    match (described, required) {
        (Some(what), _) => (Verdict::Fail, format!("an untrusted {what}: {fingerprint}")),
        (None, Some(what)) if any => (
            Verdict::Fail,
            format!(
                "another's key, required = `{what}`: with `required-mode = \"any\"` it alone suffices: {fingerprint}"
            ),
        ),
        (None, Some(what)) => (
            Verdict::Warn,
            format!(
                "another's key, required = `{what}`: images need a signature by it as well: {fingerprint}"
            ),
        ),
        (None, None) => (Verdict::Warn, format!("another's key, not required: {fingerprint}")),
    }
}

fn judge_trusted(node: &KeyNode, key: &PublicKey) -> (Verdict, String) {
    let fingerprint = key.fingerprint();
    let algo = node.algo.as_deref().unwrap_or_default();
    let (hash, crypto) = algo.split_once(',').unwrap_or((algo, ""));
    let Some(hash) = HashAlgorithm::from_name(hash) else {
        return (Verdict::Fail, format!("algo `{algo}` asks for no hash that is collision-resistant"));
    };
    if key.key_type().map(crypto_name) != Some(crypto) {
        return (Verdict::Fail, format!("algo `{algo}` does not fit the key, so U-Boot refuses it"));
    }
    match node.required.as_deref() {
        Some("conf") => {
            (Verdict::Pass, format!("required for configurations, {hash},{crypto}, {fingerprint}"))
        }
        Some("image") => (
            Verdict::Warn,
            format!(
                "required for images only: signed images can be mixed and their load addresses changed: {fingerprint}"
            ),
        ),
        Some(other) => {
            (Verdict::Fail, format!("required = `{other}` means nothing to U-Boot: {fingerprint}"))
        }
        None => (
            Verdict::Fail,
            format!("not `required`: this stage accepts images without its signature: {fingerprint}"),
        ),
    }
}
