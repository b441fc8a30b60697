//! `sign rootfs` and `verify rootfs`.

mod by_fit;
mod locate;
mod sign;
mod verify;

pub(super) use sign::{SignRootfsArgs, sign};
pub(super) use verify::{VerifyRootfsArgs, verify};

use crate::format::verity::Work;
use indicatif::ProgressBar;
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

/// Names of the files beside a signed image or hash file.
struct Beside {
    root_hash: PathBuf,
    signature: PathBuf,
    description: PathBuf,
}

impl Beside {
    fn new(output: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = output.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            root_hash: with(".roothash"),
            signature: with(".roothash.p7s"),
            description: with(".verity.json"),
        }
    }
}

/// Runs `job` on all cores, with `bar` moving.
fn on_all_cores<T>(bar: &ProgressBar, job: impl FnOnce(Work<'_>) -> T) -> T {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let result = job(Work { threads, progress: &|bytes| bar.inc(bytes) });
    bar.finish_and_clear();
    result
}
