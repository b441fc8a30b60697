//! Verification, as strict as U-Boot with the best configured control tree, and stricter where U-Boot is lax.

use super::{
    DEFAULT_MAX_FIT_LEN_BYTES, FitError, Problem,
    external::Places,
    hash::{Content, HashNode, ImageHash, Job, hash_all},
    image::Fit,
    properties as p,
    signature_node::signature_len,
};
use crate::{
    crypto::{Digest, HashAlgorithm, PublicKey, Scheme, Signature, SignatureAlgorithm},
    format::{
        Source,
        control_dtb::crypto_name,
        fdt::{Fdt, NodeId},
    },
    report::{Report, SignedBy, Verdict},
};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

/// Longest signature that is read, in bytes.
const MAX_SIGNATURE_LEN_BYTES: usize = 1024;

/// Verifies every configuration and every image of a FIT against `keys`.
///
/// A configuration passes if a signature by one of the keys covers all nodes that U-Boot takes into
/// account, each image it names has a hash that protects it, and every hash matches. An image passes
/// if a passing configuration names it, or if it has a signature of its own by one of the keys.
///
/// # Errors
///
/// [`FitError`] for a file that cannot be read or is no FIT. Whatever else is wrong is in the report.
pub fn verify(
    source: &dyn Source,
    artifact: &str,
    keys: &[PublicKey],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, FitError> {
    let fit = Fit::parse(source)?;
    let mut verifier = Verifier {
        report: Report::new(artifact),
        keys,
        digests: HashMap::new(),
        regions: HashMap::new(),
        tags: 0,
        bad: HashSet::new(),
        covered: HashSet::new(),
        fit,
    };
    verifier.header()?;
    verifier.hashes(progress)?;
    for configuration in verifier.fit.configurations() {
        verifier.configuration(configuration)?;
    }
    for image in verifier.fit.images() {
        verifier.image(image)?;
    }
    if verifier.report.signed_by.is_empty() && verifier.report.failure().is_none() {
        verifier.report.add("/configurations", Verdict::Fail, "there is nothing that is signed");
    }
    Ok(verifier.report)
}

struct Verifier<'a, 'k> {
    fit: Fit<'a>,
    report: Report,
    keys: &'k [PublicKey],
    /// Digests of images' data, as far as something needs them.
    digests: HashMap<(NodeId, HashAlgorithm), Digest>,
    /// Digests of what signatures cover: by configuration, and how much of the strings block.
    regions: HashMap<(NodeId, usize, HashAlgorithm), Digest>,
    /// How many tags these cover in all.
    tags: usize,
    /// Images whose data or hashes are wrong.
    bad: HashSet<NodeId>,
    /// Images that a configuration with a good signature names.
    covered: HashSet<NodeId>,
}

impl<'k> Verifier<'_, 'k> {
    fn add(&mut self, id: NodeId, verdict: Verdict, detail: impl Into<String>) {
        self.report.add(self.fit.fdt.path(id), verdict, detail);
    }

    /// What is wrong with a node becomes a failed check; reading errors end the verification.
    fn failed<T>(&mut self, id: NodeId, result: Result<T, FitError>) -> Result<Option<T>, FitError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_read() => Err(e),
            Err(e) => {
                self.add(id, Verdict::Fail, e.to_string());
                Ok(None)
            }
        }
    }

    fn header(&mut self) -> Result<(), FitError> {
        for name in ["description", p::TIMESTAMP] {
            if self.fit.fdt.property(Fdt::ROOT, name).is_none() {
                self.report.add("/", Verdict::Warn, format!("U-Boot refuses a FIT without `{name}`"));
            }
        }
        if self.fit.fdt.total_size() > DEFAULT_MAX_FIT_LEN_BYTES {
            let detail = "larger than 256 MiB, which U-Boot verifies only if built with a larger FIT_SIGNATURE_MAX_SIZE";
            self.report.add("/", Verdict::Warn, detail);
        }
        let Some(configurations) = self.fit.configurations else {
            let problem = Problem::Missing.to_string();
            self.report.add("/configurations", Verdict::Fail, problem);
            return Ok(());
        };
        if self.fit.configurations().is_empty() {
            self.add(configurations, Verdict::Fail, "has no configuration, so nothing is covered");
        }
        let default = self.fit.fdt.string(configurations, p::DEFAULT).map_err(FitError::from);
        match self.failed(configurations, default)? {
            Some(Some(name)) if self.fit.fdt.child(configurations, &name).is_none() => {
                let detail = format!("`default` names a configuration `{name}` that is not there");
                self.add(configurations, Verdict::Fail, detail);
            }
            Some(None) => {
                let detail = "names no `default`, so U-Boot boots only what it is told by name";
                self.add(configurations, Verdict::Warn, detail);
            }
            _ => {}
        }
        Ok(())
    }

    /// Computes and compares every hash of every image.
    fn hashes(&mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<(), FitError> {
        let mut jobs: Vec<Job<'_>> = Vec::new();
        let mut wanted: HashMap<(NodeId, ImageHash), usize> = HashMap::new();
        let mut nodes: Vec<(NodeId, HashNode)> = Vec::new();
        // Images may share their data, which is then hashed once.
        let mut known: HashMap<(Range<u64>, ImageHash), usize> = HashMap::new();
        let mut places = Places::new();
        for image in self.fit.images() {
            let data = self.fit.data(image);
            let Some(data) = self.failed(image, data)? else {
                self.bad.insert(image);
                continue;
            };
            let mut want = |algorithm| {
                let job = known.entry((data.range.clone(), algorithm)).or_insert_with(|| {
                    jobs.push(Job { content: Content::Source(data.range.clone()), algorithm });
                    jobs.len() - 1
                });
                wanted.insert((image, algorithm), *job);
            };
            let mut found = Vec::new();
            let mut sound = true;
            for node in self.fit.subnodes(image, "hash") {
                let hash = HashNode::read(&self.fit, node);
                match self.failed(node, hash)? {
                    Some(hash) => found.push(hash),
                    None => sound = false,
                }
            }
            for node in self.fit.subnodes(image, "signature") {
                let algorithm = self.algorithm(node);
                if let Ok((algorithm, _)) = algorithm {
                    want(ImageHash::Strong(algorithm.hash));
                }
            }
            if !sound {
                self.bad.insert(image);
            }
            for hash in found {
                want(hash.algorithm);
                nodes.push((image, hash));
            }
            places.insert(image, data);
        }
        self.fit.check_overlap(&places)?;
        let hashes = hash_all(self.fit.fdt.source(), &jobs, progress)?;
        for ((image, algorithm), job) in &wanted {
            if let ImageHash::Strong(algorithm) = algorithm
                && let Some(digest) = hashes.get(*job).and_then(|h| Digest::new(*algorithm, h.clone()))
            {
                self.digests.insert((*image, *algorithm), digest);
            }
        }
        for (image, hash) in nodes {
            let computed = wanted.get(&(image, hash.algorithm)).and_then(|job| hashes.get(*job));
            let name = hash.algorithm.name();
            match &hash.value {
                Some(value) if Some(value) == computed => {
                    self.add(hash.id, Verdict::Pass, format!("{name} matches the data"));
                }
                Some(_) => {
                    self.bad.insert(image);
                    self.add(hash.id, Verdict::Fail, format!("{name} does not match the data"));
                }
                None => {
                    self.bad.insert(image);
                    self.add(hash.id, Verdict::Fail, format!("{name} has no value"));
                }
            }
            if hash.ignored {
                self.add(hash.id, Verdict::Warn, "U-Boot skips this hash (`uboot-ignore`)");
            }
        }
        Ok(())
    }

    fn configuration(&mut self, configuration: NodeId) -> Result<(), FitError> {
        let references = self.fit.references(configuration);
        let Some(references) = self.failed(configuration, references)? else { return Ok(()) };
        let list = self.fit.signed_nodes(configuration);
        let Some(list) = self.failed(configuration, list)? else { return Ok(()) };
        let images: Vec<NodeId> = references.into_iter().flat_map(|r| r.images).collect();
        let mut protected = true;
        let mut seen = HashSet::new();
        for image in images.iter().filter(|image| seen.insert(**image)) {
            let hashes = self.fit.hashes(*image).unwrap_or_default();
            if !hashes.iter().any(HashNode::protects) {
                protected = false;
                let name = self.fit.name(*image);
                let detail = format!(
                    "names image `{name}`, which has no hash that protects it (sha256, sha384 or sha512)"
                );
                self.add(configuration, Verdict::Fail, detail);
            }
            if self.bad.contains(image) {
                protected = false;
                let detail = format!("names image `{}`, which is damaged", self.fit.name(*image));
                self.add(configuration, Verdict::Fail, detail);
            }
        }
        let needed = self.fit.strings_needed(&list);
        let nodes = self.fit.subnodes(configuration, "signature");
        if nodes.is_empty() {
            self.add(configuration, Verdict::Fail, "is not signed");
            return Ok(());
        }
        let mut good = false;
        let mut bad = Vec::new();
        for node in nodes {
            match self.configuration_signature(configuration, node, &list, needed) {
                Ok(signed) => {
                    good = true;
                    self.accept(node, signed);
                    self.hashed_nodes(node, &list);
                }
                Err(Refused::Read(e)) => return Err(e),
                Err(Refused::Because(why)) => bad.push((node, why)),
            }
        }
        self.refuse(good, bad);
        if good && protected {
            self.covered.extend(images);
        }
        Ok(())
    }

    /// Beside a good signature others do not matter; without one each says why it is none.
    fn refuse(&mut self, good: bool, bad: Vec<(NodeId, String)>) {
        let verdict = if good { Verdict::Warn } else { Verdict::Fail };
        for (node, why) in bad {
            self.add(node, verdict, why);
        }
    }

    fn accept(&mut self, node: NodeId, (algorithm, fingerprint): (SignatureAlgorithm, String)) {
        let place = self.fit.fdt.path(node);
        let hint = self.fit.fdt.string(node, p::KEY_NAME_HINT).ok().flatten().unwrap_or_default();
        self.report.add(place.clone(), Verdict::Pass, format!("signed with a trusted key, named `{hint}`"));
        self.report.signed_by.push(SignedBy { place, fingerprint, algorithm: algorithm.to_string() });
    }

    /// U-Boot before 2026.04 goes by `hashed-nodes`, so it must say what the signature covers.
    fn hashed_nodes(&mut self, node: NodeId, list: &[NodeId]) {
        let expected: HashSet<String> = list.iter().map(|id| self.fit.fdt.path(*id)).collect();
        match self.fit.fdt.strings_of(node, p::HASHED_NODES) {
            Ok(None) => {
                self.add(node, Verdict::Warn, "has no `hashed-nodes`, which U-Boot before 2026.04 wants")
            }
            Ok(Some(found)) if found.iter().cloned().collect::<HashSet<_>>() == expected => {}
            _ => self.add(
                node,
                Verdict::Fail,
                "`hashed-nodes` differs from the nodes that the signature covers",
            ),
        }
    }

    /// What is cheap to check comes first, because the region takes a walk of the whole tree.
    fn configuration_signature(
        &mut self,
        configuration: NodeId,
        node: NodeId,
        list: &[NodeId],
        strings_needed: usize,
    ) -> Result<(SignatureAlgorithm, String), Refused> {
        let claim = self.claim(node)?;
        let strings = self.fit.fdt.bytes(node, p::HASHED_STRINGS, 64)?;
        let Some(strings_len) = strings.as_deref().and_then(hashed_strings_len) else {
            return Err(Refused::because("has no `hashed-strings`, so names of properties are not covered"));
        };
        if strings_len > self.fit.fdt.strings().len() {
            return Err(Refused::because("`hashed-strings` reaches beyond the strings block"));
        }
        if strings_len < strings_needed {
            return Err(Refused::because("`hashed-strings` does not cover the names of all properties"));
        }
        let hash = claim.algorithm.hash;
        let key = (configuration, strings_len, hash);
        if let Some(digest) = self.regions.get(&key) {
            return claim.check(digest);
        }
        self.fit.check_tags(self.tags)?;
        let region = self.fit.region(configuration, list, strings_len, hash)?;
        self.tags += region.tags;
        let digest = region.digest;
        let checked = claim.check(&digest);
        self.regions.insert(key, digest);
        checked
    }

    fn image(&mut self, image: NodeId) -> Result<(), FitError> {
        let mut good = false;
        let mut bad = Vec::new();
        for node in self.fit.subnodes(image, "signature") {
            match self.image_signature(image, node) {
                Ok(signed) => {
                    good = true;
                    self.accept(node, signed);
                }
                Err(Refused::Read(e)) => return Err(e),
                Err(Refused::Because(why)) => bad.push((node, why)),
            }
        }
        self.refuse(good, bad);
        if self.covered.contains(&image) {
            self.add(image, Verdict::Pass, "covered by a configuration's signature");
        } else if !good {
            self.add(image, Verdict::Fail, "no good signature covers this image");
        } else {
            let detail = "covered by its own signature only: its type and load address are not protected";
            self.add(image, Verdict::Warn, detail);
        }
        Ok(())
    }

    fn image_signature(&self, image: NodeId, node: NodeId) -> Result<(SignatureAlgorithm, String), Refused> {
        let claim = self.claim(node)?;
        let digest = self.digests.get(&(image, claim.algorithm.hash));
        let digest = digest.ok_or_else(|| Refused::because("the image's data cannot be hashed"))?;
        claim.check(digest)
    }

    /// What a signature node says it was made with.
    fn algorithm(&self, node: NodeId) -> Result<(SignatureAlgorithm, String), Refused> {
        let name = self.fit.fdt.string(node, p::ALGO)?.unwrap_or_default();
        let unknown = || Refused::because(format!("has algorithm `{name}`, which is unknown or broken"));
        let (hash, crypto) = name.split_once(',').ok_or_else(unknown)?;
        let hash = HashAlgorithm::from_name(hash).ok_or_else(unknown)?;
        let scheme = match self.fit.fdt.string(node, p::PADDING)?.as_deref() {
            _ if crypto.starts_with("ecdsa") => Scheme::Ecdsa,
            None | Some("pkcs-1.5") => Scheme::RsaPkcs1v15,
            Some("pss") => Scheme::RsaPss,
            Some(other) => return Err(Refused::because(format!("has an unknown padding `{other}`"))),
        };
        Ok((SignatureAlgorithm { scheme, hash }, crypto.to_owned()))
    }

    /// A node's signature and the keys that it may be by, if it can be right at all.
    fn claim(&self, node: NodeId) -> Result<Claim<'k>, Refused> {
        let (algorithm, crypto) = self.algorithm(node)?;
        let value = self.fit.fdt.bytes(node, p::VALUE, MAX_SIGNATURE_LEN_BYTES)?.unwrap_or_default();
        if value.is_empty() {
            return Err(Refused::because("is not signed"));
        }
        let hint = self.fit.fdt.string(node, p::KEY_NAME_HINT)?.unwrap_or_default();
        let of_type = |key: &&PublicKey| key.key_type().map(crypto_name) == Some(&*crypto);
        let keys: Vec<&'k PublicKey> = self.keys.iter().filter(of_type).collect();
        let Some(key_type) = keys.first().and_then(|key| key.key_type()) else {
            return Err(Refused::because(format!(
                "no trusted key is of type {crypto} (it names key `{hint}`)"
            )));
        };
        let (found, expected) = (value.len(), signature_len(key_type));
        if found != expected {
            return Err(Refused::because(format!(
                "the signature by `{hint}` has {found} bytes, but one of type {crypto} has {expected}"
            )));
        }
        Ok(Claim { algorithm, signature: Signature::from_bytes(value), hint, keys })
    }
}

/// What a signature node holds.
struct Claim<'k> {
    algorithm: SignatureAlgorithm,
    signature: Signature,
    hint: String,
    /// The trusted keys of its type.
    keys: Vec<&'k PublicKey>,
}

impl Claim<'_> {
    /// Tries every key of the right kind, as U-Boot does; hints are not covered by anything.
    fn check(&self, digest: &Digest) -> Result<(SignatureAlgorithm, String), Refused> {
        let mut keys = self.keys.iter();
        keys.find(|key| key.verify(self.algorithm, digest, &self.signature).is_ok())
            .map(|key| (self.algorithm, key.fingerprint()))
            .ok_or_else(|| {
                let hint = &self.hint;
                Refused::because(format!(
                    "the signature by `{hint}` is not by a trusted key, or what it covers was changed"
                ))
            })
    }
}

/// Why a signature is not accepted.
enum Refused {
    Read(FitError),
    Because(String),
}

impl Refused {
    fn because(why: impl Into<String>) -> Self {
        Self::Because(why.into())
    }
}

impl<E: Into<FitError>> From<E> for Refused {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is_read() { Self::Read(error) } else { Self::Because(error.to_string()) }
    }
}

/// The second number; U-Boot takes the first for zero whatever it is.
fn hashed_strings_len(value: &[u8]) -> Option<usize> {
    let len: [u8; 4] = value.get(4..8)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(len)).ok()
}
