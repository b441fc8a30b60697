//! Every regular file below some places, given to several threads.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

/// How many paths are handed over at once.
const BATCH_LEN: usize = 64;
/// How many batches may wait.
const QUEUE_LEN: usize = 64;

/// What there is at a path.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    File(PathBuf),
    /// Something that cannot be read.
    Unreadable(PathBuf, io::Error),
}

/// Calls `work` for every regular file at or below `roots`, in no order, and for what cannot be read. Links are
/// not followed; devices, sockets and pipes are passed over.
///
/// Each of `states` belongs to one thread, and comes back in the end.
pub fn each_file<S: Send>(
    roots: &[PathBuf],
    states: Vec<S>,
    work: &(dyn Fn(&mut S, Found) + Sync),
) -> Vec<S> {
    let (sender, receiver) = sync_channel::<Vec<Found>>(QUEUE_LEN);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let receiver = &receiver;
        let workers: Vec<_> = states
            .into_iter()
            .map(|mut state| {
                scope.spawn(move || {
                    let mut panic = None;
                    while let Some(batch) = next(receiver) {
                        // One that panicked still empties the queue, else the walk would wait for ever.
                        if panic.is_none() {
                            let work = || batch.into_iter().for_each(|found| work(&mut state, found));
                            panic = catch_unwind(AssertUnwindSafe(work)).err();
                        }
                    }
                    panic.map_or(Ok(state), Err)
                })
            })
            .collect();
        let mut batch = Vec::with_capacity(BATCH_LEN);
        for found in roots.iter().flat_map(|root| below(root)) {
            batch.push(found);
            if batch.len() == BATCH_LEN {
                let _ = sender.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_LEN)));
            }
        }
        let _ = sender.send(batch);
        drop(sender);
        let joined = workers.into_iter().map(|worker| worker.join().unwrap_or_else(Err));
        joined.map(|state| state.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn next(receiver: &Mutex<Receiver<Vec<Found>>>) -> Option<Vec<Found>> {
    receiver.lock().ok()?.recv().ok()
}

fn below(root: &Path) -> impl Iterator<Item = Found> {
    let root = root.to_owned();
    walkdir::WalkDir::new(&root).into_iter().filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_file() => Some(Found::File(entry.into_path())),
        // What the user names may be a link.
        Ok(entry) if entry.depth() == 0 && entry.path_is_symlink() && entry.path().is_file() => {
            Some(Found::File(entry.into_path()))
        }
        Ok(_) => None,
        Err(e) => {
            let path = e.path().unwrap_or(&root).to_owned();
            Some(Found::Unreadable(path, e.into()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_comes_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for number in 0..500 {
            let below = directory.path().join(format!("d{}", number % 7));
            std::fs::create_dir_all(&below).unwrap();
            let file = below.join(number.to_string());
            std::fs::write(&file, "x").unwrap();
            expected.push(file);
        }
        std::os::unix::fs::symlink(directory.path(), directory.path().join("loop")).unwrap();
        let work = |seen: &mut Vec<PathBuf>, found: Found| match found {
            Found::File(path) => seen.push(path),
            Found::Unreadable(path, error) => panic!("{}: {error}", path.display()),
        };
        let mut seen =
            each_file(&[directory.path().to_owned()], vec![Vec::new(), Vec::new()], &work).concat();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    }
}
