//! The release gate: what of a deploy directory may ship.
//!
//! [`recognise()`] tells what each file is by its content. [`judge`] then asks of each artifact who signed it, looks
//! for whom the device would trust, follows the chain of trust from one artifact to the next, and lets an unsigned file
//! pass only if something signed covers its very bytes, or if the policy names it. Nothing here opens files: all
//! is read through sources.

mod anchors;
mod bundle;
mod chain;
mod compression;
mod contents;
mod control;
mod cover;
mod disk_cover;
mod enclosed;
mod entry;
mod fit;
pub mod keys;
mod kind;
mod outcome;
mod recognise;
mod rootfs;
mod settle;
mod trees;
mod trust;
mod verdict;

pub use entry::Item;
pub use kind::{Compression, Kind};
pub use outcome::{ExceptionReport, FileReport, GateReport, Link, LinkState, Problem, ProblemKind, State};
pub use recognise::recognise;
pub use trust::{RoleTrust, Standing, Trust};

use crate::{
    config::Allowed,
    format::{FormatError, verity::Work},
};
use entry::Entry;
use std::collections::HashMap;

/// An artifact that could not be read; the disk failed, not the artifact.
#[derive(Debug)]
pub struct Unreadable {
    /// Which.
    pub path: String,
    /// Why.
    pub source: FormatError,
}

/// What there is to say of the run, for the report.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The directory, for people.
    pub directory: String,
    /// Whose keys are trusted: `release`, `dev`, `given`.
    pub trust: &'static str,
    /// Whether the policy's release keys are a rehearsal's.
    pub rehearsal: bool,
    /// What the policy lets pass.
    pub allow: &'a [Allowed],
}

/// Judges the files of a directory, and how they belong together.
///
/// # Errors
///
/// [`Unreadable`] if the operating system cannot read one of them. Whatever is wrong with them is in the report.
pub fn judge(
    items: Vec<Item<'_>>,
    trust: Trust,
    run: &Run<'_>,
    work: Work<'_>,
) -> Result<GateReport, Unreadable> {
    let entries = items.into_iter().map(Entry::new).collect();
    let mut gate = Gate::new(entries, trust, work);
    gate.open_containers()?;
    gate.adopt_keys()?;
    gate.control_trees()?;
    gate.fits()?;
    gate.root_file_systems()?;
    gate.bundles()?;
    gate.covers()?;
    gate.key_files()?;
    gate.contents();
    gate.links();
    Ok(gate.report(run))
}

/// Work in progress: the entries, and what was found out so far.
struct Gate<'a> {
    entries: Vec<Entry<'a>>,
    trust: Trust,
    work: Work<'a>,
    trees: Vec<control::TreeFacts>,
    fits: Vec<fit::FitFacts>,
    images: Vec<rootfs::ImageFacts<'a>>,
    bundles: Vec<bundle::BundleFacts>,
    enclosures: HashMap<usize, enclosed::Enclosure>,
    links: Vec<Link>,
    digests: cover::Digests,
    release_would_refuse: Vec<String>,
}

impl<'a> Gate<'a> {
    fn new(entries: Vec<Entry<'a>>, trust: Trust, work: Work<'a>) -> Self {
        Self {
            entries,
            trust,
            work,
            trees: Vec::new(),
            fits: Vec::new(),
            images: Vec::new(),
            bundles: Vec::new(),
            enclosures: HashMap::new(),
            links: Vec::new(),
            digests: cover::Digests::default(),
            release_would_refuse: Vec::new(),
        }
    }
}
