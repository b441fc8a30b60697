//! The visitor that looks for leaks in every file it is shown.

use super::{
    Finding, der, file,
    finding::Leak,
    markers::{Marker, Markers},
    pem, pin, self_test,
    stream::{Place, search},
};
use crate::{
    content::{Entry, Obstacle, Visitor},
    crypto::Fingerprint,
    vocabulary::LeakKind,
};
use std::io::{self, Read};

/// Keys that are known by their public half.
pub trait Known: Sync {
    /// Where a public example key was published.
    fn example(&self, key: &Fingerprint) -> Option<String>;

    /// Whose release key it is: a role's name.
    fn release(&self, key: &Fingerprint) -> Option<String>;
}

/// More are told as one. Nothing honest has so many.
const MAX_FINDINGS_PER_FILE: usize = 1000;

/// Looks for leaks, one file after the other. One per thread.
pub struct Scanner<'a> {
    known: &'a dyn Known,
    markers: Markers,
    buffer: Vec<u8>,
    findings: Vec<Finding>,
    files: u64,
    bytes: u64,
}

impl std::fmt::Debug for Scanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("findings", &self.findings).finish_non_exhaustive()
    }
}

impl<'a> Scanner<'a> {
    /// With nothing found yet.
    #[must_use]
    pub fn new(known: &'a dyn Known) -> Self {
        Self { known, markers: Markers::new(), buffer: Vec::new(), findings: Vec::new(), files: 0, bytes: 0 }
    }

    /// Looks for leaks in all that `reader` yields.
    ///
    /// # Errors
    ///
    /// Whatever `reader` says; what came before that has been looked at.
    pub fn bytes(&mut self, location: &str, reader: &mut dyn Read) -> io::Result<()> {
        let (known, markers) = (self.known, &self.markers);
        let mut findings = std::mem::take(&mut self.findings);
        let mut whole = Vec::new();
        let mut found = Vec::new();
        let mut lines = Lines::default();
        let mut more = 0_u64;
        let result = search(
            reader,
            markers,
            &mut self.buffer,
            &mut |beginning, is_whole| {
                whole.extend(
                    file::examine(beginning, is_whole).map(|leak| finding(location, leak, None, None, known)),
                );
            },
            &mut |place| {
                let Some(leak) = examine(place, known) else { return 0 };
                let covers = leak.covers;
                if found.len() < MAX_FINDINGS_PER_FILE {
                    let start = place.at.saturating_sub(leak.before);
                    let line = lines.of(place, start);
                    let offset = place.offset + start as u64;
                    found.push(finding(location, leak, Some(offset), line, known));
                } else {
                    more += 1;
                }
                covers
            },
        );
        findings.append(&mut whole);
        findings.append(&mut found);
        self.findings = findings;
        self.files += 1;
        if more > 0 {
            self.note(location, format_args!("{more} more findings in it"));
        }
        self.bytes += result.as_ref().copied().unwrap_or(0);
        result.map(drop)
    }

    /// Something could not be looked into.
    pub fn note(&mut self, location: &str, why: impl std::fmt::Display) {
        self.findings.push(Finding {
            location: location.to_owned(),
            offset_bytes: None,
            line: None,
            kind: LeakKind::NotLookedInto,
            detail: why.to_string(),
            fingerprint: None,
        });
    }

    /// How many bytes and files it has looked at.
    #[must_use]
    pub fn looked_at(&self) -> (u64, u64) {
        (self.bytes, self.files)
    }

    /// Everything it found.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

impl Visitor for Scanner<'_> {
    fn file(&mut self, entry: Entry<'_>, bytes: &mut dyn Read) -> io::Result<()> {
        self.bytes(entry.location, bytes)
    }

    fn obstacle(&mut self, location: &str, obstacle: Obstacle) {
        self.note(location, obstacle);
    }
}

/// What is at a marker.
fn examine(place: &Place<'_>, known: &dyn Known) -> Option<Leak> {
    match place.marker {
        Marker::PemPrivate => pem::private(place).filter(|leak| !is_self_test(place, leak)),
        Marker::PemPublic => {
            let der = pem::public(place)?;
            der::public_keys(&der).into_iter().find_map(|spki| example(spki, known))
        }
        Marker::DerVersion | Marker::DerEncryption => {
            der::examine(place).filter(|leak| !is_self_test(place, leak))
        }
        Marker::DerPublic => example(der::public_key(place)?, known),
        Marker::Putty => pem::putty(place),
        Marker::Age => pem::age(place),
        Marker::Jwk => pem::jwk(place),
        Marker::PinValue => pin::in_uri(place),
        Marker::PinName => pin::in_assignment(place),
        Marker::PinOption => pin::in_option(place),
    }
}

/// Whether this is a key that a program carries to test itself, and stands in a program: amid bytes that are no
/// text, and not at the beginning. In a file of its own it is a leak.
fn is_self_test(place: &Place<'_>, leak: &Leak) -> bool {
    const NEAR_LEN_BYTES: usize = 4096;
    let known = leak.fingerprint.iter().chain(&leak.digest).any(self_test::is_known);
    let begins_the_file = place.offset == 0 && place.at == leak.before;
    known && !begins_the_file && memchr::memchr(0, pem::tail(place.before(), NEAR_LEN_BYTES)).is_some()
}

/// A public key whose private half is published.
fn example(spki: &[u8], known: &dyn Known) -> Option<Leak> {
    let fingerprint = Fingerprint::of_bytes(spki);
    let _ = known.example(&fingerprint)?;
    Some(Leak::new(LeakKind::ExampleKey, "public key or certificate").of_key(Some(fingerprint)))
}

fn finding(
    location: &str,
    leak: Leak,
    offset_bytes: Option<u64>,
    line: Option<u64>,
    known: &dyn Known,
) -> Finding {
    let mut detail = leak.detail;
    if let Some(fingerprint) = &leak.fingerprint {
        if let Some(role) = known.release(fingerprint) {
            detail.push_str(&format!("; it is pinned for release (role {role})"));
        }
        if let Some(origin) = known.example(fingerprint) {
            detail.push_str(&format!("; a public example key: {origin}"));
        }
    }
    Finding {
        location: location.to_owned(),
        offset_bytes,
        line,
        kind: leak.kind,
        detail,
        fingerprint: leak.fingerprint,
    }
}

/// Counts lines as far as the beginning of the file is at hand.
#[derive(Default)]
struct Lines {
    upto: usize,
    count: u64,
}

impl Lines {
    /// The line, from 1 on, of a place in the first piece of a file that looks like text there.
    fn of(&mut self, place: &Place<'_>, at: usize) -> Option<u64> {
        if place.offset != 0 || at < self.upto {
            return None;
        }
        let between = place.bytes.get(self.upto..at)?;
        if memchr::memchr(0, between).is_some() {
            return None;
        }
        self.count += memchr::memchr_iter(b'\n', between).count() as u64;
        self.upto = at;
        Some(self.count + 1)
    }
}
