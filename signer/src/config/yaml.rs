//! YAML text to typed data: what serde_yaml lets pass is refused here, and its errors get a place.

use super::{
    error::Fault,
    place::{Place, mentions_pin},
};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt, marker::PhantomData, str::FromStr};

/// Longest configuration file. A real one has a few KiB.
pub(super) const TEXT_LIMIT_BYTES: usize = 256 << 10;
/// Most opening brackets and braces. libyaml looks at all that are open for each further token, so 100,000 of
/// them keep it busy for a minute before anything counts the nesting.
const BRACKETS_LIMIT: usize = 8192;

/// Reads one document of type `T`; `empty` is the hint where there is none.
pub(super) fn read<T: DeserializeOwned>(text: &str, empty: &str) -> Result<T, Fault> {
    let fault = |message: &str, hint: &str| Fault {
        message: message.into(),
        place: Place::start(""),
        hint: Some(hint.into()),
    };
    if text.len() > TEXT_LIMIT_BYTES {
        let message = format!("the file has {} bytes, more than {TEXT_LIMIT_BYTES}", text.len());
        return Err(fault(&message, "a configuration file has a few KiB; is this the right one?"));
    }
    // YAML counts these as line breaks and nothing else does: a place would name another line, and an
    // excerpt could show one that must not be shown.
    let odd_break = |c| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    if text.contains(odd_break) || text.replace("\r\n", "\n").contains('\r') {
        return Err(fault(
            "the file has line breaks other than newlines",
            "write it with an ordinary editor",
        ));
    }
    if text.bytes().filter(|b| matches!(b, b'[' | b'{')).count() > BRACKETS_LIMIT {
        let message = format!("the file has more than {BRACKETS_LIMIT} `[` and `{{`");
        return Err(fault(&message, "a configuration file has a few; is this the right one?"));
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Err(fault("the file is empty", empty));
    };
    let checked = Unrepeated::deserialize(first).map_err(|e| explain(text, &e))?;
    if checked.0 {
        return Err(fault("the file is empty", empty));
    }
    if let Some(second) = documents.next() {
        let place = super::place::of_document(text, second);
        return Err(Fault {
            message: "the file has a second YAML document".into(),
            place,
            hint: Some("write one document; `---` begins another".into()),
        });
    }
    serde_yaml::Deserializer::from_str(text)
        .next()
        .ok_or_else(|| fault("the file is empty", empty))
        .and_then(|document| T::deserialize(document).map_err(|e| explain(text, &e)))
}

/// serde_yaml's error in our words: its path of keys first, what it expected as the hint.
fn explain(text: &str, error: &serde_yaml::Error) -> Fault {
    let message = sanitize(&error.to_string());
    let (message, context) = take_places(&message);
    // An unclosed quote is found out at the end of the file; the quote itself is of more use.
    let place = match context {
        Some((line, column)) if message.contains("end of stream") => Place::new(text, line, column),
        _ => Place::of_error(text, error),
    };
    let (path, rest) = split_path(&message);
    let (what, expected) = match rest.rsplit_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (rest, None),
    };
    let line = line_of(text, place.line);
    let near_pin = mentions_pin(path) || mentions_pin(line);
    let what = unquote(what, near_pin);
    let path = if near_pin || path.contains(char::REPLACEMENT_CHARACTER) {
        let odd = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-' | '[' | ']');
        path.split(odd).next().unwrap_or_default()
    } else {
        path
    };
    let hint = match expected {
        Some("u64" | "u32" | "u16" | "i32") => Some("expected a whole number".into()),
        Some(expected) => Some(format!("expected {expected}")),
        None if what.starts_with("duplicate") => Some("keep one of them".into()),
        None if what.starts_with("missing field") => {
            what.split('`').nth(1).map(|key| format!("write `{key}:` there"))
        }
        None if line.contains('\t') => Some("YAML indents with spaces, never with tabs".into()),
        None => None,
    };
    // serde speaks of Rust's fields and types.
    let known = PHRASES.iter().any(|p| what.starts_with(p)) || rest.starts_with(MARK);
    let what = what
        .trim_start_matches(MARK)
        .replacen("unknown field", "unknown key", 1)
        .replacen("missing field", "missing key", 1)
        .replacen("duplicate field", "duplicate key", 1)
        .replacen("invalid type: unit value", "the value is missing", 1)
        .replacen("invalid type: Option value", "the value is missing", 1)
        .replacen("invalid type: enum", "a tag (`!`) stands here", 1)
        .replacen("invalid type: ", "wrong type: ", 1);
    let message = match path {
        "" if known => what,
        "" => format!("not valid YAML: {what}"),
        path => format!("`{path}`: {what}"),
    };
    Fault { message, place, hint }
}

/// Takes every ` at line L column C` out of a message; returns the last of them, which libyaml gives
/// to the beginning of what it was reading.
fn take_places(message: &str) -> (String, Option<(usize, usize)>) {
    let mut parts = message.split(" at line ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut last = None;
    for part in parts {
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let (line, rest) = part.split_at(digits(part));
        match rest.strip_prefix(" column ") {
            Some(rest) => {
                let (column, rest) = rest.split_at(digits(rest));
                last = line.parse().ok().zip(column.parse().ok());
                text.push_str(rest);
            }
            None => text.extend([" at line ", part]),
        }
    }
    (text, last)
}

/// Takes out of a sentence what it quotes from the file, where that may be or hold a PIN.
///
/// A value of the wrong type is never repeated: the excerpt shows it, where it may be shown. One of
/// several lines, such as a block that was meant as a mapping, can hold anything.
fn unquote(what: &str, near_pin: bool) -> String {
    let before = |quote: &[char]| what.split(quote).next().unwrap_or_default().trim_end().to_owned();
    if near_pin && what.starts_with("invalid") {
        return "the value has the wrong form".into();
    }
    if what.starts_with("invalid") {
        return before(&['`', '"']);
    }
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_'));
    let quoted: Vec<&str> = what.split('`').collect();
    let harmless = match quoted.as_slice() {
        [_] => true,
        [_, word, _] => plain(word),
        _ => false,
    };
    if harmless || !(near_pin || mentions_pin(what) || what.contains(char::REPLACEMENT_CHARACTER)) {
        return what.to_owned();
    }
    format!("{} `…`", before(&['`']))
}

fn line_of(text: &str, line: usize) -> &str {
    text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
}

/// How serde's own sentences begin.
const PHRASES: [&str; 8] = [
    "unknown field",
    "missing field",
    "duplicate field",
    "duplicate key",
    "invalid type",
    "invalid value",
    "invalid length",
    "unknown variant",
];

/// Parts `roles.fit: unknown field …` into the path and the rest.
fn split_path(message: &str) -> (&str, &str) {
    let at = PHRASES.iter().chain([&MARK]).filter_map(|p| message.find(p)).min();
    match at.and_then(|at| message.get(..at).zip(message.get(at..))) {
        Some((path, rest)) => (path.trim_end_matches(": "), rest),
        None => ("", message),
    }
}

/// Stands before the sentences of our own parsers, so that the path before them can be told.
const MARK: &str = "\u{2063}";

/// Replaces control characters, which a key or value may hold in escaped form.
pub(super) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A document without duplicate keys in any map; serde_yaml silently keeps the last of them where the
/// target is a map. Tells whether the document is null.
struct Unrepeated(bool);

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnrepeatedVisitor)
    }
}

struct UnrepeatedVisitor;

macro_rules! scalars {
    ($($visit:ident($value:ty)),*) => {
        $(fn $visit<E: de::Error>(self, _: $value) -> Result<Unrepeated, E> { Ok(Unrepeated(false)) })*
    };
}

impl<'de> Visitor<'de> for UnrepeatedVisitor {
    type Value = Unrepeated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain data without `!` tags")
    }

    scalars!(
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_i128(i128),
        visit_u128(u128),
        visit_f64(f64),
        visit_str(&str)
    );

    fn visit_unit<E: de::Error>(self) -> Result<Unrepeated, E> {
        Ok(Unrepeated(true))
    }

    fn visit_none<E: de::Error>(self) -> Result<Unrepeated, E> {
        Ok(Unrepeated(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unrepeated, A::Error> {
        while seq.next_element::<Unrepeated>()?.is_some() {}
        Ok(Unrepeated(false))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unrepeated, A::Error> {
        let mut seen = HashSet::new();
        while map.next_key_seed(FreshKey(&mut seen))?.is_some() {
            map.next_value::<Unrepeated>()?;
        }
        Ok(Unrepeated(false))
    }
}

/// Reads a key that must not have been seen; the error then carries the key's own place.
struct FreshKey<'a>(&'a mut HashSet<String>);

impl<'de> de::DeserializeSeed<'de> for FreshKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FreshKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        match self.0.insert(key.to_owned()) {
            true => Ok(()),
            false => Err(E::custom(format_args!("duplicate key `{key}`"))),
        }
    }
}

/// A string that means something: parsed while its place is known, so that errors have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);
        impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
            type Value = Parsed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
                text.parse().map(Parsed).map_err(|e| E::custom(format_args!("{MARK}{e}")))
            }
        }
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// For visitors of other modules: an error whose sentence is ours.
pub(super) fn sentence<E: de::Error>(sentence: &str) -> E {
    E::custom(format_args!("{MARK}{sentence}"))
}
