//! Everything that lies in a deploy directory.

use crate::{
    content::Window,
    error::Error,
    format::Source,
    gate::{Item, Kind, Problem, ProblemKind, recognise},
    io::FileSource,
};
use rustix::process::{Resource, Rlimit};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};
use walkdir::WalkDir;

/// Most files that a directory may have.
const MAX_FILES: usize = 200_000;

/// A file of the directory.
pub(super) struct Found {
    path: String,
    aliases: Vec<String>,
    kind: Kind,
    problem: Option<Problem>,
    /// Kept open for what has to be judged.
    pub(super) source: Option<Arc<FileSource>>,
}

impl Found {
    pub(super) fn item(&self) -> Item<'_> {
        Item {
            path: self.path.clone(),
            aliases: self.aliases.clone(),
            kind: self.kind.clone(),
            source: self.source.as_deref().map(|s| s as &dyn Source),
            window: self.source.as_ref().map(|s| Window::new(Arc::<FileSource>::clone(s))),
            problem: self.problem.clone(),
        }
    }
}

/// Finds every file below `directory`, in the order of paths. Links that stay inside become further names of what they
/// lead to; what they lead to outside is not looked at.
///
/// # Errors
///
/// [`Error::File`] for whatever cannot be read: a gate must not pass over it.
pub(super) fn walk(directory: &Path) -> Result<Vec<Found>, Error> {
    let root = directory.canonicalize().map_err(Error::file("open", directory))?;
    if !root.is_dir() {
        let not = std::io::Error::other("it is no directory");
        return Err(Error::file("walk", directory)(not));
    }
    open_many();
    let mut files: BTreeMap<PathBuf, Found> = BTreeMap::new();
    let mut links: Vec<(PathBuf, String)> = Vec::new();
    for entry in WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.map_err(|e| {
            let path = e.path().map_or_else(|| root.clone(), Path::to_owned);
            Error::file("read", &path)(e.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop")))
        })?;
        if files.len() > MAX_FILES {
            let many = std::io::Error::other(format!("it holds more than {MAX_FILES} files"));
            return Err(Error::file("walk", directory)(many));
        }
        let path = entry.path().to_owned();
        let name = relative(&root, &path);
        let kind = entry.file_type();
        if kind.is_symlink() {
            links.push((path, name));
        } else if kind.is_file() {
            files.insert(path.clone(), file(&path, name)?);
        } else if !kind.is_dir() {
            let found = by_product(name, Kind::ByProduct("device, socket or FIFO"), None);
            files.insert(path, found);
        }
    }
    for (path, name) in links {
        follow(&root, &path, name, &mut files);
    }
    open_signed(&mut files)?;
    Ok(files.into_values().collect())
}

/// Text and archives are not kept open, since nothing judges them, unless a detached signature is of their bytes.
fn open_signed(files: &mut BTreeMap<PathBuf, Found>) -> Result<(), Error> {
    let signatures = files.values().filter(|found| found.kind == Kind::Signature);
    let signed: BTreeSet<String> =
        signatures.filter_map(|found| Some(found.path.rsplit_once('.')?.0.to_owned())).collect();
    for (path, found) in files.iter_mut() {
        let named = signed.contains(&found.path) || found.aliases.iter().any(|alias| signed.contains(alias));
        // What was found through a link stays closed.
        let is_file = || path.symlink_metadata().is_ok_and(|m| m.is_file());
        if named && found.source.is_none() && is_file() {
            found.source = Some(Arc::new(FileSource::open(path)?));
        }
    }
    Ok(())
}

/// Every artifact stays open until it is judged; a directory may hold more than the usual limit of 1024.
fn open_many() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // If that is refused, opening the file too many says so.
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
}

fn file(path: &Path, name: String) -> Result<Found, Error> {
    let source = FileSource::open(path)?;
    let kind = recognise(&source, &name).map_err(Error::malformed(path))?;
    let keep = !matches!(kind, Kind::ByProduct(_));
    Ok(Found { path: name, aliases: Vec::new(), kind, problem: None, source: keep.then(|| Arc::new(source)) })
}

fn by_product(path: String, kind: Kind, problem: Option<Problem>) -> Found {
    Found { path, aliases: Vec::new(), kind, problem, source: None }
}

fn follow(root: &Path, path: &Path, name: String, files: &mut BTreeMap<PathBuf, Found>) {
    let outside = |detail: String| Some(Problem { kind: ProblemKind::Outside, place: None, detail });
    let link = Kind::ByProduct("symbolic link");
    let found = match path.canonicalize() {
        Err(e) => by_product(name, Kind::ByProduct("symbolic link that leads nowhere"), None).with(e),
        Ok(target) if !target.starts_with(root) => {
            let detail = format!("leads out of the directory, to `{}`: not looked at", target.display());
            by_product(name, link, outside(detail))
        }
        Ok(target) => {
            if let Some(file) = files.get_mut(&target) {
                file.aliases.push(name);
                return;
            }
            by_product(name, Kind::ByProduct("symbolic link to a directory"), None)
        }
    };
    files.insert(path.to_owned(), found);
}

impl Found {
    /// A link whose target cannot be found: only if that is for another reason than that it is not there, it matters.
    fn with(mut self, error: std::io::Error) -> Self {
        if error.kind() != std::io::ErrorKind::NotFound {
            let detail = format!("cannot be followed: {error}");
            self.problem = Some(Problem { kind: ProblemKind::Outside, place: None, detail });
        }
        self
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
