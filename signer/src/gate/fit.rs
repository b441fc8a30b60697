//! FITs: whose signatures, and which trust anchors for the stage after.

use super::{
    Gate, Standing, Unreadable,
    keys::{self, FoundKey},
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::{
    format::{
        Section,
        bootloader::u_boot_fit::control_trees,
        control_dtb::Stage,
        fit::{self, Fit, ImageData, StageTrust},
    },
    request::Identity,
    vocabulary::{Mode, Role},
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a FIT.
#[derive(Clone, Debug)]
pub(super) struct FitFacts {
    pub(super) entry: usize,
    pub(super) role: Role,
    /// Whether every configuration and image is covered by a trusted signature.
    pub(super) good: bool,
    /// Trusted signers of each configuration: paths and fingerprints.
    pub(super) signers: BTreeMap<String, BTreeSet<String>>,
    /// Its device trees: image paths and bytes.
    pub(super) trees: Vec<(String, Vec<u8>)>,
    /// What these say of the stage after.
    pub(super) anchors: Vec<(String, StageTrust)>,
    pub(super) images: Vec<ImageData>,
}

impl Gate<'_> {
    /// Judges every FIT, with the control trees and trust anchors in it.
    pub(super) fn fits(&mut self) -> Result<(), Unreadable> {
        for index in 0..self.entries.len() {
            if self.entries.get(index).is_some_and(|e| e.kind == Kind::Fit && e.is_open()) {
                self.fit(index)?;
            }
        }
        Ok(())
    }

    fn fit(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let source: Section<'_> = entry.source.clone();
        let name = entry.path.clone();
        let fit = match Fit::parse(&source) {
            Ok(fit) => fit,
            Err(e) => return self.format_problem(index, e),
        };
        let images = fit.image_data();
        let hints = fit.key_name_hints();
        let role = role_of(&images, &hints);
        let report = match fit::verify(&source, &name, &self.trust.keys(role), self.work.progress) {
            Ok(report) => report,
            Err(e) => return self.format_problem(index, e),
        };
        let good = report.failure().is_none();
        let mut signers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for configuration in fit.configurations() {
            signers.insert(fit.fdt.path(configuration), BTreeSet::new());
        }
        for signed in &report.signed_by {
            for (configuration, by) in &mut signers {
                if signed
                    .place
                    .strip_prefix(configuration.as_str())
                    .is_some_and(|r| r.is_empty() || r.starts_with('/'))
                {
                    by.insert(signed.fingerprint.clone());
                }
            }
        }
        let trees = control_trees(&fit);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.role = Some(role);
            entry.report = report;
        }
        self.fit_signatures(index, &hints, good);
        self.nothing_beside(index, fit.fdt.total_size(), &images)?;
        let trees = match trees {
            Ok(trees) => trees,
            Err(e) => {
                self.format_problem(index, e)?;
                Vec::new()
            }
        };
        let mut anchors = Vec::new();
        for (path, tree) in &trees {
            let place = format!("{name}:{path}");
            match role {
                Role::Bootloader => self.control_tree(index, &place, Stage::UBoot, tree),
                _ => match StageTrust::read(tree) {
                    Ok(Some(trust)) => {
                        self.update_certificate(index, &place, &trust);
                        anchors.push((place, trust));
                    }
                    Ok(None) => {}
                    Err(e) => self.problem(index, ProblemKind::CannotCheck, Some(place), e.to_string()),
                },
            }
        }
        if let Some(entry) = self.entries.get_mut(index)
            && entry.problems.is_empty()
        {
            let count = signers.len();
            let which = if count == 1 {
                "its configuration is".into()
            } else {
                format!("all {count} configurations are")
            };
            entry.settle(State::Signed, format!("{which} signed by a trusted key of role {role}"));
        }
        self.fits.push(FitFacts { entry: index, role, good, signers, trees, anchors, images });
        Ok(())
    }

    /// What it means that a FIT's signatures are not as they must be.
    fn fit_signatures(&mut self, index: usize, hints: &[String], good: bool) {
        let dev = hints.iter().find(|h| matches!(Identity::parse_hint(h), Some((Mode::Dev, _))));
        if let Some(hint) = dev.filter(|_| !self.trust.dev) {
            let detail = format!("a signature is by `{hint}`, a development key by its name");
            self.problem(index, ProblemKind::Development, None, detail);
        }
        let Some(entry) = self.entries.get_mut(index) else { return };
        if good || !entry.problems.is_empty() {
            return;
        }
        let failure = entry.failure().unwrap_or_default();
        let pinned = entry.role.and_then(|role| Some((role, self.trust.roles.get(&role)?)));
        let failure = match pinned.filter(|(_, trust)| trust.keys.is_empty() && !trust.pins.is_empty()) {
            Some((role, _)) => format!(
                "the key that the policy pins for role {role} turns up nowhere in the directory, so nothing can be checked \
                 with it (`--trust {role}=FILE` beside `--trust release` names it)"
            ),
            None => failure,
        };
        if hints.is_empty() {
            entry.problem(ProblemKind::Unsigned, None, "no configuration and no image of it is signed");
        } else {
            entry.problem(ProblemKind::BadSignature, None, failure);
        }
    }

    /// The certificate that update bundles will be checked with.
    fn update_certificate(&mut self, index: usize, place: &str, trust: &StageTrust) {
        let Some(pem) = &trust.update_certificate else { return };
        let place = format!("{place}:/firmware/hsmsign update-certificate");
        let found = keys::in_pem(&String::from_utf8_lossy(pem));
        if found.is_empty() {
            self.problem(
                index,
                ProblemKind::CannotCheck,
                Some(place),
                "holds no certificate that can be read",
            );
            return;
        }
        for key in found {
            self.anchor(index, &place, &key, Some(Role::Update));
        }
    }

    /// Judges a key that a device trusts for `role`, or for anything if that is not known.
    pub(super) fn anchor(&mut self, index: usize, place: &str, found: &FoundKey, role: Option<Role>) {
        let fingerprint = found.key.fingerprint();
        let subject = found.certificate.as_deref().and_then(crate::key::certificate::subject);
        let named = subject.map_or(fingerprint.clone(), |s| format!("{fingerprint} ({s})"));
        match self.trust.standing(found) {
            Standing::Example(what) => {
                self.example(index, place.into(), &format!("{named}: {what}"));
            }
            Standing::Development(why) => {
                self.problem(index, ProblemKind::Development, Some(place.into()), format!("{named}: {why}"));
            }
            Standing::Trusted(roles) => match role {
                Some(role) if !roles.contains(&role) => {
                    let detail = format!("{named}: not a key of role {role}, but of role {}", names(&roles));
                    self.problem(index, ProblemKind::UnknownKey, Some(place.into()), detail);
                }
                None if self.trust.dev => {
                    self.release_would_refuse.push(format!("{place}: {named}: a development key"));
                }
                _ => {}
            },
            Standing::Issuer(of) => {
                if let Some(role) = role.filter(|role| !of.contains(role)) {
                    let of = names(&of);
                    let detail = format!("{named}: it issues certificates of role {of}, not of role {role}");
                    self.problem(index, ProblemKind::UnknownKey, Some(place.into()), detail);
                }
            }
            Standing::Unknown => {
                if let Some(role) = role {
                    let detail = format!("{named}: neither pinned for role {role} nor in its chain");
                    self.problem(index, ProblemKind::UnknownKey, Some(place.into()), detail);
                }
            }
        }
    }
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Which role signs a FIT: what it starts decides, and what its signatures say only where that is silent.
fn role_of(images: &[ImageData], hints: &[String]) -> Role {
    let any = |test: &dyn Fn(&ImageData) -> bool| images.iter().any(test);
    if any(&|image| image.os == "u-boot") {
        return Role::Bootloader;
    }
    if any(&|image| image.kind.starts_with("kernel")) {
        return Role::Fit;
    }
    let hinted = hints.iter().find_map(|hint| Identity::parse_hint(hint)).map(|(_, role)| role);
    match hinted {
        Some(Role::Bootloader) => Role::Bootloader,
        Some(_) => Role::Fit,
        None if any(&|image| image.kind == "firmware") => Role::Bootloader,
        None => Role::Fit,
    }
}
