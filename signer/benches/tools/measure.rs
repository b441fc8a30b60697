//! Runs programs and measures them from outside.

use std::{
    fmt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Pairs that each comparison runs; one more, first, warms up and does not count.
pub(crate) const PAIRS: usize = 7;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Most resident memory of the program itself, in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs a program to its end; it must succeed.
pub(crate) fn run(command: &mut Command) -> Cost {
    run_to(command, &[0])
}

/// Runs a program to its end, which must be one of these exit codes.
pub(crate) fn run_to(command: &mut Command, codes: &[i32]) -> Cost {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let peak_kib = watch(&mut child);
    let output = child.wait_with_output().unwrap();
    let wall = start.elapsed();
    let ends_well = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(ends_well, "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Cost { wall, peak_kib }
}

/// The kernel's high-water mark, read until the process is gone: it misses only what is new in the
/// last millisecond, and needs no privilege and no unsafe code.
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while let Ok(text) = std::fs::read_to_string(&status) {
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // A process that has ended has no memory left.
        let Some(kib) = mark.and_then(|m| m.split_whitespace().next()?.parse::<u64>().ok()) else { break };
        peak_kib = peak_kib.max(kib);
        std::thread::sleep(Duration::from_millis(1));
    }
    peak_kib
}

/// Runs both sides in pairs; each side gets its output removed before.
pub(crate) fn pairs(
    mut ours: impl FnMut() -> Cost,
    mut theirs: impl FnMut() -> Cost,
) -> (Vec<Cost>, Vec<Cost>) {
    let (mut our_costs, mut their_costs) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        // Alternating order, so that neither side always runs on the warmer machine.
        let (our_cost, their_cost) = if pair % 2 == 0 {
            let cost = ours();
            (cost, theirs())
        } else {
            let cost = theirs();
            (ours(), cost)
        };
        if pair > 0 {
            our_costs.push(our_cost);
            their_costs.push(their_cost);
        }
    }
    (our_costs, their_costs)
}

/// A figure beside another one.
pub(crate) struct Ratio {
    what: String,
    unit: &'static str,
    ours: f64,
    theirs: Option<f64>,
    /// Largest good ratio; without a tool to compare with, the largest good figure.
    target: Option<f64>,
}

impl Ratio {
    pub(crate) fn wall(what: &str, ours: &[Cost], theirs: &[Cost], target: f64) -> Self {
        let millis = |costs: &[Cost]| median(costs.iter().map(|c| c.wall.as_secs_f64() * 1e3));
        let what = format!("{what}: wall time");
        Self { what, unit: "ms", ours: millis(ours), theirs: Some(millis(theirs)), target: Some(target) }
    }

    pub(crate) fn peak(what: &str, ours: &[Cost], theirs: &[Cost], target: Option<f64>) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "KiB of one process")]
        let mib = |costs: &[Cost]| median(costs.iter().map(|c| c.peak_kib as f64 / 1024.0));
        let what = format!("{what}: peak memory");
        Self { what, unit: "MiB", ours: mib(ours), theirs: Some(mib(theirs)), target }
    }

    pub(crate) fn alone(what: &str, costs: &[Cost], target: Option<f64>) -> Self {
        let ours = median(costs.iter().map(|c| c.wall.as_secs_f64() * 1e3));
        Self { what: what.into(), unit: "ms", ours, theirs: None, target }
    }

    fn figure(&self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| self.ours / theirs)
    }

    pub(crate) fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| self.figure() > target)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, ours, theirs, target } = self;
        write!(f, "{what:<44} {ours:>7.1} {unit:<3}")?;
        match theirs {
            Some(theirs) => write!(f, " {theirs:>7.1} {unit:<3} {:>7.2}", self.figure())?,
            None => write!(f, " {:>11} {:>7}", "", "")?,
        }
        match target {
            Some(target) if self.theirs.is_some() => write!(f, " {target:>7.2}")?,
            Some(target) => write!(f, " {target:>4} {unit:<3}")?,
            None => {}
        }
        if self.is_missed() { write!(f, "  MISSED") } else { Ok(()) }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes that no tool can compress or skip (xorshift64*), written once.
pub(crate) fn random_file(path: &Path, len_bytes: u64) {
    use std::io::Write as _;
    if std::fs::metadata(path).is_ok_and(|m| m.len() == len_bytes) {
        return;
    }
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..len_bytes / 8 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        file.write_all(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}
