//! The header of one member: 110 bytes of ASCII, then the name.
//!
//! Source: cpio(5), "New ASCII Format" and "New CRC Format".

use super::{CpioError, NameProblem};

/// Magic and thirteen fields of eight hexadecimal digits.
pub(crate) const HEADER_LEN_BYTES: usize = 110;
/// swupdate reads names of at most 255 bytes with their NUL.
pub(super) const MAX_NAME_LEN_BYTES: usize = 254;
/// The name that ends an archive.
pub(crate) const TRAILER: &str = "TRAILER!!!";

const NEWC: &[u8] = b"070701";
const CRC: &[u8] = b"070702";
const FILE_TYPE_MASK: u32 = 0o170_000;
const REGULAR_FILE: u32 = 0o100_000;

/// What of a header matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) mode: u32,
    pub(crate) file_len_bytes: u32,
    /// With the NUL.
    pub(crate) name_len_bytes: u32,
    /// Sum of all data bytes; `None` in a newc header, which has none.
    pub(crate) checksum: Option<u32>,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN_BYTES], offset: u64) -> Result<Self, CpioError> {
        let (magic, fields) = bytes.split_at(NEWC.len());
        let has_checksum = match magic {
            m if m == NEWC => false,
            m if m == CRC => true,
            _ => return Err(CpioError::Magic { offset }),
        };
        let field = |index: usize, field: &'static str| {
            fields
                .chunks_exact(8)
                .nth(index)
                // `from_str_radix` would take a sign too.
                .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or(CpioError::Field { offset, field })
        };
        for (index, name) in [(0, "ino"), (2, "uid"), (3, "gid"), (4, "nlink"), (5, "mtime")] {
            field(index, name)?;
        }
        for (index, name) in [(7, "devmajor"), (8, "devminor"), (9, "rdevmajor"), (10, "rdevminor")] {
            field(index, name)?;
        }
        let checksum = field(12, "check")?;
        Ok(Self {
            mode: field(1, "mode")?,
            file_len_bytes: field(6, "filesize")?,
            name_len_bytes: field(11, "namesize")?,
            checksum: has_checksum.then_some(checksum),
        })
    }

    /// Whether the mode is that of a file with contents. Zero, as some writers leave it, counts.
    pub(crate) fn is_regular(&self) -> bool {
        matches!(self.mode & FILE_TYPE_MASK, 0 | REGULAR_FILE)
    }
}

/// The header of a new member with its name and padding, in crc format.
///
/// Owner, times and device are zero and the inode is the member's number, so equal contents make equal
/// archives.
pub(super) fn write(inode: u32, mode: u32, name: &str, file_len_bytes: u32, checksum: u32) -> Vec<u8> {
    let name_len_bytes = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    let mut bytes = CRC.to_vec();
    for field in [inode, mode, 0, 0, 1, 0, file_len_bytes, 0, 0, 0, 0, name_len_bytes, checksum] {
        bytes.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Whether swupdate would take a member of this name, and no tool would write it elsewhere.
pub(super) fn check_name(name: &str) -> Result<(), NameProblem> {
    if name.is_empty() || name.len() > MAX_NAME_LEN_BYTES {
        Err(NameProblem::Length)
    } else if name.chars().any(char::is_control) {
        Err(NameProblem::Characters)
    } else if name.contains('/') || name == "." || name == ".." {
        Err(NameProblem::Path)
    } else if name == TRAILER {
        Err(NameProblem::Trailer)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Header, CpioError> {
        Header::parse(bytes[..HEADER_LEN_BYTES].try_into().unwrap(), 7)
    }

    #[test]
    fn a_written_header_reads_back() {
        let bytes = write(3, 0o100_644, "rootfs.img", 0x1_86a1, 0xdead_beef);
        assert_eq!(bytes.len() % 4, 0);
        let header = parse(&bytes).unwrap();
        let expected = Header {
            mode: 0o100_644,
            file_len_bytes: 100_001,
            name_len_bytes: 11,
            checksum: Some(0xdead_beef),
        };
        assert_eq!(header, expected);
        assert!(header.is_regular());
    }

    #[test]
    fn every_field_must_be_hexadecimal() {
        let good = write(1, 0, "a", 0, 0);
        for place in 0..HEADER_LEN_BYTES {
            for byte in [b'g', b' ', b'+', 0, 0xff] {
                let mut bad = good.clone();
                bad[place] = byte;
                assert!(parse(&bad).is_err(), "byte {place}");
            }
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "/etc/passwd", "../x", "a/b", "./sw-description", "a\nb", "TRAILER!!!"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(check_name(&"n".repeat(255)), Err(NameProblem::Length));
        check_name(&"n".repeat(254)).unwrap();
        check_name("rootfs..img").unwrap();
    }
}
