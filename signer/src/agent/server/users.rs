//! Who may ask: peer credentials against a list of users.

use std::{collections::BTreeSet, os::unix::net::UnixStream};

/// The users that may ask, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedUsers(BTreeSet<u32>);

impl AllowedUsers {
    /// The agent's own user, and those named: login names, which `passwd` (the text of passwd(5)) has to know, or
    /// numbers.
    ///
    /// # Errors
    ///
    /// The first name that is not known.
    pub fn new(own: u32, names: &[String], passwd: &str) -> Result<Self, String> {
        let named = names
            .iter()
            .map(|name| name.parse().ok().or_else(|| number(passwd, name)).ok_or_else(|| name.clone()));
        Ok(Self(std::iter::once(Ok(own)).chain(named).collect::<Result<_, _>>()?))
    }

    /// Whether anyone but `own` may ask.
    #[must_use]
    pub fn has_others(&self, own: u32) -> bool {
        self.0.iter().any(|uid| *uid != own)
    }

    /// Whether `uid` may ask.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

fn number(passwd: &str, name: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (own, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (own == name).then(|| uid.parse().ok()).flatten()
    })
}

/// User and process at the other end, as the kernel knows them (SO_PEERCRED, unix(7)).
pub(super) fn peer(stream: &UnixStream) -> Option<(u32, u32)> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
    Some((credentials.uid.as_raw(), pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_users() {
        let passwd = "root:x:0:0::/:/bin/sh\nbuild:x:1000:1000::/home/build:/bin/sh\n";
        let names = ["build".to_owned(), "4711".to_owned()];
        let users = AllowedUsers::new(7, &names, passwd).unwrap();
        assert!([7, 1000, 4711].into_iter().all(|uid| users.contains(uid)));
        // Root has no way around the list either: it could ask as another user, and that is on record.
        assert!(!users.contains(0));
        assert!(users.has_others(7));
        assert!(!AllowedUsers::new(7, &[], passwd).unwrap().has_others(7));
        assert_eq!(AllowedUsers::new(7, &["nobody-here".into()], passwd), Err("nobody-here".into()));
    }

    #[test]
    fn the_kernel_says_who_is_there() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = rustix::process::getuid().as_raw();
        assert_eq!(peer(&one), Some((own, std::process::id())));
    }
}
