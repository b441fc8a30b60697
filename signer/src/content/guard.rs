//! Keeps a library's panic on hostile bytes from ending the program.

use std::{
    cell::Cell,
    io::{self, Read},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; a panic in it becomes an error with its message.
///
/// The libraries that read file systems are fuzzed by their authors, but a panic in one must not take a
/// whole scan with it. Nothing that `call` changed is used after a panic but the visitor, which has
/// been told of whole entries.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "its reader failed".into())
    })
}

/// Reads a file of a file system to its end. A file that ends before its length is damaged, and so is one at which the
/// library panics; the others are read all the same.
pub(super) struct Whole<R> {
    reader: R,
    left_bytes: u64,
}

impl<R: Read> Whole<R> {
    pub(super) fn new(reader: R, len_bytes: u64) -> Self {
        Self { reader, left_bytes: len_bytes }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |detail: String| io::Error::new(io::ErrorKind::InvalidData, detail);
        let count = guarded(|| self.reader.read(buffer)).map_err(damaged)??;
        if count == 0 && self.left_bytes > 0 && !buffer.is_empty() {
            return Err(damaged("a file that is shorter than it says".into()));
        }
        self.left_bytes = self.left_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(guarded(|| panic!("of {}", 7)), Err::<(), _>("of 7".to_owned()));
    }
}
