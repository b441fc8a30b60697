//! Signing: a FIT in, requests and then edits out.

use super::{
    FitError, Problem,
    external::Places,
    hash::{Content, ImageHash, Job, hash_all},
    image::Fit,
    properties as p,
    signature_node::{Notes, Style},
    stage_trust::{DeviceTreeEdit, EditedTree},
};
use crate::{
    crypto::{Digest, Signature},
    format::{
        Edit, Edits, Source,
        fdt::{Fdt, FdtError, NodeId, Tail},
    },
    request::{Format, Identity, Request, Subject},
};
use std::{collections::HashMap, ops::Range};

/// What a FIT is signed with.
#[derive(Clone, Debug)]
pub struct Signing<'s> {
    /// The key's public facts.
    pub identity: &'s Identity,
    /// The artifact's name, for requests.
    pub artifact: &'s str,
    /// What `timestamp` says, in seconds since 1970. Without it that is the time that the FIT itself
    /// carries, so equal inputs give equal outputs.
    pub timestamp: Option<u32>,
    /// Trust anchors for the FIT's own device trees.
    pub stage_trust: Option<&'s dyn DeviceTreeEdit>,
    /// Whether each image gets a signature of its own, also where it has no signature node.
    pub image_signatures: bool,
}

/// A FIT that is complete but for its signatures.
#[derive(Debug)]
pub struct Plan<'a> {
    fit: Fit<'a>,
    external: Vec<Edit>,
    tail: Tail,
    slots: Vec<(NodeId, usize)>,
    requests: Vec<Request>,
    notes: Notes,
}

/// Hashes what must be hashed, and plans the signatures of every configuration, and of every image that has
/// or gets a signature node.
///
/// Hash values are computed. One that stands in the FIT already must match, else the data was damaged
/// or changed since, and is not signed. A referenced image without a strong hash gets one.
///
/// # Errors
///
/// [`FitError`] for a FIT that is damaged, or that U-Boot would refuse once it is signed.
pub fn plan<'a>(
    source: &'a dyn Source,
    signing: &Signing<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Plan<'a>, FitError> {
    Planner::new(source, signing)?.run(progress)
}

impl Plan<'_> {
    /// One request for each signature.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// What was done beside signing, such as nodes added: sentences for people.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes.notes
    }

    /// What weakens the result: images that no signature covers, signatures that are not ours.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.notes.warnings
    }

    /// The edits that make the input the signed FIT; `signatures` answer the requests in order.
    ///
    /// # Errors
    ///
    /// [`FitError::SignatureLength`] if they do not; [`FitError::Fdt`] if the tree cannot grow.
    pub fn attach(mut self, signatures: &[Signature]) -> Result<Edits, FitError> {
        for (index, (node, expected)) in self.slots.iter().enumerate() {
            let bytes = signatures.get(index).map(Signature::as_bytes).unwrap_or_default();
            if bytes.len() != *expected {
                let (expected, found) = (*expected, bytes.len());
                return Err(FitError::SignatureLength { index, expected, found });
            }
            self.fit.fdt.set(*node, p::VALUE, bytes)?;
        }
        let tree = self.fit.fdt.edits(self.tail)?;
        let all = tree.as_slice().iter().cloned().chain(self.external).collect();
        Edits::new(all).ok_or_else(|| FdtError::TooLarge { needed: self.fit.fdt.total_size() }.into())
    }
}

struct Planner<'a, 's> {
    fit: Fit<'a>,
    signing: &'s Signing<'s>,
    style: Style,
    places: Places,
    /// Device trees with trust anchors in them, to take the place of the images' data.
    edited: Vec<EditedTree>,
    notes: Notes,
    slots: Vec<(NodeId, usize)>,
    requests: Vec<Request>,
}

impl<'a, 's> Planner<'a, 's> {
    fn new(source: &'a dyn Source, signing: &'s Signing<'s>) -> Result<Self, FitError> {
        let fit = Fit::parse(source)?;
        let timestamp = match signing.timestamp {
            Some(timestamp) => Some(timestamp),
            None => fit.fdt.u32(Fdt::ROOT, p::TIMESTAMP)?,
        };
        let style = Style::new(signing.identity, timestamp).ok_or_else(|| {
            let name = format!("{}-bit key", signing.identity.public_key.bits());
            FitError::node("/configurations", Problem::UnknownHash(name))
        })?;
        let mut places = Places::new();
        for image in fit.images() {
            places.insert(image, fit.data(image)?);
        }
        fit.check_overlap(&places)?;
        let edited = match signing.stage_trust {
            Some(trust) if !trust.is_empty() => fit.edit_device_trees(trust, &places)?,
            _ => Vec::new(),
        };
        let (notes, slots, requests) = (Notes::default(), Vec::new(), Vec::new());
        Ok(Self { fit, signing, style, places, edited, notes, slots, requests })
    }

    fn run(mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<Plan<'a>, FitError> {
        self.check_references()?;
        self.add_hashes()?;
        let digests = self.hash(progress)?;
        self.sign_images(&digests)?;
        self.sign_configurations()?;
        let external = self.fit.replace_data(&self.edited, &self.places)?;
        let tail = self.fit.tail(&self.places);
        let Self { fit, slots, requests, notes, .. } = self;
        if requests.is_empty() {
            return Err(FitError::node("/configurations", Problem::Missing));
        }
        Ok(Plan { fit, external, tail, slots, requests, notes })
    }

    /// An image that no configuration names is covered by nothing, and no signature covers `default`.
    fn check_references(&mut self) -> Result<(), FitError> {
        if let Some(configurations) = self.fit.configurations
            && let Some(name) = self.fit.fdt.string(configurations, p::DEFAULT)?
            && self.fit.fdt.child(configurations, &name).is_none()
        {
            let warning = format!("`default` names a configuration `{name}` that is not there");
            self.notes.warnings.push(warning);
        }
        let mut referenced = Vec::new();
        for configuration in self.fit.configurations() {
            referenced.extend(self.fit.references(configuration)?.into_iter().flat_map(|r| r.images));
        }
        for image in self.fit.images() {
            if !referenced.contains(&image) {
                self.notes.warnings.push(format!(
                    "`{}`: no configuration names this image, so no configuration's signature covers it",
                    self.fit.fdt.path(image)
                ));
            }
        }
        Ok(())
    }

    /// U-Boot refuses a configuration that names an image without hash, and takes CRC-32 for one.
    fn add_hashes(&mut self) -> Result<(), FitError> {
        for configuration in self.fit.configurations() {
            for image in self.fit.references(configuration)?.into_iter().flat_map(|r| r.images) {
                if self.fit.hashes(image)?.iter().any(|hash| hash.protects()) {
                    continue;
                }
                let name = self.fit.free_name(image, "hash");
                let node = self.fit.fdt.add_node(image, &name)?;
                let algorithm = self.signing.identity.algorithm.hash;
                self.fit.fdt.set_string(node, p::ALGO, algorithm.name())?;
                self.notes.notes.push(format!(
                    "`{}`: added, because the image had no hash that protects it",
                    self.fit.fdt.path(node)
                ));
            }
        }
        Ok(())
    }

    /// Computes and sets every hash value, and returns the digests that image signatures are made of.
    fn hash(&mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<HashMap<NodeId, Digest>, FitError> {
        let ours = ImageHash::Strong(self.signing.identity.algorithm.hash);
        let mut jobs: Vec<Job<'_>> = Vec::new();
        let mut wanted: Vec<(NodeId, ImageHash, usize)> = Vec::new();
        // Images may share their data, which is then hashed once.
        let mut known: HashMap<(Option<NodeId>, Range<u64>, ImageHash), usize> = HashMap::new();
        for image in self.fit.images() {
            let content = self.content(image);
            let (owner, range) = match &content {
                Content::Source(range) => (None, range.clone()),
                Content::Bytes(_) => (Some(image), 0..0),
            };
            let mut want = |algorithm: ImageHash| {
                *known.entry((owner, range.clone(), algorithm)).or_insert_with(|| {
                    jobs.push(Job { content: content.clone(), algorithm });
                    jobs.len() - 1
                })
            };
            for hash in self.fit.hashes(image)? {
                wanted.push((hash.id, hash.algorithm, want(hash.algorithm)));
            }
            if self.signs_image(image) {
                wanted.push((image, ours, want(ours)));
            }
        }
        // The trees as they came must match their hashes too, before they are changed.
        for tree in &self.edited {
            for hash in self.fit.hashes(tree.image)? {
                let range = self.places.get(&tree.image).map(|data| data.range.clone()).unwrap_or_default();
                let job = Job { content: Content::Source(range), algorithm: hash.algorithm };
                let computed = hash_all(self.fit.fdt.source(), &[job], &|_| {})?;
                if hash.value.is_some() && hash.value.as_ref() != computed.first() {
                    return Err(self.fit.problem(hash.id, Problem::HashMismatch));
                }
            }
        }
        let hashes = hash_all(self.fit.fdt.source(), &jobs, progress)?;
        drop(jobs);
        let mut digests = HashMap::new();
        for (node, algorithm, job) in wanted {
            let value = hashes.get(job).cloned().unwrap_or_default();
            if self.places.contains_key(&node) {
                if let ImageHash::Strong(algorithm) = algorithm
                    && let Some(digest) = Digest::new(algorithm, value)
                {
                    digests.insert(node, digest);
                }
                continue;
            }
            let old = self.fit.fdt.bytes(node, p::VALUE, 1 << 16)?.filter(|old| !old.is_empty());
            let image = self.fit.fdt.node(node).parent();
            let changed = self.edited.iter().any(|tree| Some(tree.image) == image);
            if !changed && old.is_some_and(|old| old != value) {
                return Err(self.fit.problem(node, Problem::HashMismatch));
            }
            self.fit.fdt.set(node, p::VALUE, value)?;
        }
        Ok(digests)
    }

    fn content(&self, image: NodeId) -> Content<'_> {
        let edited = self.edited.iter().find(|tree| tree.image == image);
        let range = || self.places.get(&image).map(|data| data.range.clone()).unwrap_or_default();
        edited.map_or_else(|| Content::Source(range()), |tree| Content::Bytes(&tree.new))
    }

    fn signs_image(&self, image: NodeId) -> bool {
        self.signing.image_signatures || !self.fit.subnodes(image, "signature").is_empty()
    }

    /// Image signatures cover data only, so they are an addition to those of configurations.
    fn sign_images(&mut self, digests: &HashMap<NodeId, Digest>) -> Result<(), FitError> {
        for image in self.fit.images() {
            let Some(digest) = digests.get(&image) else { continue };
            let claimed = self.fit.claim_signature(image, &self.style, true, &mut self.notes)?;
            let Some(node) = claimed else { continue };
            self.fit.fill_signature(node, &self.style)?;
            self.request(node, image, digest.clone(), None);
        }
        Ok(())
    }

    fn sign_configurations(&mut self) -> Result<(), FitError> {
        let hash = self.signing.identity.algorithm.hash;
        let mut covered = Vec::new();
        for configuration in self.fit.configurations() {
            let claimed = self.fit.claim_signature(configuration, &self.style, true, &mut self.notes)?;
            let Some(node) = claimed else { continue };
            let list = self.fit.signed_nodes(configuration)?;
            let strings_len = self.hashed_strings(node, &list)?;
            if self.fit.fdt.node(node).offset().is_none() {
                // So that signing by mkimage later covers as much.
                let images = self.fit.references(configuration)?;
                let properties: Vec<String> = images.into_iter().map(|r| r.property).collect();
                self.fit.fdt.set_strings(node, p::SIGN_IMAGES, &properties)?;
            }
            self.fit.fill_signature(node, &self.style)?;
            let paths: Vec<String> = list.iter().map(|id| self.fit.fdt.path(*id)).collect();
            self.fit.fdt.set_strings(node, p::HASHED_NODES, &paths)?;
            let len = u32::try_from(strings_len).unwrap_or(u32::MAX);
            self.fit.fdt.set(node, p::HASHED_STRINGS, [[0; 4], len.to_be_bytes()].concat())?;
            covered.push((configuration, node, list, strings_len));
        }
        // What is made here must verify.
        self.fit.check_counts()?;
        let mut tags = 0;
        for (configuration, node, list, strings_len) in covered {
            self.fit.check_tags(tags)?;
            let region = self.fit.region(configuration, &list, strings_len, hash)?;
            tags += region.tags;
            self.request(node, configuration, region.digest, region.message);
        }
        Ok(())
    }

    /// How much of the strings block a signature covers: all of it, as mkimage does. But one that was
    /// made before keeps its figure if that still suffices, because its own names are in the block by
    /// now, and signing twice is to give equal bytes.
    fn hashed_strings(&self, node: NodeId, list: &[NodeId]) -> Result<usize, FitError> {
        let all = self.fit.fdt.strings().len();
        let before = self.fit.fdt.bytes(node, p::HASHED_STRINGS, 64)?.and_then(|value| {
            let len: [u8; 4] = value.get(4..8)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(len)).ok()
        });
        let needed = self.fit.strings_needed(list);
        Ok(before.filter(|len| (needed..=all).contains(len)).unwrap_or(all))
    }

    fn request(&mut self, node: NodeId, parent: NodeId, digest: Digest, message: Option<Vec<u8>>) {
        let identity = self.signing.identity;
        let subject = Subject {
            format: Format::Fit,
            name: format!("{} {}", self.signing.artifact, self.fit.name(parent)),
            identity: digest.to_hex(),
        };
        self.slots.push((node, self.style.value_len));
        let (role, algorithm) = (identity.role, identity.algorithm);
        self.requests.push(Request { role, algorithm, digest, message, subject });
    }
}
