//! `content` finds the same bytes in whatever other people's tools pack them into, and says so where it cannot.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;

mod containers;
mod crafted;
mod hostile;

use common::Bench;
use hsmsign::{
    content::{Entry, Kind, Limits, Obstacle, Visitor, Window, look},
    io::FileSource,
};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// Everything that was seen.
#[derive(Debug, Default)]
struct Seen {
    files: BTreeMap<String, Vec<u8>>,
    containers: BTreeMap<String, Kind>,
    obstacles: Vec<(String, Obstacle)>,
}

impl Visitor for Seen {
    fn file(&mut self, entry: Entry<'_>, bytes: &mut dyn Read) -> io::Result<()> {
        let seen = self.files.entry(entry.location.to_owned()).or_default();
        bytes.read_to_end(seen)?;
        assert!(entry.len_bytes.is_none_or(|len| len == seen.len() as u64), "{entry:?}");
        Ok(())
    }

    fn container(&mut self, entry: Entry<'_>, kind: Kind) -> bool {
        self.containers.insert(entry.location.to_owned(), kind);
        true
    }

    fn obstacle(&mut self, location: &str, obstacle: Obstacle) {
        self.obstacles.push((location.to_owned(), obstacle));
    }
}

impl Seen {
    fn of(path: &Path, limits: Limits) -> Self {
        let mut seen = Self::default();
        let window = Window::new(Arc::new(FileSource::open(path).unwrap()));
        look(window, &path.file_name().unwrap().to_string_lossy(), limits, &mut seen);
        seen
    }

    fn of_bytes(bytes: Vec<u8>, limits: Limits) -> Self {
        let mut seen = Self::default();
        look(Window::new(Arc::new(bytes)), "x", limits, &mut seen);
        seen
    }
}

/// Bytes that compress badly and begin like nothing that is recognised.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = b"plain ".to_vec();
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A directory `tree` with files at `a.txt`, `etc/deep/noise.bin` and a link.
fn plant(bench: &Bench) -> Vec<u8> {
    let bytes = noise(300_000);
    std::fs::create_dir_all(bench.path("tree/etc/deep")).unwrap();
    bench.write("tree/a.txt", "a text\n");
    bench.write("tree/etc/deep/noise.bin", &bytes);
    bench.write("tree/etc/empty", "");
    std::os::unix::fs::symlink("/etc/passwd", bench.path("tree/etc/link")).unwrap();
    bytes
}

/// Runs a line of shell in the bench.
fn shell(bench: &Bench, line: &str) {
    bench.tool(Path::new("/bin/bash"), &["-euo", "pipefail", "-c", line]);
}
