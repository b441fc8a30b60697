//! dm-verity images: root hash, its signature, tree and data.

use super::{
    Gate, Unreadable,
    entry::Entry,
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::{
    crypto::Digest,
    format::{
        Section, Source,
        cms::Message,
        verity::{self, Description, Placement, SignedImage, Superblock, Tree, VerityError},
    },
    key::certificate,
    report::Report,
    vocabulary::Role,
};

/// Longest root hash file that is read; more than any root hash has.
const MAX_ROOT_HASH_LEN_BYTES: usize = 4096;
/// Longest signature that is read.
pub(super) const MAX_SIGNATURE_LEN_BYTES: usize = 64 * 1024;
/// How many files are tried as the data of a hash area.
const MAX_CANDIDATES: usize = 8;

/// What is known of a dm-verity image.
pub(super) struct ImageFacts<'a> {
    /// The image, or the hash area.
    pub(super) entry: usize,
    /// The file with the data, if it is another.
    pub(super) data_entry: Option<usize>,
    /// Whether data, tree and signature are as they must be.
    pub(super) good: bool,
    /// What a FIT must say of it.
    pub(super) described: Option<Description>,
    /// The data alone, with what pads it to whole blocks.
    pub(super) data: Section<'a>,
    pub(super) block_len_bytes: u64,
}

/// The files beside an image.
struct Companions {
    names: [String; 3],
    entries: [Option<usize>; 3],
    root_hash: Option<String>,
    signature: Option<Vec<u8>>,
    description: Option<Description>,
}

impl<'a> Gate<'a> {
    /// Judges every dm-verity image.
    pub(super) fn root_file_systems(&mut self) -> Result<(), Unreadable> {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            if !entry.is_open() {
                continue;
            }
            match &entry.kind {
                Kind::Verity(tree) => {
                    let tree = tree.clone();
                    self.appended(index, &tree)?;
                }
                Kind::HashArea => self.separate(index)?,
                Kind::FileSystem(_) => self.without_superblock(index)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn appended(&mut self, index: usize, tree: &Tree) -> Result<(), Unreadable> {
        // What lies in a bundle has no files beside it; it is held against the directory's image later.
        if self.entries.get(index).is_none_or(|e| e.container.is_some()) {
            return Ok(());
        }
        let companions = self.companions(index)?;
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let data = entry.source.clone();
        let mut report = Report::new(entry.path.clone());
        let result = self.verify(&data, None, tree, &companions, &mut report);
        self.settle_image(index, None, tree, &data, &companions, report, result)
    }

    /// A hash area without superblock is known by its description alone.
    fn without_superblock(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let description = self.named(&format!("{}.verity.json", entry.path));
        if description.is_none() {
            return Ok(());
        }
        let companions = self.companions(index)?;
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let len = entry.source.len_bytes();
        let tree =
            companions.description.as_ref().filter(|d| d.placement == Placement::Appended && !d.superblock);
        match tree.and_then(|d| d.tree().ok()).filter(|tree| tree.end_bytes() == len) {
            Some(tree) => self.appended(index, &tree),
            None => Ok(()),
        }
    }

    fn separate(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let hash_area = entry.source.clone();
        let tree = Superblock::read(&hash_area, 0).and_then(|s| Tree::new(s.parameters, s.data_blocks, 0));
        let tree = match tree {
            Ok(tree) => tree,
            Err(e) => return self.format_problem(index, e),
        };
        let companions = self.companions(index)?;
        let candidates = self.data_candidates(index, &tree);
        if candidates.is_empty() {
            self.parts(index, &companions);
            let detail = format!(
                "the data of this hash area, {} bytes, is not in the directory",
                tree.data_len_bytes()
            );
            self.problem(index, ProblemKind::CannotCheck, None, detail);
            return Ok(());
        }
        let mut first = None;
        for candidate in candidates {
            let Some(entry) = self.entries.get(candidate) else { continue };
            let data = entry.source.clone();
            let mut report = Report::new(entry.path.clone());
            let result = self.verify(&data, Some(&hash_area), &tree, &companions, &mut report);
            let good = result.is_ok() && report.failure().is_none();
            let found = (candidate, data, report, result);
            if good {
                first = Some(found);
                break;
            }
            first.get_or_insert(found);
        }
        let Some((candidate, data, report, result)) = first else { return Ok(()) };
        self.settle_image(index, Some(candidate), &tree, &data, &companions, report, result)
    }

    /// Files that have as many blocks as the tree, those whose names are alike first.
    fn data_candidates(&self, index: usize, tree: &Tree) -> Vec<usize> {
        let block = tree.parameters.data_block_size.bytes_u64();
        let Some(area) = self.entries.get(index) else { return Vec::new() };
        let is_candidate = |entry: &Entry<'_>| {
            entry.container == area.container
                && matches!(entry.kind, Kind::FileSystem(_) | Kind::Unknown)
                && entry.source.len_bytes().div_ceil(block) == tree.data_blocks
        };
        let mut found: Vec<usize> = Vec::new();
        for (candidate, entry) in self.entries.iter().enumerate() {
            if candidate != index && is_candidate(entry) {
                found.push(candidate);
            }
        }
        let alike = |i: &usize| {
            let name = self.entries.get(*i).map(Entry::file_name).unwrap_or_default();
            name.bytes().zip(area.file_name().bytes()).take_while(|(a, b)| a == b).count()
        };
        found.sort_by_key(|i| std::cmp::Reverse(alike(i)));
        found.truncate(MAX_CANDIDATES);
        found
    }

    fn verify(
        &self,
        data: &dyn Source,
        hash_area: Option<&dyn Source>,
        tree: &Tree,
        beside: &Companions,
        report: &mut Report,
    ) -> Result<Option<Digest>, VerityError> {
        let [root_hash_place, signature_place, description_place] = &beside.names;
        let image = SignedImage {
            data,
            hash_file: hash_area,
            tree,
            root_hash: (root_hash_place, beside.root_hash.as_deref()),
            signature: (signature_place, beside.signature.as_deref()),
            description: (description_place, beside.description.as_ref()),
        };
        verity::verify(&image, &self.trust.known_signers(Role::Rootfs), self.work, report)
    }

    #[allow(clippy::too_many_arguments, reason = "what was found, of two kinds of images")]
    fn settle_image(
        &mut self,
        index: usize,
        data_entry: Option<usize>,
        tree: &Tree,
        data: &Section<'a>,
        beside: &Companions,
        report: Report,
        result: Result<Option<Digest>, VerityError>,
    ) -> Result<(), Unreadable> {
        let root_hash = match result {
            Ok(root_hash) => root_hash,
            Err(e) => {
                self.format_problem(index, e)?;
                None
            }
        };
        let data_name = data_entry.and_then(|i| self.entries.get(i)).map(|e| e.path.clone());
        let Some(entry) = self.entries.get_mut(index) else { return Ok(()) };
        entry.role = Some(Role::Rootfs);
        entry.report = report;
        let name = entry.path.clone();
        if let Some(failure) = entry.failure() {
            let unsigned = beside.root_hash.is_none() || beside.signature.is_none();
            let dev = beside.signature.as_deref().is_some_and(is_development) && root_hash.is_none();
            let kind = if dev && !self.trust.dev {
                ProblemKind::Development
            } else if unsigned {
                ProblemKind::Unsigned
            } else {
                ProblemKind::BadSignature
            };
            entry.problem(kind, None, failure);
        }
        let good = entry.problems.is_empty() && root_hash.is_some();
        if good {
            let of = data_name.as_ref().map(|n| format!(" of {n}")).unwrap_or_default();
            entry.settle(
                State::Signed,
                format!("root hash{of} signed by a trusted key, every block as it says"),
            );
        }
        self.parts(index, beside);
        if let Some(data_entry) = data_entry.filter(|_| good)
            && let Some(entry) = self.entries.get_mut(data_entry)
        {
            entry.covered(&name, format!("its root hash is signed: {name}"));
        }
        let placement = if data_entry.is_some() { Placement::Separate } else { Placement::Appended };
        let described = root_hash.as_ref().map(|root| Description::unsigned(tree, root, placement));
        let whole = Section::clone(data);
        self.images.push(ImageFacts {
            entry: index,
            data_entry,
            good,
            described,
            data: whole.head(tree.data_len_bytes()),
            block_len_bytes: tree.parameters.data_block_size.bytes_u64(),
        });
        Ok(())
    }

    /// Marks the files beside an image as belonging to it.
    fn parts(&mut self, index: usize, beside: &Companions) {
        let Some(name) = self.entries.get(index).map(|e| e.path.clone()) else { return };
        for part in beside.entries.into_iter().flatten() {
            if let Some(part) = self.entries.get_mut(part)
                && part.state.is_none()
            {
                part.settle(State::Part, format!("belongs to {name}"));
            }
        }
    }

    fn companions(&self, index: usize) -> Result<Companions, Unreadable> {
        let none: Option<&Entry<'_>> = None;
        let path = self.entries.get(index).map(|e| e.path.clone()).unwrap_or_default();
        let names = [".roothash", ".roothash.p7s", ".verity.json"].map(|suffix| format!("{path}{suffix}"));
        let entries = names.each_ref().map(|name| self.named(name));
        let [root_hash, signature, description] =
            entries.map(|i| i.and_then(|i| self.entries.get(i)).or(none));
        let read = |entry: Option<&Entry<'_>>, limit: usize| match entry {
            None => Ok(None),
            Some(entry) => match entry.source.read_range(0..entry.source.len_bytes(), limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.is_io() => Err(entry.unreadable()(e)),
                Err(_) => Ok(None),
            },
        };
        let root_hash = read(root_hash, MAX_ROOT_HASH_LEN_BYTES)?;
        let description = read(description, Description::MAX_LEN_BYTES)?;
        Ok(Companions {
            entries,
            names,
            root_hash: root_hash.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            signature: read(signature, MAX_SIGNATURE_LEN_BYTES)?,
            description: description.and_then(|json| Description::parse(&json).ok()),
        })
    }

    /// The file of that path, or to which a link of that path leads.
    pub(super) fn named(&self, path: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.is_called(path))
    }
}

/// Whether a CMS message names a signer that is one for development.
fn is_development(der: &[u8]) -> bool {
    Message::parse(der).is_ok_and(|message| message.signer().contains(certificate::DEVELOPMENT_MARK))
}
