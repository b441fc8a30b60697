//! The bytes of an entry: a window where there is one, else a stream.

use super::{Window, limits::KEPT_IN_MEMORY_BYTES, obstacle::Limit};
use crate::{
    format::{ReadError, Source as _},
    io::Kept,
};
use std::{
    io::{self, BufRead, BufReader, Cursor, Read},
    sync::Arc,
};

/// The bytes of an entry.
pub(super) enum Body<'a> {
    /// Can be read at any place.
    Window(Window),
    /// Come once, from the beginning.
    Stream(&'a mut dyn Read),
}

/// An entry whose first bytes were looked at.
pub(super) enum Peeked<'a> {
    Window(Window),
    Stream(io::Chain<Cursor<Vec<u8>>, &'a mut dyn Read>),
}

impl<'a> Body<'a> {
    /// Its first bytes, at most `len`, and all of it.
    pub(super) fn peek(self, len: usize) -> io::Result<(Vec<u8>, Peeked<'a>)> {
        match self {
            Self::Window(window) => {
                let len = usize::try_from(window.len_bytes()).unwrap_or(usize::MAX).min(len);
                let mut head = vec![0; len];
                window.reader().read_exact(&mut head)?;
                Ok((head, Peeked::Window(window)))
            }
            Self::Stream(reader) => {
                let mut head = Vec::with_capacity(len);
                (&mut *reader).take(len as u64).read_to_end(&mut head)?;
                let all = Cursor::new(head.clone()).chain(reader);
                Ok((head, Peeked::Stream(all)))
            }
        }
    }
}

impl Peeked<'_> {
    /// Its length, if that is known.
    pub(super) fn len_bytes(&self) -> Option<u64> {
        match self {
            Self::Window(window) => Some(window.len_bytes()),
            Self::Stream(_) => None,
        }
    }

    /// Runs `read` over its bytes.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&mut dyn Read) -> T) -> T {
        match self {
            Self::Window(window) => read(&mut window.reader()),
            Self::Stream(stream) => read(stream),
        }
    }

    /// Runs `read` over its bytes with a buffer.
    pub(super) fn read_buffered<T>(&mut self, read: impl FnOnce(&mut dyn BufRead) -> T) -> T {
        self.read(|reader| read(&mut BufReader::with_capacity(64 << 10, reader)))
    }

    /// As a window; a stream is read to its end and kept, up to `limit_bytes`.
    pub(super) fn into_window(self, limit_bytes: u64) -> io::Result<Window> {
        match self {
            Self::Window(window) => Ok(window),
            Self::Stream(mut stream) => {
                let kept = Kept::all(&mut stream, KEPT_IN_MEMORY_BYTES, limit_bytes)?;
                let kept = kept.ok_or_else(|| Limit::Kept(limit_bytes).into_io())?;
                Ok(Window::new(Arc::new(kept)))
            }
        }
    }
}

/// Bytes that are taken from the front: headers, then bodies.
pub(super) enum Forward<'a> {
    Window { window: Window, position: u64 },
    Stream(&'a mut dyn Read),
}

impl<'a> Forward<'a> {
    pub(super) fn new(peeked: &'a mut Peeked<'_>) -> Self {
        match peeked {
            Peeked::Window(window) => Self::Window { window: window.clone(), position: 0 },
            Peeked::Stream(stream) => Self::Stream(stream),
        }
    }

    /// Fills `buffer`.
    pub(super) fn exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Window { window, position } => {
                window.read_at(*position, buffer).map_err(to_io)?;
                *position += buffer.len() as u64;
                Ok(())
            }
            Self::Stream(stream) => stream.read_exact(buffer),
        }
    }

    /// Runs `look` over the next `len_bytes`, and goes behind them whatever it reads.
    pub(super) fn member<T>(&mut self, len_bytes: u64, look: impl FnOnce(Body<'_>) -> T) -> io::Result<T> {
        match self {
            Self::Window { window, position } => {
                if window.len_bytes() - (*position).min(window.len_bytes()) < len_bytes {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let part = window.part(*position, len_bytes);
                *position += len_bytes;
                Ok(look(Body::Window(part)))
            }
            Self::Stream(stream) => {
                let mut member = (&mut **stream).take(len_bytes);
                let result = look(Body::Stream(&mut member));
                io::copy(&mut member, &mut io::sink())?;
                if member.limit() > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(result) }
            }
        }
    }

    /// Goes `len_bytes` forward.
    pub(super) fn skip(&mut self, len_bytes: u64) -> io::Result<()> {
        self.member(len_bytes, |_| ())
    }

    /// Runs `look` over what is left behind zeros, if there is anything.
    pub(super) fn rest(self, look: impl FnOnce(Body<'_>)) -> io::Result<()> {
        match self {
            Self::Window { window, position } => {
                let rest = window.from(position);
                let zeros = skip_zeros(&mut BufReader::with_capacity(64 << 10, rest.reader()))?;
                let rest = rest.from(zeros);
                if rest.len_bytes() > 0 {
                    look(Body::Window(rest));
                }
                Ok(())
            }
            Self::Stream(stream) => rest(&mut BufReader::with_capacity(64 << 10, stream), look),
        }
    }
}

/// Runs `look` over what comes after zeros, if there is anything.
pub(super) fn rest(mut reader: &mut dyn BufRead, look: impl FnOnce(Body<'_>)) -> io::Result<()> {
    skip_zeros(reader)?;
    if !reader.fill_buf()?.is_empty() {
        look(Body::Stream(&mut reader));
    }
    Ok(())
}

/// Reads up to the first byte that is not zero; how many zeros there were.
pub(super) fn skip_zeros(reader: &mut dyn BufRead) -> io::Result<u64> {
    let mut count = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let zeros = buffer.iter().take_while(|b| **b == 0).count();
        let ends = zeros < buffer.len() || buffer.is_empty();
        reader.consume(zeros);
        count += zeros as u64;
        if ends {
            return Ok(count);
        }
    }
}

/// A source's error as one of a reader.
pub(super) fn to_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io { source, .. } => source,
        e => io::Error::new(io::ErrorKind::UnexpectedEof, e),
    }
}
