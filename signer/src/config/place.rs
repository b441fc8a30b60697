//! Places in a configuration file: from a path of keys to line, column and excerpt.

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line and what of it to mark; `None` where it may hold a secret or cannot be shown.
    pub excerpt: Option<Excerpt>,
}

/// A line of text to be shown, with what is marked in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line without its end.
    pub line: String,
    /// How many characters to mark from the place's column on, at least one.
    pub marked_len: usize,
}

/// One step of a path through a YAML document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an element of a sequence, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.into())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Longest line that is shown.
const EXCERPT_LIMIT: usize = 160;

impl Place {
    /// A place with its excerpt.
    pub(super) fn new(text: &str, line: usize, column: usize) -> Self {
        let (line, column) = (line.max(1), column.max(1));
        Self { line, column, excerpt: excerpt(text, line, column) }
    }

    /// The first place.
    pub(super) fn start(text: &str) -> Self {
        Self::new(text, 1, 1)
    }

    /// ` --> FILE:LINE:COLUMN`, and below it the line with carets, where it can be shown.
    #[must_use]
    pub fn render(&self, file: &std::path::Path) -> String {
        let mut text = format!(" --> {}:{}:{}", file.display(), self.line, self.column);
        if let Some(Excerpt { line, marked_len }) = &self.excerpt {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let indent = " ".repeat(self.column - 1);
            let carets = "^".repeat(*marked_len);
            text.push_str(&format!("\n{number} | {line}\n{gutter} | {indent}{carets}"));
        }
        text
    }

    /// Where serde_yaml saw an error.
    pub(super) fn of_error(text: &str, error: &serde_yaml::Error) -> Self {
        match error.location() {
            Some(location) => Self::new(text, location.line(), location.column()),
            None => Self::start(text),
        }
    }

    /// Where the value at the end of `path` begins, or the nearest value above it that exists.
    ///
    /// serde_yaml tells positions only in errors, so the text is read once more along the path with a
    /// seed that ends in one.
    #[must_use]
    pub fn of_value(text: &str, path: &[Step]) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        (0..=path.len())
            .rev()
            .filter_map(|len| path.get(..len))
            .filter_map(|path| Locate { path }.deserialize(first_document(text)?).err())
            .find(|error| error.to_string().contains(FOUND))
            .map_or_else(|| Self::start(text), |error| Self::of_error(text, &error))
    }
}

/// Where a document begins.
pub(super) fn of_document(text: &str, document: serde_yaml::Deserializer<'_>) -> Place {
    match document.deserialize_any(Raise) {
        Err(error) => Place::of_error(text, &error),
        Ok(()) => Place::start(text),
    }
}

fn first_document(text: &str) -> Option<serde_yaml::Deserializer<'_>> {
    serde_yaml::Deserializer::from_str(text).next()
}

/// What the seed's error says; no key can hold a control character unescaped by accident, and a text
/// that does gets a less exact place, no more.
const FOUND: &str = "\u{1}found\u{1}";

/// Walks to the end of the path and ends there in an error.
struct Locate<'a> {
    path: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            deserializer.deserialize_any(Raise)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or sequence")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (first, rest) = split(self.path);
        while let Some(key) = map.next_key::<ScalarText>()? {
            match first {
                Some(Step::Key(wanted)) if *wanted == key.0 => map.next_value_seed(Locate { path: rest })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (first, rest) = split(self.path);
        for index in 0.. {
            let more = match first {
                Some(Step::Index(wanted)) if *wanted == index => {
                    seq.next_element_seed(Locate { path: rest })?.is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

fn split(path: &[Step]) -> (Option<&Step>, &[Step]) {
    path.split_first().map_or((None, path), |(first, rest)| (Some(first), rest))
}

/// Ends in an error whatever it meets: a visitor's provided methods all refuse, and say what they expect.
struct Raise;

impl Visitor<'_> for Raise {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }
}

/// A key as text, whatever scalar it is.
pub(super) struct ScalarText(pub(super) String);

impl<'de> de::Deserialize<'de> for ScalarText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ScalarText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plain key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ScalarText, E> {
                Ok(ScalarText(text.to_owned()))
            }
        }
        // `deserialize_str` takes a plain scalar such as `1` or `true` as it is written.
        deserializer.deserialize_str(Text)
    }
}

/// The line, unless it could show a secret or disturb a terminal.
fn excerpt(text: &str, line: usize, column: usize) -> Option<Excerpt> {
    let shown = text.lines().nth(line - 1)?;
    let unfit = shown.chars().count() > EXCERPT_LIMIT || shown.chars().any(char::is_control);
    if unfit || may_hold_secret(text, line) {
        return None;
    }
    let rest: String = shown.chars().skip(column - 1).collect();
    Some(Excerpt { line: shown.to_owned(), marked_len: scalar_len(&rest).max(1) })
}

/// How many characters the scalar at the beginning of `rest` has.
fn scalar_len(rest: &str) -> usize {
    let mut chars = rest.chars();
    if let Some(quote @ ('"' | '\'')) = chars.next() {
        return chars.position(|c| c == quote).map_or(rest.chars().count(), |inner| inner + 2);
    }
    let ends = [": ", " #", ", ", ",", "}", "]"];
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let scalar = rest.get(..end).unwrap_or(rest).trim_end().trim_end_matches(':');
    scalar.chars().count()
}

/// Whether a PIN may stand on this line: some key that begins with `pin`, other than `pins`, stands
/// on it or on an earlier line that it may belong to.
fn may_hold_secret(text: &str, line: usize) -> bool {
    let mut pin_indent = None;
    for content in text.lines().take(line) {
        let indent = content.chars().take_while(|c| *c == ' ').count();
        let begins_anew = content.contains(": ") || content.trim_end().ends_with(':');
        // A value goes on below its key, deeper; a quoted one may stand anywhere.
        pin_indent = pin_indent.filter(|pin| indent > *pin || !begins_anew);
        if mentions_pin(content) {
            pin_indent = pin_indent.or(Some(indent));
        }
    }
    pin_indent.is_some()
}

/// Whether `pin` stands in `line` as the beginning of a word other than `pins`.
pub(super) fn mentions_pin(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.match_indices("pin").any(|(at, _)| {
        let before = lower.get(..at).and_then(|s| s.chars().next_back());
        let after = lower.get(at + 3..).unwrap_or_default();
        let is_word = before.is_none_or(|c| !c.is_alphanumeric());
        let is_pins = after.strip_prefix('s').is_some_and(|s| !s.starts_with(char::is_alphanumeric));
        is_word && !is_pins
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_along_a_path() {
        let text = "a: 1\nb:\n  - x\n  - {c: d, e: 'f g'}\n";
        let place = |path: &[Step]| Place::of_value(text, path);
        assert_eq!((place(&["a".into()]).line, place(&["a".into()]).column), (1, 4));
        let nested = place(&["b".into(), 1.into(), "e".into()]);
        assert_eq!((nested.line, nested.column), (4, 15));
        assert_eq!(nested.excerpt.unwrap().marked_len, 5);
        // What is not there is shown at the nearest thing above it.
        assert_eq!(place(&["b".into(), 7.into()]).line, 3);
        assert_eq!(place(&["z".into()]).line, 1);
    }

    #[test]
    fn lines_that_may_hold_a_pin_are_not_shown() {
        for text in [
            "pin: 1234",
            "  pin : 1234",
            "a: b\nPIN: 1234",
            "uri: pkcs11:object=a;pin-value=1",
            "pin: \"12\n  34",
            "{a: 1, pin: 3}",
        ] {
            let last = text.lines().count();
            assert_eq!(Place::new(text, last, 1).excerpt, None, "{text}");
        }
        for text in ["pins: [x]", "pin: 3\nb: 1\nc: 2", "spin: 1", "product: pinball"] {
            let last = text.lines().count();
            assert!(Place::new(text, last, 1).excerpt.is_some() || text.contains("pinball"), "{text}");
        }
    }
}
