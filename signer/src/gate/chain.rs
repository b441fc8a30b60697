//! How trust flows from one artifact to the next.

use super::{
    Gate, LinkState, keys,
    kind::Kind,
    outcome::{Link, ProblemKind, State},
};
use crate::{
    format::{
        control_dtb::Stage,
        swu::{self, Form, Trusted},
        verity::Description,
    },
    key::certificate::is_self_issued,
    report::{Report, Verdict},
    vocabulary::Role,
};

impl Gate<'_> {
    /// Follows every link; broken ones are problems of the artifact they lead to.
    pub(super) fn links(&mut self) {
        self.link_boot_stages(Role::Bootloader);
        self.link_boot_stages(Role::Fit);
        self.link_root_hashes();
        self.link_update_certificates();
        self.link_members();
    }

    fn link(
        &mut self,
        from: Option<&str>,
        to: Option<&str>,
        by: &str,
        state: LinkState,
        detail: impl Into<String>,
    ) {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        let link = Link { from, to, by: by.to_owned(), state, detail: detail.into() };
        if !self.links.contains(&link) {
            self.links.push(link);
        }
    }

    /// The key in a stage's control tree ↔ the FIT that it loads.
    fn link_boot_stages(&mut self, role: Role) {
        let (stage, name, files) = match role {
            Role::Bootloader => (Stage::Spl, "SPL", "u-boot-spl.dtb or u-boot-spl.bin"),
            _ => (Stage::UBoot, "U-Boot", "u-boot.dtb, u-boot.bin or u-boot.itb"),
        };
        let by = format!("{role} key");
        let trees: Vec<_> =
            self.trees.iter().filter(|t| t.stage == stage && self.is_top(t.entry)).cloned().collect();
        let fits: Vec<_> =
            self.fits.iter().filter(|f| f.role == role && self.is_top(f.entry)).cloned().collect();
        for tree in &trees {
            // A control tree within U-Boot's FIT is covered by that FIT.
            let carrier = self.path(tree.entry);
            if carrier != tree.place && self.fits.iter().any(|f| f.entry == tree.entry) {
                let good = self.fits.iter().any(|f| f.entry == tree.entry && f.good);
                let state = if good { LinkState::Holds } else { LinkState::Broken };
                let detail =
                    if good { "carried in it" } else { "carried in it, and nothing trusted covers it" };
                self.link(Some(&carrier), Some(&tree.place), "carries", state, detail);
            }
            if fits.is_empty() {
                let detail = format!("no FIT that {name} starts is in the directory");
                self.link(Some(&tree.place), None, &by, LinkState::Missing, detail);
            }
        }
        for fit in &fits {
            let to = self.path(fit.entry);
            if trees.is_empty() {
                let detail = format!(
                    "no control tree of {name} ({files}) is in the directory: nothing here shows which key it demands"
                );
                self.link(None, Some(&to), &by, LinkState::Missing, detail);
            }
            for tree in &trees {
                let refused: Vec<&str> =
                    fit.signers.iter().filter(|(_, by)| !tree.accepts(by)).map(|(c, _)| c.as_str()).collect();
                let names = |list: &[&str]| list.join(", ");
                if refused.is_empty() && !fit.signers.is_empty() {
                    let all: Vec<&str> = fit.signers.keys().map(String::as_str).collect();
                    let detail = format!("{} signed by the key that it demands", names(&all));
                    self.link(Some(&tree.place), Some(&to), &by, LinkState::Holds, detail);
                } else {
                    let detail = format!("{name} with {} refuses {}", tree.place, names(&refused));
                    self.broken(fit.entry, Some(&tree.place), &to, &by, detail);
                }
            }
        }
    }

    /// The root hash in a FIT ↔ the image.
    fn link_root_hashes(&mut self) {
        const BY: &str = "root hash";
        let fits: Vec<_> =
            self.fits.iter().filter(|f| f.role == Role::Fit && self.is_top(f.entry)).cloned().collect();
        let images: Vec<(usize, Option<Description>)> = self
            .images
            .iter()
            .filter(|i| self.is_top(i.entry))
            .map(|i| (i.entry, i.described.clone()))
            .collect();
        let mut named = Vec::new();
        for fit in &fits {
            let from = self.path(fit.entry);
            let roots =
                fit.anchors.iter().filter_map(|(place, trust)| Some((place, trust, trust.root_hash()?)));
            let mut count = 0;
            for (place, trust, root) in roots {
                count += 1;
                let of_root = |(_, image): &&(usize, Option<Description>)| {
                    image.as_ref().is_some_and(|image| image.root_hash == root)
                };
                match images.iter().find(of_root) {
                    Some((entry, image)) => {
                        named.push(*entry);
                        let to = self.path(*entry);
                        match image.as_ref().and_then(|image| trust.differs_from(image)) {
                            None => {
                                let detail = format!("{} in {place}", short(&root));
                                self.link(Some(&from), Some(&to), BY, LinkState::Holds, detail);
                            }
                            Some(why) => {
                                let detail = format!("{place} means another image: {why}");
                                self.broken(*entry, Some(&from), &to, BY, detail);
                            }
                        }
                    }
                    None if images.is_empty() => {
                        let detail = format!("no image with root hash {} is in the directory", short(&root));
                        self.link(Some(&from), None, BY, LinkState::Missing, detail);
                    }
                    None => {
                        let detail =
                            format!("{place} names root hash {}, which no good image here has", short(&root));
                        self.broken(fit.entry, Some(&from), "a root file system", BY, detail);
                    }
                }
            }
            if count == 0 && !images.is_empty() {
                let detail =
                    "it names no root hash (`sign fit --rootfs`): nothing here shows which image it starts";
                self.link(Some(&from), None, BY, LinkState::Missing, detail);
            }
        }
        for (entry, _) in images.iter().filter(|(entry, _)| !named.contains(entry)) {
            let to = self.path(*entry);
            let detail =
                "no FIT here names its root hash: a device must check the signature of the root hash itself";
            self.link(None, Some(&to), BY, LinkState::Missing, detail);
        }
    }

    /// The update certificate in a FIT ↔ the signature of the bundle.
    fn link_update_certificates(&mut self) {
        const BY: &str = "update certificate";
        let fits: Vec<_> =
            self.fits.iter().filter(|f| f.role == Role::Fit && self.is_top(f.entry)).cloned().collect();
        let mut anchored = Vec::new();
        let mut broken = Vec::new();
        let mut rootless = Vec::new();
        for fit in &fits {
            let from = self.path(fit.entry);
            let pems =
                fit.anchors.iter().filter_map(|(place, t)| Some((place, t.update_certificate.as_ref()?)));
            for (place, pem) in pems {
                let certificates: Vec<_> = keys::in_pem(&String::from_utf8_lossy(pem));
                if self.bundles.is_empty() {
                    anchored.push((
                        from.clone(),
                        None,
                        LinkState::Missing,
                        "no bundle is in the directory".to_owned(),
                    ));
                }
                for facts in self.bundles.iter().filter(|b| self.is_top(b.entry)) {
                    let to = self.path(facts.entry);
                    let chain: Vec<Vec<u8>> =
                        certificates.iter().filter_map(|c| c.certificate.clone()).collect();
                    let accepts = certificates.iter().find_map(|found| {
                        let trusted = Trusted {
                            public_key: &found.key,
                            certificate: found.certificate.as_deref(),
                            chain: &chain,
                            origin: "the FIT's update certificate",
                        };
                        let mut scratch = Report::new(to.clone());
                        let form = swu::verify(
                            &facts.bundle,
                            &facts.measured,
                            &[trusted],
                            self.trust.at,
                            &mut scratch,
                        );
                        form.ok().flatten()
                    });
                    if let Some(form) = accepts {
                        if form == Form::Cms && !chain.iter().any(|c| is_self_issued(c)) {
                            rootless.push((fit.entry, place.clone()));
                        }
                        let detail = format!("that of {place} accepts its signature");
                        anchored.push((from.clone(), Some(to), LinkState::Holds, detail));
                    } else {
                        let detail = format!("a device with {place} refuses it");
                        broken.push((facts.entry, from.clone(), to, detail));
                    }
                }
            }
            let has_certificate = fit.anchors.iter().any(|(_, t)| t.update_certificate.is_some());
            if !has_certificate && !self.bundles.is_empty() {
                let detail = "it carries no update certificate (`sign fit --update-certificate`): nothing here shows \
                              which bundles its system takes";
                anchored.push((from.clone(), None, LinkState::Missing, detail.to_owned()));
            }
        }
        if fits.is_empty() {
            for facts in self.bundles.iter().filter(|b| self.is_top(b.entry)) {
                let detail = "no FIT with an update certificate is in the directory";
                let to = self.path(facts.entry);
                anchored.push((String::new(), Some(to), LinkState::Missing, detail.to_owned()));
            }
        }
        for (entry, place) in rootless {
            if let Some(entry) = self.entries.get_mut(entry) {
                let detail = "holds no self-signed certificate: swupdate trusts no other, and refuses the bundle \
                              (`hsmsign keys certificate --role update` writes the policy's `chain` behind the certificate)";
                entry.report.add(
                    format!("{place}:/firmware/hsmsign update-certificate"),
                    Verdict::Warn,
                    detail,
                );
            }
        }
        for (from, to, state, detail) in anchored {
            let from = (!from.is_empty()).then_some(from);
            self.link(from.as_deref(), to.as_deref(), BY, state, detail);
        }
        for (entry, from, to, detail) in broken {
            self.broken(entry, Some(&from), &to, BY, detail);
        }
    }

    /// Images in a bundle ↔ images beside it.
    fn link_members(&mut self) {
        const BY: &str = "bundle";
        let bundles: Vec<(usize, bool, Vec<usize>)> =
            self.bundles.iter().map(|b| (b.entry, b.good, b.members.clone())).collect();
        for (bundle, good, members) in bundles {
            let from = self.path(bundle);
            for member in members {
                let Some(entry) = self.entries.get(member) else { continue };
                let (to, same_as) = (entry.path.clone(), entry.same_as);
                let Some(beside) = same_as.or_else(|| self.beside(member)) else {
                    let detail = "signed with the bundle alone: no such file lies beside it";
                    self.member_of(member, &from, good, detail);
                    self.link(Some(&from), Some(&to), BY, LinkState::Holds, detail);
                    continue;
                };
                let other_path = self.path(beside);
                let same = same_as.is_some();
                let itself = self.entries.get(member).is_some_and(|e| e.state == Some(State::Signed));
                if same {
                    let detail = format!("the same bytes as {other_path}");
                    if let Some(entry) = self.entries.get_mut(member)
                        && entry.state != Some(State::Signed)
                    {
                        entry.problems.clear();
                        entry.covered(&other_path, detail.clone());
                    }
                    self.link(Some(&from), Some(&to), BY, LinkState::Holds, detail);
                } else if itself {
                    let detail = format!("differs from {other_path}, and is signed by itself");
                    self.link(Some(&from), Some(&to), BY, LinkState::Holds, detail);
                } else {
                    let detail = format!("differs from {other_path}, and is not signed by itself");
                    self.broken(member, Some(&from), &to, BY, detail);
                }
            }
        }
    }

    /// An image that a good bundle's signature covers.
    fn member_of(&mut self, member: usize, bundle: &str, good: bool, detail: &str) {
        if let Some(entry) = self.entries.get_mut(member)
            && good
            && entry.state.is_none()
            && entry.kind != Kind::Fit
            && entry
                .problems
                .iter()
                .all(|p| matches!(p.kind, ProblemKind::Unsigned | ProblemKind::CannotCheck))
        {
            entry.problems.clear();
            entry.covered(bundle, detail);
        }
    }

    fn broken(&mut self, entry: usize, from: Option<&str>, to: &str, by: &str, detail: String) {
        // An artifact that is bad by itself breaks its links for that reason.
        if self.entries.get(entry).is_some_and(|e| e.problems.iter().all(|p| p.kind == ProblemKind::Chain)) {
            self.problem(entry, ProblemKind::Chain, None, detail.clone());
        }
        self.link(from, Some(to), by, LinkState::Broken, detail);
    }

    fn is_top(&self, entry: usize) -> bool {
        self.entries.get(entry).is_some_and(|e| e.container.is_none())
    }

    fn path(&self, entry: usize) -> String {
        self.entries.get(entry).map(|e| e.path.clone()).unwrap_or_default()
    }
}

/// Enough of a hash to know it again.
fn short(hash: &str) -> String {
    hash.get(..16).map_or_else(|| hash.to_owned(), |start| format!("{start}…"))
}
