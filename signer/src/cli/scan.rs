//! `scan`: private keys, PINs and example keys in trees, archives and images.

use super::{
    options::Global,
    output::{Output, printable},
    settings::{Given, PolicyFile, Settings, Surroundings, example_keys},
};
use crate::{
    config::{Config, ScanAllowed},
    content::{Limits, Window, look},
    crypto::Fingerprint,
    error::Error,
    io::{FileSource, Found, each_file},
    policy::ExampleKeys,
    scan::{Finding, Judged, Known, Scanner, judge},
    vocabulary::{LeakKind, Mode, Role},
};
use indicatif::ProgressBar;
use serde::Serialize;
use std::{
    fs::File,
    io::Read as _,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};

/// Longest allow-list, in bytes.
const MAX_LIST_LEN_BYTES: u64 = 256 << 10;

/// Arguments of `scan`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Looks into tar, zip, ar (deb, ipk), cpio and .swu archives, gzip, xz, lzma, zstd, bzip2 and lz4, ext2/3/4, squashfs, FAT
and disk images, FIT images and legacy U-Boot images, one inside the other. What it recognises and cannot open is a
finding too.
Links are not followed. No secret is printed.

Findings that are meant to be there are allowed by `scan.allow` in hsmsign.yaml or by --allow; both name a path or a
key's fingerprint, and a reason.

Examples:
  hsmsign scan build/tmp/deploy
  hsmsign scan sources.tar.xz --allow scan-allow.yaml
  hsmsign scan . --json")]
pub struct ScanArgs {
    /// What to look through
    #[arg(value_name = "DIR|FILE", required = true)]
    places: Vec<PathBuf>,
    /// A list of findings that are allowed, beside the policy's
    #[arg(long, value_name = "FILE.yaml")]
    allow: Vec<PathBuf>,
}

/// What `scan` found.
#[derive(Debug, Serialize)]
struct ScanResult {
    /// What must not be where it is, by location.
    findings: Vec<FoundLeak>,
    /// What the allow-list lets pass.
    allowed: Vec<AllowedLeak>,
    /// Entries of the allow-list that let nothing pass, as they are written.
    unused: Vec<String>,
    /// How many files were looked at, those in containers among them.
    files: u64,
    /// How many bytes they have.
    bytes: u64,
}

/// One finding.
#[derive(Debug, Serialize)]
struct FoundLeak {
    /// Where: below what was scanned; `!` stands behind each container, as in `a.tar.gz!/etc/key.pem`.
    location: String,
    /// Where in that file it begins, in bytes; null if it is the file as a whole.
    offset_bytes: Option<u64>,
    /// Which line, from 1 on, if it stands near the beginning of a text.
    line: Option<u64>,
    /// What it is: `private-key`, `encrypted-private-key`, `key-store`, `aes-key`, `token`, `pin`, `example-key` or `not-looked-into`.
    kind: LeakKind,
    /// What exactly, a phrase for people.
    detail: String,
    /// Fingerprint of the public half of a key, `sha256:…`; null if there is none or it cannot be told.
    fingerprint: Option<Fingerprint>,
}

/// A finding that is allowed.
#[derive(Debug, Serialize)]
struct AllowedLeak {
    /// The finding.
    finding: FoundLeak,
    /// The reason that the allow-list gives.
    reason: String,
}

pub(super) fn run(global: &Global, given: &Given, args: &ScanArgs, output: &Output) -> Result<(), Error> {
    let settings = Settings::resolve(global, given, &Surroundings::of_process())?;
    let PolicyFile { config, .. } = settings.load_policy()?;
    let mut list = config.scan.allow.clone();
    for file in &args.allow {
        list.extend(allow_list(file)?);
    }
    for place in &args.places {
        // A mistyped name must not pass for a clean tree.
        std::fs::metadata(place).map_err(Error::file("read", place))?;
    }

    // Dev mode never reads host settings, and the lists stand there.
    let examples = match settings.mode.value {
        Mode::Release => example_keys(&settings.load_host()?)?,
        Mode::Dev | Mode::Off => ExampleKeys::default(),
    };
    let known = KnownKeys::new(&config, examples);
    let bar = output.progress_unbounded("scanning");
    let (findings, bytes, files) = scan(&args.places, &known, &bar);
    bar.finish_and_clear();

    let judged = judge(findings, &list);
    let refused = judged.refused.len();
    let result = ScanResult::new(&judged, files, bytes);
    output.result(&result, || result.lines())?;
    for (finding, entry) in &judged.allowed {
        let place = printable(&finding.location, &[]);
        output.detail(format_args!(
            "allowed: {place}: {}: {} ({})",
            finding.kind, finding.detail, entry.reason
        ));
    }
    for entry in &judged.unused {
        output.note(format_args!("the allow-list's entry with {entry} let nothing pass; remove it"));
    }
    let looked = format!("{files} files, {}", size(bytes));
    match refused {
        0 => {
            output.note(format_args!("nothing found in {looked} ({} allowed)", judged.allowed.len()));
            Ok(())
        }
        1 => Err(Error::Findings(format!("1 finding in {looked}"))),
        n => Err(Error::Findings(format!("{n} findings in {looked}"))),
    }
}

/// Looks through every place: the findings, how many bytes and how many files.
fn scan(places: &[PathBuf], known: &KnownKeys, bar: &ProgressBar) -> (Vec<Finding>, u64, u64) {
    let threads = available_parallelism().map_or(1, NonZero::get);
    let scanners = (0..threads).map(|_| Scanner::new(known)).collect();
    let work = |scanner: &mut Scanner<'_>, found: Found| {
        let before = scanner.looked_at().0;
        match found {
            Found::File(path) => file(scanner, places, &path),
            Found::Unreadable(path, error) => {
                scanner.note(&location(places, &path), format_args!("cannot be read: {error}"));
            }
        }
        bar.inc(scanner.looked_at().0.saturating_sub(before));
    };
    let scanners = each_file(places, scanners, &work);
    let (mut bytes, mut files, mut findings) = (0, 0, Vec::new());
    for scanner in scanners {
        let (b, f) = scanner.looked_at();
        bytes += b;
        files += f;
        findings.extend(scanner.into_findings());
    }
    findings.sort_by(|a, b| {
        (&a.location, a.offset_bytes, a.kind, &a.detail).cmp(&(
            &b.location,
            b.offset_bytes,
            b.kind,
            &b.detail,
        ))
    });
    findings.dedup();
    (findings, bytes, files)
}

fn file(scanner: &mut Scanner<'_>, places: &[PathBuf], path: &Path) {
    let location = location(places, path);
    match FileSource::open(path) {
        Ok(source) => look(Window::new(Arc::new(source)), &location, Limits::default(), scanner),
        Err(e) => scanner.note(&location, e),
    }
}

/// The path below the place that was named, or the file's own name.
fn location(places: &[PathBuf], path: &Path) -> String {
    let below = places.iter().find_map(|place| path.strip_prefix(place).ok());
    let below = below.filter(|below| !below.as_os_str().is_empty());
    let name = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
    name.to_string_lossy().into_owned()
}

fn allow_list(path: &Path) -> Result<Vec<ScanAllowed>, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(Error::file("read", path))?;
    file.take(MAX_LIST_LEN_BYTES + 1).read_to_string(&mut text).map_err(Error::file("read", path))?;
    ScanAllowed::parse_list(&text).map_err(|fault| fault.in_file(path).into())
}

/// What is known of keys: the pins of the policy, and published keys.
struct KnownKeys {
    pins: Vec<(Fingerprint, Role)>,
    examples: ExampleKeys,
}

impl KnownKeys {
    fn new(config: &Config, examples: ExampleKeys) -> Self {
        let keys = config.release.iter().flat_map(|release| &release.keys);
        let pins = keys.flat_map(|(role, key)| key.pins.iter().map(|pin| (*pin, *role))).collect();
        Self { pins, examples }
    }
}

impl Known for KnownKeys {
    fn example(&self, key: &Fingerprint) -> Option<String> {
        self.examples.find(key).map(str::to_owned)
    }

    fn release(&self, key: &Fingerprint) -> Option<String> {
        self.pins.iter().find(|(pin, _)| pin == key).map(|(_, role)| role.to_string())
    }
}

impl ScanResult {
    fn new(judged: &Judged<'_>, files: u64, bytes: u64) -> Self {
        let allowed = judged
            .allowed
            .iter()
            .map(|(finding, entry)| AllowedLeak { finding: finding.into(), reason: entry.reason.clone() });
        Self {
            findings: judged.refused.iter().map(FoundLeak::from).collect(),
            allowed: allowed.collect(),
            unused: judged.unused.iter().map(ToString::to_string).collect(),
            files,
            bytes,
        }
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for leak in &self.findings {
            let line = leak.line.map(|line| format!(":{line}")).unwrap_or_default();
            let key = leak.fingerprint.map(|key| format!(" ({key})")).unwrap_or_default();
            let line = format!("{}{line}: {}: {}{key}", leak.location, leak.kind, leak.detail);
            text.push_str(&printable(&line, &[]));
            text.push('\n');
        }
        text
    }
}

impl From<&Finding> for FoundLeak {
    fn from(finding: &Finding) -> Self {
        Self {
            location: finding.location.clone(),
            offset_bytes: finding.offset_bytes,
            line: finding.line,
            kind: finding.kind,
            detail: finding.detail.clone(),
            fingerprint: finding.fingerprint,
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, (bytes >> 20 & 1023) * 10 / 1024),
    }
}
