//! Findings that a project allows by name, each with a reason.

use super::Finding;
use crate::config::ScanAllowed;

/// Findings, parted by what the allow-list says.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// Not allowed.
    pub refused: Vec<Finding>,
    /// Allowed, and by which entry.
    pub allowed: Vec<(Finding, &'a ScanAllowed)>,
    /// Entries that allowed nothing.
    pub unused: Vec<&'a ScanAllowed>,
}

/// Compares `findings` with the allow-list.
#[must_use]
pub fn judge(findings: Vec<Finding>, list: &[ScanAllowed]) -> Judged<'_> {
    let mut judged = Judged::default();
    let mut used = vec![false; list.len()];
    for finding in findings {
        match list.iter().position(|entry| allows(entry, &finding)) {
            Some(index) => {
                used.iter_mut().skip(index).take(1).for_each(|u| *u = true);
                judged.allowed.extend(list.get(index).map(|entry| (finding, entry)));
            }
            None => judged.refused.push(finding),
        }
    }
    judged.unused = list.iter().zip(used).filter(|(_, used)| !used).map(|(entry, _)| entry).collect();
    judged
}

/// Whether the entry means this finding: everything that it names has to agree.
fn allows(entry: &ScanAllowed, finding: &Finding) -> bool {
    entry.path.as_ref().is_none_or(|path| path.matches(&finding.location))
        && entry.kind.is_none_or(|kind| kind == finding.kind)
        && entry.fingerprint.is_none_or(|key| Some(key) == finding.fingerprint)
}
