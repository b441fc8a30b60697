//! Archives written and read back, and hostile ones.

use super::*;
use proptest::prelude::*;

/// An archive as [`Layout`] has it.
fn write(files: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<_> = files
        .iter()
        .map(|(name, data)| NewMember { name: (*name).into(), len_bytes: data.len() as u64 })
        .collect();
    let layout = Layout::new(&members).unwrap();
    let sums: Vec<_> = files.iter().map(|(_, data)| sum(data)).collect();
    let mut archive = vec![0xaa; usize::try_from(layout.len_bytes()).unwrap()];
    for (index, (_, data)) in files.iter().enumerate() {
        let start = usize::try_from(layout.data_offset(index).unwrap()).unwrap();
        archive[start..start + data.len()].copy_from_slice(data);
    }
    for (offset, bytes) in layout.frame(&sums) {
        let start = usize::try_from(offset).unwrap();
        archive[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    archive
}

fn sum(data: &[u8]) -> u32 {
    let mut sum = Sum::default();
    sum.update(data);
    sum.value()
}

fn good() -> Vec<u8> {
    write(&[("sw-description", b"software = {};\n"), ("sw-description.sig", b"s"), ("empty", b"")])
}

fn refused(archive: &[u8]) -> CpioError {
    read(&archive).unwrap_err()
}

#[test]
fn an_archive_of_4_gib_files_is_refused_by_name() {
    let at = |len_bytes| Layout::new(&[NewMember { name: "rootfs.img".into(), len_bytes }]);
    at(u64::from(u32::MAX)).unwrap();
    let error = at(1 << 32).unwrap_err();
    assert!(error.to_string().contains("rootfs.img"), "{error}");
    assert!(error.hint().unwrap().contains("compress"));
}

#[test]
fn names_are_checked_before_writing() {
    let member = |name: &str| NewMember { name: name.into(), len_bytes: 1 };
    assert!(matches!(Layout::new(&[member("a/b")]), Err(CpioError::BadName { .. })));
    assert!(matches!(Layout::new(&[member("a"), member("a")]), Err(CpioError::Duplicate { .. })));
}

#[test]
fn every_truncation_is_refused() {
    let archive = good();
    let needed = archive.len() - archive.iter().rev().take_while(|b| **b == 0).count();
    for len in 0..needed {
        read(&&archive[..len]).unwrap_err();
    }
}

#[test]
fn padding_and_what_follows_the_trailer_must_be_zero() {
    let mut archive = good();
    *archive.last_mut().unwrap() = 1;
    assert!(matches!(refused(&archive), CpioError::TrailingBytes { .. }));
    let twice = [good(), good()].concat();
    assert!(matches!(refused(&twice), CpioError::TrailingBytes { .. }));
    let mut archive = good();
    // One byte of padding follows the fifteen of sw-description.
    let place = 110 + 16 + 2 + 15;
    assert_eq!(archive[place], 0);
    archive[place] = 1;
    assert!(matches!(refused(&archive), CpioError::Padding { .. }), "{:?}", refused(&archive));
}

#[test]
fn hostile_headers_are_refused() {
    let patch = |place: usize, bytes: &[u8]| {
        let mut archive = good();
        archive[place..place + bytes.len()].copy_from_slice(bytes);
        refused(&archive)
    };
    assert!(matches!(patch(0, b"070707"), CpioError::Magic { offset: 0 }));
    assert!(matches!(patch(94, b"ffffffff"), CpioError::Name { .. }));
    assert!(matches!(patch(94, b"00000000"), CpioError::Name { .. }));
    assert!(matches!(patch(54, b"ffffffff"), CpioError::Truncated { .. }));
    assert!(matches!(patch(14, b"0000a1ff"), CpioError::NotAFile { .. }));
    assert!(matches!(patch(110, b"/"), CpioError::Name { problem: NameProblem::Path, .. }));
    assert!(matches!(patch(110, b"\0"), CpioError::Name { problem: NameProblem::Characters, .. }));
    assert!(matches!(patch(124, b"x"), CpioError::Name { problem: NameProblem::Characters, .. }));
    assert!(matches!(refused(&write_twice()), CpioError::Duplicate { .. }));
    assert!(matches!(refused(b""), CpioError::Truncated { offset: 0 }));
}

/// Two members of one name, which [`Layout`] would not make.
fn write_twice() -> Vec<u8> {
    let mut archive = write(&[("image-1", b"x"), ("image-2", b"x")]);
    let place = archive.windows(7).position(|w| w == b"image-2").unwrap();
    archive[place + 6] = b'1';
    archive
}

proptest! {
    #[test]
    fn write_then_read_is_identity(files in proptest::collection::btree_map(
        "[a-zA-Z0-9._-]{3,30}", proptest::collection::vec(any::<u8>(), 0..600), 0..6)
    ) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, d)| (n.as_str(), d.as_slice())).collect();
        let archive = write(&files);
        prop_assert_eq!(archive.len() % 512, 0);
        let members = read(&archive).unwrap();
        prop_assert_eq!(members.len(), files.len());
        for (member, (name, data)) in members.iter().zip(&files) {
            prop_assert_eq!(&member.name, name);
            let range = usize::try_from(member.data.start).unwrap()..usize::try_from(member.data.end).unwrap();
            prop_assert_eq!(&archive[range], *data);
            prop_assert_eq!(member.checksum, Some(sum(data)));
        }
    }

    #[test]
    fn hostile_bytes_never_panic(place in 0usize..600, bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut archive = good();
        let end = (place + bytes.len()).min(archive.len());
        archive.splice(place.min(end)..end, bytes);
        let _ = read(&archive);
    }

    #[test]
    fn hostile_digits_never_panic(place in 0usize..600, digits in "[0-9a-fA-F]{8}") {
        let mut archive = good();
        archive[place..place + 8].copy_from_slice(digits.as_bytes());
        if let Ok(members) = read(&archive) {
            for member in members {
                prop_assert!(member.data.end <= archive.len() as u64);
            }
        }
    }
}
