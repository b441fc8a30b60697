//! Audit logs: read to their end whatever they hold, and told alike whether or not they are read in pieces.

#![no_main]

use hsmsign::audit::{Head, chain};
use libfuzzer_sys::fuzz_target;
use std::io::BufReader;

fuzz_target!(|bytes: &[u8]| {
    let mut records = 0;
    let Ok(whole) = chain::verify(bytes, &[], |_| records += 1) else { return };
    assert_eq!(whole.records, records);
    let pieces = chain::verify(BufReader::with_capacity(7, bytes), &[], |_| {}).unwrap();
    assert_eq!(whole, pieces);
    // Its own end is an anchor that it holds.
    let head = whole.head;
    let anchored = chain::verify(bytes, &[head], |_| {}).unwrap();
    assert!(anchored.problems.len() <= whole.problems.len() + usize::from(!whole.problems.is_empty()));
    assert_eq!(head.to_string().parse::<Head>(), Ok(head));
});
