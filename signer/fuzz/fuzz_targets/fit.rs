//! FITs: planned and signed with made-up bytes, verified, and signed again.

#![no_main]

use hsmsign::{
    crypto::{Curve, HashAlgorithm, PublicKey, Scheme, Signature, SignatureAlgorithm},
    format::fit::{self, Signing, StageTrust},
    policy::Mode,
    request::{Identity, Role},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The base point of P-256 (SEC 2, section 2.4.2), which is a point of the curve as good as any.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let mut point = vec![0x03];
    point.extend([
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77,
        0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ]);
    Identity {
        role: Role::Fit,
        mode: Mode::Dev,
        algorithm: SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha256 },
        key_name_hint: "hsmsign-dev-fit".into(),
        public_key: PublicKey::from_ec_point(Curve::P256, &point).expect("a point of the curve"),
        certificate: None,
        chain: Vec::new(),
        token_label: String::new(),
        token_serial: String::new(),
        rehearsal: false,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let keys = [IDENTITY.public_key.clone()];
    let verified = fit::verify(&bytes, "fuzz", &keys, &|_| {});
    assert!(!verified.is_ok_and(|report| report.failure().is_none()), "nobody signed this");
    let anchors = StageTrust { rootfs: None, update_certificate: Some(vec![b'x'; 100]) };
    for stage_trust in [StageTrust::default(), anchors] {
        let sign = |bytes: &[u8]| {
            let signing = Signing {
                identity: &IDENTITY,
                artifact: "fuzz",
                timestamp: None,
                stage_trust: Some(&stage_trust),
                image_signatures: false,
            };
            let plan = fit::plan(&bytes, &signing, &|_| {}).ok()?;
            let made_up = vec![Signature::from_bytes(vec![1; 64]); plan.requests().len()];
            let edits = plan.attach(&made_up).ok()?;
            Some(edits.apply(&bytes, 64 << 20).expect("edits fit their source"))
        };
        let Some(once) = sign(bytes) else { continue };
        let twice = sign(&once).expect("what was signed can be signed again");
        assert!(once == twice, "signing again changes nothing");
    }
});
