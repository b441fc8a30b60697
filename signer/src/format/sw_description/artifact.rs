//! What a description says about files: the semantic view.

use super::{
    DescriptionError,
    cursor::Lines,
    placeholder::{self, What},
    tree::{Kind, Setting, Value},
};
use std::ops::Range;

/// An entry that names a file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The file's name in the bundle.
    pub filename: String,
    /// Where the entry is, such as `software.stable.slot-b.images[0]`.
    pub path: String,
    /// The line of its `filename`, from 1.
    pub line: usize,
    /// What it says of the file's hash.
    pub sha256: Sha256,
    /// Its `size`, where that is a number, with its line.
    pub size: Option<(u64, usize)>,
}

/// What an entry says of its file's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sha256 {
    /// Nothing, or a placeholder that stands for the file's hash.
    ToFill,
    /// The hash of the file so named, which should be the entry's own.
    OfOther {
        /// The line.
        line: usize,
        /// The file.
        file: String,
    },
    /// 64 hexadecimal digits.
    Digest {
        /// The line.
        line: usize,
        /// The digits, lower case.
        digits: String,
    },
    /// Something else.
    Invalid {
        /// The line.
        line: usize,
    },
}

/// A place in the text where hsmsign writes something about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// What is replaced; empty to insert.
    pub(super) range: Range<usize>,
    pub(super) before: String,
    pub(super) what: What,
    pub(super) file: String,
    pub(super) after: &'static str,
    pub(super) line: usize,
}

/// Everything found in a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) slots: Vec<Slot>,
    /// Placeholders that someone else has to fill in, with their lines.
    pub(super) foreign: Vec<(usize, String)>,
}

/// Goes through `software`.
///
/// Which part a device takes is its own choice (board, software set, links), so every entry counts,
/// wherever it is.
pub(super) fn find(
    text: &str,
    lines: &Lines,
    is_json: bool,
    software: &Setting,
) -> Result<Findings, DescriptionError> {
    let mut finder = Finder { text, lines, is_json, findings: Findings::default() };
    finder.value(&software.name, &software.name, &software.value, false)?;
    Ok(finder.findings)
}

struct Finder<'a> {
    text: &'a str,
    lines: &'a Lines,
    is_json: bool,
    findings: Findings,
}

impl Finder<'_> {
    /// `name` is that of the nearest setting; `in_properties` inside a handler's own settings.
    fn value(
        &mut self,
        path: &str,
        name: &str,
        value: &Value,
        in_properties: bool,
    ) -> Result<(), DescriptionError> {
        match &value.kind {
            Kind::Group(settings) => {
                let filename = if in_properties { None } else { value.get("filename") };
                let sha256 = match filename {
                    Some(filename) => self.artifact(path, name, value, filename)?,
                    None => None,
                };
                for setting in settings {
                    if sha256.is_some_and(|s| std::ptr::eq(s, setting)) {
                        continue;
                    }
                    let path = format!("{path}.{}", setting.name);
                    let in_properties = in_properties || setting.name == "properties";
                    self.value(&path, &setting.name, &setting.value, in_properties)?;
                }
            }
            Kind::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), name, value, in_properties)?;
                }
            }
            // Scripts may hold anything that looks like a placeholder.
            Kind::Text(_) if name == "embedded-script" => {}
            Kind::Text(text) => self.loose(value, Some(text)),
            Kind::Bare => self.loose(value, None),
            Kind::Number(_) | Kind::Other => {}
        }
        Ok(())
    }

    /// Takes in an entry. Returns its `sha256` setting, which is dealt with thereby.
    fn artifact<'v>(
        &mut self,
        path: &str,
        section: &str,
        entry: &'v Value,
        filename: &Setting,
    ) -> Result<Option<&'v Setting>, DescriptionError> {
        let line = self.lines.line(filename.value.range.start);
        let Some(file) = filename.value.text() else {
            let range = filename.value.range.clone();
            let filename = self.text.get(range).unwrap_or_default().chars().take(80).collect();
            return Err(DescriptionError::Filename { line, filename });
        };
        // A placeholder is no name yet; it is reported as what it is.
        let is_name = !file.is_empty() && !file.contains('/') && !file.contains('\0');
        if !is_name && placeholder::foreign(file).is_none() {
            return Err(DescriptionError::Filename { line, filename: file.into() });
        }
        let setting = entry.get("sha256");
        let sha256 = match setting {
            Some(setting) => self.sha256(file, &setting.value),
            None => {
                let (before, after) = self.insertion(filename);
                let at = filename.value.range.end;
                let (what, file) = (What::Sha256, file.to_owned());
                self.findings.slots.push(Slot { range: at..at, before, what, file, after, line });
                Sha256::ToFill
            }
        };
        let size = entry.get("size").filter(|_| section != "partitions").and_then(|s| match s.value.kind {
            Kind::Number(Some(size)) => Some((size, self.lines.line(s.value.range.start))),
            _ => None,
        });
        let (filename, path) = (file.to_owned(), path.to_owned());
        self.findings.artifacts.push(Artifact { filename, path, line, sha256, size });
        Ok(setting)
    }

    /// What an entry's `sha256` says.
    fn sha256(&mut self, filename: &str, value: &Value) -> Sha256 {
        let line = self.lines.line(value.range.start);
        let mut to_fill = |range: Range<usize>, file: &str, quote: &'static str| {
            let (before, what) = (quote.to_owned(), What::Sha256);
            self.findings.slots.push(Slot { range, before, what, file: file.into(), after: quote, line });
            if file == filename { Sha256::ToFill } else { Sha256::OfOther { line, file: file.into() } }
        };
        let raw = self.text.get(value.range.clone()).unwrap_or_default();
        let whole = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw);
        if let [call] = placeholder::calls(whole).as_slice()
            && call.what == What::Sha256
            && call.range == (0..whole.len())
        {
            return to_fill(value.range.clone(), &call.file, "\"");
        }
        match value.text() {
            Some(text) if placeholder::is_blank(text) => to_fill(value.range.clone(), filename, "\""),
            Some(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Sha256::Digest { line, digits: text.to_ascii_lowercase() }
            }
            Some(text) => match placeholder::at_file(text) {
                Some(file) => to_fill(value.range.clone(), file, "\""),
                None => {
                    self.note_foreign(text, line);
                    Sha256::Invalid { line }
                }
            },
            None => {
                if value.kind == Kind::Bare {
                    self.note_foreign(raw, line);
                }
                Sha256::Invalid { line }
            }
        }
    }

    /// Any other value: calls in it are filled in where they stand.
    fn loose(&mut self, value: &Value, text: Option<&str>) {
        let start = value.range.start;
        let line = self.lines.line(start);
        let raw = self.text.get(value.range.clone()).unwrap_or_default();
        for call in placeholder::calls(raw) {
            // A bare hash is no value in either syntax.
            let quote = if text.is_none() && call.what == What::Sha256 { "\"" } else { "" };
            self.findings.slots.push(Slot {
                range: start + call.range.start..start + call.range.end,
                before: quote.into(),
                what: call.what,
                file: call.file,
                after: quote,
                line,
            });
        }
        self.note_foreign(text.unwrap_or(raw), line);
    }

    fn note_foreign(&mut self, value: &str, line: usize) {
        if let Some(text) = placeholder::foreign(value) {
            self.findings.foreign.push((line, text.to_owned()));
        }
    }

    /// What to write around a hash right after the value of `filename`, in the entry's own style.
    fn insertion(&self, filename: &Setting) -> (String, &'static str) {
        /// A line's indentation is no longer than this.
        const MAX_INDENT_LEN_BYTES: usize = 200;
        let (name, value) = (&filename.name_range, &filename.value.range);
        let between = self.text.get(name.end..value.start).unwrap_or_default();
        let is_simple =
            between.len() < 16 && between.bytes().all(|b| matches!(b, b' ' | b'\t' | b'=' | b':'));
        let assign = match (is_simple, self.is_json) {
            (true, _) => between,
            (false, true) => ": ",
            (false, false) => " = ",
        };
        let rest = self.text.get(value.end..).unwrap_or_default();
        let is_comma = self.is_json || rest.trim_start_matches([' ', '\t']).starts_with(',');
        let separator = if is_comma { ',' } else { ';' };
        let before = self.text.get(..name.start).unwrap_or_default();
        let indent_len =
            before.bytes().rev().take(MAX_INDENT_LEN_BYTES).take_while(|b| matches!(b, b' ' | b'\t')).count();
        let (head, indent) = before.split_at_checked(before.len() - indent_len).unwrap_or((before, ""));
        let gap = if head.ends_with("\r\n") {
            format!("\r\n{indent}")
        } else if head.ends_with('\n') {
            format!("\n{indent}")
        } else {
            " ".into()
        };
        let quote = if self.is_json { "\"" } else { "" };
        (format!("{separator}{gap}{quote}sha256{quote}{assign}\""), "\"")
    }
}
