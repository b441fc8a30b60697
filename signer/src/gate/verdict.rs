//! From what was found to what may ship.

use super::{
    ExceptionReport, FileReport, Gate, GateReport, Link, LinkState, Run,
    entry::Entry,
    kind::Kind,
    outcome::{ProblemKind, State},
};
use crate::{
    config::Allowed,
    report::{Report, Verdict},
};
use std::collections::HashMap;

impl Gate<'_> {
    /// The report, with the policy's exceptions applied.
    pub(super) fn report(mut self, run: &Run<'_>) -> GateReport {
        let mut used: Vec<Vec<String>> = vec![Vec::new(); run.allow.len()];
        for entry in &mut self.entries {
            leave_nothing_open(entry);
            except(entry, run.allow, &mut used);
        }
        if self.trust.dev {
            self.development();
        }
        let order = self.order();
        let mut files = Vec::new();
        let mut entries: Vec<Option<Entry<'_>>> = self.entries.into_iter().map(Some).collect();
        for index in order {
            files.extend(entries.get_mut(index).and_then(Option::take).map(file_report));
        }
        let exceptions = run.allow.iter().zip(used).map(|(allowed, used_for)| ExceptionReport {
            path: allowed.path.to_string(),
            reason: allowed.reason.clone(),
            used_for,
        });
        let exceptions: Vec<_> = exceptions.collect();
        let artifacts = files.iter().filter(|f| f.state != State::ByProduct).count();
        let mut notes = Vec::new();
        if artifacts == 0 {
            notes.push("there is no artifact in this directory: is it the right one?".to_owned());
        }
        for unused in exceptions.iter().filter(|e| e.used_for.is_empty()) {
            notes.push(format!("`gate.allow`: `{}` lets nothing pass, so it can go", unused.path));
        }
        let verdict = judge(&files, &self.links, artifacts, !notes.is_empty());
        GateReport {
            directory: run.directory.clone(),
            trust: run.trust,
            rehearsal: run.rehearsal,
            verdict,
            files,
            chain: self.links,
            exceptions,
            release_would_refuse: self.release_would_refuse,
            notes,
        }
    }

    /// Tells what is signed by dev keys, or holds one.
    fn development(&mut self) {
        let by_dev = self.entries.iter().filter(|e| e.container.is_none() && e.state == Some(State::Signed));
        let names: Vec<String> = by_dev.map(|e| e.path.clone()).collect();
        if !names.is_empty() {
            let sentence = format!("signed by, or trusting, development keys: {}", names.join(", "));
            self.release_would_refuse.push(sentence);
        }
    }

    /// Entries in the order of paths, each followed by what lies in it.
    fn order(&self) -> Vec<usize> {
        let mut within: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            within.entry(entry.container).or_default().push(index);
        }
        let mut stack = within.remove(&None).unwrap_or_default();
        stack.sort_by(|a, b| self.path_of(*b).cmp(self.path_of(*a)));
        let mut order = Vec::new();
        while let Some(index) = stack.pop() {
            order.push(index);
            stack.extend(within.remove(&Some(index)).unwrap_or_default().into_iter().rev());
        }
        order
    }

    fn path_of(&self, index: usize) -> &str {
        self.entries.get(index).map(|e| e.path.as_str()).unwrap_or_default()
    }
}

/// Whatever is recognised and was not judged must not ship.
fn leave_nothing_open(entry: &mut Entry<'_>) {
    if entry.state.is_some() || !entry.problems.is_empty() {
        return;
    }
    match entry.kind.inner() {
        Kind::Damaged { what, reason } => {
            let detail = format!("begins like a {what}, and cannot be read as one: {reason}");
            entry.problem(ProblemKind::CannotCheck, None, detail);
        }
        Kind::VerityDescription => {
            entry.settle(State::ByProduct, "describes no image that is in the directory")
        }
        Kind::ByProduct(_) | Kind::Unknown => {}
        _ => entry.problem(ProblemKind::CannotCheck, None, "nothing here can check it"),
    }
}

/// Lets pass what the policy names, and what may be let pass.
fn except(entry: &mut Entry<'_>, allow: &[Allowed], used: &mut [Vec<String>]) {
    let paths = || std::iter::once(&entry.path).chain(&entry.wrapper).chain(&entry.aliases);
    // What lies in something else is meant only by a pattern that says so.
    let means = |allowed: &Allowed| {
        paths()
            .any(|p| allowed.path.matches(p) && (!p.contains(':') || allowed.path.to_string().contains(':')))
    };
    let Some((number, allowed)) = allow.iter().enumerate().find(|(_, allowed)| means(allowed)) else {
        return;
    };
    let before = entry.problems.len();
    entry.problems.retain(|problem| !problem.kind.may_be_excepted());
    if entry.problems.len() == before {
        return;
    }
    if let Some(used) = used.get_mut(number) {
        used.push(entry.path.clone());
    }
    if entry.problems.is_empty() {
        entry.settle(State::Excepted, format!("the policy lets it pass: {}", allowed.reason));
    }
}

fn file_report(entry: Entry<'_>) -> FileReport {
    let state = match (entry.problems.is_empty(), entry.state, entry.kind.is_artifact()) {
        (false, _, _) => State::Failed,
        (true, Some(state), _) => state,
        (true, None, _) => State::ByProduct,
    };
    let unknown = state == State::ByProduct && *entry.kind.inner() == Kind::Unknown;
    let detail = match entry.problems.as_slice() {
        [] if unknown => "not recognised: nothing here says what it is".to_owned(),
        [] if state == State::ByProduct && entry.detail.is_empty() => "not an artifact".to_owned(),
        [] => entry.detail,
        [first, rest @ ..] => {
            let mut problems: Vec<_> = std::iter::once(first).chain(rest).collect();
            problems.sort_by_key(|p| p.kind);
            let first = problems.first().copied().unwrap_or(first);
            let place = first.place.as_deref().filter(|p| *p != entry.path);
            let place = place.map(|p| format!("{p}: ")).unwrap_or_default();
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            format!("{}: {place}{}{more}", first.kind.word(), first.detail)
        }
    };
    let Report { checks, signed_by, .. } = entry.report;
    let warned = checks.iter().any(|c| c.verdict == Verdict::Warn);
    let verdict = match state {
        State::Failed => Verdict::Fail,
        State::Excepted => Verdict::Warn,
        _ if warned || unknown => Verdict::Warn,
        _ => Verdict::Pass,
    };
    FileReport {
        path: entry.path,
        aliases: entry.aliases,
        what: entry.kind.describe(),
        role: entry.role,
        state,
        verdict,
        detail,
        covered_by: entry.covered_by,
        problems: entry.problems,
        checks,
        signed_by,
    }
}

fn judge(files: &[FileReport], chain: &[Link], artifacts: usize, noted: bool) -> Verdict {
    let failed = files.iter().any(|f| f.verdict == Verdict::Fail)
        || chain.iter().any(|link| link.state == LinkState::Broken)
        || artifacts == 0;
    let warned = files.iter().any(|f| f.verdict == Verdict::Warn)
        || chain.iter().any(|link| link.state == LinkState::Missing)
        || noted;
    match (failed, warned) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Warn,
        (false, false) => Verdict::Pass,
    }
}
