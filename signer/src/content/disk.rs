//! Disks: the partitions of an MBR or GPT, and what lies beside them.
//!
//! Logical partitions, and disks with sectors of 4096 bytes, are searched as they are.

use super::{
    Kind, Obstacle, Window,
    body::Body,
    walk::{Opened, Walk, member},
};
use crate::format::{Source as _, disk};

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let malformed = |detail: String| Obstacle::Malformed { kind: Kind::Disk, detail };
    let head =
        window.read_range(0..window.len_bytes().min(1024), 1024).map_err(|e| malformed(e.to_string()))?;
    let partitions = disk::partitions(window, &head).map_err(|e| malformed(e.to_string()))?;
    let mut partitions = partitions.unwrap_or_default();
    partitions.retain(|partition| partition.range.start < window.len_bytes());
    partitions.sort_by_key(|partition| partition.range.start);
    if partitions.is_empty() {
        return Err(malformed("no partition lies on it".into()));
    }
    // The tables come first, and look like a disk by themselves.
    let mut at = disk::first_free_byte(&head);
    walk.plain(&member(location, "[tables]"), depth, window.part(0, at));
    for partition in partitions {
        let place = member(location, &format!("partition {}", partition.number));
        // A partition over another, or over the tables, could be looked into again and again.
        if partition.range.start < at {
            walk.report(&place, malformed("it lies over another, or over the tables".into()));
            continue;
        }
        walk.behind_part(location, depth, window, at, partition.range.start);
        if !walk.count() {
            return Ok(());
        }
        let len_bytes = partition.range.end.saturating_sub(partition.range.start);
        walk.body(&place, depth, Body::Window(window.part(partition.range.start, len_bytes)));
        at = partition.range.end;
    }
    walk.behind(location, depth, window, at);
    Ok(())
}
