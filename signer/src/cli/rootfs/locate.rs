//! Finding the hash area of an image: by its superblock, else by the description beside it.

use super::Beside;
use crate::{
    error::Error,
    format::{
        Source as _,
        verity::{Description, Placement, Superblock, Tree, VerityError, find_appended},
    },
    io::FileSource,
};
use std::path::Path;

/// The hash area behind the data of `image`, if there is one.
pub(super) fn appended(image: &FileSource) -> Result<Option<Tree>, Error> {
    if let Some(tree) = find_appended(image).map_err(Error::malformed(image.path()))? {
        return Ok(Some(tree));
    }
    let description = description(&Beside::new(image.path()).description)?;
    let is_of_image = |d: &Description| d.placement == Placement::Appended && !d.superblock;
    let Some(description) = description.filter(is_of_image) else { return Ok(None) };
    let tree = description.tree().map_err(Error::malformed(image.path()))?;
    Ok((tree.end_bytes() == image.len_bytes()).then_some(tree))
}

/// The hash area in a file of its own.
pub(super) fn separate(hash_file: &FileSource) -> Result<Tree, Error> {
    let malformed = |e: VerityError| Error::malformed(hash_file.path())(e);
    match Superblock::read(hash_file, 0) {
        Ok(found) => Tree::new(found.parameters, found.data_blocks, 0).map_err(malformed),
        Err(VerityError::NoSuperblock(_)) => description(&Beside::new(hash_file.path()).description)?
            .filter(|d| d.placement == Placement::Separate && !d.superblock)
            .ok_or(VerityError::NoSuperblock(0))
            .and_then(|d| d.tree())
            .map_err(malformed),
        Err(e) => Err(malformed(e)),
    }
}

/// The description in `path`; `None` if there is no such file.
pub(super) fn description(path: &Path) -> Result<Option<Description>, Error> {
    let Some(json) = small_file(path, Description::MAX_LEN_BYTES)? else { return Ok(None) };
    Description::parse(&json).map(Some).map_err(Error::malformed(path))
}

/// The bytes of a file of bounded length; `None` if there is no such file.
pub(super) fn small_file(path: &Path, limit_bytes: usize) -> Result<Option<Vec<u8>>, Error> {
    match FileSource::open(path) {
        Ok(source) => {
            let range = 0..source.len_bytes();
            source.read_range(range, limit_bytes).map(Some).map_err(Error::malformed(path))
        }
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
