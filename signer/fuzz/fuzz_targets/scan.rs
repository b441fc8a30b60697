//! Whatever the bytes are, searching them ends, and a planted key in front is found all the same.

#![no_main]

use hsmsign::{
    crypto::Fingerprint,
    scan::{Known, Scanner},
};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Known for Nothing {
    fn example(&self, _: &Fingerprint) -> Option<String> {
        None
    }

    fn release(&self, _: &Fingerprint) -> Option<String> {
        None
    }
}

const PLANTED: &[u8] = b"pkcs11:token=t?pin-value=271828\n";

fuzz_target!(|data: &[u8]| {
    let mut scanner = Scanner::new(&Nothing);
    let mut bytes = [PLANTED, data].concat();
    scanner.bytes("x", &mut bytes.as_slice()).unwrap();
    bytes.clear();
    assert!(scanner.into_findings().iter().any(|found| found.offset_bytes == Some(15)));
});
