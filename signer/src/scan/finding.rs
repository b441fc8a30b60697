//! What was found.

use crate::{crypto::Fingerprint, vocabulary::LeakKind};

/// Something that must not be where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a path below what is scanned, containers end in `!`.
    pub location: String,
    /// Where in that file, in bytes; `None` if it is the whole of it.
    pub offset_bytes: Option<u64>,
    /// Line, from 1 on, if it is near the beginning of a text.
    pub line: Option<u64>,
    /// What it is.
    pub kind: LeakKind,
    /// What exactly, a phrase for people.
    pub detail: String,
    /// Of the public half of a key, where that can be told.
    pub fingerprint: Option<Fingerprint>,
}

/// A finding in one file, before its place in the world is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leak {
    pub(super) kind: LeakKind,
    pub(super) detail: String,
    pub(super) fingerprint: Option<Fingerprint>,
    /// SHA-256 of a private key that OpenSSL cannot read, so that it can be recognised all the same.
    pub(super) digest: Option<Fingerprint>,
    /// How many bytes from the marker's beginning on belong to it and are not looked at again.
    pub(super) covers: usize,
    /// Where it begins, in bytes before the marker.
    pub(super) before: usize,
}

impl Leak {
    pub(super) fn new(kind: LeakKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), fingerprint: None, digest: None, covers: 0, before: 0 }
    }

    pub(super) fn of_key(mut self, fingerprint: Option<Fingerprint>) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// It begins `before` the marker and ends `covers` behind the marker's beginning.
    pub(super) fn spanning(mut self, before: usize, covers: usize) -> Self {
        (self.before, self.covers) = (before, covers);
        self
    }
}
