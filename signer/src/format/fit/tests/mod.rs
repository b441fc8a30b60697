//! Signing and verifying small FITs with keys in memory.

mod refused;

use super::{
    DeviceTreeEdit, Fit, FitError, Signing, StageTrust, plan, properties as p,
    testing::{Kind, node, payload, unsigned},
    verify,
};
use crate::{
    crypto::{Curve, HashAlgorithm, PublicKey, Scheme},
    format::{
        fdt::{Fdt, testing::edited},
        source::Source as _,
    },
    report::{Report, Verdict},
    request::{Answer as _, Role},
    testing::SoftKey,
};
use proptest::prelude::*;
use std::sync::LazyLock;

const KINDS: [Kind; 3] = [Kind::Embedded, Kind::Offset, Kind::Position];

static KEY: LazyLock<SoftKey> =
    LazyLock::new(|| SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256));
static OTHER_KEY: LazyLock<SoftKey> =
    LazyLock::new(|| SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256));

fn sign_with(
    fit: &[u8],
    key: &SoftKey,
    stage_trust: Option<&StageTrust>,
) -> Result<(Vec<u8>, Vec<String>), FitError> {
    let identity = key.identity();
    let signing = Signing {
        identity,
        artifact: "sample",
        timestamp: None,
        stage_trust: stage_trust.map(|trust| trust as &dyn DeviceTreeEdit),
        image_signatures: false,
    };
    let plan = plan(&fit, &signing, &|_| {})?;
    let notes = [plan.notes(), plan.warnings()].concat();
    let answers: Vec<_> = plan.requests().iter().map(|request| key.answer(request).unwrap()).collect();
    Ok((plan.attach(&answers)?.apply(&fit, 1 << 24).unwrap(), notes))
}

fn sign(fit: &[u8], key: &SoftKey) -> Vec<u8> {
    sign_with(fit, key, None).unwrap().0
}

fn report(fit: &[u8], keys: &[&SoftKey]) -> Result<Report, FitError> {
    let keys: Vec<PublicKey> = keys.iter().map(|k| k.identity().public_key.clone()).collect();
    verify(&fit, "sample", &keys, &|_| {})
}

fn accepts(fit: &[u8], key: &SoftKey) -> Report {
    let report = report(fit, &[key]).unwrap();
    assert_eq!(report.failure(), None, "{report:#?}");
    assert!(!report.signed_by.is_empty());
    report
}

/// The first failed check, or the error.
fn refuses(fit: &[u8], key: &SoftKey) -> String {
    match report(fit, &[key]) {
        Ok(report) => {
            let check = report.failure().unwrap_or_else(|| panic!("accepted: {report:#?}"));
            format!("{}: {}", check.place, check.detail)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_algorithm_and_place_of_data_signs_and_verifies() {
    let keys = [
        SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
        SoftKey::rsa(Role::Fit, 3072, Scheme::RsaPss, HashAlgorithm::Sha384),
        SoftKey::rsa(Role::Fit, 4096, Scheme::RsaPss, HashAlgorithm::Sha512),
        SoftKey::ecdsa(Role::Fit, Curve::P256, HashAlgorithm::Sha256),
        SoftKey::ecdsa(Role::Fit, Curve::P384, HashAlgorithm::Sha384),
    ];
    for kind in KINDS {
        for key in &keys {
            let signed = sign(&unsigned(kind), key);
            let report = accepts(&signed, key);
            assert_eq!(report.signed_by.len(), 2);
            assert!(refuses(&signed, &OTHER_KEY).contains("/signature-1"), "wrong key");
        }
    }
}

#[test]
fn data_is_where_the_tree_says_after_signing() {
    for kind in KINDS {
        let signed = sign(&unsigned(kind), &KEY);
        let fit = Fit::parse(&signed).unwrap();
        for image in fit.images() {
            let data = fit.data(image).unwrap();
            let bytes = signed.read_range(data.range.clone(), 1 << 20).unwrap();
            assert!(bytes == payload(fit.name(image)), "{kind:?}");
            if kind != Kind::Embedded {
                assert_eq!(data.range.start % 8, 0, "alignment is kept");
            }
        }
    }
}

#[test]
fn signing_again_gives_equal_bytes() {
    for kind in KINDS {
        let trust = StageTrust {
            rootfs: Some(vec![("root-hash".into(), b"00\0".to_vec())]),
            update_certificate: Some(vec![7; 3000]),
        };
        for trust in [None, Some(&trust)].into_iter().take(if kind == Kind::Position { 1 } else { 2 }) {
            let once = sign_with(&unsigned(kind), &KEY, trust).unwrap().0;
            let twice = sign_with(&once, &KEY, trust).unwrap().0;
            assert!(once == twice, "{kind:?}");
        }
    }
}

#[test]
fn another_mode_replaces_the_signature_and_nothing_else() {
    let dev = sign(&unsigned(Kind::Embedded), &KEY);
    let mut release = SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
    release.rename("hsmsign-release-fit");
    let promoted = sign(&dev, &release);
    accepts(&promoted, &release);
    refuses(&promoted, &KEY);
    let fit = Fit::parse(&promoted).unwrap();
    for configuration in fit.configurations() {
        assert_eq!(fit.subnodes(configuration, "signature").len(), 1);
    }
    let value = |fit: &[u8]| {
        let fdt = Fdt::parse(&fit).unwrap();
        fdt.bytes(node(&fdt, "/configurations/conf-2/signature-1"), "value", 256).unwrap().unwrap()
    };
    assert_eq!(value(&sign(&promoted, &KEY)), value(&dev), "and back");
}

#[test]
fn foreign_signatures_and_placeholders_stay() {
    let fit = edited(&unsigned(Kind::Embedded), |fdt| {
        let conf = node(fdt, "/configurations/conf-1");
        let foreign = fdt.add_node(conf, "signature-1").unwrap();
        fdt.set_string(foreign, "key-name-hint", "vendor").unwrap();
        fdt.set(foreign, "value", vec![1; 256]).unwrap();
        let conf = node(fdt, "/configurations/conf-2");
        let placeholder = fdt.add_node(conf, "signature-x").unwrap();
        fdt.set_string(placeholder, "key-name-hint", "test").unwrap();
        fdt.set_string(placeholder, "algo", "sha1,rsa2048").unwrap();
    });
    let (signed, notes) = sign_with(&fit, &KEY, None).unwrap();
    assert!(notes.iter().any(|n| n.contains("conf-1/signature-1") && n.contains("`vendor`")), "{notes:?}");
    let report = accepts(&signed, &KEY);
    assert!(report.signed_by.iter().any(|s| s.place == "/configurations/conf-1/signature-2"));
    assert!(report.signed_by.iter().any(|s| s.place == "/configurations/conf-2/signature-x"));
    let foreign = report.checks.iter().find(|c| c.place == "/configurations/conf-1/signature-1").unwrap();
    assert_eq!(foreign.verdict, Verdict::Warn);
}

#[test]
fn weak_and_missing_hashes_get_a_strong_one_beside_them() {
    let fit = edited(&unsigned(Kind::Embedded), |fdt| {
        for (image, algorithm) in [("kernel-1", Some("crc32")), ("kernel-2", Some("sha1")), ("fdt-1", None)] {
            let hash = node(fdt, &format!("/images/{image}/hash-1"));
            match algorithm {
                Some(algorithm) => fdt.set_string(hash, "algo", algorithm).unwrap(),
                None => fdt.delete_node(hash),
            }
        }
        let ignored = node(fdt, "/images/fdt-2/hash-1");
        fdt.set_u32(ignored, "uboot-ignore", 1).unwrap();
    });
    let (signed, notes) = sign_with(&fit, &KEY, None).unwrap();
    assert_eq!(notes.len(), 4, "{notes:?}");
    accepts(&signed, &KEY);
    let read = Fdt::parse(&signed).unwrap();
    assert_eq!(read.bytes(node(&read, "/images/kernel-1/hash-1"), "value", 4).unwrap().unwrap().len(), 4);
    assert_eq!(read.bytes(node(&read, "/images/kernel-1/hash-2"), "value", 32).unwrap().unwrap().len(), 32);
}

#[test]
fn stage_trust_goes_into_device_trees_alone() {
    for kind in KINDS {
        let fit = unsigned(kind);
        let trust = StageTrust {
            rootfs: Some(vec![("root-hash".into(), b"abc\0".to_vec()), ("salt".into(), b"\0".to_vec())]),
            update_certificate: Some(b"-----BEGIN".repeat(100)),
        };
        let signed = match (kind, sign_with(&fit, &KEY, Some(&trust))) {
            (Kind::Position, result) => {
                assert!(result.unwrap_err().to_string().contains("no room to grow"));
                continue;
            }
            (_, result) => result.unwrap().0,
        };
        accepts(&signed, &KEY);
        let read = Fit::parse(&signed).unwrap();
        for image in read.images() {
            let data = signed.read_range(read.data(image).unwrap().range, 1 << 20).unwrap();
            if !read.name(image).starts_with("fdt") {
                assert!(data == payload(read.name(image)), "{kind:?}");
                continue;
            }
            let tree = Fdt::parse(&data).unwrap();
            assert_eq!(tree.string(Fdt::ROOT, "model").unwrap().unwrap(), read.name(image));
            let anchors = node(&tree, "/firmware/hsmsign");
            let names: Vec<&str> = tree.node(anchors).properties().iter().map(|p| p.name()).collect();
            assert_eq!(names, ["root-hash", "salt", "update-certificate"]);
            assert_eq!(tree.string(anchors, "root-hash").unwrap().unwrap(), "abc");
        }
        let only_rootfs = StageTrust {
            rootfs: Some(vec![("root-hash".into(), b"longer than it was\0".to_vec())]),
            update_certificate: None,
        };
        let again = sign_with(&signed, &KEY, Some(&only_rootfs)).unwrap().0;
        accepts(&again, &KEY);
        let read = Fit::parse(&again).unwrap();
        let image = node(&read.fdt, "/images/fdt-2");
        let data = again.read_range(read.data(image).unwrap().range, 1 << 20).unwrap();
        let tree = Fdt::parse(&data).unwrap();
        let anchors = node(&tree, "/firmware/hsmsign");
        let names: Vec<&str> = tree.node(anchors).properties().iter().map(|p| p.name()).collect();
        assert_eq!(names, ["root-hash", "update-certificate"]);
    }
}

#[test]
fn image_signatures_are_made_where_there_are_nodes() {
    let fit = edited(&unsigned(Kind::Offset), |fdt| {
        let image = node(fdt, "/images/kernel-1");
        fdt.add_node(image, "signature-1").unwrap();
    });
    let signed = sign(&fit, &KEY);
    assert_eq!(accepts(&signed, &KEY).signed_by.len(), 3);
    let broken = edited(&signed, |fdt| {
        let signature = node(fdt, "/images/kernel-1/signature-1");
        fdt.set(signature, "value", vec![9; 256]).unwrap();
    });
    assert!(refuses(&broken, &KEY).contains("/images/kernel-1/signature-1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever bytes change: a FIT that still verifies says and holds what was signed.
    #[test]
    fn flipped_bytes_are_refused_or_change_nothing_signed(
        kind in prop::sample::select(KINDS.to_vec()),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..3),
    ) {
        static SIGNED: LazyLock<Vec<(Kind, Vec<u8>)>> =
            LazyLock::new(|| KINDS.iter().map(|k| (*k, sign(&unsigned(*k), &KEY))).collect());
        let good = &SIGNED.iter().find(|(k, _)| *k == kind).unwrap().1;
        let mut bad = good.clone();
        for (index, mask) in flips {
            *index.get_mut(bad.as_mut_slice()) ^= mask;
        }
        if let Ok(report) = report(&bad, &[&*KEY])
            && report.failure().is_none()
        {
            let (good, bad) = (Fit::parse(good).unwrap(), Fit::parse(&bad).unwrap());
            prop_assert_eq!(good.configurations().len(), bad.configurations().len());
            for (a, b) in good.configurations().into_iter().zip(bad.configurations()) {
                let (list, other) = (good.signed_nodes(a).unwrap(), bad.signed_nodes(b).unwrap());
                prop_assert_eq!(list.len(), other.len());
                let region = |fit: &Fit<'_>, id, list: &[_]| {
                    fit.region(id, list, fit.strings_needed(list), HashAlgorithm::Sha256).unwrap().digest
                };
                prop_assert_eq!(region(&good, a, &list), region(&bad, b, &other));
            }
            for (a, b) in good.images().into_iter().zip(bad.images()) {
                let data = |fit: &Fit<'_>, id| {
                    fit.fdt.source().read_range(fit.data(id).unwrap().range, 1 << 20).unwrap()
                };
                prop_assert!(data(&good, a) == data(&bad, b));
            }
        }
    }

    /// Whatever bytes come: no panic, and what can be signed can be signed again, to equal bytes.
    #[test]
    fn flipped_bytes_are_refused_or_signed_stably(
        kind in prop::sample::select(KINDS.to_vec()),
        anchored in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        static UNSIGNED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| KINDS.map(unsigned).to_vec());
        static RSA: LazyLock<SoftKey> =
            LazyLock::new(|| SoftKey::rsa(Role::Fit, 2048, Scheme::RsaPkcs1v15, HashAlgorithm::Sha384));
        let mut fit = UNSIGNED[KINDS.iter().position(|k| *k == kind).unwrap()].clone();
        // Payloads are long and all alike; trees are where it matters.
        let tree = fit.len().min(2500);
        for (index, mask) in flips {
            *index.get_mut(&mut fit[..tree]) ^= mask;
        }
        let trust = StageTrust { rootfs: None, update_certificate: Some(vec![7; 50]) };
        let trust = anchored.then_some(&trust);
        if let Ok((once, _)) = sign_with(&fit, &RSA, trust) {
            let (twice, _) = sign_with(&once, &RSA, trust).unwrap();
            prop_assert!(once == twice);
            report(&once, &[&*RSA]).unwrap();
        }
    }
}
