//! Files: bounded reads, whole outputs or none.

mod area;
mod atomic;
mod file_source;

pub use area::FileArea;
pub use atomic::AtomicFile;
pub use file_source::{FileSource, Prefix};
