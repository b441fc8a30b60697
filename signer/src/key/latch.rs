//! One wrong PIN, not three: what all processes of a user know of a token's PIN.
//!
//! Tokens lock after a few wrong PINs, and parallel build tasks with a wrong one would get there in a second. So
//! attempts on one token come one after the other, and the first that the token refuses latches it: nobody
//! tries again before a person says so (`hsmsign keys unlatch`).
//!
//! Each token has two files in the latch directory, named by a hash of what the token says of itself: a lock,
//! held from before an attempt until it is known how it ended, and a note of that.

use super::KeyError;
use crate::{
    crypto::HashAlgorithm,
    io::{PrivateDirectory, lock},
    policy::TokenFacts,
};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long another process may take for its attempt: people type slowly on a token's own keypad.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest note that is read.
const MAX_NOTE_LEN_BYTES: u64 = 16 * 1024;

/// The latch directory of this user.
#[derive(Clone, Debug)]
pub struct Latches {
    directory: PathBuf,
}

/// What is known of a token's PIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How the last attempt ended.
    pub state: State,
    /// The token's label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its name in the host settings.
    pub name: String,
    /// Where the PIN came from.
    pub pin: String,
    /// Function and code.
    pub reason: String,
    /// When, RFC 3339.
    pub time: String,
    /// By which process.
    pub pid: u32,
    /// Since which start of the machine (random(4), `boot_id`).
    boot: String,
}

/// How the last attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not ended, or its process was killed.
    Trying,
    /// The token refused the PIN.
    Refused,
    /// A person has allowed one more.
    Cleared,
}

/// An attempt, with the token's lock held until it is dropped.
pub(super) struct Attempt {
    directory: PrivateDirectory,
    id: String,
    note: Note,
    /// Whether a person has allowed it.
    pub(super) is_cleared: bool,
    _lock: File,
}

impl Latches {
    /// Latches in `directory`, which is made when first needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every token that is latched, for people; an attempt that goes on is none.
    ///
    /// # Errors
    ///
    /// [`KeyError::Latch`] if the directory cannot be read, or others can write it.
    pub fn latched(&self) -> Result<Vec<Note>, KeyError> {
        let directory = match PrivateDirectory::open(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(KeyError::latch(&self.directory))?,
        };
        let mut notes = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(KeyError::latch(&self.directory))? {
            let name = entry.map_err(KeyError::latch(&self.directory))?.file_name();
            let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".json")) else { continue };
            if let Some(note) = read(&directory, id).map_err(KeyError::latch(&self.directory))?
                && note.state == State::Refused
            {
                notes.push(note);
            }
        }
        notes.sort_by(|a, b| a.time.cmp(&b.time));
        Ok(notes)
    }

    /// Asked before a PIN is read. Returns whether a person has allowed an attempt.
    ///
    /// # Errors
    ///
    /// [`KeyError::PinUnsafe`] if the token is latched.
    pub(super) fn check(&self, token: &TokenFacts) -> Result<bool, KeyError> {
        let directory = self.open()?;
        // An attempt that goes on may end well.
        match read(&directory, &id(token)).map_err(KeyError::latch(&self.directory))? {
            Some(note) if note.state == State::Refused => Err(note.latched()),
            note => Ok(note.is_some_and(|n| n.state == State::Cleared)),
        }
    }

    /// Waits until no other process tries a PIN on `token`, and is told how it ended there.
    ///
    /// # Errors
    ///
    /// [`KeyError::PinUnsafe`] if it ended badly or does not end.
    pub(super) fn attempt(&self, token: &TokenFacts, name: &str, pin: String) -> Result<Attempt, KeyError> {
        let id = id(token);
        let (directory, lock) = self.locked(token)?;
        let found = read(&directory, &id).map_err(KeyError::latch(&self.directory))?;
        let note = Note::new(token, name, pin);
        let is_cleared = match found {
            // Nobody holds the lock, so that process was killed before it knew. A token that was without
            // power since then has nothing to do with it.
            Some(found) if found.state == State::Trying && found.boot == note.boot => {
                return Err(found.latched());
            }
            Some(found) if found.state == State::Refused => return Err(found.latched()),
            Some(found) => found.state == State::Cleared,
            None => false,
        };
        Ok(Attempt { directory, id, note, is_cleared, _lock: lock })
    }

    /// Allows one attempt on `token`. Returns what had latched it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Latch`] if that cannot be noted.
    pub(super) fn clear(&self, token: &TokenFacts, name: &str) -> Result<Option<Note>, KeyError> {
        let id = id(token);
        let (directory, _lock) = self.locked(token)?;
        let found = read(&directory, &id).map_err(KeyError::latch(&self.directory))?;
        let note = Note { state: State::Cleared, ..Note::new(token, name, String::new()) };
        write(&directory, &id, &note).map_err(KeyError::latch(&self.directory))?;
        Ok(found.filter(|note| note.state != State::Cleared))
    }

    fn open(&self) -> Result<PrivateDirectory, KeyError> {
        PrivateDirectory::open_or_create(&self.directory).map_err(KeyError::latch(&self.directory))
    }

    fn locked(&self, token: &TokenFacts) -> Result<(PrivateDirectory, File), KeyError> {
        let failed = || KeyError::latch(&self.directory);
        let directory = self.open()?;
        // It is never removed: a lock on a file without a name would keep nobody out.
        let file =
            directory.file(&format!("{}.lock", id(token)), OFlags::RDWR | OFlags::CREATE).map_err(failed())?;
        if lock(&file, PATIENCE).map_err(failed())? {
            return Ok((directory, file));
        }
        Err(KeyError::PinUnsafe {
            token: token.label.clone(),
            reason: format!("another process has been logging in for {} seconds", PATIENCE.as_secs()),
            hint: "look for a process of hsmsign that hangs, or for a keypad that waits for its PIN".into(),
        })
    }
}

impl Attempt {
    /// Notes that a PIN goes to the token now, so that a process which is killed in between leaves the latch.
    pub(super) fn begin(&self) -> Result<(), KeyError> {
        self.write(&self.note)
    }

    /// The PIN was right, or never came to be judged.
    pub(super) fn end(self) -> Result<(), KeyError> {
        self.directory.remove(&file_name(&self.id)).map_err(KeyError::latch(self.directory.path()))
    }

    /// The token refused the PIN.
    pub(super) fn refuse(self, reason: String) -> Result<(), KeyError> {
        let note = Note { state: State::Refused, reason, ..self.note.clone() };
        self.write(&note)
    }

    fn write(&self, note: &Note) -> Result<(), KeyError> {
        write(&self.directory, &self.id, note).map_err(KeyError::latch(self.directory.path()))
    }
}

impl Note {
    fn new(token: &TokenFacts, name: &str, pin: String) -> Self {
        Self {
            state: State::Trying,
            label: token.label.clone(),
            serial: token.serial.clone(),
            name: name.to_owned(),
            pin,
            reason: String::new(),
            time: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
            pid: std::process::id(),
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }

    /// What happened, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        let Self { pid, pin, reason, .. } = self;
        match self.state {
            State::Refused => format!("it refused the PIN from {pin} ({reason})"),
            State::Trying => format!("process {pid} was killed while it logged in with the PIN from {pin}"),
            State::Cleared => "one attempt is allowed".into(),
        }
    }

    /// Why the token is not tried.
    fn latched(&self) -> KeyError {
        let hint = format!(
            "check the PIN source of token `{0}` in the host settings; then `hsmsign --mode release keys unlatch --token {0}`",
            self.name
        );
        let reason = format!("{}, {}", self.reason(), self.time);
        KeyError::PinUnsafe { token: self.label.clone(), reason, hint }
    }
}

/// What a token's files are named by. A token that is made anew gets another serial number or label.
fn id(token: &TokenFacts) -> String {
    let facts =
        [&token.manufacturer, &token.model, &token.serial, &token.label].map(String::as_str).join("\0");
    let mut hex = HashAlgorithm::Sha256.digest(facts.as_bytes()).to_hex();
    hex.truncate(32);
    hex
}

fn file_name(id: &str) -> String {
    format!("{id}.json")
}

/// What is noted of a token. A note that cannot be understood counts as a refusal.
fn read(directory: &PrivateDirectory, id: &str) -> io::Result<Option<Note>> {
    let file = match directory.file(&file_name(id), OFlags::RDONLY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_NOTE_LEN_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| Note {
        state: State::Refused,
        label: String::new(),
        serial: String::new(),
        name: "NAME".into(),
        pin: "somewhere".into(),
        reason: format!("its note `{}` is damaged", file_name(id)),
        time: String::new(),
        pid: 0,
        boot: String::new(),
    })))
}

fn write(directory: &PrivateDirectory, id: &str, note: &Note) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(note)?;
    bytes.push(b'\n');
    directory.replace(&file_name(id), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(serial: &str) -> TokenFacts {
        let [label, manufacturer, model] = ["hsm", "ACME", "1"].map(str::to_owned);
        TokenFacts { label, manufacturer, model, serial: serial.into() }
    }

    fn latches() -> (tempfile::TempDir, Latches) {
        let directory = tempfile::tempdir().unwrap();
        let latches = Latches::new(directory.path().join("latch"));
        (directory, latches)
    }

    #[test]
    fn a_refusal_latches_that_token_until_it_is_cleared() {
        let (_directory, latches) = latches();
        let attempt = latches.attempt(&token("1"), "factory", "prompt".into()).unwrap();
        attempt.begin().unwrap();
        attempt.refuse("C_Login: CKR_PIN_INCORRECT".into()).unwrap();
        let error = latches.check(&token("1")).unwrap_err();
        assert!(error.to_string().contains("CKR_PIN_INCORRECT"), "{error}");
        assert!(error.hint().unwrap().contains("keys unlatch --token factory"));
        assert!(latches.attempt(&token("1"), "factory", "prompt".into()).is_err());
        assert_eq!(latches.latched().unwrap().len(), 1);
        // Another token is another matter.
        assert!(!latches.check(&token("2")).unwrap());
        assert_eq!(latches.clear(&token("1"), "factory").unwrap().unwrap().state, State::Refused);
        assert!(latches.check(&token("1")).unwrap());
        let attempt = latches.attempt(&token("1"), "factory", "prompt".into()).unwrap();
        assert!(attempt.is_cleared);
        attempt.end().unwrap();
        // The leave was for one attempt.
        assert!(!latches.check(&token("1")).unwrap());
    }

    #[test]
    fn an_attempt_whose_process_was_killed_latches() {
        let (_directory, latches) = latches();
        let attempt = latches.attempt(&token("1"), "factory", "prompt".into()).unwrap();
        attempt.begin().unwrap();
        // It may still end well.
        assert!(!latches.check(&token("1")).unwrap());
        drop(attempt);
        let error = latches.attempt(&token("1"), "factory", "prompt".into()).err().unwrap();
        assert!(error.to_string().contains("was killed"), "{error}");
        // The machine was started since.
        let directory = PrivateDirectory::open(latches.directory()).unwrap();
        let note = read(&directory, &id(&token("1"))).unwrap().unwrap();
        write(&directory, &id(&token("1")), &Note { boot: "before".into(), ..note }).unwrap();
        assert!(latches.attempt(&token("1"), "factory", "prompt".into()).is_ok());
    }

    #[test]
    fn a_note_that_is_damaged_latches() {
        let (_directory, latches) = latches();
        latches.check(&token("1")).unwrap();
        std::fs::write(latches.directory().join(file_name(&id(&token("1")))), "{").unwrap();
        assert!(latches.check(&token("1")).is_err());
        latches.clear(&token("1"), "factory").unwrap();
        assert!(latches.check(&token("1")).unwrap());
    }

    #[test]
    fn a_directory_that_is_a_link_or_open_to_others_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let (directory, latches) = latches();
        let real = directory.path().join("real");
        std::fs::create_dir(&real).unwrap();
        symlink(&real, latches.directory()).unwrap();
        assert!(matches!(latches.check(&token("1")), Err(KeyError::Latch { .. })));
        let latches = Latches::new(real.clone());
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(latches.attempt(&token("1"), "t", String::new()), Err(KeyError::Latch { .. })));
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o700)).unwrap();
        symlink("/dev/null", real.join(file_name(&id(&token("1"))))).unwrap();
        assert!(matches!(latches.check(&token("1")), Err(KeyError::Latch { .. })));
    }
}
