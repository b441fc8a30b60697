//! `scan`: leaks that other people's tools make are found wherever other people's tools put them, and what only
//! looks like one is left alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;

mod allow;
mod clean;
mod kinds;
mod places;

use common::Bench;
use std::path::Path;

/// Runs a line of shell in the bench; it must succeed.
#[track_caller]
fn shell(bench: &Bench, line: &str) {
    bench.tool(Path::new("/bin/bash"), &["-euo", "pipefail", "-c", line]);
}

/// One finding, as far as tests ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    location: String,
    kind: String,
    detail: String,
    fingerprint: Option<String>,
    line: Option<u64>,
}

/// Scans `place`; its findings. The exit code must agree with them.
#[track_caller]
fn scan(bench: &Bench, place: &str) -> Vec<Found> {
    let outcome = bench.hsmsign(&["scan", place, "--json"]);
    let result: serde_json::Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", outcome.stdout, outcome.stderr));
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let found: Vec<Found> = result["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| Found {
            location: text(&finding["location"]).unwrap(),
            kind: text(&finding["kind"]).unwrap(),
            detail: text(&finding["detail"]).unwrap(),
            fingerprint: text(&finding["fingerprint"]),
            line: finding["line"].as_u64(),
        })
        .collect();
    outcome.exits(if found.is_empty() { 0 } else { 7 });
    found
}

/// Location and kind of each finding.
fn short(found: &[Found]) -> Vec<(&str, &str)> {
    found.iter().map(|f| (f.location.as_str(), f.kind.as_str())).collect()
}
