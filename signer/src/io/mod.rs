//! Files: bounded reads, whole outputs or none.

mod area;
mod atomic;
mod file_source;
mod owner;

pub use area::FileArea;
pub use atomic::AtomicFile;
pub use file_source::{FileSource, Prefix};
pub use owner::is_own_or_roots;
