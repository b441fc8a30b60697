//! Control trees: whom do SPL and U-Boot trust?

use super::{
    Gate, Standing, Unreadable,
    keys::FoundKey,
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::{
    crypto::PublicKey,
    format::{
        FormatError, Source as _,
        control_dtb::{Expected, Keys, MAX_TREE_BYTES, Stage, check_tree, read_keys},
        fdt::Fdt,
    },
    report::{Report, Verdict},
    request::Identity,
    vocabulary::{Mode, Role},
};
use std::collections::BTreeSet;

/// What a control tree demands.
#[derive(Clone, Debug)]
pub(super) struct TreeFacts {
    /// Where it is: a file, or an image in a FIT.
    pub(super) place: String,
    /// The entry that it is or lies in.
    pub(super) entry: usize,
    pub(super) stage: Stage,
    /// Fingerprints of the trusted keys that it demands.
    pub(super) required: BTreeSet<String>,
    /// Whether one of them suffices.
    pub(super) any: bool,
}

impl TreeFacts {
    /// Whether the stage accepts what these keys signed.
    pub(super) fn accepts(&self, signers: &BTreeSet<String>) -> bool {
        let mut required = self.required.iter();
        if self.required.is_empty() {
            return false;
        }
        if self.any { required.any(|k| signers.contains(k)) } else { required.all(|k| signers.contains(k)) }
    }
}

/// The role whose key a stage's tree holds.
pub(super) fn role_of(stage: Stage) -> Role {
    match stage {
        Stage::Spl => Role::Bootloader,
        Stage::UBoot => Role::Fit,
    }
}

impl Gate<'_> {
    /// The bytes of the control tree that an entry is or ends in.
    pub(super) fn control_tree_bytes(&self, index: usize) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        let range = match &entry.kind {
            Kind::ControlTree => 0..entry.source.len_bytes(),
            Kind::Program { tree: Some(range), .. } => range.clone(),
            _ => return Ok(None),
        };
        match entry.source.read_range(range, MAX_TREE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.is_io() => Err(entry.unreadable()(e)),
            Err(_) => Ok(None),
        }
    }

    /// Judges every control tree that lies in a file of its own or behind a program.
    pub(super) fn control_trees(&mut self) -> Result<(), Unreadable> {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let (is_tree, known_stage) = match &entry.kind {
                Kind::ControlTree => (true, None),
                Kind::Program { stage, tree: Some(_) } => (true, Some(*stage)),
                _ => (false, None),
            };
            if !is_tree || !entry.is_open() {
                continue;
            }
            let place = entry.path.clone();
            let Some(tree) = self.control_tree_bytes(index)? else {
                self.problem(
                    index,
                    ProblemKind::CannotCheck,
                    None,
                    "the control tree is too large to be read",
                );
                continue;
            };
            if known_stage.is_none()
                && let Ok(fdt) = Fdt::parse(&tree.as_slice())
            {
                self.nothing_beside(index, fdt.total_size(), &[])?;
            }
            let stage = known_stage.unwrap_or_else(|| self.stage_of(&tree, &place));
            self.control_tree(index, &place, stage, &tree);
            let Some(entry) = self.entries.get_mut(index) else { continue };
            entry.role = Some(role_of(stage));
            if entry.problems.is_empty() {
                let detail = match entry.kind {
                    Kind::Program { .. } => {
                        "its tree holds the keys that it must; the program itself is for an \
                                             earlier stage to check"
                    }
                    _ => "holds the keys that it must",
                };
                entry.settle(State::Signed, detail);
            }
        }
        Ok(())
    }

    /// Whose tree it is: by the hints of its keys, by the keys, at last by its name.
    pub(super) fn stage_of(&self, tree: &[u8], name: &str) -> Stage {
        let keys = keys_of(tree);
        let by_hint = keys.iter().find_map(|(hint, _, _)| Identity::parse_hint(hint)).map(|(_, role)| role);
        let trusted = |role| keys.iter().any(|(_, _, key)| self.trust.is_trusted(role, key));
        let by_key = match (trusted(Role::Bootloader), trusted(Role::Fit)) {
            (true, false) => Some(Role::Bootloader),
            (false, true) => Some(Role::Fit),
            _ => None,
        };
        match by_hint.or(by_key) {
            Some(Role::Bootloader) => Stage::Spl,
            Some(_) => Stage::UBoot,
            None if ["spl", "tpl"].iter().any(|part| name.contains(part)) => Stage::Spl,
            None => Stage::UBoot,
        }
    }

    /// Judges one control tree; what is wrong is a problem of entry `index`.
    pub(super) fn control_tree(&mut self, index: usize, place: &str, stage: Stage, tree: &[u8]) {
        let (role, other) = match stage {
            Stage::Spl => (Role::Bootloader, Role::Fit),
            Stage::UBoot => (Role::Fit, Role::Bootloader),
        };
        let (trusted, other_roles) = (self.trust.keys(role), self.trust.keys(other));
        let describe =
            |hint: &str| Identity::parse_hint(hint).map(|(mode, role)| format!("{mode} key of role {role}"));
        let expected = Expected { trusted: &trusted, other_roles: &other_roles, describe: &describe };
        let mut report = Report::new(place);
        if let Err(e) = check_tree(tree, place, stage, &expected, &mut report) {
            self.problem(index, ProblemKind::CannotCheck, Some(place.into()), e.to_string());
            return;
        }
        let mut told = false;
        let mut required = BTreeSet::new();
        for (hint, demanded, key) in keys_of(tree) {
            let found = FoundKey { key, certificate: None };
            let fingerprint = found.key.fingerprint();
            let is_dev_hint = matches!(Identity::parse_hint(&hint), Some((Mode::Dev, _)));
            let node = format!("{place}:/signature {hint}");
            match self.trust.standing(&found) {
                Standing::Example(what) => {
                    told |= self.example(index, node, &format!("trusts {fingerprint}, {what}"));
                }
                Standing::Development(why) => {
                    told = true;
                    self.problem(
                        index,
                        ProblemKind::Development,
                        Some(node),
                        format!("trusts {fingerprint}: {why}"),
                    );
                }
                Standing::Trusted(roles) if roles.contains(&role) => {
                    if demanded {
                        required.insert(fingerprint);
                    }
                }
                _ if is_dev_hint => {
                    told = true;
                    let detail = format!("trusts {fingerprint}, a development key by its name");
                    self.problem(index, ProblemKind::Development, Some(node), detail);
                }
                Standing::Trusted(_) | Standing::Issuer(_) | Standing::Unknown => {}
            }
        }
        let failure = report.failure().map(|check| (check.place.clone(), check.detail.clone()));
        if let Some((at, detail)) = failure.filter(|_| !told) {
            let absent = detail.starts_with("absent");
            let kind = if absent { ProblemKind::Unsigned } else { ProblemKind::TrustAnchor };
            self.problem(index, kind, Some(at), detail);
        }
        if let Some(entry) = self.entries.get_mut(index) {
            entry.report.checks.extend(report.checks);
        }
        let any = Fdt::parse(&tree).ok().and_then(|fdt| read_keys(&fdt).ok().flatten());
        let any = any.is_some_and(|keys| keys.required_mode.as_deref() == Some("any"));
        self.trees.push(TreeFacts { place: place.into(), entry: index, stage, required, any });
    }

    /// A public example key: refused, or told where dev keys are trusted. Returns whether it is a problem.
    pub(super) fn example(&mut self, index: usize, place: String, detail: &str) -> bool {
        if self.trust.dev {
            self.release_would_refuse.push(format!("{place}: {detail}"));
            if let Some(entry) = self.entries.get_mut(index) {
                entry.report.add(place, Verdict::Warn, detail);
            }
            return false;
        }
        self.problem(index, ProblemKind::ExampleKey, Some(place), detail);
        true
    }

    pub(super) fn problem(
        &mut self,
        index: usize,
        kind: ProblemKind,
        place: Option<String>,
        detail: impl Into<String>,
    ) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.problem(kind, place, detail);
        }
    }

    /// Sorts an error of a format: a disk that fails ends the run, anything else is a problem.
    pub(super) fn format_problem<E: Into<FormatError>>(
        &mut self,
        index: usize,
        error: E,
    ) -> Result<(), Unreadable> {
        let error = error.into();
        let Some(entry) = self.entries.get_mut(index) else { return Ok(()) };
        if error.is_read() {
            return Err(entry.unreadable()(error));
        }
        entry.problem(ProblemKind::CannotCheck, None, error.to_string());
        Ok(())
    }
}

/// Hint, whether it is required, and key of each key node that can be read.
pub(super) fn keys_of(tree: &[u8]) -> Vec<(String, bool, PublicKey)> {
    let fdt = match Fdt::parse(&tree) {
        Ok(fdt) => fdt,
        Err(_) => return Vec::new(),
    };
    let Ok(Some(Keys { nodes, .. })) = read_keys(&fdt) else { return Vec::new() };
    let keys = nodes.into_iter().filter_map(|n| Some((n.hint, n.required.is_some(), n.key.ok()?)));
    keys.collect()
}
