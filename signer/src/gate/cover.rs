//! Whether something signed covers an unsigned file's very bytes.

use super::{
    Gate, Unreadable, compression,
    kind::{Compression, FAT, Kind},
    outcome::{ProblemKind, State},
    rootfs::MAX_SIGNATURE_LEN_BYTES,
    trees::equal_but_anchors,
};
use crate::{
    crypto::{Digest, HashAlgorithm, Hasher},
    format::{ReadError, Section, Source, cms::Message, control_dtb::MAX_TREE_BYTES, fdt::Fdt},
    report::SignedBy,
    vocabulary::Role,
};
use std::collections::HashMap;

pub(super) const CHUNK_LEN_BYTES: u64 = 1 << 20;

/// Digests of entries, so that each is read once.
#[derive(Default)]
pub(super) struct Digests {
    whole: HashMap<usize, Digest>,
    unpacked: HashMap<usize, Unpacked>,
}

/// Digest and length of what something unpacks to, or why it cannot be unpacked.
type Unpacked = Result<(Digest, u64), String>;

impl Digests {
    pub(super) fn remember(&mut self, entry: usize, sha256: &Digest) {
        self.whole.insert(entry, sha256.clone());
    }
}

/// Bytes that a signature covers.
struct Content<'a> {
    /// Where they are, for people.
    place: String,
    source: Section<'a>,
    /// How they are compressed.
    compression: Option<Compression>,
    digest: Option<Digest>,
    unpacked: Option<Option<(Digest, u64)>>,
}

impl<'a> Gate<'a> {
    /// Looks for what covers each entry that is not signed by itself.
    pub(super) fn covers(&mut self) -> Result<(), Unreadable> {
        self.detached_signatures()?;
        let mut contents = self.signed_contents();
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let needs = needs_cover(&entry.kind, entry.container.is_some())
                || (self.is_on_fat(index) && needs_cover_on_fat(&entry.kind));
            if !entry.is_open() || !needs || !entry.problems.is_empty() {
                continue;
            }
            let mut cover = self.signed_around(index).map(|by| {
                let detail = format!("lies in {by}");
                (by, detail)
            });
            if cover.is_none() {
                cover = self.cover_of(index, &mut contents)?;
            }
            if cover.is_none() {
                cover = self.on_disk(index)?;
            }
            if cover.is_none() {
                cover = self.same_beside(index)?;
            }
            if let Some((by, detail)) = cover {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.is_copy = true;
                    entry.covered(by, detail);
                }
                continue;
            }
            self.not_covered(index);
        }
        self.settle_containers()
    }

    fn not_covered(&mut self, index: usize) {
        let Some(entry) = self.entries.get(index) else { return };
        if !entry.problems.is_empty() {
            return;
        }
        let (kind, detail) = match &entry.kind {
            // By what is in it, once that is known.
            Kind::Disk(_) => return,
            Kind::Compressed(..) | Kind::FileSystem(FAT) if self.enclosures.contains_key(&index) => return,
            _ if self.is_on_fat(index) => (
                ProblemKind::Unsigned,
                "lies on a file system that a device reads, and nothing signed covers it",
            ),
            Kind::Unknown => return,
            Kind::Compressed(_, inner) if **inner == Kind::Unknown => return,
            Kind::Opaque(_) => {
                (ProblemKind::CannotCheck, "it cannot be looked into, and nothing signed covers it as it is")
            }
            Kind::Firmware(_) => (
                ProblemKind::CannotCheck,
                "hsmsign knows no signature of this format, and nothing signed covers it",
            ),
            Kind::LegacyImage => {
                (ProblemKind::Unsigned, "legacy images carry no signature, and nothing signed covers it")
            }
            Kind::Environment => (
                ProblemKind::Unsigned,
                "environments carry no signature, and this one can change how U-Boot boots",
            ),
            Kind::RootHash => {
                (ProblemKind::CannotCheck, "the root hash of no image that is in the directory")
            }
            Kind::Program { .. } => {
                (ProblemKind::Unsigned, "holds no control tree, hence no key, and nothing signed covers it")
            }
            _ => (ProblemKind::Unsigned, "not signed, and nothing signed covers it"),
        };
        self.problem(index, kind, None, detail);
    }

    /// Everything whose bytes a good signature covers.
    fn signed_contents(&self) -> Vec<Content<'a>> {
        let mut contents = Vec::new();
        for fit in self.fits.iter().filter(|f| f.good) {
            let Some(entry) = self.entries.get(fit.entry) else { continue };
            let mut seen = std::collections::HashSet::new();
            for image in fit.images.iter().filter(|i| !i.encrypted && seen.insert(i.range.clone())) {
                contents.push(Content {
                    place: format!("{}:{}", entry.path, image.path),
                    source: entry.source.part(image.range.clone()),
                    compression: None,
                    digest: None,
                    unpacked: None,
                });
            }
        }
        for (member, digest, _) in self.signed_members() {
            let Some(entry) = self.entries.get(member) else { continue };
            contents.push(Content {
                place: entry.path.clone(),
                source: entry.source.clone(),
                compression: None,
                digest: Some(digest),
                unpacked: None,
            });
        }
        for content in &mut contents {
            let mut head = vec![0; usize::try_from(content.source.len_bytes().min(32)).unwrap_or(0)];
            if content.source.read_at(0, &mut head).is_ok() {
                content.compression = Compression::of(&head);
            }
        }
        contents
    }

    fn cover_of(
        &mut self,
        index: usize,
        contents: &mut [Content<'a>],
    ) -> Result<Option<(String, String)>, Unreadable> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        let (source, own_path, kind) = (entry.source.clone(), entry.path.clone(), entry.kind.clone());
        let failed = |e: ReadError| Unreadable { path: own_path.clone(), source: e.into() };
        for content in contents.iter_mut().filter(|c| c.source.len_bytes() == source.len_bytes()) {
            if content.place == own_path {
                continue;
            }
            let own = self.digest(index, &source).map_err(failed)?;
            if *content.digest(failed)? == own {
                return Ok(Some((content.place.clone(), format!("the same bytes as {}", content.place))));
            }
        }
        for image in self.images.iter().filter(|i| i.good && i.data_entry.is_none()) {
            let Some(signed) = self.entries.get(image.entry) else { continue };
            if source.len_bytes() == signed.source.len_bytes() && image.entry != index {
                let whole = digest_of(&signed.source).map_err(failed)?;
                if whole == self.digests.get_or(index, &source).map_err(failed)? {
                    let detail = format!("the same bytes as {}", signed.path);
                    return Ok(Some((signed.path.clone(), detail)));
                }
            }
            if is_beginning(&source, &image.data, image.block_len_bytes).map_err(failed)? {
                let detail = format!("the data of {}", signed.path);
                return Ok(Some((signed.path.clone(), detail)));
            }
        }
        if let Kind::Program { tree: None, .. } = kind
            && let Some(found) = self.program_with_tree(index, &source).map_err(failed)?
        {
            return Ok(Some(found));
        }
        if kind == Kind::DeviceTree
            && let Some(found) = self.tree_in_fit(&source).map_err(failed)?
        {
            return Ok(Some(found));
        }
        self.cover_unpacked(index, &source, &kind, contents)
    }

    /// The same kernel may lie in a FIT compressed and beside it as it is, or the other way round.
    fn cover_unpacked(
        &mut self,
        index: usize,
        source: &Section<'a>,
        kind: &Kind,
        contents: &mut [Content<'a>],
    ) -> Result<Option<(String, String)>, Unreadable> {
        let path = self.entries.get(index).map(|e| e.path.clone()).unwrap_or_default();
        let failed = |e: ReadError| Unreadable { path: path.clone(), source: e.into() };
        let own_unpacked = match kind {
            Kind::Compressed(compression, _) => self.digests.unpacked(index, source, *compression).ok(),
            _ => None,
        };
        for content in contents.iter_mut().filter(|c| c.place != path) {
            if let Some((digest, len)) = &own_unpacked
                && content.source.len_bytes() == *len
                && content.digest(failed)? == digest
            {
                return Ok(Some((
                    content.place.clone(),
                    format!("unpacked the same bytes as {}", content.place),
                )));
            }
            let Some((digest, len)) = content.unpacked() else { continue };
            let same_plain = len == source.len_bytes() && {
                let own = self.digests.get_or(index, source).map_err(failed)?;
                own == digest
            };
            if same_plain || own_unpacked.as_ref().is_some_and(|own| *own == (digest, len)) {
                let detail = format!("the same bytes as {} unpacked", content.place);
                return Ok(Some((content.place.clone(), detail)));
            }
        }
        // A compressed file beside a signed image of what it holds.
        let Some((digest, len)) = own_unpacked else { return Ok(None) };
        let covered = |e: &&super::entry::Entry<'_>| {
            matches!(e.state, Some(State::Signed | State::Covered)) && e.source.len_bytes() == len
        };
        let candidates: Vec<usize> =
            self.entries.iter().enumerate().filter(|(_, e)| covered(e)).map(|(i, _)| i).collect();
        for candidate in candidates {
            let Some(entry) = self.entries.get(candidate) else { continue };
            let (other, name) = (entry.source.clone(), entry.path.clone());
            if self.digests.get_or(candidate, &other).map_err(failed)? == digest {
                return Ok(Some((name.clone(), format!("unpacked the same bytes as {name}"))));
            }
        }
        Ok(None)
    }

    /// U-Boot without its tree is the beginning of U-Boot with it.
    fn program_with_tree(
        &self,
        index: usize,
        source: &Section<'a>,
    ) -> Result<Option<(String, String)>, ReadError> {
        for (number, entry) in self.entries.iter().enumerate() {
            let Kind::Program { tree: Some(tree), .. } = &entry.kind else { continue };
            let before = entry.source.part(0..tree.start);
            let fits = source.len_bytes() <= before.len_bytes();
            if number == index || entry.state != Some(State::Signed) || !fits {
                continue;
            }
            let same = digest_of(source)? == digest_of(&before.head(source.len_bytes()))?;
            if same && is_padding(&before.part(source.len_bytes()..before.len_bytes()))? {
                let detail = format!("the program of {}, without its control tree", entry.path);
                return Ok(Some((entry.path.clone(), detail)));
            }
        }
        Ok(None)
    }

    /// A device tree, as the FIT holds it but for the anchors that signing wrote.
    fn tree_in_fit(&self, source: &Section<'a>) -> Result<Option<(String, String)>, ReadError> {
        let bytes = match source.read_range(0..source.len_bytes(), MAX_TREE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.is_io() => return Err(e),
            Err(_) => return Ok(None),
        };
        let total = Fdt::parse(&bytes.as_slice()).map_or(0, |fdt| fdt.total_size());
        if !is_padding(&source.part(total.min(source.len_bytes())..source.len_bytes()))? {
            return Ok(None);
        }
        for fit in self.fits.iter().filter(|f| f.good) {
            let Some(entry) = self.entries.get(fit.entry) else { continue };
            if let Some((path, _)) = fit.trees.iter().find(|(_, tree)| equal_but_anchors(&bytes, tree)) {
                let place = format!("{}:{path}", entry.path);
                return Ok(Some((place.clone(), format!("as {place}, without `/firmware/hsmsign`"))));
            }
        }
        Ok(None)
    }

    /// `FILE.p7s`: a detached signature of `FILE`, by any trusted key.
    fn detached_signatures(&mut self) -> Result<(), Unreadable> {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            if entry.kind != Kind::Signature || entry.state.is_some() {
                continue;
            }
            let stem = entry.path.rsplit_once('.').map(|(stem, _)| stem.to_owned());
            let subject = stem.and_then(|stem| self.named(&stem)).filter(|subject| *subject != index);
            let Some(subject) = subject else {
                let detail = "the signature of a file that is not in the directory";
                self.problem(index, ProblemKind::CannotCheck, None, detail);
                continue;
            };
            self.detached_signature(index, subject)?;
        }
        Ok(())
    }

    fn detached_signature(&mut self, index: usize, subject: usize) -> Result<(), Unreadable> {
        let (Some(entry), Some(of)) = (self.entries.get(index), self.entries.get(subject)) else {
            return Ok(());
        };
        let (source, name, of_name) = (entry.source.clone(), entry.path.clone(), of.path.clone());
        let failed = |e: ReadError| Unreadable { path: of_name.clone(), source: e.into() };
        let der = source.read_range(0..source.len_bytes(), MAX_SIGNATURE_LEN_BYTES);
        let message = match der
            .map_err(|e| e.to_string())
            .and_then(|d| Message::parse(&d).map_err(|e| e.to_string()))
        {
            Ok(message) => message,
            Err(e) => {
                self.problem(index, ProblemKind::CannotCheck, None, e);
                return Ok(());
            }
        };
        let content = hash(&of.source, message.hash()).map_err(failed)?;
        for role in Role::ALL {
            let known = self.trust.known_signers(role);
            let Ok(signer) = message.verify_by_known(&content, &known) else { continue };
            let fingerprint = known.get(signer).map(|k| k.public_key.fingerprint()).unwrap_or_default();
            let algorithm = message.algorithm().to_string();
            if let Some(entry) = self.entries.get_mut(index) {
                entry.settle(State::Part, format!("a trusted signature of {of_name}"));
                entry.report.signed_by.push(SignedBy { place: of_name.clone(), fingerprint, algorithm });
            }
            if let Some(of) = self.entries.get_mut(subject)
                && of.state.is_none()
                && of.problems.is_empty()
            {
                of.role = Some(role);
                of.covered(&name, format!("signed by a trusted key of role {role}: {name}"));
            }
            return Ok(());
        }
        let detail = format!("no trusted key made this signature of {of_name}");
        self.problem(index, ProblemKind::BadSignature, None, detail);
        Ok(())
    }

    fn digest(&mut self, index: usize, source: &Section<'a>) -> Result<Digest, ReadError> {
        self.digests.get_or(index, source)
    }
}

impl Digests {
    pub(super) fn get_or(&mut self, entry: usize, source: &Section<'_>) -> Result<Digest, ReadError> {
        if let Some(known) = self.whole.get(&entry) {
            return Ok(known.clone());
        }
        let digest = digest_of(source)?;
        self.whole.insert(entry, digest.clone());
        Ok(digest)
    }

    pub(super) fn unpacked(
        &mut self,
        entry: usize,
        source: &Section<'_>,
        compression: Compression,
    ) -> Unpacked {
        let compute = || compression::digest(source, compression);
        self.unpacked.entry(entry).or_insert_with(compute).clone()
    }
}

impl Content<'_> {
    fn digest(&mut self, failed: impl Fn(ReadError) -> Unreadable) -> Result<&Digest, Unreadable> {
        let digest = match self.digest.take() {
            Some(digest) => digest,
            None => digest_of(&self.source).map_err(failed)?,
        };
        Ok(self.digest.insert(digest))
    }

    fn unpacked(&mut self) -> Option<(Digest, u64)> {
        let (source, compression) = (&self.source, self.compression?);
        self.unpacked.get_or_insert_with(|| compression::digest(source, compression).ok()).clone()
    }
}

/// What a device runs or mounts, and is neither signed by itself nor part of something that is. What must be signed by
/// itself, so that the device can check it, no cover helps; but a copy `within` a bundle or on a disk has no files
/// beside it that could sign it.
fn needs_cover(kind: &Kind, within: bool) -> bool {
    match kind {
        Kind::Kernel(_)
        | Kind::FileSystem(_)
        | Kind::Initramfs
        | Kind::DeviceTree
        | Kind::LegacyImage
        | Kind::Environment
        | Kind::Firmware(_)
        | Kind::Opaque(_)
        | Kind::Unknown
        | Kind::RootHash
        | Kind::Disk(_)
        | Kind::Program { tree: None, .. } => true,
        Kind::Verity(_) | Kind::HashArea => within,
        Kind::Compressed(_, inner) => needs_cover(inner, within),
        _ => false,
    }
}

/// What a device may take from a file system that it reads, though it is no artifact by its content: a list of what to boot, a
/// command line, a program that nobody knows.
fn needs_cover_on_fat(kind: &Kind) -> bool {
    matches!(
        kind.inner(),
        Kind::ByProduct(_) | Kind::Unknown | Kind::Certificates | Kind::PublicKey | Kind::VerityDescription
    )
}

/// Whether `file`, padded with zeros to whole blocks, is all of `data`.
fn is_beginning(file: &Section<'_>, data: &Section<'_>, block: u64) -> Result<bool, ReadError> {
    let len = file.len_bytes();
    if len == 0 || len.div_ceil(block).saturating_mul(block) != data.len_bytes() {
        return Ok(false);
    }
    Ok(digest_of(file)? == digest_of(&data.head(len))? && is_padding(&data.part(len..data.len_bytes()))?)
}

pub(super) fn is_padding(source: &Section<'_>) -> Result<bool, ReadError> {
    let mut all = true;
    chunks(source, |chunk| all &= chunk.iter().all(|b| *b == 0))?;
    Ok(all)
}

pub(super) fn digest_of(source: &Section<'_>) -> Result<Digest, ReadError> {
    hash(source, HashAlgorithm::Sha256)
}

fn hash(source: &Section<'_>, algorithm: HashAlgorithm) -> Result<Digest, ReadError> {
    let mut hasher = Hasher::new(algorithm);
    chunks(source, |chunk| hasher.update(chunk))?;
    Ok(hasher.finish())
}

fn chunks(source: &Section<'_>, mut each: impl FnMut(&[u8])) -> Result<(), ReadError> {
    let mut start = 0;
    while start < source.len_bytes() {
        let end = source.len_bytes().min(start + CHUNK_LEN_BYTES);
        each(&source.read_range(start..end, usize::try_from(CHUNK_LEN_BYTES).unwrap_or(0))?);
        start = end;
    }
    Ok(())
}
