//! Exceptions that a policy grants by name: which path, and for what reason.

use std::str::FromStr;

/// Longest pattern. Real ones are paths.
const MAX_PATTERN_LEN: usize = 1024;

/// One exception: paths that match may be what a check would refuse, for the given reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Which paths.
    pub path: Pattern,
    /// Why, for people.
    pub reason: String,
}

/// A pattern for paths with `/` between their parts.
///
/// `*` stands for any characters but `/`, `?` for one of them, `**` for any characters. Everything else stands
/// for itself. A pattern without `/` matches the last part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether `path` is one of those that are meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path = if self.0.contains('/') { path } else { path.rsplit('/').next().unwrap_or(path) };
        matches(&self.0.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>())
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=MAX_PATTERN_LEN).contains(&text.len()) && !text.chars().any(char::is_control);
        if !fits || text.starts_with('/') || text.split('/').any(|part| part == "..") {
            return Err(format!(
                "not a path below the directory: `{text}`, expected one such as `bl31.bin` or `boot/**/*.bin`"
            ));
        }
        if text.chars().all(|c| matches!(c, '*' | '?' | '/' | '.' | ':' | '!')) {
            return Err(format!(
                "matches everything: `{text}`, expected a pattern that names what is excepted"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Goes through the path once for each pattern character, so no pattern takes long.
fn matches(pattern: &[char], path: &[char]) -> bool {
    // `ends` holds, for each length of the path's beginning, whether the pattern so far matches it.
    let mut ends = vec![false; path.len() + 1];
    if let Some(first) = ends.first_mut() {
        *first = true;
    }
    let mut rest = pattern;
    while let Some((first, more)) = rest.split_first() {
        let any_depth = *first == '*' && more.first() == Some(&'*');
        rest = if any_depth { more.get(1..).unwrap_or_default() } else { more };
        let mut next = vec![false; ends.len()];
        let mut running = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = ends.get(at).copied().unwrap_or(false);
            let before = at.checked_sub(1).and_then(|at| path.get(at).copied());
            if *first == '*' {
                running = here || (running && (any_depth || before != Some('/')));
                *slot = running;
            } else {
                let one = before.is_some_and(|c| if *first == '?' { c != '/' } else { c == *first });
                *slot = one && at.checked_sub(1).and_then(|at| ends.get(at).copied()).unwrap_or(false);
            }
        }
        ends = next;
    }
    ends.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_what_they_name() {
        for (text, path, expected) in [
            ("bl31.bin", "bl31.bin", true),
            ("bl31.bin", "boot/bl31.bin", true),
            ("bl31.bin", "bl31.bin.bak", false),
            ("boot/*.bin", "boot/tee.bin", true),
            ("boot/*.bin", "boot/optee/tee.bin", false),
            ("boot/*.bin", "tee.bin", false),
            ("boot/**.bin", "boot/optee/tee.bin", true),
            ("**/tee.bin", "boot/optee/tee.bin", true),
            ("*.dtb", "board.dtb", true),
            ("board-?.dtb", "board-1.dtb", true),
            ("board-?.dtb", "board-10.dtb", false),
            ("rootfs.ext4:/usr/**/test/*.pem", "rootfs.ext4:/usr/lib/python3/test/key.pem", true),
            ("rootfs.ext4:/usr/**/test/*.pem", "rootfs.ext4:/etc/swupdate/test/key.pem", false),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
        ] {
            assert_eq!(pattern(text).matches(path), expected, "{text} {path}");
        }
    }

    #[test]
    fn what_would_except_everything_is_refused() {
        for text in
            ["", "*", "**", "*/*", "*.*", "/etc/x", "../x", "a/../b", "a\nb", "./**", "*:**", "**!/**"]
        {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_matches_itself_alone(text in "[a-z0-9.-]{1,20}", other in "[a-z0-9.-]{1,20}") {
            prop_assume!(text.chars().any(|c| c != '.'));
            prop_assert_eq!(pattern(&text).matches(&other), text == other);
        }

        #[test]
        fn stars_take_no_time(stars in 1usize..200, path in "a{200}") {
            let text = "*a".repeat(stars) + "b";
            prop_assert!(!pattern(&text).matches(&path));
        }
    }
}
