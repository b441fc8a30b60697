//! Device trees, above all FIT images, and U-Boot's legacy images.

use super::{
    Kind, Obstacle, Window,
    body::{Body, Forward, Peeked},
    walk::{Opened, Walk, member, wrapped},
};
use crate::format::{
    Source as _,
    fdt::{Fdt, NodeId, Value, align_up},
};

/// Shorter values hold no secret that anything here could recognise: names, cells, flags.
const MIN_VALUE_LEN_BYTES: u64 = 16;
/// U-Boot `include/image.h`: `sizeof(struct legacy_img_hdr)`.
const LEGACY_HEADER_LEN_BYTES: u64 = 64;

/// Every property's value, and external data of FIT images.
pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let fdt = Fdt::parse(window);
    let fdt = fdt.map_err(|e| Obstacle::Malformed { kind: Kind::DeviceTree, detail: e.to_string() })?;
    for node in fdt.walk() {
        let path = fdt.path(node);
        let path = if path == "/" { "" } else { path.as_str() };
        for property in fdt.node(node).properties() {
            let Value::Source(range) = property.value() else { continue };
            if range.end - range.start < MIN_VALUE_LEN_BYTES {
                continue;
            }
            if !walk.count() {
                return Ok(());
            }
            let location = member(location, &format!("{path}/{}", property.name()));
            walk.body(&location, depth, Body::Window(window.part(range.start, range.end - range.start)));
        }
    }
    // External data, from the structure's end on. Where an image says that its data is, is a matter of
    // trust; so they are taken in order, and what is between them too.
    let mut at = fdt.total_size();
    let mut places: Vec<(u64, u64, String)> =
        fdt.walk().into_iter().filter_map(|node| external(&fdt, node)).collect();
    places.sort();
    for (start, len_bytes, path) in places {
        walk.behind_part(location, depth, window, at, start);
        if !walk.count() {
            return Ok(());
        }
        walk.body(&member(location, &path), depth, Body::Window(window.part(start, len_bytes)));
        at = at.max(start.saturating_add(len_bytes));
    }
    walk.behind_part(location, depth, window, at, window.len_bytes());
    Ok(())
}

/// Where an image node's external data is, and the node's path.
///
/// Source: U-Boot `doc/usage/fit/source_file_format.rst`, "External data".
fn external(fdt: &Fdt<'_>, node: NodeId) -> Option<(u64, u64, String)> {
    let number = |name| fdt.u32(node, name).ok().flatten().map(u64::from);
    let len_bytes = number("data-size")?;
    let base = align_up(fdt.total_size(), 4);
    let start = number("data-position").or_else(|| number("data-offset").map(|offset| base + offset))?;
    Some((start, len_bytes, format!("{}/data", fdt.path(node))))
}

/// What is behind the header of 64 bytes.
pub(super) fn open_legacy_image(
    walk: &mut Walk<'_>,
    location: &str,
    depth: usize,
    mut peeked: Peeked<'_>,
) -> Opened {
    let mut forward = Forward::new(&mut peeked);
    let skipped = forward.skip(LEGACY_HEADER_LEN_BYTES);
    skipped.map_err(|e| Obstacle::from_io(&e, Kind::LegacyImage))?;
    match forward {
        Forward::Window { window, position } => {
            walk.body(&wrapped(location), depth, Body::Window(window.from(position)));
        }
        Forward::Stream(stream) => walk.body(&wrapped(location), depth, Body::Stream(stream)),
    }
    Ok(())
}
