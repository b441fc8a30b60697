//! A place in the text, shared by both parsers.

use super::{DescriptionError, MAX_DEPTH};
use std::ops::Range;

/// Line numbers of offsets.
#[derive(Clone, Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(place, _)| place).collect())
    }

    /// The line of `offset`, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

/// A parser's place.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) lines: &'a Lines,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, lines: &'a Lines) -> Self {
        Self { text, at: 0, lines, depth: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), DescriptionError> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Steps over as many bytes as `wanted` accepts, and returns them.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.bytes().position(|b| !wanted(b)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn line(&self) -> usize {
        self.lines.line(self.at)
    }

    /// An error here.
    pub(super) fn unexpected(&self, expected: &'static str) -> DescriptionError {
        let found = match self.rest().chars().next() {
            None => "the end".into(),
            Some(c) if c.is_control() => format!("character U+{:04X}", u32::from(c)),
            Some(c) => format!("`{c}`"),
        };
        DescriptionError::Syntax { line: self.line(), expected, found }
    }

    /// Goes one level deeper for as long as `inner` takes.
    pub(super) fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, DescriptionError>,
    ) -> Result<T, DescriptionError> {
        if self.depth == MAX_DEPTH {
            return Err(DescriptionError::Nesting { line: self.line() });
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// A placeholder without quotes: `$name(arguments)` or `@@NAME@@`.
    pub(super) fn bare_placeholder(&mut self) -> Result<Range<usize>, DescriptionError> {
        let start = self.at;
        let len = super::placeholder::len_at_start(self.rest());
        let len = len.ok_or_else(|| self.unexpected("a value"))?;
        self.at += len;
        Ok(start..self.at)
    }
}
