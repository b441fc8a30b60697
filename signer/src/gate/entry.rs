//! A file on its way through the gate.

use super::{
    Unreadable,
    kind::Kind,
    outcome::{Problem, ProblemKind, State},
};
use crate::{
    content::Window,
    format::{FormatError, Section, Source},
    report::{Report, Verdict},
    vocabulary::Role,
};

/// A file of the directory.
pub struct Item<'a> {
    /// Its path below the directory.
    pub path: String,
    /// Symbolic links that lead to it.
    pub aliases: Vec<String>,
    /// What it is.
    pub kind: Kind,
    /// Its bytes; by-products need none.
    pub source: Option<&'a dyn Source>,
    /// The same, for libraries that keep what they read.
    pub window: Option<Window>,
    /// Why it must not ship whatever it is.
    pub problem: Option<Problem>,
}

/// A file, or something in a bundle or on a disk, with what was found out about it.
pub(super) struct Entry<'a> {
    pub(super) path: String,
    pub(super) aliases: Vec<String>,
    pub(super) kind: Kind,
    pub(super) source: Section<'a>,
    pub(super) window: Option<Window>,
    /// The bundle or disk that it lies in.
    pub(super) container: Option<usize>,
    /// The file beside its container that has the same bytes; that one is judged.
    pub(super) same_as: Option<usize>,
    /// The compressed file that holds it, and nothing else: an exception for that is one for this.
    pub(super) wrapper: Option<String>,
    /// Whether something else in the directory holds its very bytes.
    pub(super) is_copy: bool,
    pub(super) role: Option<Role>,
    pub(super) state: Option<State>,
    pub(super) detail: String,
    pub(super) covered_by: Option<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) report: Report,
}

static NOTHING: &[u8] = &[];

impl<'a> Entry<'a> {
    pub(super) fn new(item: Item<'a>) -> Self {
        let source = item.source.unwrap_or(&NOTHING);
        let source = Section::new(source, 0..source.len_bytes());
        let mut entry = Self::within(item.path, item.kind, source, None);
        entry.aliases = item.aliases;
        entry.window = item.window;
        entry.problems.extend(item.problem);
        entry
    }

    /// Something that lies in another entry.
    pub(super) fn within(path: String, kind: Kind, source: Section<'a>, container: Option<usize>) -> Self {
        Self {
            report: Report::new(path.clone()),
            path,
            aliases: Vec::new(),
            kind,
            source,
            window: None,
            container,
            same_as: None,
            wrapper: None,
            is_copy: false,
            role: None,
            state: None,
            detail: String::new(),
            covered_by: None,
            problems: Vec::new(),
        }
    }

    /// The last part of its path.
    pub(super) fn file_name(&self) -> &str {
        let path = self.path.rsplit(':').next().unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// Whether it goes by that path, itself or through a link.
    pub(super) fn is_called(&self, path: &str) -> bool {
        self.path == path || self.aliases.iter().any(|alias| alias == path)
    }

    /// Whether a file of that name, or a link of that name to it, lies somewhere in the directory.
    pub(super) fn is_called_in(&self, name: &str) -> bool {
        let last = |path: &str| path.rsplit('/').next() == Some(name);
        last(&self.path) || self.aliases.iter().any(|alias| last(alias))
    }

    /// Whether something signed covers its bytes as a whole; a disk's and a file system's parts are covered one by one.
    pub(super) fn is_covered(&self) -> bool {
        self.state == Some(State::Covered) && self.covered_by.is_some()
    }

    /// Whether it is signed or covered, and nothing is wrong with it.
    pub(super) fn may_ship(&self) -> bool {
        matches!(self.state, Some(State::Signed | State::Covered)) && self.problems.is_empty()
    }

    /// Whether it is to be judged by itself.
    pub(super) fn is_open(&self) -> bool {
        self.state.is_none() && self.same_as.is_none()
    }

    pub(super) fn settle(&mut self, state: State, detail: impl Into<String>) {
        self.state = Some(state);
        self.detail = detail.into();
    }

    pub(super) fn covered(&mut self, by: impl Into<String>, detail: impl Into<String>) {
        self.covered_by = Some(by.into());
        self.settle(State::Covered, detail);
    }

    pub(super) fn problem(&mut self, kind: ProblemKind, place: Option<String>, detail: impl Into<String>) {
        let problem = Problem { kind, place, detail: detail.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The first check that failed, as one line.
    pub(super) fn failure(&self) -> Option<String> {
        let check = self.report.checks.iter().find(|c| c.verdict == Verdict::Fail)?;
        Some(format!("{}: {}", check.place, check.detail))
    }

    /// For `map_err`, after what is wrong with the artifact itself was sorted out.
    pub(super) fn unreadable<E: Into<FormatError>>(&self) -> impl FnOnce(E) -> Unreadable {
        let path = self.path.clone();
        |e| Unreadable { path, source: e.into() }
    }
}
