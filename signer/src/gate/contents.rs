//! Keys and certificates inside file systems, kernels, initramfs and whatever else a device gets.
//!
//! [`content`](crate::content) opens what can be opened; here each file that comes out is searched, as a stream, for
//! certificates and public keys in PEM and DER. Where a device looks for keys is not known, so every file counts.

use super::{
    Gate,
    keys::{self, FoundKey},
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::{
    content::{self, Entry, Limits, Obstacle, Visitor, Window},
    key::certificate::DEVELOPMENT_MARK,
    report::Verdict,
};
use memchr::memmem;
use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How much of a file is searched at once.
const CHUNK_LEN_BYTES: usize = 1 << 20;
/// How far pieces overlap: longer than any certificate or key that is found.
const OVERLAP_LEN_BYTES: usize = 32 << 10;
/// Most places that are told of one artifact.
const MAX_FOUND: usize = 200;
/// Most obstacles that are told of one artifact.
const MAX_OBSTACLES: usize = 20;

/// Where looking ends: honest artifacts stay far below. A fuzzer finds bombs, which must end within its patience.
const LIMITS: Limits = if cfg!(fuzzing) {
    Limits { depth: 4, expanded_bytes: 4 << 20, entries: 2000, kept_bytes: 4 << 20 }
} else {
    Limits { depth: 8, expanded_bytes: 32 << 30, entries: 4 << 20, kept_bytes: 8 << 30 }
};

impl Gate<'_> {
    /// Searches every artifact for keys that a device must not trust.
    pub(super) fn contents(&mut self) {
        let jobs: Vec<(usize, String, Window)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(index, entry)| !self.is_taken_apart(*index) && self.is_searched(entry))
            .filter_map(|(index, entry)| Some((index, entry.path.clone(), entry.window.clone()?)))
            .collect();
        for (index, found) in search_all(&jobs, self.work.threads.get()) {
            self.judge_contents(index, found);
        }
    }

    /// Whether all that is in an entry is searched by itself.
    fn is_taken_apart(&self, index: usize) -> bool {
        let whole = |e: &super::enclosed::Enclosure| {
            e.obstacle.is_none() && e.stray.is_none() && (!e.members.is_empty() || e.twin.is_some())
        };
        self.enclosures.get(&index).is_some_and(whole)
    }

    /// Copies of what is searched anyway are not, nor what is judged otherwise: its parts, or its keys.
    fn is_searched(&self, entry: &super::entry::Entry<'_>) -> bool {
        if entry.same_as.is_some() || entry.is_copy {
            return false;
        }
        match entry.kind.inner() {
            Kind::Bundle | Kind::Disk(_) | Kind::ControlTree | Kind::Damaged { .. } => false,
            Kind::HashArea | Kind::RootHash | Kind::Signature | Kind::VerityDescription => false,
            Kind::Certificates | Kind::PublicKey | Kind::PrivateKey => false,
            Kind::ByProduct(_) => entry.container.is_some(),
            _ => true,
        }
    }

    fn judge_contents(&mut self, index: usize, found: Search) {
        let name = self.entries.get(index).map(|e| e.path.clone()).unwrap_or_default();
        for (place, key) in found.keys {
            // A FIT's own anchors were judged where they stand, with the role that they are for.
            let fingerprint = key.key.fingerprint();
            let told = |entry: &super::entry::Entry<'_>| {
                entry.problems.iter().any(|p| p.place.is_some() && p.detail.contains(&fingerprint))
            };
            if self.entries.get(index).is_some_and(told) {
                continue;
            }
            let place =
                format!("{name}:{}", place.strip_prefix(&name).unwrap_or(&place).trim_start_matches('!'));
            self.anchor(index, &place, &key, None);
        }
        for (place, obstacle) in found.obstacles {
            // What a file system as a whole hides matters; a damaged file of test data in one does not.
            let whole = place.trim_end_matches('!') == name;
            let Some(entry) = self.entries.get_mut(index) else { return };
            if whole && entry.state.is_some_and(|s| matches!(s, State::Signed | State::Covered)) {
                let detail = format!("cannot be searched for trust anchors: {obstacle}");
                entry.problem(ProblemKind::CannotCheck, None, detail);
            } else if entry.problems.is_empty() {
                entry.report.add(place, Verdict::Warn, format!("not searched for trust anchors: {obstacle}"));
            }
        }
    }
}

/// What was found in one artifact.
#[derive(Default)]
struct Search {
    keys: Vec<(String, FoundKey)>,
    obstacles: Vec<(String, Obstacle)>,
    /// Places and fingerprints that were told.
    seen: BTreeSet<(String, String)>,
}

/// Searches artifacts on several threads; results come in the order of jobs.
fn search_all(jobs: &[(usize, String, Window)], threads: usize) -> Vec<(usize, Search)> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let worker = || {
        while let Some((index, name, window)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut search = Search::default();
            content::look(window.clone(), name, LIMITS, &mut search);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*index, search));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done
}

impl Visitor for Search {
    fn file(&mut self, entry: Entry<'_>, bytes: &mut dyn Read) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let start = buffer.len();
            let read = bytes.take(CHUNK_LEN_BYTES as u64).read_to_end(&mut buffer)?;
            let last = read < CHUNK_LEN_BYTES;
            self.search(entry.location, &buffer);
            if last {
                return Ok(());
            }
            buffer.drain(..buffer.len().saturating_sub(OVERLAP_LEN_BYTES));
            debug_assert!(buffer.len() <= start + CHUNK_LEN_BYTES);
        }
    }

    fn obstacle(&mut self, location: &str, obstacle: Obstacle) {
        if self.obstacles.len() < MAX_OBSTACLES {
            self.obstacles.push((location.to_owned(), obstacle));
        }
    }
}

impl Search {
    fn search(&mut self, location: &str, bytes: &[u8]) {
        for found in keys_in(bytes) {
            if self.keys.len() < MAX_FOUND && self.seen.insert((location.to_owned(), found.key.fingerprint()))
            {
                self.keys.push((location.to_owned(), found));
            }
        }
    }
}

/// AlgorithmIdentifiers of public keys (RFC 8017, RFC 5480), and how long the header before them is at most.
const ALGORITHMS: [&[u8]; 3] = [
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00],
    &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
        0x3d, 0x03, 0x01, 0x07,
    ],
    &[
        0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
        0x22,
    ],
];

/// Every public key and certificate in `bytes`, as PEM or DER, wherever it stands.
fn keys_in(bytes: &[u8]) -> Vec<FoundKey> {
    let mut found = Vec::new();
    if memmem::find(bytes, b"-----BEGIN ").is_some() {
        found.extend(keys::in_pem(&String::from_utf8_lossy(bytes)));
    }
    for algorithm in ALGORITHMS {
        found.extend(memmem::find_iter(bytes, algorithm).filter_map(|at| spki_around(bytes, at)));
    }
    // A certificate is more than its key: it says whose it is.
    let marked = memmem::find_iter(bytes, DEVELOPMENT_MARK.as_bytes());
    found.extend(marked.filter_map(|at| certificate_around(bytes, at)));
    found
}

/// The SubjectPublicKeyInfo whose algorithm stands at `at`.
fn spki_around(bytes: &[u8], at: usize) -> Option<FoundKey> {
    (2..=4).find_map(|header| {
        let start = at.checked_sub(header)?;
        let der = sequence(bytes.get(start..)?, header)?;
        keys::of_der(der).filter(|found| found.certificate.is_none())
    })
}

/// The certificate that holds the byte at `at`.
fn certificate_around(bytes: &[u8], at: usize) -> Option<FoundKey> {
    const LONGEST: usize = 4096;
    let from = at.saturating_sub(LONGEST);
    let before = bytes.get(from..at)?;
    // Certificates are longer than 255 bytes, and the outermost sequence holds another as long.
    let starts = memmem::rfind_iter(before, &[0x30, 0x82]);
    starts
        .filter_map(|start| sequence(bytes.get(from + start..)?, 4))
        .find_map(|der| keys::of_der(der).filter(|found| found.certificate.is_some()))
}

/// The SEQUENCE that `bytes` begin with, if its header is as long as given.
fn sequence(bytes: &[u8], header: usize) -> Option<&[u8]> {
    let len = match (bytes.get(..header)?, header) {
        ([0x30, len], 2) if *len < 0x80 => usize::from(*len),
        ([0x30, 0x81, len], 3) => usize::from(*len),
        ([0x30, 0x82, high, low], 4) => usize::from(*high) << 8 | usize::from(*low),
        _ => return None,
    };
    bytes.get(..header + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{Curve, HashAlgorithm, Scheme},
        request::Answer as _,
        testing::SoftKey,
        vocabulary::Role,
    };
    use proptest::prelude::*;

    fn keys() -> Vec<SoftKey> {
        vec![
            SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
            SoftKey::rsa(Role::Fit, 1024, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
            SoftKey::ecdsa(Role::Fit, Curve::P256, HashAlgorithm::Sha256),
            SoftKey::ecdsa(Role::Fit, Curve::P384, HashAlgorithm::Sha384),
        ]
    }

    #[test]
    fn keys_are_found_in_every_form_and_at_every_place() {
        for key in keys() {
            let identity = key.identity();
            let spki = identity.public_key.spki_der().to_vec();
            let certificate = identity.certificate.clone().unwrap();
            let pem = identity.public_key.to_pem().unwrap();
            for form in [spki, certificate, pem.into_bytes()] {
                for at in [0, 1, 100, CHUNK_LEN_BYTES - 20, CHUNK_LEN_BYTES, 2 * CHUNK_LEN_BYTES - 7] {
                    let mut bytes = vec![0x30; at];
                    bytes.extend(&form);
                    bytes.extend([0x82; 300]);
                    let mut search = Search::default();
                    let entry = Entry { location: "x", len_bytes: None, depth: 0 };
                    search.file(entry, &mut bytes.as_slice()).unwrap();
                    let found = search.keys.iter().any(|(_, f)| f.key == identity.public_key);
                    assert!(found, "{} bytes at {at}", form.len());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..300, which in 0usize..4,
        ) {
            let mark = ALGORITHMS.get(which).copied().unwrap_or(DEVELOPMENT_MARK.as_bytes());
            if let Some(place) = bytes.get_mut(at..at + mark.len()) {
                place.copy_from_slice(mark);
            }
            let _ = keys_in(&bytes);
        }
    }
}
