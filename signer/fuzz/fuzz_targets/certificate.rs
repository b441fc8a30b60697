//! Certificate files, PEM and DER: read, their keys taken out.

#![no_main]

use hsmsign::key::certificate::{public_key, read_all};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for der in read_all(bytes).unwrap_or_default() {
        let _ = public_key(&der);
    }
});
