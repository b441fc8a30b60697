//! Whatever lies in a deploy directory, judging it ends, within its limits, and nothing unsigned passes.

#![no_main]

use hsmsign::{
    content::Window,
    format::{Source, verity::Work},
    gate::{GateReport, Item, Run, State, Trust, judge, recognise},
    policy::ExampleKeys,
};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// Names decide little: which of two device trees is a control tree, and which signature belongs to what.
const NAMES: [&str; 8] = [
    "fit.itb",
    "u-boot.dtb",
    "rootfs.ext4",
    "rootfs.ext4.roothash",
    "rootfs.ext4.p7s",
    "rootfs.ext4.xz",
    "rootfs.ext4.verity.json",
    "update.swu",
];

/// The first byte says how many files there are, and each begins with its name's number and its length.
fn files(data: &[u8]) -> Vec<(&'static str, Arc<Vec<u8>>)> {
    let Some((count, mut rest)) = data.split_first() else { return Vec::new() };
    let mut found: Vec<(&str, Arc<Vec<u8>>)> = Vec::new();
    for turn in 0..=count % 4 {
        let Some((name, behind)) = rest.split_first() else { break };
        let (len, behind) = match behind.split_first_chunk() {
            // The last takes all that is left, so that any file makes a seed with two bytes before it.
            Some((len, behind)) if turn < count % 4 => (u32::from_le_bytes(*len) as usize, behind),
            _ => (behind.len(), behind),
        };
        let (bytes, behind) = behind.split_at(len.min(behind.len()));
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if !found.iter().any(|(known, _)| *known == name) {
            found.push((name, Arc::new(bytes.to_vec())));
        }
        rest = behind;
    }
    found
}

fn gate(files: &[(&str, Arc<Vec<u8>>)]) -> Option<GateReport> {
    let items = files.iter().map(|(name, bytes)| Item {
        path: (*name).to_owned(),
        aliases: Vec::new(),
        kind: recognise(bytes.as_ref(), name).unwrap(),
        source: Some(bytes.as_ref() as &dyn Source),
        window: Some(Window::new(Arc::<Vec<u8>>::clone(bytes))),
        problem: None,
    });
    // Nobody is trusted.
    let trust = Trust {
        roles: BTreeMap::new(),
        dev: false,
        known_dev: Default::default(),
        examples: ExampleKeys::default(),
        at: SystemTime::UNIX_EPOCH,
    };
    let run = Run { directory: "x".into(), trust: "release", rehearsal: false, allow: &[] };
    let work = Work { threads: NonZeroUsize::MIN, progress: &|_| {} };
    judge(items.collect(), trust, &run, work).ok()
}

fuzz_target!(|data: &[u8]| {
    let Some(report) = gate(&files(data)) else { return };
    for file in &report.files {
        assert_ne!(file.state, State::Signed, "{}: {}", file.path, file.detail);
        assert_ne!(file.state, State::Excepted, "{}: {}", file.path, file.detail);
    }
});
