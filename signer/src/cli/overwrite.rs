//! Outputs that would replace what they are made from.

use crate::error::Error;
use std::{os::unix::fs::MetadataExt as _, path::Path};

/// Whether two paths lead to one file that exists, by whatever names or links.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Refuses an output that is one of these inputs. An input that may be signed in place is not named.
///
/// # Errors
///
/// [`Error::Usage`].
pub(super) fn refuse_overwrite<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Error> {
    match inputs.into_iter().find(|input| is_same_file(output, input)) {
        None => Ok(()),
        Some(input) => Err(Error::Usage {
            message: format!("`{}` is an input and would be overwritten", input.display()),
            hint: Some("name another output with `-o`".into()),
        }),
    }
}
