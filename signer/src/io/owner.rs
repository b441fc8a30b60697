//! Whose a file is, also where the kernel does not say.

use std::fs;

/// Whether a file of user `uid` is the user's own or root's.
///
/// bitbake runs each task that needs no network in a user namespace that maps the builder alone. There
/// the files of everybody else, root's too, show the overflow user id, and nobody can tell them apart. If
/// `/` shows it as well, that id is taken for root. Who else might hide behind it cannot write to what the
/// caller finds unwritable for group and others, but may be its owner.
///
/// Source: user_namespaces(7), "Unmapped user and group IDs".
#[must_use]
pub fn is_own_or_roots(uid: u32) -> bool {
    let root = || rustix::fs::stat("/").ok().map(|stat| stat.st_uid);
    uid == 0 || uid == rustix::process::geteuid().as_raw() || (is_unmapped(uid) && root() == Some(uid))
}

/// Whether `uid` is what the kernel shows for users that the namespace does not know.
fn is_unmapped(uid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    read("/proc/sys/kernel/overflowuid").trim() == uid.to_string() && !maps(&read("/proc/self/uid_map"), uid)
}

/// Whether `map`, the text of a `uid_map`, has `uid` on its inside. One that is not understood has them all.
fn maps(map: &str, uid: u32) -> bool {
    map.trim().is_empty()
        || map.lines().any(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u64>);
            match (fields.next(), fields.next(), fields.next()) {
                (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => {
                    (first..first.saturating_add(count)).contains(&u64::from(uid))
                }
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_one_user_hides_all_others() {
        assert!(!maps("      1000       1000          1\n", 65534));
        assert!(maps("      1000       1000          1\n", 1000));
    }

    #[test]
    fn the_first_namespace_hides_nobody() {
        assert!(maps("         0          0 4294967295\n", 65534));
    }

    #[test]
    fn a_map_that_is_not_understood_hides_nobody() {
        for map in ["", "x", "1 2", "0 0 -1"] {
            assert!(maps(map, 65534), "{map:?}");
        }
    }

    #[test]
    fn root_and_we_ourselves() {
        assert!(is_own_or_roots(0));
        assert!(is_own_or_roots(rustix::process::geteuid().as_raw()));
        assert!(!is_own_or_roots(rustix::process::geteuid().as_raw().wrapping_add(7)));
    }
}
