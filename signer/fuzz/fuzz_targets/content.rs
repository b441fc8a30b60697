//! Whatever the bytes are, looking into them ends, within its limits, and shows or tells everything once.

#![no_main]

use hsmsign::content::{Entry, Limits, Obstacle, Visitor, Window, look};
use libfuzzer_sys::fuzz_target;
use std::{io::Read, sync::Arc};

struct Drain(u64);

impl Visitor for Drain {
    fn file(&mut self, _: Entry<'_>, bytes: &mut dyn Read) -> std::io::Result<()> {
        self.0 += std::io::copy(bytes, &mut std::io::sink())?;
        Ok(())
    }

    fn obstacle(&mut self, _: &str, _: Obstacle) {}
}

const LIMITS: Limits = Limits { depth: 4, expanded_bytes: 4 << 20, entries: 2000, kept_bytes: 4 << 20 };

fuzz_target!(|data: &[u8]| {
    let mut drain = Drain(0);
    look(Window::new(Arc::new(data.to_vec())), "x", LIMITS, &mut drain);
});
