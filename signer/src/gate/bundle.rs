//! What lies in swupdate bundles and on disks, and whether it is what lies beside them.

use super::{
    Gate, Unreadable,
    entry::Entry,
    kind::{FAT, Kind},
    outcome::{ProblemKind, State},
    recognise,
};
use crate::{
    content::Window,
    crypto::Digest,
    format::{
        FormatError, ReadError, Section,
        swu::{self, Bundle, Fault, Form, Measured, Work, measure},
    },
    report::Report,
    vocabulary::Role,
};
use std::ops::Range;

/// How deep containers are looked into: a file on a partition of a compressed disk in a bundle is.
const MAX_DEPTH: usize = 6;
/// Most things that are taken out of containers.
pub(super) const MAX_WITHIN: usize = 4096;

/// What is known of a bundle.
pub(super) struct BundleFacts {
    pub(super) entry: usize,
    pub(super) bundle: Bundle,
    pub(super) measured: Vec<Measured>,
    /// Whether a trusted key signed it, and every image is as was signed.
    pub(super) good: bool,
    pub(super) form: Option<Form>,
    /// Its images' entries, in the order of `bundle.files`.
    pub(super) members: Vec<usize>,
}

impl<'a> Gate<'a> {
    /// Makes entries of what lies in bundles and on disks.
    pub(super) fn open_containers(&mut self) -> Result<(), Unreadable> {
        let mut index = 0;
        while index < self.entries.len() {
            if self.depth(index) < MAX_DEPTH {
                // Of two that are the same, the one beside is opened.
                let kind = self.entries.get(index).filter(|e| e.same_as.is_none()).map(|e| e.kind.clone());
                match kind {
                    Some(Kind::Bundle) => self.open_bundle(index)?,
                    Some(Kind::FileSystem(FAT)) => self.open_fat(index)?,
                    Some(Kind::Compressed(compression, inner)) => {
                        self.open_compressed(index, compression, &inner)?;
                    }
                    Some(Kind::Disk(partitions)) => {
                        for partition in partitions {
                            let Some(entry) = self.entries.get(index) else { break };
                            let path = format!("{}:partition {}", entry.path, partition.number);
                            let source = entry.source.part(partition.range.clone());
                            let window = entry.window.as_ref().map(|w| part(w, &partition.range));
                            self.put_within(index, path, source, window)?;
                        }
                    }
                    _ => {}
                }
            }
            index += 1;
        }
        Ok(())
    }

    fn depth(&self, index: usize) -> usize {
        let mut depth = 0;
        let mut at = index;
        while let Some(container) = self.entries.get(at).and_then(|e| e.container) {
            depth += 1;
            at = container;
        }
        depth
    }

    pub(super) fn put_within(
        &mut self,
        container: usize,
        path: String,
        source: Section<'a>,
        window: Option<Window>,
    ) -> Result<Option<usize>, Unreadable> {
        if self.entries.len() > MAX_WITHIN * 8 {
            self.problem(container, ProblemKind::CannotCheck, None, "there is too much in it");
            return Ok(None);
        }
        let kind = recognise(&source, &path);
        let kind = kind.map_err(|e: ReadError| Unreadable { path: path.clone(), source: e.into() })?;
        let mut entry = Entry::within(path, kind, source, Some(container));
        entry.window = window;
        self.entries.push(entry);
        Ok(Some(self.entries.len() - 1))
    }

    fn open_bundle(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let (source, name) = (entry.source.clone(), entry.path.clone());
        let bundle = match Bundle::read(&source) {
            Ok(bundle) => bundle,
            Err(e) => return self.format_problem(index, e),
        };
        if bundle.files.len() > MAX_WITHIN {
            self.problem(index, ProblemKind::CannotCheck, None, "there is too much in it");
            return Ok(());
        }
        let work = Work { threads: self.work.threads, progress: self.work.progress, copy: &|_, _, _| Ok(()) };
        let measured = match measure(&bundle.payloads(&source), work) {
            Ok(measured) => measured,
            Err(Fault::Read { source, .. }) => return self.format_problem(index, source),
            Err(Fault::Write(e)) => {
                let source = FormatError::Read(ReadError::Io { offset: 0, source: e });
                return Err(Unreadable { path: name, source });
            }
        };
        let mut members = Vec::new();
        for (member, measured) in bundle.files.iter().zip(&measured) {
            let section = source.part(member.data.clone());
            let window = self.entries.get(index).and_then(|e| e.window.as_ref());
            let window = window.map(|w| part(w, &member.data));
            if let Some(within) =
                self.put_within(index, format!("{name}:{}", member.name), section, window)?
            {
                self.digests.remember(within, &measured.sha256);
                self.find_beside(within)?;
                members.push(within);
            }
        }
        self.bundles.push(BundleFacts { entry: index, bundle, measured, good: false, form: None, members });
        Ok(())
    }

    /// Remembers which file beside the bundle has the same name and bytes, so that only one of the two is judged.
    fn find_beside(&mut self, member: usize) -> Result<(), Unreadable> {
        let Some(beside) = self.beside(member) else { return Ok(()) };
        let (Some(entry), Some(other)) = (self.entries.get(member), self.entries.get(beside)) else {
            return Ok(());
        };
        if !entry.source.same_length(&other.source) {
            return Ok(());
        }
        let (source, other_source) = (entry.source.clone(), other.source.clone());
        let failed = |e: ReadError| other.unreadable()(e);
        let digest = self.digests.get_or(beside, &other_source).map_err(failed)?;
        let own = self.digests.get_or(member, &source).map_err(failed)?;
        if digest == own
            && let Some(entry) = self.entries.get_mut(member)
        {
            entry.same_as = Some(beside);
        }
        Ok(())
    }

    /// The file of a member's name that lies in the directory.
    pub(super) fn beside(&self, member: usize) -> Option<usize> {
        let name = self.entries.get(member)?.file_name();
        self.entries.iter().position(|e| e.container.is_none() && e.is_called_in(name))
    }

    /// Judges every bundle.
    pub(super) fn bundles(&mut self) -> Result<(), Unreadable> {
        for number in 0..self.bundles.len() {
            let Some(facts) = self.bundles.get(number) else { continue };
            let index = facts.entry;
            let Some(entry) = self.entries.get(index) else { continue };
            let mut report = Report::new(entry.path.clone());
            let trusted = self.trust.bundle_signers();
            let found = swu::verify(&facts.bundle, &facts.measured, &trusted, self.trust.at, &mut report);
            let form = match found {
                Ok(form) => form,
                Err(e) => {
                    self.format_problem(index, e)?;
                    continue;
                }
            };
            let signed = facts.bundle.signature.is_some();
            let dev = facts.bundle.signature.as_deref().is_some_and(is_development);
            let dev = dev && form.is_none() && !self.trust.dev;
            let Some(entry) = self.entries.get_mut(index) else { continue };
            entry.role = Some(Role::Update);
            entry.report = report;
            if let Some(failure) = entry.failure() {
                let kind = match (dev, signed) {
                    (true, _) => ProblemKind::Development,
                    (_, false) => ProblemKind::Unsigned,
                    (false, true) => ProblemKind::BadSignature,
                };
                entry.problem(kind, None, failure);
            }
            let good = entry.problems.is_empty() && form.is_some();
            if good {
                entry.settle(State::Signed, "signed by a trusted key, every image as was signed");
            }
            if let Some(facts) = self.bundles.get_mut(number) {
                facts.good = good;
                facts.form = form;
            }
        }
        Ok(())
    }

    /// The digest of an image in a bundle, if the bundle's signature covers it.
    pub(super) fn signed_members(&self) -> Vec<(usize, Digest, usize)> {
        let mut all = Vec::new();
        for facts in self.bundles.iter().filter(|b| b.good) {
            for (member, measured) in facts.members.iter().zip(&facts.measured) {
                all.push((*member, measured.sha256.clone(), facts.entry));
            }
        }
        all
    }
}

fn part(window: &Window, range: &Range<u64>) -> Window {
    window.part(range.start, range.end.saturating_sub(range.start))
}

/// Whether a bundle's signature carries, or names as its signer, a certificate for development.
fn is_development(signature: &[u8]) -> bool {
    crate::format::cms::Message::parse(signature).is_ok_and(|message| {
        message.certificates().iter().any(|der| crate::key::certificate::is_development(der))
            || message.signer().contains(crate::key::certificate::DEVELOPMENT_MARK)
    })
}
