//! Settings of one run, each with where it came from: command line, environment, file, default.

use super::options::Global;
use crate::{
    agent::usual_socket,
    config::{Blocklist, Config, ConfigError, Fault, HostConfig, HostToken, Place, ReleaseKey, Step},
    crypto::HashAlgorithm,
    error::Error,
    io::{FileSource, is_own_or_roots},
    key::dev,
    policy::{ExampleKeys, Mode},
    request::Role,
};
use clap::{ArgMatches, parser::ValueSource};
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An option.
    CommandLine,
    /// A variable.
    Environment(&'static str),
    /// Found in one of the usual places.
    Found(&'static str),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Found(place) => f.write_str(place),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved<T> {
    /// The value.
    pub(super) value: T,
    /// Where it came from.
    pub(super) origin: Origin,
}

/// Which global options were given, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<(&'static str, Origin)>);

/// Global options that can also come from the environment.
const VARIABLES: [(&str, &str); 6] = [
    ("config", "HSMSIGN_CONFIG"),
    ("host_config", "HSMSIGN_HOST_CONFIG"),
    ("mode", "HSMSIGN_MODE"),
    ("dev_dir", "HSMSIGN_DEV_DIR"),
    ("softhsm", "HSMSIGN_SOFTHSM"),
    ("agent", "HSMSIGN_AGENT"),
];

impl Given {
    /// Asks clap where each value came from.
    pub(super) fn new(matches: &ArgMatches) -> Self {
        // Global options given after a subcommand are known to that subcommand.
        let mut innermost = matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        let origin = |id: &str, variable| match innermost.value_source(id) {
            Some(ValueSource::CommandLine) => Some(Origin::CommandLine),
            Some(ValueSource::EnvVariable) => Some(Origin::Environment(variable)),
            _ => None,
        };
        Self(VARIABLES.into_iter().filter_map(|(id, v)| Some((id, origin(id, v)?))).collect())
    }

    fn of(&self, id: &str) -> Origin {
        self.0.iter().find(|(given, _)| *given == id).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

/// The environment's part in finding files; read once.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Where the command was started.
    pub(super) directory: PathBuf,
    /// `$HOME`.
    pub(super) home: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub(super) data_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub(super) config_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub(super) state_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub(super) runtime_dir: Option<PathBuf>,
    /// Whether this is root, whose state is the system's.
    pub(super) is_root: bool,
}

impl Surroundings {
    /// Of this process.
    pub(super) fn of_process() -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        Self {
            directory: std::env::current_dir().unwrap_or_default(),
            home: variable("HOME"),
            data_home: variable("XDG_DATA_HOME"),
            config_home: variable("XDG_CONFIG_HOME"),
            state_home: variable("XDG_STATE_HOME"),
            runtime_dir: variable("XDG_RUNTIME_DIR"),
            is_root: rustix::process::geteuid().is_root(),
        }
    }
}

/// Which files and places apply; nothing is opened yet.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The mode.
    pub(super) mode: Resolved<Mode>,
    /// The policy file, if there is one.
    pub(super) policy_file: Option<Resolved<PathBuf>>,
    /// The host settings, if there are any; dev mode never opens them.
    pub(super) host_file: Option<Resolved<PathBuf>>,
    /// The dev directory, unless there is no home to put it in.
    pub(super) dev_dir: Option<Resolved<PathBuf>>,
    /// Another copy of SoftHSMv2's module.
    pub(super) softhsm: Option<Resolved<PathBuf>>,
    /// The agent, where the command line or the environment name one; dev mode never asks it.
    pub(super) agent: Option<Resolved<PathBuf>>,
    /// Where an agent listens if nobody says where, unless there is no place for it.
    pub(super) usual_agent: Option<PathBuf>,
    /// Where release mode keeps what outlives a run, unless there is no home to put it in.
    pub(super) state_dir: Option<Resolved<PathBuf>>,
}

impl Settings {
    /// Decides by precedence.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for options of release mode in another mode.
    pub(super) fn resolve(global: &Global, given: &Given, around: &Surroundings) -> Result<Self, Error> {
        let mode = Resolved { value: global.mode.unwrap_or(Mode::Dev), origin: given.of("mode") };
        for (id, option) in [("host_config", "--host-config"), ("agent", "--agent")] {
            if mode.value != Mode::Release && given.of(id) == Origin::CommandLine {
                return Err(Error::Usage {
                    message: format!("`{option}` belongs to release mode, and the mode is `{}`", mode.value),
                    hint: Some("leave it out, or add `--mode release`".into()),
                });
            }
        }
        let explicit =
            |value: &Option<PathBuf>, id| value.clone().map(|value| Resolved { value, origin: given.of(id) });
        let policy_file = explicit(&global.config, "config")
            .or_else(|| nearest_policy(&around.directory).map(found_policy));
        let host_file = explicit(&global.host_config, "host_config").or_else(|| usual_host_file(around));
        let dev_dir = dev::locate(
            global.dev_dir.as_deref(),
            policy_file.as_ref().map(|f| f.value.as_path()),
            around.data_home.as_deref(),
            around.home.as_deref(),
        );
        let dev_dir_origin = match given.of("dev_dir") {
            Origin::Default if policy_file.is_some() => Origin::Found("beside the policy"),
            origin => origin,
        };
        Ok(Self {
            mode,
            policy_file,
            host_file,
            dev_dir: dev_dir.map(|value| Resolved { value, origin: dev_dir_origin }),
            softhsm: explicit(&global.softhsm, "softhsm"),
            // An empty variable names no socket.
            agent: explicit(&global.agent, "agent").filter(|a| !a.value.as_os_str().is_empty()),
            usual_agent: usual_socket(around.runtime_dir.as_deref()),
            state_dir: state_dir(around),
        })
    }

    /// Reads the policy.
    ///
    /// # Errors
    ///
    /// [`Error::File`] or [`Error::Config`]; the latter also in release mode if a stranger could have
    /// written the file, since it says which keys are release keys.
    pub(super) fn load_policy(&self) -> Result<PolicyFile, Error> {
        let Some(file) = &self.policy_file else { return Ok(PolicyFile::default()) };
        let opened = File::open(&file.value).map_err(Error::file("read", &file.value))?;
        if self.mode.value == Mode::Release {
            check_policy_writers(&opened, file)?;
        }
        PolicyFile::load(opened, &file.value)
    }

    /// Reads the host settings; empty where there are none. For release mode alone.
    ///
    /// # Errors
    ///
    /// [`Error::File`] or [`Error::Config`]; the latter also if others could have written the file,
    /// since it names code that is loaded and where PINs are read.
    pub(super) fn load_host(&self) -> Result<HostConfig, Error> {
        let Some(file) = &self.host_file else { return Ok(HostConfig::default()) };
        let opened = File::open(&file.value).map_err(Error::file("read", &file.value))?;
        check_writers(&opened, &file.value, "host settings")?;
        let text = read_text(opened, &file.value)?;
        HostConfig::parse(&text).map_err(|fault| fault.in_file(&file.value).into())
    }

    /// Where the audit log is.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if neither the host settings nor the environment say so.
    pub(super) fn audit_directory(&self, host: &HostConfig) -> Result<Resolved<PathBuf>, Error> {
        self.state(host.audit_directory.as_ref(), "audit")
    }

    /// Where it is noted that a token refused a PIN.
    ///
    /// # Errors
    ///
    /// As [`audit_directory`](Self::audit_directory).
    pub(super) fn latch_directory(&self, host: &HostConfig) -> Result<Resolved<PathBuf>, Error> {
        self.state(host.latch_directory.as_ref(), "latch")
    }

    fn state(&self, set: Option<&PathBuf>, name: &str) -> Result<Resolved<PathBuf>, Error> {
        if let Some(value) = set.cloned() {
            return Ok(Resolved { value, origin: Origin::Found("the host settings") });
        }
        let state = self.state_dir.clone().ok_or_else(|| ConfigError::Setup {
            message: format!("no directory `{name}`: neither HOME nor XDG_STATE_HOME is set"),
            hint: Some(format!("write `{name}: {{ directory: PATH }}` in the host settings")),
        })?;
        Ok(Resolved { value: state.value.join(name), ..state })
    }
}

/// What the host's blocklists add to the public example keys.
///
/// # Errors
///
/// [`Error::File`] or [`Error::Config`] for a list that cannot be read in full. One that others could have written
/// counts as such: what they take out would no longer be refused.
pub(super) fn example_keys(host: &HostConfig) -> Result<ExampleKeys, Error> {
    let read = |path: &PathBuf| -> Result<Blocklist, Error> {
        let source = FileSource::open(path)?;
        check_writers(source.file(), path, "blocklist")?;
        let text = utf8(source.read_whole(1 << 20)?, path)?;
        Ok(Blocklist::parse(&text).map_err(|fault| fault.in_file(path))?)
    };
    Ok(ExampleKeys::with(host.blocklists.iter().map(read).collect::<Result<Vec<_>, _>>()?))
}

/// The policy with its file, for errors that are found out later.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyFile {
    /// Its path; `None` if there is no file.
    pub(super) path: Option<PathBuf>,
    /// Its text.
    text: String,
    /// What it says.
    pub(super) config: Config,
}

impl PolicyFile {
    fn load(file: File, path: &Path) -> Result<Self, Error> {
        let text = read_text(file, path)?;
        let config = Config::parse(&text).map_err(|fault| fault.in_file(path))?;
        Ok(Self { path: Some(path.to_owned()), text, config })
    }

    /// A path in the policy, which is relative to the policy's directory.
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }

    /// SHA-256 of its bytes, `sha256:…`.
    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", HashAlgorithm::Sha256.digest(self.text.as_bytes()).to_hex())
    }

    /// An error about the value at `path` in this file.
    pub(super) fn fault(&self, path: &[Step], message: String, hint: String) -> Error {
        let place = Place::of_value(&self.text, path);
        let file = self.path.clone().unwrap_or_else(|| "hsmsign.yaml".into());
        Fault { message, place, hint: Some(hint) }.in_file(file).into()
    }

    /// The host's settings for the token that holds `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] at the token's name if the host settings do not know it.
    pub(super) fn host_token<'h>(
        &self,
        role: Role,
        key: &ReleaseKey,
        host: &'h HostConfig,
    ) -> Result<&'h HostToken, Error> {
        host.tokens.get(&key.token).ok_or_else(|| {
            let names: Vec<String> = host.tokens.keys().map(|name| format!("`{name}`")).collect();
            let hint = match names.is_empty() {
                true => "host settings name no tokens; docs/keys-and-modes.md shows how".into(),
                false => format!("host settings name these tokens: {}", names.join(", ")),
            };
            let path: [Step; 4] = ["release".into(), "keys".into(), role.name().into(), "token".into()];
            self.fault(&path, format!("role `{role}`: unknown token `{}`", key.token), hint)
        })
    }
}

/// Reads a configuration file, however long it claims to be.
fn read_text(file: File, path: &Path) -> Result<String, Error> {
    const LIMIT_BYTES: u64 = 1 << 20;
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    utf8(bytes, path)
}

fn utf8(bytes: Vec<u8>, path: &Path) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let message = "the file is not UTF-8".to_owned();
        let place = Place { line, column: 1, excerpt: None };
        let hint = Some("save it as UTF-8 text".into());
        Error::from(Fault { message, place, hint }.in_file(path))
    })
}

/// Refuses a file of the host's, `what` it is, that another user could have written. The open file is asked, which nobody can
/// exchange before it is read.
fn check_writers(file: &File, path: &Path, what: &str) -> Result<(), Error> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::file("read", path)(e.into()))?;
    let (reason, hint) = if !is_own_or_roots(stat.st_uid) {
        ("belongs to another user", format!("chown root {}", path.display()))
    } else if stat.st_mode & 0o022 != 0 {
        ("can be written by others", format!("chmod go-w {}", path.display()))
    } else {
        return Ok(());
    };
    let message = format!("{what} `{}`: the file {reason}", path.display());
    Err(ConfigError::Setup { message, hint: Some(hint) }.into())
}

/// Refuses a policy that a stranger could have written or put where it is found.
///
/// A policy stands in a checkout, so its group may write it (umask 002), and a build server's checkout may
/// belong to another account: whoever names the file says that it is meant. One that is merely found, in
/// this directory or above, has to be the user's own or root's, or `/tmp/hsmsign.yaml` of anybody would steer
/// a release that is signed below `/tmp`.
fn check_policy_writers(opened: &File, file: &Resolved<PathBuf>) -> Result<(), Error> {
    let path = file.value.display();
    let stat = rustix::fs::fstat(opened).map_err(|e| Error::file("read", &file.value)(e.into()))?;
    let (reason, hint) = if stat.st_mode & 0o002 != 0 {
        ("can be written by everybody", format!("chmod o-w {path}"))
    } else if matches!(file.origin, Origin::Found(_)) && !is_own_or_roots(stat.st_uid) {
        ("was found here or above, and belongs to another user", format!("if it is meant: `--config {path}`"))
    } else {
        return Ok(());
    };
    let message = format!("policy `{path}`: the file {reason}");
    Err(ConfigError::Setup { message, hint: Some(hint) }.into())
}

fn found_policy(value: PathBuf) -> Resolved<PathBuf> {
    Resolved { value, origin: Origin::Found("in this directory or above") }
}

/// `hsmsign.yaml` in `directory` or the nearest one above.
fn nearest_policy(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().map(|d| d.join("hsmsign.yaml")).find(|f| f.is_file())
}

/// The base directory specification's place for what outlives a run; root's is the system's.
///
/// Source: XDG Base Directory Specification 0.8, file-hierarchy(7).
fn state_dir(around: &Surroundings) -> Option<Resolved<PathBuf>> {
    if let Some(state_home) = &around.state_home {
        let origin = Origin::Environment("XDG_STATE_HOME");
        return Some(Resolved { value: state_home.join("hsmsign"), origin });
    }
    if around.is_root {
        return Some(Resolved { value: "/var/lib/hsmsign".into(), origin: Origin::Found("the system's") });
    }
    let value = around.home.as_ref()?.join(".local/state/hsmsign");
    Some(Resolved { value, origin: Origin::Found("the user's") })
}

/// The user's host settings, else the system's.
fn usual_host_file(around: &Surroundings) -> Option<Resolved<PathBuf>> {
    let config_home = around.config_home.clone().or_else(|| Some(around.home.as_ref()?.join(".config")));
    let users = config_home.map(|c| (c.join("hsmsign/host.yaml"), "the user's"));
    let systems = (PathBuf::from("/etc/hsmsign/host.yaml"), "the system's");
    let (value, whose) = users.into_iter().chain([systems]).find(|(path, _)| path.is_file())?;
    Some(Resolved { value, origin: Origin::Found(whose) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory as _, FromArgMatches as _};

    fn resolve(arguments: &[&str], around: &Surroundings) -> Result<Settings, Error> {
        let matches = Cli::command().try_get_matches_from(arguments).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        Settings::resolve(&cli.global, &Given::new(&matches), around)
    }

    #[test]
    fn the_command_line_comes_before_what_is_found() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hsmsign.yaml"), "").unwrap();
        let below = directory.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        let around = Surroundings { directory: below, home: Some("/home/me".into()), ..Default::default() };
        let found = resolve(&["hsmsign", "doctor"], &around).unwrap();
        assert_eq!(found.mode, Resolved { value: Mode::Dev, origin: Origin::Default });
        assert_eq!(found.policy_file.unwrap().value, directory.path().join("hsmsign.yaml"));
        assert_eq!(found.dev_dir.unwrap().value, directory.path().join(".hsmsign"));
        // A global option after the subcommand counts as much as one before it.
        let given =
            resolve(&["hsmsign", "doctor", "--config", "x/y.yaml", "--mode", "off"], &around).unwrap();
        assert_eq!(given.mode, Resolved { value: Mode::Off, origin: Origin::CommandLine });
        assert_eq!(given.policy_file.unwrap().origin, Origin::CommandLine);
        assert_eq!(given.dev_dir.unwrap().value, Path::new("x/.hsmsign"));
    }

    #[test]
    fn host_settings_are_refused_in_dev_mode() {
        let around = Surroundings::default();
        assert!(resolve(&["hsmsign", "--host-config", "h", "doctor"], &around).is_err());
        let release = resolve(&["hsmsign", "--host-config", "h", "--mode", "release", "doctor"], &around);
        assert_eq!(release.unwrap().host_file.unwrap().value, Path::new("h"));
    }

    #[test]
    fn a_policy_that_everybody_can_write_steers_no_release() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hsmsign.yaml");
        std::fs::write(&path, "version: 1\nproduct: x\n").unwrap();
        let around = Surroundings { directory: directory.path().into(), ..Default::default() };
        for (bits, mode, good) in [
            (0o664, "release", true),
            (0o646, "release", false),
            (0o666, "release", false),
            (0o666, "dev", true),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            let settings = resolve(&["hsmsign", "--mode", mode, "doctor"], &around).unwrap();
            assert_eq!(settings.load_policy().is_ok(), good, "{bits:o} {mode}");
        }
        // Only root can make a file somebody else's.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            let given = ["--config", path.to_str().unwrap()];
            for (more, good) in [(&[][..], false), (&given, true)] {
                let arguments = [&["hsmsign", "--mode", "release", "doctor"], more].concat();
                let loaded = resolve(&arguments, &around).unwrap().load_policy();
                assert_eq!(loaded.is_ok(), good, "{more:?}: {loaded:?}");
            }
        }
    }

    #[test]
    fn host_settings_that_others_can_write_are_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.yaml");
        std::fs::write(&path, "version: 1\n").unwrap();
        for (mode, good) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(check_writers(&file, &path, "host settings").is_ok(), good, "{mode:o}");
        }
        if rustix::process::geteuid().is_root() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            let refused = check_writers(&File::open(&path).unwrap(), &path, "host settings").unwrap_err();
            assert!(refused.to_string().contains("belongs to another user"), "{refused}");
        }
    }
}
