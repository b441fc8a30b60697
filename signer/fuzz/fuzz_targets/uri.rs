//! PKCS#11 URIs: what is read can be written, and reads the same again.

#![no_main]

use hsmsign::key::uri::KeyUri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(uri) = text.parse::<KeyUri>() else { return };
    assert_eq!(uri.to_string().parse(), Ok(uri));
});
