//! Who asked for a signature.

use serde::{Deserialize, Serialize};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// By a process that opened the token itself.
    Local,
    /// By a client of the agent.
    Agent,
}

/// The process that asked for a signature, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// How the request came.
    pub via: Via,
    /// User id.
    pub uid: u32,
    /// The user's name, if `/etc/passwd` knows it.
    pub user: Option<String>,
    /// Process id, as the process that signs sees it.
    pub pid: u32,
}

impl Requester {
    /// This process itself.
    #[must_use]
    pub fn this_process() -> Self {
        Self::new(Via::Local, rustix::process::getuid().as_raw(), std::process::id())
    }

    /// A client of the agent, by the peer credentials of its connection (SO_PEERCRED, unix(7)).
    #[must_use]
    pub fn client(uid: u32, pid: u32) -> Self {
        Self::new(Via::Agent, uid, pid)
    }

    fn new(via: Via, uid: u32, pid: u32) -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self { via, uid, user: user_name(&passwd, uid), pid }
    }
}

/// The name of user `uid` by `passwd`, the text of passwd(5). Directory services are not asked: that takes
/// libc's plug-ins, and the number is the evidence.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\n#x:y\nbuild:x:1000:1000::/home/build:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("build"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
