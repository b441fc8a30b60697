//! Where everything stands in a new archive, known before a payload has been read.

use super::{
    CpioError,
    header::{self, TRAILER, check_name},
};
use std::collections::HashSet;

/// GNU cpio, and swupdate's examples, round archives up to this.
const BLOCK_LEN_BYTES: u64 = 512;
/// A plain file that all may read.
const MODE: u32 = 0o100_644;

/// A file that is to stand in a new archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// A bare file name.
    pub name: String,
    /// Its length in bytes, below 4 GiB.
    pub len_bytes: u64,
}

/// Offsets of a new archive in crc format.
///
/// Headers carry checksums, which are known only after the payloads were read; lengths and offsets are
/// known before. So payloads can be copied first and headers written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
    trailer_offset: u64,
}

/// One member's place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    inode: u32,
    header_offset: u64,
    data_offset: u64,
    len_bytes: u32,
}

impl Layout {
    /// Places `members` one after the other.
    ///
    /// # Errors
    ///
    /// [`CpioError::TooLarge`] from 4 GiB on; [`CpioError::BadName`] and [`CpioError::Duplicate`] for
    /// names that [`read`](super::read) would refuse.
    pub fn new(members: &[NewMember]) -> Result<Self, CpioError> {
        let mut names = HashSet::new();
        let mut slots = Vec::with_capacity(members.len());
        let mut offset = 0_u64;
        for (inode, member) in (1..).zip(members) {
            let name = member.name.clone();
            check_name(&name).map_err(|problem| CpioError::BadName { name: name.clone(), problem })?;
            if !names.insert(&member.name) {
                return Err(CpioError::Duplicate { name });
            }
            let len_bytes = u32::try_from(member.len_bytes)
                .map_err(|_| CpioError::TooLarge { name: name.clone(), len_bytes: member.len_bytes })?;
            let data_offset = offset + header::write(inode, MODE, &name, len_bytes, 0).len() as u64;
            slots.push(Slot { name, inode, header_offset: offset, data_offset, len_bytes });
            offset = (data_offset + u64::from(len_bytes)).next_multiple_of(4);
        }
        Ok(Self { slots, trailer_offset: offset })
    }

    /// Where the data of member `index` begins.
    #[must_use]
    pub fn data_offset(&self, index: usize) -> Option<u64> {
        self.slots.get(index).map(|s| s.data_offset)
    }

    /// The archive's length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        (self.trailer_offset + trailer().len() as u64).next_multiple_of(BLOCK_LEN_BYTES)
    }

    /// Everything but the data: pieces with their offsets, in order, that fill the gaps exactly.
    ///
    /// `checksums` are the wrapping sums of each member's bytes (see [`Sum`](super::Sum)), in order.
    pub fn frame(&self, checksums: &[u32]) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::with_capacity(self.slots.len() + 1);
        let mut gap = 0;
        for (slot, checksum) in self.slots.iter().zip(checksums) {
            let mut bytes = vec![0; gap];
            bytes.extend(header::write(slot.inode, MODE, &slot.name, slot.len_bytes, *checksum));
            pieces.push((slot.header_offset - gap as u64, bytes));
            gap = usize::try_from(slot.len_bytes.wrapping_neg() % 4).unwrap_or(0);
        }
        let mut bytes = vec![0; gap];
        bytes.extend(trailer());
        let start = self.trailer_offset - gap as u64;
        bytes.resize(usize::try_from(self.len_bytes() - start).unwrap_or(bytes.len()), 0);
        pieces.push((start, bytes));
        pieces
    }
}

fn trailer() -> Vec<u8> {
    header::write(0, 0, TRAILER, 0, 0)
}
