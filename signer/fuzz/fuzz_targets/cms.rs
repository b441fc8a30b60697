//! CMS messages: parsed, and judged against a known key and a certificate.

#![no_main]

use hsmsign::{
    crypto::{Curve, PublicKey},
    format::cms::{ChainRules, KnownSigner, Message, Purpose},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The base point of P-256 (SEC 2, section 2.4.2), which is a point of the curve as good as any.
static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let mut point = vec![0x03];
    point.extend([
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77,
        0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ]);
    PublicKey::from_ec_point(Curve::P256, &point).expect("a point of the curve")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let content = message.hash().digest(b"content");
    let known = KnownSigner { public_key: &KEY, certificate: None };
    // Nobody has the private key of the base point but everybody: it is 1. No input here signs with it.
    assert!(message.verify_by_known(&content, &[known]).is_err());
    let rules = ChainRules { purpose: Purpose::CodeSigning, at: None };
    let _ = message.verify_by_chain(&content, message.certificates(), &[], rules);
});
