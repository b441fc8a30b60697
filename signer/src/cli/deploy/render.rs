//! The gate's report for people: a table, and the chain of trust as a tree.

use crate::{
    cli::output::printable,
    gate::{FileReport, GateReport, Link, LinkState, State},
    report::Verdict,
};

/// Widest columns of path and kind.
const PATH_WIDTH: usize = 44;
const KIND_WIDTH: usize = 28;

/// Everything, as text.
pub(super) fn human(report: &GateReport) -> String {
    let mut text = String::new();
    let (artifacts, others): (Vec<_>, Vec<_>) =
        report.files.iter().partition(|f| !(f.state == State::ByProduct && f.verdict == Verdict::Pass));
    let width = |column: &dyn Fn(&FileReport) -> usize, most: usize| {
        artifacts.iter().map(|f| column(f)).max().unwrap_or(0).min(most)
    };
    let path_width = width(&|f| f.path.chars().count(), PATH_WIDTH);
    let kind_width = width(&|f| f.what.chars().count(), KIND_WIDTH);
    for file in &artifacts {
        let line =
            format!("{} {:<path_width$}  {:<kind_width$}  {}", mark(file), file.path, file.what, file.detail);
        push(&mut text, &line);
        for alias in &file.aliases {
            push(&mut text, &format!("          also called {alias}"));
        }
        let problems = file.problems.iter().skip(1).map(|p| format!("{}: {}", p.kind.word(), p.detail));
        let warnings = file.checks.iter().filter(|c| c.verdict == Verdict::Warn);
        let warnings = warnings.map(|c| format!("warning: {}: {}", c.place, c.detail));
        for more in problems.chain(warnings) {
            push(&mut text, &format!("          {more}"));
        }
    }
    if !others.is_empty() {
        push(&mut text, &format!("\n{} files are no artifacts:", others.len()));
        for file in others {
            push(&mut text, &format!("          {}  {} ({})", file.path, file.detail, file.what));
        }
    }
    if !report.chain.is_empty() {
        push(&mut text, "\nchain of trust:");
        chain(&report.chain, &mut text);
    }
    for exception in report.exceptions.iter().filter(|e| !e.used_for.is_empty()) {
        let line = format!(
            "\nexception `{}`: {} ({})",
            exception.path,
            exception.reason,
            exception.used_for.join(", ")
        );
        push(&mut text, &line);
    }
    for note in &report.notes {
        push(&mut text, &format!("\nnote: {note}"));
    }
    if !report.release_would_refuse.is_empty() {
        push(&mut text, "\na release gate would refuse:");
        for sentence in &report.release_would_refuse {
            push(&mut text, &format!("          {sentence}"));
        }
    }
    push(&mut text, &format!("\n{}", summary(report)));
    text
}

/// One line why it fails.
pub(super) fn why(report: &GateReport) -> String {
    let mut failed: Vec<&FileReport> = report.files.iter().filter(|f| f.verdict == Verdict::Fail).collect();
    // The gravest first.
    failed.sort_by_key(|f| f.problems.iter().map(|p| p.kind).min());
    match failed.as_slice() {
        [] => match report.chain.iter().find(|link| link.state == LinkState::Broken) {
            Some(link) => format!("{}: {}", link.by, link.detail),
            None => report.notes.first().cloned().unwrap_or_default(),
        },
        [one] => format!("{}: {}", one.path, one.detail),
        [first, rest @ ..] => format!("{}: {} (and {} more files)", first.path, first.detail, rest.len()),
    }
}

fn summary(report: &GateReport) -> String {
    let count = |state: State| report.files.iter().filter(|f| f.state == state).count();
    let counts = [
        (State::Signed, "signed"),
        (State::Covered, "covered"),
        (State::Part, "parts of signed ones"),
        (State::Excepted, "excepted by the policy"),
        (State::Failed, "refused"),
        (State::ByProduct, "no artifacts"),
    ];
    let counts = counts.into_iter().map(|(state, word)| (count(state), word)).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
    let verdict = match (report.verdict, report.trust) {
        (Verdict::Fail, _) => "REFUSED",
        (_, "dev") => "good for development",
        (_, _) if report.rehearsal => "good for a REHEARSAL",
        _ => "may ship",
    };
    format!("{verdict}: {}", counts.join(", "))
}

fn mark(file: &FileReport) -> &'static str {
    match (file.verdict, file.state) {
        (Verdict::Fail, _) => "FAIL     ",
        (_, State::Excepted) => "excepted ",
        (Verdict::Warn, _) => "warn     ",
        (_, State::Signed) => "signed   ",
        (_, State::Covered) => "covered  ",
        _ => "ok       ",
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(&printable(line, &['\n']));
    text.push('\n');
}

/// Draws the links as a tree. A node that was drawn already is not drawn again.
fn chain(links: &[Link], text: &mut String) {
    let mut shown: Vec<&str> = Vec::new();
    let leads_to = |node: &str| links.iter().any(|l| l.to.as_deref() == Some(node) && l.from.is_some());
    for link in links {
        match &link.from {
            Some(from) if !leads_to(from) && !shown.contains(&from.as_str()) => {
                push(text, &format!("  {from}"));
                below(from, links, "  ", &mut shown, text);
            }
            None if link.to.as_deref().is_some_and(|to| !leads_to(to)) => {
                push(text, "  ?");
                push(text, &format!("  └─ {}", node(link)));
                if let Some(to) = link.to.as_deref() {
                    below(to, links, "     ", &mut shown, text);
                }
            }
            _ => {}
        }
    }
}

fn below<'a>(from: &'a str, links: &'a [Link], indent: &str, shown: &mut Vec<&'a str>, text: &mut String) {
    if shown.contains(&from) {
        return;
    }
    shown.push(from);
    let children: Vec<&Link> = links.iter().filter(|l| l.from.as_deref() == Some(from)).collect();
    for (number, link) in children.iter().enumerate() {
        let last = number + 1 == children.len();
        let (branch, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        push(text, &format!("{indent}{branch}{}", node(link)));
        if let Some(to) = link.to.as_deref() {
            below(to, links, &format!("{indent}{more}"), shown, text);
        }
    }
}

fn node(link: &Link) -> String {
    let to = link.to.as_deref().unwrap_or("?");
    let mark = match link.state {
        LinkState::Holds => "",
        LinkState::Missing => "MISSING ",
        LinkState::Broken => "BROKEN ",
    };
    format!("{mark}{to}  [{}] {}", link.by, link.detail)
}
