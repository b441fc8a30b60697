//! cpio archives in newc and crc format: initramfs and swupdate bundles.
//!
//! Unlike [`format::cpio::read`](crate::format::cpio::read), which takes what swupdate takes, this takes
//! what the kernel unpacks: paths, directories, devices, and archives behind each other.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.

use super::{
    Kind, Obstacle,
    body::{Forward, Peeked},
    limits::HEADER_BYTES,
    obstacle::Limit,
    walk::{Opened, Walk, member},
};
use crate::format::cpio::{HEADER_LEN_BYTES, Header, TRAILER};
use std::io;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, mut peeked: Peeked<'_>) -> Opened {
    let forward = Forward::new(&mut peeked);
    members(walk, location, depth, forward).map_err(|e| Obstacle::from_io(&e, Kind::Cpio))
}

fn members(walk: &mut Walk<'_>, location: &str, depth: usize, mut forward: Forward<'_>) -> io::Result<()> {
    let mut offset = 0_u64;
    loop {
        let mut header = [0; HEADER_LEN_BYTES];
        forward.exact(&mut header)?;
        let header = Header::parse(&header, offset).map_err(io::Error::other)?;
        let name_len_bytes = u64::from(header.name_len_bytes);
        if name_len_bytes > HEADER_BYTES {
            return Err(Limit::Header(HEADER_BYTES).into_io());
        }
        let mut name = vec![0; usize::try_from(name_len_bytes).unwrap_or(0)];
        forward.exact(&mut name)?;
        let name_end = offset + HEADER_LEN_BYTES as u64 + name_len_bytes;
        forward.skip(name_end.next_multiple_of(4) - name_end)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        let name = String::from_utf8_lossy(&name).into_owned();
        if name == TRAILER {
            return forward.rest(|body| walk.body(&member(location, "[behind it]"), depth, body));
        }
        if !walk.count() {
            return Ok(());
        }
        let len_bytes = u64::from(header.file_len_bytes);
        if header.is_regular() && len_bytes > 0 {
            forward.member(len_bytes, |body| walk.body(&member(location, &name), depth, body))?;
        } else {
            forward.skip(len_bytes)?;
        }
        // The last member of a truncated archive may lack its padding; the missing trailer is told then.
        let end = name_end.next_multiple_of(4) + len_bytes;
        forward.skip(end.next_multiple_of(4) - end)?;
        offset = end.next_multiple_of(4);
    }
}
