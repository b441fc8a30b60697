//! Bundles made and judged without files, keys in memory.

use super::*;
use crate::{
    crypto::{Curve, HashAlgorithm, Scheme},
    format::{Source, sw_description::Description},
    report::{Report, Verdict},
    request::{Answer as _, Role},
    testing::SoftKey,
};
use std::{
    io,
    num::NonZeroUsize,
    sync::Mutex,
    time::{Duration, SystemTime},
};

const DESCRIPTION: &str = "software = { images: ( { filename = \"a.img\"; }, { filename = \"b.img\"; } ); };";

/// Long enough to be hashed beside being read.
const LONG: u32 = 5_000_001;

fn files(len: u32) -> Vec<(&'static str, Vec<u8>)> {
    vec![("a.img", (0..len).map(|i| (i % 253) as u8).collect()), ("b.img", b"b".to_vec())]
}

fn payloads<'a>(files: &'a [(&'static str, Vec<u8>)]) -> Vec<Payload<'a>> {
    let payload = |(name, data): &'a (&str, Vec<u8>)| Payload {
        name: (*name).into(),
        source: data,
        range: 0..data.len() as u64,
        checksum: None,
    };
    files.iter().map(payload).collect()
}

fn run(payloads: &[Payload<'_>], copy: &Copy<'_>) -> Result<Vec<Measured>, Fault> {
    measure(payloads, Work { threads: NonZeroUsize::new(2).unwrap(), progress: &|_| {}, copy })
}

/// A bundle as `sign swu` makes it.
fn bundle(key: &SoftKey, form: Form, len: u32) -> Vec<u8> {
    let files = files(len);
    let payloads = payloads(&files);
    let plan = Plan::new(Description::parse(DESCRIPTION.as_bytes()).unwrap(), &payloads).unwrap();
    let copies: Mutex<Vec<(usize, u64, Vec<u8>)>> = Mutex::default();
    let measured = run(&payloads, &|index, offset, bytes| {
        copies.lock().unwrap().push((index, offset, bytes.to_vec()));
        Ok(())
    })
    .unwrap();
    let text = plan.fill(&measured).unwrap();
    assert_eq!(text.len(), plan.description_len_bytes().unwrap());
    let seal = seal(&text, form, key.identity()).unwrap();
    let request = seal.request(key.identity(), "test.swu");
    assert_eq!(request.subject.identity, HashAlgorithm::Sha256.digest(text.as_bytes()).to_hex());
    let signature = seal.attach(&key.answer(&request).unwrap()).unwrap();
    let longest = seal.max_len_bytes(key.identity()).unwrap();
    assert!((longest - 12..=longest).contains(&signature.len()), "{} of {longest}", signature.len());
    let layout = plan.layout(text.len(), signature.len()).unwrap();
    let mut bytes = vec![0xaa; usize::try_from(layout.len_bytes()).unwrap()];
    let mut put = |offset: u64, piece: &[u8]| {
        let start = usize::try_from(offset).unwrap();
        bytes[start..start + piece.len()].copy_from_slice(piece);
    };
    for (index, offset, piece) in copies.into_inner().unwrap() {
        put(layout.data_offset(index + 2).unwrap() + offset, &piece);
    }
    for (offset, piece) in plan.frame(&text, &signature, &measured).unwrap() {
        put(offset, &piece);
    }
    bytes
}

fn judge(bytes: &[u8], key: &SoftKey, at: SystemTime) -> Report {
    let bundle = Bundle::read(&bytes).unwrap();
    let measured = run(&bundle.payloads(&bytes), &|_, _, _| Ok(())).unwrap();
    let identity = key.identity();
    let trusted = Trusted {
        public_key: &identity.public_key,
        certificate: identity.certificate.as_deref(),
        chain: &[],
        origin: "test",
    };
    let mut report = Report::new("test");
    verify(&bundle, &measured, &[trusted], at, &mut report).unwrap();
    report
}

fn now() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

fn rsa(scheme: Scheme) -> SoftKey {
    SoftKey::rsa(Role::Update, 2048, scheme, HashAlgorithm::Sha256)
}

#[test]
fn every_form_is_accepted_from_its_key_and_refused_from_another() {
    let other = rsa(Scheme::RsaPkcs1v15);
    for (key, form) in [
        (rsa(Scheme::RsaPkcs1v15), Form::Cms),
        (rsa(Scheme::RsaPss), Form::Cms),
        (SoftKey::ecdsa(Role::Update, Curve::P256, HashAlgorithm::Sha256), Form::Cms),
        (SoftKey::ecdsa(Role::Update, Curve::P384, HashAlgorithm::Sha384), Form::Cms),
        (rsa(Scheme::RsaPkcs1v15), Form::Rsa),
        (rsa(Scheme::RsaPss), Form::RsaPss),
    ] {
        let bytes = bundle(&key, form, LONG);
        let report = judge(&bytes, &key, now());
        assert_eq!(report.failure(), None, "{form}");
        assert_eq!(report.signed_by[0].algorithm, key.identity().algorithm.to_string());
        assert!(judge(&bytes, &other, now()).failure().is_some(), "{form}");
    }
}

#[test]
fn expired_and_future_certificates_are_refused() {
    let key = rsa(Scheme::RsaPkcs1v15);
    let bytes = bundle(&key, Form::Cms, 5);
    for at in [now() + Duration::from_secs(10 * 86400), now() - Duration::from_secs(86400)] {
        let report = judge(&bytes, &key, at);
        let failure = report.failure().unwrap();
        assert_eq!(failure.place, SIGNATURE_NAME);
        assert!(failure.detail.contains("not acceptable"), "{failure:?}");
    }
}

#[test]
fn forms_that_swupdate_does_not_know_are_refused() {
    let sha512 = SoftKey::rsa(Role::Update, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha512);
    let ec = SoftKey::ecdsa(Role::Update, Curve::P256, HashAlgorithm::Sha256);
    for (key, form) in
        [(&sha512, Form::Rsa), (&ec, Form::Rsa), (&ec, Form::RsaPss), (&rsa(Scheme::RsaPss), Form::Rsa)]
    {
        assert!(matches!(seal("", form, key.identity()), Err(SwuError::Algorithm { .. })));
    }
}

#[test]
fn every_flipped_byte_that_swupdate_would_read_is_noticed() {
    let key = rsa(Scheme::RsaPkcs1v15);
    let good = bundle(&key, Form::Rsa, 5);
    let parsed = Bundle::read(&good).unwrap();
    // Inode to mtime and the device numbers; mode is looked at, but not every bit of it.
    let is_ignored = |in_header: usize| (6..54).contains(&in_header) || (62..94).contains(&in_header);
    let headers: Vec<_> =
        good.windows(6).enumerate().filter(|(_, w)| *w == b"070702").map(|(p, _)| p).collect();
    assert_eq!(headers.len(), 5);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x01;
        let Ok(bundle) = Bundle::read(&bad) else { continue };
        let in_header = headers.iter().rev().find(|h| **h <= place).map(|h| place - h).unwrap();
        if is_ignored(in_header) {
            continue;
        }
        // A bare checksum of the trailer, which has no data.
        let in_trailer = place > *headers.last().unwrap();
        // The magic of newc, which makes the checksum moot.
        let is_newc = in_header < 6 && bundle.files.len() == parsed.files.len();
        assert!(in_trailer || is_newc || judge(&bad, &key, now()).failure().is_some(), "byte {place}");
    }
}

#[test]
fn an_unsigned_bundle_fails() {
    let key = rsa(Scheme::RsaPkcs1v15);
    let bytes = bundle(&key, Form::Cms, 5);
    let mut parsed = Bundle::read(&bytes).unwrap();
    parsed.signature = None;
    let mut report = Report::new("test");
    let measured = run(&parsed.payloads(&bytes), &|_, _, _| Ok(())).unwrap();
    assert_eq!(verify(&parsed, &measured, &[], now(), &mut report).unwrap(), None);
    assert!(report.checks.iter().any(|c| c.verdict == Verdict::Fail && c.detail.contains("not signed")));
}

#[test]
fn faults_while_reading_end_the_pass() {
    struct Shrinking;
    impl Source for Shrinking {
        fn len_bytes(&self) -> u64 {
            64 << 20
        }
        fn read_at(&self, offset: u64, _: &mut [u8]) -> Result<(), crate::format::ReadError> {
            let source = io::ErrorKind::UnexpectedEof.into();
            if offset < 8 << 20 { Ok(()) } else { Err(crate::format::ReadError::Io { offset, source }) }
        }
    }
    let payload =
        |name: &str| Payload { name: name.into(), source: &Shrinking, range: 0..64 << 20, checksum: None };
    let both = [payload("a"), payload("b")];
    assert!(matches!(run(&both, &|_, _, _| Ok(())), Err(Fault::Read { .. })));
    let full =
        |_, offset, _: &[u8]| if offset > 1 << 20 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
    assert!(matches!(run(&both, &full), Err(Fault::Write(_))));
}

#[test]
fn files_and_description_must_fit() {
    let files = files(5);
    let plan = |text: &str, payloads: &[Payload<'_>]| {
        Plan::new(Description::parse(text.as_bytes()).unwrap(), payloads).unwrap_err()
    };
    let all = payloads(&files);
    assert!(matches!(plan(DESCRIPTION, &all[..1]), SwuError::Description(_)));
    let one = "software = { images: ( { filename = \"a.img\"; } ); };";
    assert!(matches!(plan(one, &all), SwuError::Unreferenced(name) if name == "b.img"));
    let twice = [all[0].clone(), all[0].clone()];
    assert!(matches!(plan(one, &twice), SwuError::Twice(name) if name == "a.img"));
    let own = Payload { name: SIGNATURE_NAME.into(), ..all[0].clone() };
    assert!(matches!(plan(one, &[own]), SwuError::Twice(_)));
    let huge = Payload { range: 0..1 << 32, ..all[0].clone() };
    assert!(matches!(plan(one, &[huge]), SwuError::Cpio(_)));
}
