//! JSON (RFC 8259), keeping places.
//!
//! A parser of our own, because the text is edited in place and duplicate names must not pass.

use super::{
    DescriptionError,
    cursor::Cursor,
    tree::{Kind, Setting, Value},
};
use std::collections::HashSet;

/// Parses a whole file, whose value must be an object.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Vec<Setting>, DescriptionError> {
    blanks(cursor);
    cursor.expect(b'{', "`{`")?;
    let settings = cursor.nested(object)?;
    blanks(cursor);
    match cursor.peek() {
        None => Ok(settings),
        Some(_) => Err(cursor.unexpected("nothing after the JSON object")),
    }
}

fn object(cursor: &mut Cursor<'_>) -> Result<Vec<Setting>, DescriptionError> {
    let mut settings = Vec::new();
    let mut names = HashSet::new();
    blanks(cursor);
    if cursor.eat(b'}') {
        return Ok(settings);
    }
    loop {
        blanks(cursor);
        let start = cursor.at;
        let name = string(cursor)?;
        let name_range = start..cursor.at;
        if !names.insert(name.clone()) {
            return Err(DescriptionError::Duplicate { line: cursor.lines.line(start), name });
        }
        blanks(cursor);
        cursor.expect(b':', "`:`")?;
        let value = value(cursor)?;
        settings.push(Setting { name, name_range, value });
        blanks(cursor);
        if !cursor.eat(b',') {
            cursor.expect(b'}', "`,` or `}`")?;
            return Ok(settings);
        }
    }
}

fn array(cursor: &mut Cursor<'_>) -> Result<Vec<Value>, DescriptionError> {
    let mut values = Vec::new();
    blanks(cursor);
    if cursor.eat(b']') {
        return Ok(values);
    }
    loop {
        values.push(value(cursor)?);
        blanks(cursor);
        if !cursor.eat(b',') {
            cursor.expect(b']', "`,` or `]`")?;
            return Ok(values);
        }
    }
}

fn value(cursor: &mut Cursor<'_>) -> Result<Value, DescriptionError> {
    blanks(cursor);
    let start = cursor.at;
    let kind = match cursor.peek() {
        Some(b'"') => Kind::Text(string(cursor)?),
        Some(b'{') => {
            cursor.at += 1;
            Kind::Group(cursor.nested(object)?)
        }
        Some(b'[') => {
            cursor.at += 1;
            Kind::List(cursor.nested(array)?)
        }
        Some(b'$' | b'@') => {
            cursor.bare_placeholder()?;
            Kind::Bare
        }
        _ => scalar(cursor)?,
    };
    Ok(Value { range: start..cursor.at, kind })
}

fn scalar(cursor: &mut Cursor<'_>) -> Result<Kind, DescriptionError> {
    let start = cursor.at;
    match cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
        "true" | "false" | "null" => Ok(Kind::Other),
        // The library's number grammar is RFC 8259's.
        token if serde_json::from_str::<serde_json::Number>(token).is_ok() => {
            Ok(Kind::Number(token.parse().ok()))
        }
        _ => {
            cursor.at = start;
            Err(cursor.unexpected("a value"))
        }
    }
}

fn string(cursor: &mut Cursor<'_>) -> Result<String, DescriptionError> {
    let start = cursor.at;
    cursor.expect(b'"', "a string")?;
    loop {
        cursor.take_while(|b| !matches!(b, b'"' | b'\\'));
        if cursor.eat(b'\\') {
            if cursor.peek().is_none() {
                return Err(cursor.unexpected("`\"` at the end of a string"));
            }
            // Whatever is escaped, a quotation mark included; the library judges it below.
            cursor.at += cursor.rest().chars().next().map_or(0, char::len_utf8);
        } else if cursor.eat(b'"') {
            break;
        } else {
            return Err(cursor.unexpected("`\"` at the end of a string"));
        }
    }
    let raw = cursor.text.get(start..cursor.at).unwrap_or_default();
    match serde_json::from_str::<String>(raw) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => {
            cursor.at = start;
            Err(cursor.unexpected("a string without control characters and unknown escapes"))
        }
    }
}

fn blanks(cursor: &mut Cursor<'_>) {
    cursor.take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
}
