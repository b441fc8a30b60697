//! A parsed description: settings with the places where they stand in the text.

use std::ops::Range;

/// `name = value`, or `"name": value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    /// Where the name is, quotes included.
    pub(super) name_range: Range<usize>,
    pub(super) value: Value,
}

/// A value and where it is, quotes and brackets included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A group, or JSON object.
    Group(Vec<Setting>),
    /// A list or array.
    List(Vec<Value>),
    /// A string, escapes resolved and literals joined.
    Text(String),
    /// A number; `None` if it is no natural number of 64 bits.
    Number(Option<u64>),
    /// A Boolean or null.
    Other,
    /// A placeholder without quotes, to be replaced before a device reads it.
    Bare,
}

impl Value {
    /// The setting `name` of a group.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        match &self.kind {
            Kind::Group(settings) => settings.iter().find(|s| s.name == name),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }
}
