//! Descriptions in libconfig and JSON: read, filled in, and read again.

#![no_main]

use hsmsign::{
    crypto::HashAlgorithm,
    format::sw_description::{Description, DescriptionError, File},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(description) = Description::parse(bytes) else { return };
    let digest = HashAlgorithm::Sha256.digest(b"");
    let filled = description.fill(&|_| Some(File { len_bytes: 5, sha256: digest.clone() }));
    // What is filled in reads back, or there was a reason to refuse.
    assert_ne!(filled.err(), Some(DescriptionError::ReadBack));
});
