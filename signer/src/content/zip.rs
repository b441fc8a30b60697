//! zip archives and what is built on them.

use super::{
    Kind, Obstacle, Window,
    body::Body,
    guard::guarded,
    obstacle::one_line,
    walk::{Opened, Walk, member},
};
use std::{borrow::Cow, io::BufReader, rc::Rc};
use zip::{ZipArchive, result::ZipError};

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let malformed = |detail| Obstacle::Malformed { kind: Kind::Zip, detail };
    guarded(|| members(walk, location, depth, window)).map_err(malformed)?
}

fn members(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let mut archive = ZipArchive::new(BufReader::new(window.reader())).map_err(obstacle)?;
    for index in 0..archive.len() {
        if !walk.count() {
            break;
        }
        let named = archive.name_for_index(index).and_then(Result::ok).map(Cow::into_owned);
        let named = named.unwrap_or_else(|| format!("[member {index}]"));
        let location = member(location, &named);
        match archive.by_index(index) {
            Ok(file) if file.is_dir() || file.is_symlink() => {}
            Ok(file) => {
                let budget = Rc::clone(&walk.budget);
                walk.body(&location, depth, Body::Stream(&mut budget.metered(file)));
            }
            Err(e) => walk.report(&location, obstacle(e)),
        }
    }
    Ok(())
}

fn obstacle(error: ZipError) -> Obstacle {
    let kind = Kind::Zip;
    match error {
        ZipError::Io(e) => Obstacle::from_io(&e, kind),
        ZipError::UnsupportedArchive(text) if text == ZipError::PASSWORD_REQUIRED => {
            Obstacle::Encrypted { kind }
        }
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            Obstacle::Unsupported { kind, detail: one_line(&error.to_string()) }
        }
        e => Obstacle::Malformed { kind, detail: one_line(&e.to_string()) },
    }
}
