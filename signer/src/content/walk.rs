//! From a file down to everything in it.

use super::{
    Kind, Limits, Obstacle, Window, ar,
    body::{Body, Peeked, skip_zeros},
    compressed, cpio, disk, ext4, fat,
    kind::HEAD_LEN_BYTES,
    limits::Budget,
    obstacle::Limit,
    squashfs, tape, tree, zip,
};
use crate::format::Source as _;
use std::{
    io::{self, BufReader, Read},
    rc::Rc,
};

/// Something that was found: a file, or a container that is about to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where: `release.tar.gz!/images/rootfs.squashfs!/etc/ssl/key.pem`. From the artifact, so neither safe
    /// to print nor a path to open.
    pub location: &'a str,
    /// Its length in bytes, if that is known before it is read.
    pub len_bytes: Option<u64>,
    /// How many containers it lies in.
    pub depth: usize,
}

/// Whoever wants to see what a file holds.
pub trait Visitor {
    /// A file that holds no others. Its bytes come once, from the beginning; they need not be read to the end.
    ///
    /// # Errors
    ///
    /// Only what `bytes` says: a damaged container shows here, and is reported as an [`Obstacle`].
    fn file(&mut self, entry: Entry<'_>, bytes: &mut dyn Read) -> io::Result<()>;

    /// A container. Returning `false` leaves it closed.
    fn container(&mut self, _entry: Entry<'_>, _kind: Kind) -> bool {
        true
    }

    /// Something was not looked into, or not to its end.
    fn obstacle(&mut self, location: &str, obstacle: Obstacle);
}

/// Shows `visitor` everything in `window`, which is called `name`.
///
/// A container that cannot be opened is both an obstacle and a file: its bytes are shown as they are.
pub fn look(window: Window, name: &str, limits: Limits, visitor: &mut dyn Visitor) {
    let mut walk = Walk { visitor, budget: Budget::new(limits) };
    walk.body(name, 0, Body::Window(window));
    if let Some(limit) = walk.budget.reached() {
        walk.visitor.obstacle(name, Obstacle::Limit(limit));
    }
}

/// A walk through one file.
pub(super) struct Walk<'v> {
    pub(super) visitor: &'v mut dyn Visitor,
    pub(super) budget: Rc<Budget>,
}

/// How opening a container ended.
pub(super) type Opened = Result<(), Obstacle>;

impl Walk<'_> {
    /// A file or container, whichever it is.
    pub(super) fn body(&mut self, location: &str, depth: usize, body: Body<'_>) {
        if self.budget.reached().is_some() {
            return;
        }
        let (head, peeked) = match body.peek(HEAD_LEN_BYTES) {
            Ok(peeked) => peeked,
            Err(e) => return self.failed(location, &e, Kind::Other("file")),
        };
        let entry = Entry { location, len_bytes: peeked.len_bytes(), depth };
        match Kind::of(&head) {
            Some(kind) if self.visitor.container(entry, kind) => self.container(entry, kind, peeked),
            Some(_) => {}
            None => self.file(entry, peeked),
        }
    }

    /// Counts an entry of a container; `false` ends the walk.
    pub(super) fn count(&self) -> bool {
        self.budget.reached().is_none() && self.budget.entry().is_ok()
    }

    fn file(&mut self, entry: Entry<'_>, mut peeked: Peeked<'_>) {
        if let Err(e) = peeked.read(|bytes| self.visitor.file(entry, bytes)) {
            self.failed(entry.location, &e, Kind::Other("file"));
        }
    }

    fn container(&mut self, entry: Entry<'_>, kind: Kind, peeked: Peeked<'_>) {
        let Entry { location, depth, .. } = entry;
        if depth >= self.budget.limits.depth {
            let limit = Limit::Depth(self.budget.limits.depth);
            self.report(location, Obstacle::Limit(limit));
            return self.file(entry, peeked);
        }
        let needs_window = matches!(
            kind,
            Kind::Zip
                | Kind::Ext4
                | Kind::Fat
                | Kind::Squashfs
                | Kind::DeviceTree
                | Kind::Lzma
                | Kind::Disk
                | Kind::Other(_)
        );
        let mut peeked = peeked;
        if needs_window {
            match peeked.into_window(self.budget.limits.kept_bytes) {
                Ok(window) => peeked = Peeked::Window(window),
                Err(e) => return self.failed(location, &e, kind),
            }
        }
        let again = match &peeked {
            Peeked::Window(window) => Some(window.clone()),
            Peeked::Stream(_) => None,
        };
        match self.open(location, depth + 1, kind, peeked) {
            Ok(()) => {}
            Err(Obstacle::Malformed { .. }) if kind.is_weak() => self.raw(entry, again),
            Err(obstacle) => {
                self.report(location, obstacle);
                self.raw(entry, again);
            }
        }
    }

    /// Shows bytes as they are, whatever they begin like.
    pub(super) fn plain(&mut self, location: &str, depth: usize, window: Window) {
        let entry = Entry { location, len_bytes: Some(window.len_bytes()), depth };
        self.file(entry, Peeked::Window(window));
    }

    /// Shows the bytes of a container as they are.
    fn raw(&mut self, entry: Entry<'_>, window: Option<Window>) {
        if let Some(window) = window {
            self.file(entry, Peeked::Window(window));
        }
    }

    fn open(&mut self, location: &str, depth: usize, kind: Kind, peeked: Peeked<'_>) -> Opened {
        let window = |peeked: Peeked<'_>| match peeked {
            Peeked::Window(window) => Ok(window),
            Peeked::Stream(_) => Err(Obstacle::Unsupported { kind, detail: "it comes as a stream".into() }),
        };
        match kind {
            Kind::Gzip | Kind::Xz | Kind::Lzma | Kind::Zstd | Kind::Bzip2 | Kind::Lz4 => {
                compressed::open(self, location, depth, kind, peeked)
            }
            Kind::Tar => tape::open(self, location, depth, peeked),
            Kind::Cpio => cpio::open(self, location, depth, peeked),
            Kind::Ar => ar::open(self, location, depth, peeked),
            Kind::LegacyImage => tree::open_legacy_image(self, location, depth, peeked),
            Kind::Zip => zip::open(self, location, depth, &window(peeked)?),
            Kind::Ext4 => ext4::open(self, location, depth, &window(peeked)?),
            Kind::Disk => disk::open(self, location, depth, &window(peeked)?),
            Kind::Fat => fat::open(self, location, depth, &window(peeked)?),
            Kind::Squashfs => squashfs::open(self, location, depth, &window(peeked)?),
            Kind::DeviceTree => tree::open(self, location, depth, &window(peeked)?),
            Kind::VerityHashArea => Ok(()),
            Kind::Other(_) => Err(Obstacle::Unsupported { kind, detail: "no reader for it".into() }),
        }
    }

    /// Reports an error of a reader.
    pub(super) fn failed(&mut self, location: &str, error: &io::Error, kind: Kind) {
        self.report(location, Obstacle::from_io(error, kind));
    }

    /// Reports an obstacle; limits on everything are reported once, in the end.
    pub(super) fn report(&mut self, location: &str, obstacle: Obstacle) {
        if self.budget.reached().is_none() {
            self.visitor.obstacle(location, obstacle);
        }
    }

    /// What lies behind the end of a file system that does not fill its window.
    pub(super) fn behind(&mut self, location: &str, depth: usize, window: &Window, end: u64) {
        self.behind_part(location, depth, window, end, window.len_bytes());
    }

    /// What lies from `start` to `end`, where nothing has a name, unless it is zeros.
    pub(super) fn behind_part(
        &mut self,
        location: &str,
        depth: usize,
        window: &Window,
        start: u64,
        end: u64,
    ) {
        let part = window.part(start, end.saturating_sub(start));
        let place = |zeros: u64| member(location, &format!("[at {:#x}]", start + zeros));
        match skip_zeros(&mut BufReader::with_capacity(64 << 10, part.reader())) {
            Ok(zeros) if zeros == part.len_bytes() => {}
            Ok(zeros) => self.body(&place(zeros), depth, Body::Window(part.from(zeros))),
            Err(e) => self.failed(&place(0), &e, Kind::Other("file")),
        }
    }
}

/// The location of `name` in the container at `location`.
pub(super) fn member(location: &str, name: &str) -> String {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    format!("{}!/{name}", location.strip_suffix('!').unwrap_or(location))
}

/// The location of the one thing in the wrapper at `location`.
pub(super) fn wrapped(location: &str) -> String {
    format!("{}!", location.strip_suffix('!').unwrap_or(location))
}
