//! ar archives: Debian and opkg packages, static libraries.
//!
//! Source: ar(5), the common format with System V and BSD long names.

use super::{
    Kind, Obstacle,
    body::{Forward, Peeked},
    walk::{Opened, Walk, member},
};
use std::io;

const MAGIC_LEN_BYTES: u64 = 8;
const HEADER_LEN_BYTES: usize = 60;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, mut peeked: Peeked<'_>) -> Opened {
    let forward = Forward::new(&mut peeked);
    members(walk, location, depth, forward).map_err(|e| Obstacle::from_io(&e, Kind::Ar))
}

fn members(walk: &mut Walk<'_>, location: &str, depth: usize, mut forward: Forward<'_>) -> io::Result<()> {
    forward.skip(MAGIC_LEN_BYTES)?;
    for index in 1_u64.. {
        let mut header = [0; HEADER_LEN_BYTES];
        match forward.exact(&mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("member {index} has a bad header"));
        if !header.ends_with(b"`\n") {
            return Err(bad());
        }
        let field = |range: std::ops::Range<usize>| {
            header
                .get(range)
                .map(|field| String::from_utf8_lossy(field).trim().to_owned())
                .unwrap_or_default()
        };
        let len_bytes: u64 = field(48..58).parse().map_err(|_| bad())?;
        if !walk.count() {
            return Ok(());
        }
        let name = field(0..16);
        let name = match name.strip_suffix('/').unwrap_or(&name) {
            // Long names stand in a table, or before the data; the number tells members apart all the same.
            name if name.is_empty() || name.starts_with('/') || name.starts_with('#') => {
                format!("[member {index}]")
            }
            name => name.to_owned(),
        };
        forward.member(len_bytes, |body| walk.body(&member(location, &name), depth, body))?;
        if len_bytes % 2 == 1 {
            match forward.skip(1) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                result => result?,
            }
        }
    }
    Ok(())
}
