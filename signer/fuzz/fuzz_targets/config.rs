//! Policy and host settings: any text is settings or a fault with a place in the text.

#![no_main]

use hsmsign::config::{Config, HostConfig};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let faults = [Config::parse(text).err(), HostConfig::parse(text).err()];
    for fault in faults.into_iter().flatten() {
        assert!(!fault.message.is_empty());
        assert!(fault.place.line <= text.lines().count() + 1);
        let _ = fault.place.render(Path::new("hsmsign.yaml"));
    }
});
