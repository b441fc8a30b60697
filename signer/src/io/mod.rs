//! Files: bounded reads, whole outputs or none.

mod atomic;
mod file_source;

pub use atomic::AtomicFile;
pub use file_source::FileSource;
