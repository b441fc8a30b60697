//! libconfig, keeping places.
//!
//! Stricter than the library where it is lax: no `@include`, no NUL in strings.
//!
//! Source: libconfig manual, chapter "Configuration Files" (Grammar).

use super::{
    DescriptionError,
    cursor::Cursor,
    tree::{Kind, Setting, Value},
};
use std::collections::HashSet;

/// Parses a whole file.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Vec<Setting>, DescriptionError> {
    settings(cursor, None)
}

/// Settings up to `end`, which is stepped over, or to the end of the text.
fn settings(cursor: &mut Cursor<'_>, end: Option<u8>) -> Result<Vec<Setting>, DescriptionError> {
    let mut settings = Vec::new();
    let mut names = HashSet::new();
    loop {
        blanks(cursor)?;
        match (cursor.peek(), end) {
            (None, None) => return Ok(settings),
            (Some(byte), Some(end)) if byte == end => {
                cursor.at += 1;
                return Ok(settings);
            }
            _ => {}
        }
        let setting = setting(cursor, end.is_some())?;
        if !names.insert(setting.name.clone()) {
            let line = cursor.lines.line(setting.name_range.start);
            return Err(DescriptionError::Duplicate { line, name: setting.name });
        }
        settings.push(setting);
    }
}

fn setting(cursor: &mut Cursor<'_>, in_group: bool) -> Result<Setting, DescriptionError> {
    let expected = if in_group { "a setting or `}`" } else { "a setting" };
    let start = cursor.at;
    if cursor.rest().starts_with("@include") {
        return Err(DescriptionError::Include { line: cursor.line() });
    }
    if !cursor.peek().is_some_and(|b| b.is_ascii_alphabetic() || b == b'*') {
        return Err(cursor.unexpected(expected));
    }
    let name = cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*'));
    if is_boolean(name) {
        cursor.at = start;
        return Err(cursor.unexpected("a setting's name, which cannot be a Boolean"));
    }
    let name_range = start..cursor.at;
    blanks(cursor)?;
    if !(cursor.eat(b'=') || cursor.eat(b':')) {
        return Err(cursor.unexpected("`=` or `:`"));
    }
    blanks(cursor)?;
    let value = value(cursor, true)?;
    blanks(cursor)?;
    let _ = cursor.eat(b';') || cursor.eat(b',');
    Ok(Setting { name: name.into(), name_range, value })
}

fn value(cursor: &mut Cursor<'_>, may_nest: bool) -> Result<Value, DescriptionError> {
    let start = cursor.at;
    let kind = match cursor.peek() {
        Some(b'"') => Kind::Text(string(cursor)?),
        Some(b'{') if may_nest => {
            cursor.at += 1;
            Kind::Group(cursor.nested(|c| settings(c, Some(b'}')))?)
        }
        Some(b'(') if may_nest => {
            cursor.at += 1;
            Kind::List(cursor.nested(|c| values(c, b')', true))?)
        }
        Some(b'[') if may_nest => {
            cursor.at += 1;
            Kind::List(cursor.nested(|c| values(c, b']', false))?)
        }
        Some(b'@') if cursor.rest().starts_with("@include") => {
            return Err(DescriptionError::Include { line: cursor.line() });
        }
        Some(b'$' | b'@') => {
            cursor.bare_placeholder()?;
            Kind::Bare
        }
        _ => scalar(cursor)?,
    };
    Ok(Value { range: start..cursor.at, kind })
}

fn values(cursor: &mut Cursor<'_>, end: u8, may_nest: bool) -> Result<Vec<Value>, DescriptionError> {
    let mut values = Vec::new();
    loop {
        blanks(cursor)?;
        if cursor.eat(end) {
            return Ok(values);
        }
        values.push(value(cursor, may_nest)?);
        blanks(cursor)?;
        if !cursor.eat(b',') {
            cursor.expect(end, if end == b')' { "`,` or `)`" } else { "`,` or `]`" })?;
            return Ok(values);
        }
    }
}

/// Adjacent literals are one string.
fn string(cursor: &mut Cursor<'_>) -> Result<String, DescriptionError> {
    let mut bytes = Vec::new();
    loop {
        literal(cursor, &mut bytes)?;
        let end = cursor.at;
        blanks(cursor)?;
        if cursor.peek() != Some(b'"') {
            cursor.at = end;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

fn literal(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), DescriptionError> {
    cursor.expect(b'"', "a string")?;
    loop {
        bytes.extend(cursor.take_while(|b| !matches!(b, b'"' | b'\\')).bytes());
        if cursor.eat(b'"') {
            return Ok(());
        }
        if !cursor.eat(b'\\') {
            return Err(cursor.unexpected("`\"` at the end of a string"));
        }
        let simple = match cursor.peek() {
            Some(b'a') => Some(0x07),
            Some(b'b') => Some(0x08),
            Some(b'n') => Some(b'\n'),
            Some(b't') => Some(b'\t'),
            Some(b'v') => Some(0x0b),
            Some(b'f') => Some(0x0c),
            Some(b'r') => Some(b'\r'),
            Some(byte @ (b'\\' | b'"')) => Some(byte),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            cursor.at += 1;
        } else if let Some(byte) = hex_escape(cursor.rest()) {
            if byte == 0 {
                return Err(cursor.unexpected("no NUL in a string"));
            }
            bytes.push(byte);
            cursor.at += 3;
        } else {
            // libconfig takes any other backslash as it stands.
            bytes.push(b'\\');
        }
    }
}

/// `xHH` after a backslash.
fn hex_escape(rest: &str) -> Option<u8> {
    let digits = rest.strip_prefix('x')?.get(..2)?;
    let all_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| all_hex)
}

fn scalar(cursor: &mut Cursor<'_>) -> Result<Kind, DescriptionError> {
    let start = cursor.at;
    let token = cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_'));
    if is_boolean(token) {
        return Ok(Kind::Other);
    }
    number(token).map(Kind::Number).ok_or_else(|| {
        cursor.at = start;
        cursor.unexpected("a value")
    })
}

fn is_boolean(token: &str) -> bool {
    token.eq_ignore_ascii_case("true") || token.eq_ignore_ascii_case("false")
}

/// `Some(None)` for a number that is not natural.
fn number(token: &str) -> Option<Option<u64>> {
    let digits = token.strip_suffix("LL").or_else(|| token.strip_suffix('L')).unwrap_or(token);
    for (prefixes, radix) in [(["0x", "0X"], 16), (["0b", "0B"], 2), (["0q", "0Q"], 8)] {
        if let Some(digits) = prefixes.iter().find_map(|p| digits.strip_prefix(p)) {
            let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            return valid.then(|| u64::from_str_radix(digits, radix).ok());
        }
    }
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(digits.strip_prefix('+').unwrap_or(digits).parse().ok());
    }
    is_float(token).then_some(None)
}

fn is_float(token: &str) -> bool {
    let token = token.strip_prefix(['+', '-']).unwrap_or(token);
    let (mantissa, exponent) = match token.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (token, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good_exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && good_exponent
}

/// Steps over white space and comments.
fn blanks(cursor: &mut Cursor<'_>) -> Result<(), DescriptionError> {
    loop {
        cursor.take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c));
        let rest = cursor.rest();
        if rest.starts_with('#') || rest.starts_with("//") {
            cursor.take_while(|b| b != b'\n');
        } else if rest.starts_with("/*") {
            let end = rest.get(2..).and_then(|r| r.find("*/"));
            let end = end.ok_or_else(|| cursor.unexpected("`*/` at the end of a comment"))?;
            cursor.at += end + 4;
        } else {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (token, value) in
            [("0", Some(0)), ("12L", Some(12)), ("0x1fLL", Some(31)), ("0b101", Some(5)), ("0q17", Some(15))]
        {
            assert_eq!(number(token), Some(value), "{token}");
        }
        for token in ["-1", "1.5", ".5", "1e9", "+1.", "99999999999999999999"] {
            assert_eq!(number(token), Some(None), "{token}");
        }
        for token in ["", "0x", "0b2", "1.0.0", "5-3", "L", ".", "e5", "word", "1e"] {
            assert_eq!(number(token), None, "{token}");
        }
    }
}
