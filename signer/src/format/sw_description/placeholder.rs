//! Placeholders that build systems leave in descriptions.
//!
//! Source: meta-swupdate `classes-recipe/swupdate-common.bbclass` and `swupdate-lib.bbclass`; swugenerator's
//! documentation.

use std::ops::Range;

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file's SHA-256.
    Sha256,
    /// A file's length in bytes.
    Size,
}

/// A function call that hsmsign fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Where it is in the text searched.
    pub(super) range: Range<usize>,
    pub(super) what: What,
    /// Which file's.
    pub(super) file: String,
}

const FUNCTIONS: [(&str, What); 2] =
    [("$swupdate_get_sha256(", What::Sha256), ("$swupdate_get_size(", What::Size)];

/// Longest argument looked at, so that hostile text costs no more than its length.
const MAX_ARGUMENT_LEN_BYTES: usize = 512;

/// The calls in `raw` that hsmsign fills in.
pub(super) fn calls(raw: &str) -> Vec<Call> {
    let starts = raw.match_indices("$swupdate_get_");
    starts.filter_map(|(start, _)| call(raw.get(start..)?, start)).collect()
}

/// The call that `rest`, found at `start`, begins with.
fn call(rest: &str, start: usize) -> Option<Call> {
    FUNCTIONS.into_iter().find_map(|(function, what)| {
        let argument = until(rest.strip_prefix(function)?, b')')?;
        let range = start..start + function.len() + argument.len() + 1;
        Some(Call { range, what, file: base_name(argument.trim()).into() })
    })
}

/// What stands before the first `end`, if that is near and on the same line.
fn until(text: &str, end: u8) -> Option<&str> {
    let len = text.bytes().take(MAX_ARGUMENT_LEN_BYTES).position(|b| b == end || b == b'\n')?;
    text.get(..len).filter(|_| text.as_bytes().get(len) == Some(&end))
}

/// meta-swupdate's older `@FILE`, in place of a whole value.
pub(super) fn at_file(value: &str) -> Option<&str> {
    let file = value.strip_prefix('@')?;
    (!file.is_empty() && !file.starts_with('@')).then(|| base_name(file))
}

/// Whether the value of a sha256 says nothing: empty, or zeros, which swupdate takes for none.
pub(super) fn is_blank(value: &str) -> bool {
    value.is_empty() || (value.len() == 64 && value.bytes().all(|b| b == b'0'))
}

/// A placeholder in `value` that someone else has to fill in.
pub(super) fn foreign(value: &str) -> Option<&str> {
    for (start, _) in value.match_indices("@@") {
        let rest = value.get(start..).unwrap_or_default();
        if let Some(len) = len_at_start(rest) {
            return rest.get(..len);
        }
    }
    for (start, _) in value.match_indices('$') {
        let rest = value.get(start..).unwrap_or_default();
        // Lua and shell have dollar signs of their own.
        let is_swupdate = rest.starts_with("$swupdate_");
        if (is_swupdate || start == 0) && call(rest, start).is_none() {
            let len = len_at_start(rest).filter(|len| is_swupdate || *len == value.len());
            if let Some(len) = len {
                return rest.get(..len);
            }
        }
    }
    None
}

/// The length of a placeholder that `text` begins with.
pub(super) fn len_at_start(text: &str) -> Option<usize> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let word_len = |text: &str| text.bytes().take(MAX_ARGUMENT_LEN_BYTES).take_while(|b| is_word(*b)).count();
    if let Some(rest) = text.strip_prefix("@@") {
        let mut len = word_len(rest);
        if len == 0 {
            return None;
        }
        if let Some(flag) = rest.get(len..)?.strip_prefix('[') {
            len += until(flag, b']')?.len() + 2;
        }
        return rest.get(len..)?.starts_with("@@").then_some(len + 4);
    }
    let rest = text.strip_prefix('$')?;
    let len = word_len(rest);
    let arguments = until(rest.get(len..)?.strip_prefix('(')?, b')')?;
    (len > 0).then(|| 1 + len + 1 + arguments.len() + 1)
}

fn base_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_anywhere_in_a_value() {
        let raw = "\"a $swupdate_get_sha256(dir/x.img) $swupdate_get_size( y.img )\"";
        let calls = calls(raw);
        let found: Vec<_> = calls.iter().map(|c| (&raw[c.range.clone()], c.what, c.file.as_str())).collect();
        let expected = [
            ("$swupdate_get_sha256(dir/x.img)", What::Sha256, "x.img"),
            ("$swupdate_get_size( y.img )", What::Size, "y.img"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn placeholders_of_others_are_noticed() {
        for (value, expected) in [
            ("1.0-@@DISTRO_VERSION@@", "@@DISTRO_VERSION@@"),
            ("@@VAR[flag]@@", "@@VAR[flag]@@"),
            ("$swupdate_get_IV(x)", "$swupdate_get_IV(x)"),
            ("x $swupdate_sign_file(y)", "$swupdate_sign_file(y)"),
            ("$custom(y)", "$custom(y)"),
        ] {
            assert_eq!(foreign(value), Some(expected), "{value}");
        }
        for value in ["$swupdate_get_sha256(x)", "a@b", "%d+$(x)", "@@", "@@@@", "echo $(date)", "@file", ""]
        {
            assert_eq!(foreign(value), None, "{value}");
        }
    }

    #[test]
    fn blank_values() {
        assert!(is_blank("") && is_blank(&"0".repeat(64)));
        assert!(!is_blank("0") && !is_blank(&"1".repeat(64)));
    }
}
