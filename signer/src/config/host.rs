//! Host settings: what belongs to one machine, and stands in no task hash.

use super::{
    agent::{AgentSettings, RawAgent},
    error::Fault,
    parse::{TokenName, check_version},
    place::Step,
    yaml::{self, Parsed, sentence},
};
use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The host settings' contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// How to reach each token that policies name.
    pub tokens: BTreeMap<String, HostToken>,
    /// Where the audit log stands.
    pub audit_directory: Option<PathBuf>,
    /// Where it is noted that a token refused a PIN.
    pub latch_directory: Option<PathBuf>,
    /// What an agent on this machine allows, and where it listens.
    pub agent: AgentSettings,
    /// Files that list further keys which must not be trusted; [`Blocklist`](super::Blocklist) is their form.
    pub blocklists: Vec<PathBuf>,
}

/// How to reach one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostToken {
    /// Its PKCS#11 module.
    pub module: Option<PathBuf>,
    /// Where the PIN comes from.
    pub pin: PinSource,
    /// The agent that holds this token, by its Unix socket. Whoever signs asks it, whatever `module` says;
    /// the agent itself uses `module`.
    pub agent: Option<PathBuf>,
}

/// Where a release PIN comes from; never from an argument, the environment or a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PinSource {
    /// A question on the terminal.
    #[default]
    Prompt,
    /// A file whose owner and mode are checked.
    File(PathBuf),
    /// An inherited file descriptor.
    Fd(u16),
    /// A systemd credential (`$CREDENTIALS_DIRECTORY/NAME`).
    Credential(String),
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt => f.write_str("prompt"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Fd(fd) => write!(f, "file descriptor {fd}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    version: u64,
    #[serde(default)]
    tokens: BTreeMap<String, RawToken>,
    audit: Option<RawPlace>,
    latch: Option<RawPlace>,
    #[serde(default)]
    agent: RawAgent,
    #[serde(default)]
    blocklists: Vec<Parsed<HostPath>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    module: Option<Parsed<HostPath>>,
    #[serde(default)]
    pin: PinSource,
    agent: Option<Parsed<HostPath>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlace {
    directory: Parsed<HostPath>,
}

impl HostConfig {
    /// Parses the host settings' text; pure.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], naming key, line and column. A line that may hold a PIN is named by number
    /// only.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        Self::read(text).map_err(|mut fault| {
            // A PIN under a misspelt key is still a PIN, so no line of this file is ever shown.
            fault.place.excerpt = None;
            fault
        })
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw: RawHost = yaml::read(text, "docs/keys-and-modes.md shows host settings")?;
        check_version(text, raw.version)?;
        let mut tokens = BTreeMap::new();
        for (name, raw) in raw.tokens {
            let path: [Step; 2] = ["tokens".into(), name.as_str().into()];
            if let Err(message) = name.parse::<TokenName>() {
                let (what, hint) = message.split_once(", ").unwrap_or((&message, ""));
                return Err(Fault::at(text, &path, format!("`tokens`: {what}"), hint));
            }
            if raw.module.is_none() && raw.agent.is_none() {
                let message = format!("`tokens.{name}`: neither `module` nor `agent` is given");
                return Err(Fault::at(text, &path, message, "write `module: /path/to/pkcs11-module.so`"));
            }
            let token = HostToken {
                module: raw.module.map(|m| m.0.0),
                pin: raw.pin,
                agent: raw.agent.map(|a| a.0.0),
            };
            tokens.insert(name, token);
        }
        Ok(Self {
            tokens,
            audit_directory: raw.audit.map(|a| a.directory.0.0),
            latch_directory: raw.latch.map(|l| l.directory.0.0),
            agent: raw.agent.into(),
            blocklists: raw.blocklists.into_iter().map(|b| b.0.0).collect(),
        })
    }
}

/// An absolute path: settings of a host do not depend on where a command was started.
pub(super) struct HostPath(pub(super) PathBuf);

impl FromStr for HostPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if Path::new(text).is_absolute() {
            return Ok(Self(text.into()));
        }
        Err(format!("not an absolute path: `{text}`, expected one that begins with `/`"))
    }
}

impl<'de> Deserialize<'de> for PinSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PinSourceVisitor)
    }
}

/// What `pin:` may hold. No sentence of this visitor repeats what it met: it may be the PIN itself.
struct PinSourceVisitor;

const PIN_SOURCES: &str = "the PIN itself never stands in a file of settings, expected `prompt`, \
                           `{ file: PATH }`, `{ fd: NUMBER }` or `{ credential: NAME }`";

macro_rules! refuse {
    ($($visit:ident($value:ty)),*) => {
        $(fn $visit<E: de::Error>(self, _: $value) -> Result<PinSource, E> { Err(sentence(PIN_SOURCES)) })*
    };
}

impl<'de> Visitor<'de> for PinSourceVisitor {
    type Value = PinSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`prompt`, `{ file: PATH }`, `{ fd: NUMBER }` or `{ credential: NAME }`")
    }

    refuse!(
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_i128(i128),
        visit_u128(u128),
        visit_f64(f64)
    );

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PinSource, E> {
        match text {
            "prompt" => Ok(PinSource::Prompt),
            _ => Err(sentence(PIN_SOURCES)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PinSource, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            file: Option<Parsed<HostPath>>,
            fd: Option<u16>,
            credential: Option<Parsed<CredentialName>>,
        }
        let raw = Raw::deserialize(MapAccessDeserializer::new(map))?;
        match (raw.file, raw.fd, raw.credential) {
            (Some(file), None, None) => Ok(PinSource::File(file.0.0)),
            // 0 to 2 are the terminal or a log.
            (None, Some(fd), None) if fd > 2 => Ok(PinSource::Fd(fd)),
            (None, Some(_), None) => Err(sentence("standard streams carry no PIN, expected `fd` from 3 on")),
            (None, None, Some(credential)) => Ok(PinSource::Credential(credential.0.0)),
            _ => Err(sentence("there is not exactly one source, expected one of `file`, `fd`, `credential`")),
        }
    }
}

struct CredentialName(String);

impl FromStr for CredentialName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = !text.is_empty() && text.len() <= 255 && !text.contains('/') && !text.starts_with('.');
        if plain && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err("not the name of a systemd credential, expected a file name".into())
    }
}
