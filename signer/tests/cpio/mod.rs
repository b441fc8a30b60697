//! A lax cpio reader and writer, apart from hsmsign's own, to take bundles apart and tamper with them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

/// What an archive says of a file's sum.
#[derive(Clone, Copy)]
pub(crate) enum Checksum {
    /// Nothing: newc format.
    None,
    Right,
    Wrong,
}

/// A file in an archive.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) checksum: Checksum,
}

impl Member {
    pub(crate) fn new(name: &str, data: &[u8]) -> Self {
        Self { name: name.into(), data: data.into(), checksum: Checksum::Right }
    }

    /// Replaces text in the data.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.data.clone()).unwrap();
        assert!(text.contains(from));
        self.data = text.replace(from, to).into_bytes();
    }
}

/// The members of a well-formed archive.
pub(crate) fn unpack(mut archive: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    loop {
        let field = |index: usize| {
            let digits = std::str::from_utf8(&archive[6 + 8 * index..14 + 8 * index]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        let (data_len, name_len) = (field(6), field(11));
        let name = String::from_utf8(archive[110..110 + name_len - 1].to_vec()).unwrap();
        if name == "TRAILER!!!" {
            return members;
        }
        let start = (110 + name_len).next_multiple_of(4);
        members.push(Member::new(&name, &archive[start..start + data_len]));
        archive = &archive[(start + data_len).next_multiple_of(4)..];
    }
}

/// An archive of `members`.
pub(crate) fn pack(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer = Member::new("TRAILER!!!", b"");
    for member in members.iter().chain([&trailer]) {
        let sum = member.data.iter().fold(0_u32, |s, b| s.wrapping_add(u32::from(*b)));
        let (magic, checksum) = match member.checksum {
            Checksum::None => ("070701", 0),
            Checksum::Right => ("070702", sum),
            Checksum::Wrong => ("070702", sum ^ 1),
        };
        archive.extend(magic.bytes());
        let fields = [0, 0o100_644, 0, 0, 1, 0, member.data.len(), 0, 0, 0, 0, member.name.len() + 1];
        for field in fields {
            archive.extend(format!("{field:08X}").bytes());
        }
        archive.extend(format!("{checksum:08X}").bytes());
        archive.extend(member.name.bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(&member.data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}
