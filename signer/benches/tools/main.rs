//! `make bench`: hsmsign beside the tool that a user would use instead.
//!
//! Each pair runs on the same input, one after the other, in alternating order; the median of the
//! pairs' figures counts. Inputs are warm in memory and outputs on tmpfs, so the disk decides nothing;
//! what durable storage costs is told apart. `cargo bench -- fit` runs the rows whose name begins so.
//!
//! Exit code 1 means that a target was missed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot go on stops")]

mod measure;
mod rows;

use measure::Ratio;
use std::process::ExitCode;

/// Measures one comparison; `None` if a tool is missing.
type Row = fn(&rows::Inputs) -> Option<Vec<Ratio>>;

fn main() -> ExitCode {
    // cargo adds `--bench`; what remains selects rows.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let rows: [(&str, Row); 6] = [
        ("version", rows::version),
        ("fit", rows::fit),
        ("verity", rows::verity),
        ("swu", rows::swu),
        ("scan", rows::scan),
        ("fsync", rows::fsync),
    ];
    let inputs = rows::Inputs::new();
    println!("{:<44} {:>11} {:>11} {:>7} {:>7}", "", "hsmsign", "tool", "ratio", "target");
    let mut missed = false;
    for (name, run) in rows {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.starts_with(w.as_str())) {
            continue;
        }
        for ratio in run(&inputs).unwrap_or_default() {
            println!("{ratio}");
            missed |= ratio.is_missed();
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
