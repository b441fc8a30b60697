//! `sw-description`, libconfig or JSON: read with the places of everything, edited in place.
//!
//! Only hashes and placeholders change; the user's text, comments and layout stay.
//!
//! Source: swupdate `doc/source/sw-description.rst`, `parser/parser.c`.

mod artifact;
mod cursor;
mod error;
mod json;
mod libconfig;
mod placeholder;
mod tree;

#[cfg(test)]
mod tests;

pub use artifact::{Artifact, Sha256};
pub use error::DescriptionError;

use crate::crypto::{Digest, HashAlgorithm};
use artifact::{Findings, Slot};
use cursor::{Cursor, Lines};
use placeholder::What;

/// Longest description that is read.
pub const MAX_LEN_BYTES: usize = 1 << 20;
/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 64;

/// How a description is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// libconfig.
    Libconfig,
    /// JSON.
    Json,
}

/// A description and what it says about files.
#[derive(Clone, Debug)]
pub struct Description {
    text: String,
    syntax: Syntax,
    findings: Findings,
}

/// What is known of a file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// [`DescriptionError`] naming the line, if swupdate's parsers would refuse or misread it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptionError> {
        if bytes.len() > MAX_LEN_BYTES {
            return Err(DescriptionError::TooLong(bytes.len() as u64));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| DescriptionError::NotText(e.valid_up_to()))?;
        let lines = Lines::new(text);
        if let Some(at) = text.find('\0') {
            let found = "character U+0000".into();
            return Err(DescriptionError::Syntax { line: lines.line(at), expected: "text", found });
        }
        let mut cursor = Cursor::new(text, &lines);
        // swupdate tries libconfig first, where no file can begin with a brace.
        let syntax = if text.trim_start().starts_with('{') { Syntax::Json } else { Syntax::Libconfig };
        let settings = match syntax {
            Syntax::Json => json::parse(&mut cursor)?,
            Syntax::Libconfig => libconfig::parse(&mut cursor)?,
        };
        let software = settings.iter().find(|s| s.name == "software");
        let software = software
            .filter(|s| matches!(s.value.kind, tree::Kind::Group(_)))
            .ok_or(DescriptionError::NoSoftware)?;
        let findings = artifact::find(text, &lines, syntax == Syntax::Json, software)?;
        Ok(Self { text: text.to_owned(), syntax, findings })
    }

    /// How it is written.
    #[must_use]
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every entry that names a file, in the order of the text.
    #[must_use]
    pub fn artifacts(&self) -> &[Artifact] {
        &self.findings.artifacts
    }

    /// Placeholders that hsmsign does not fill in, with their lines.
    #[must_use]
    pub fn foreign_placeholders(&self) -> &[(usize, String)] {
        &self.findings.foreign
    }

    /// Checks all that can be checked before any file was read.
    ///
    /// `len_bytes` tells the length of each file of the bundle.
    ///
    /// # Errors
    ///
    /// [`DescriptionError`] for the first entry whose file is not given or has another size, or whose
    /// hash could not be filled in, and for a placeholder that someone else has to fill in.
    pub fn check(&self, len_bytes: &dyn Fn(&str) -> Option<u64>) -> Result<(), DescriptionError> {
        if let Some((line, text)) = self.findings.foreign.first().cloned() {
            return Err(DescriptionError::Placeholder { line, text });
        }
        for artifact in &self.findings.artifacts {
            let filename = artifact.filename.clone();
            let actual = len_bytes(&filename)
                .ok_or(DescriptionError::NotGiven { line: artifact.line, filename: filename.clone() })?;
            match (artifact.size, &artifact.sha256) {
                (Some((written, line)), _) if written != actual && written != 0 => {
                    return Err(DescriptionError::Size { line, filename, written, actual });
                }
                (_, Sha256::Invalid { line }) => {
                    return Err(DescriptionError::Sha256Form { line: *line, filename });
                }
                (_, Sha256::OfOther { line, file }) => {
                    let (line, other) = (*line, file.clone());
                    return Err(DescriptionError::OtherFile { line, filename, other });
                }
                _ => {}
            }
        }
        for Slot { file, line, .. } in &self.findings.slots {
            if len_bytes(file).is_none() {
                return Err(DescriptionError::NotGiven { line: *line, filename: file.clone() });
            }
        }
        Ok(())
    }

    /// The length in bytes that [`fill`](Self::fill) will return, known before any file was read.
    ///
    /// # Errors
    ///
    /// [`DescriptionError::NotGiven`] for a file that is not given.
    pub fn filled_len_bytes(
        &self,
        len_bytes: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<usize, DescriptionError> {
        let digest = HashAlgorithm::Sha256.digest(b"");
        let file = |name: &str| Some(File { len_bytes: len_bytes(name)?, sha256: digest.clone() });
        Ok(self.write(&file)?.len())
    }

    /// Fills in what is missing and checks what is there. Returns the new text.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check), and [`DescriptionError::Sha256`] for a hash that is not the file's.
    pub fn fill(&self, file: &dyn Fn(&str) -> Option<File>) -> Result<String, DescriptionError> {
        self.check(&|name| file(name).map(|f| f.len_bytes))?;
        for artifact in &self.findings.artifacts {
            let actual = file(&artifact.filename).map(|f| f.sha256.to_hex());
            match (&artifact.sha256, actual) {
                (Sha256::Digest { line, digits }, Some(actual)) if *digits != actual => {
                    let (line, filename, written) = (*line, artifact.filename.clone(), digits.clone());
                    return Err(DescriptionError::Sha256 { line, filename, written, actual });
                }
                _ => {}
            }
        }
        let filled = self.write(file)?;
        let reread = Self::parse(filled.as_bytes())?;
        let agrees = |a: &Artifact| match (&a.sha256, file(&a.filename)) {
            (Sha256::Digest { digits, .. }, Some(file)) => *digits == file.sha256.to_hex(),
            _ => false,
        };
        let is_sound = reread.findings.slots.is_empty()
            && reread.findings.foreign.is_empty()
            && reread.findings.artifacts.len() == self.findings.artifacts.len()
            && reread.findings.artifacts.iter().all(agrees);
        if is_sound { Ok(filled) } else { Err(DescriptionError::ReadBack) }
    }

    fn write(&self, file: &dyn Fn(&str) -> Option<File>) -> Result<String, DescriptionError> {
        let mut slots: Vec<_> = self.findings.slots.iter().collect();
        slots.sort_by_key(|s| s.range.start);
        let mut filled = String::with_capacity(self.text.len() + slots.len() * 100);
        let mut reached = 0;
        for slot in slots {
            let filename = slot.file.clone();
            let file = file(&filename).ok_or(DescriptionError::NotGiven { line: slot.line, filename })?;
            filled.push_str(self.text.get(reached..slot.range.start).unwrap_or_default());
            filled.push_str(&slot.before);
            match slot.what {
                What::Sha256 => filled.push_str(&file.sha256.to_hex()),
                What::Size => filled.push_str(&file.len_bytes.to_string()),
            }
            filled.push_str(slot.after);
            reached = slot.range.end;
        }
        filled.push_str(self.text.get(reached..).unwrap_or_default());
        Ok(filled)
    }
}
