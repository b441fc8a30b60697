//! cpio archives, and bundles made of them.

#![no_main]

use hsmsign::format::{cpio, swu::Bundle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(members) = cpio::read(&bytes) {
        let mut reached = 0;
        for member in &members {
            assert!(member.data.start >= reached && member.data.end <= bytes.len() as u64);
            reached = member.data.end;
        }
    }
    let _ = Bundle::read(&bytes);
});
