//! Files: bounded reads, whole outputs or none.

mod area;
mod atomic;
mod file_source;
mod files;
mod kept;
mod lock;
mod owner;
mod private;

pub use area::FileArea;
pub use atomic::AtomicFile;
pub use file_source::{FileSource, Prefix};
pub use files::{Found, each_file};
pub use kept::{Added, Keeper, Kept};
pub use lock::{lock, unlock};
pub use owner::is_own_or_roots;
pub use private::{PrivateDirectory, is_unsafe};
