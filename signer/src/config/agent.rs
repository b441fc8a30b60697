//! Host settings `agent:`: what an agent on this machine allows, and where it listens.

use super::{
    host::HostPath,
    yaml::{Parsed, sentence},
};
use crate::vocabulary::Role;
use serde::{
    Deserialize,
    de::{self, Deserializer, Visitor},
};
use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf};

/// What an agent on this machine allows, and where it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSettings {
    /// Its socket.
    pub socket: Option<PathBuf>,
    /// Who may ask beside the agent's own user: login names or numbers.
    pub users: Vec<String>,
    /// Requests that may wait per token.
    pub queue_len: Option<u32>,
    /// Requests that are signed at a time per token.
    pub sessions: Option<u32>,
    /// Signatures per minute and token.
    pub signatures_per_minute: Option<u32>,
    /// Signatures per role until it ends.
    pub signatures: BTreeMap<Role, u64>,
    /// How long a signature may take, in seconds, the time in line included.
    pub sign_seconds: Option<u32>,
    /// Minutes without a request after which it ends.
    pub idle_minutes: Option<u32>,
    /// Minutes after which it ends.
    pub lifetime_minutes: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    socket: Option<Parsed<HostPath>>,
    #[serde(default)]
    users: Vec<User>,
    queue_len: Option<NonZeroU32>,
    sessions: Option<NonZeroU32>,
    signatures_per_minute: Option<NonZeroU32>,
    #[serde(default)]
    signatures: RawSignatures,
    sign_seconds: Option<NonZeroU32>,
    idle_minutes: Option<NonZeroU32>,
    lifetime_minutes: Option<NonZeroU32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignatures {
    bootloader: Option<u64>,
    fit: Option<u64>,
    rootfs: Option<u64>,
    update: Option<u64>,
}

impl From<RawAgent> for AgentSettings {
    fn from(raw: RawAgent) -> Self {
        let RawSignatures { bootloader, fit, rootfs, update } = raw.signatures;
        let signatures = [
            (Role::Bootloader, bootloader),
            (Role::Fit, fit),
            (Role::Rootfs, rootfs),
            (Role::Update, update),
        ];
        Self {
            socket: raw.socket.map(|s| s.0.0),
            users: raw.users.into_iter().map(|u| u.0).collect(),
            queue_len: raw.queue_len.map(NonZeroU32::get),
            sessions: raw.sessions.map(NonZeroU32::get),
            signatures_per_minute: raw.signatures_per_minute.map(NonZeroU32::get),
            signatures: signatures.into_iter().filter_map(|(role, count)| Some((role, count?))).collect(),
            sign_seconds: raw.sign_seconds.map(NonZeroU32::get),
            idle_minutes: raw.idle_minutes.map(NonZeroU32::get),
            lifetime_minutes: raw.lifetime_minutes.map(NonZeroU32::get),
        }
    }
}

/// A login name or a user number; YAML reads the latter as a number.
struct User(String);

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UserVisitor;
        impl Visitor<'_> for UserVisitor {
            type Value = User;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a login name or a user number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<User, E> {
                match u32::try_from(number) {
                    Ok(number) => Ok(User(number.to_string())),
                    Err(_) => Err(sentence("not a user number, expected one of 32 bits")),
                }
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<User, E> {
                let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':';
                if name.is_empty() || name.contains(odd) {
                    return Err(sentence("not a user, expected a login name or a user number"));
                }
                Ok(User(name.to_owned()))
            }
        }
        deserializer.deserialize_any(UserVisitor)
    }
}
