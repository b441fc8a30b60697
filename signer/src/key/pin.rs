//! Release PINs: read from where the host settings say, kept in memory that is wiped, shown nowhere.

use super::KeyError;
use crate::config::PinSource;
use rustix::{
    fs::{Mode, OFlags},
    process::{DumpableBehavior, Resource, Rlimit},
    termios::{self, LocalModes, OptionalActions, SpecialCodeIndex},
};
use std::{
    fs::File,
    io::{Read, Write as _},
    path::{Path, PathBuf},
};
use zeroize::{Zeroize as _, Zeroizing};

/// A token's PIN. Wiped when dropped.
pub(super) type Pin = Zeroizing<String>;

/// Longest PIN, in bytes; PKCS#11 tokens take far shorter ones.
const MAX_LEN_BYTES: usize = 255;

/// Keeps what this process holds in memory out of core dumps and from other processes of the user.
///
/// To be called before a PIN is read.
pub(super) fn protect_memory() {
    // Both hold at their best effort: a kernel without them is no reason not to sign.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Reads the PIN of `token`.
///
/// # Errors
///
/// [`KeyError::Pin`], which never shows what was read.
pub(super) fn read(source: &PinSource, token: &str) -> Result<Pin, KeyError> {
    let refuse = |(reason, hint): (String, &str)| KeyError::Pin {
        token: token.to_owned(),
        source_name: source.to_string(),
        reason,
        hint: hint.to_owned(),
    };
    let bytes = match source {
        PinSource::Prompt => prompt(token),
        PinSource::File(path) => file(path),
        PinSource::Fd(number) => descriptor(*number),
        PinSource::Credential(name) => credential(name),
    };
    bytes.and_then(pin).map_err(refuse)
}

type Failure = (String, &'static str);

const FILE_HINT: &str = "the file must be yours or root's, with mode 0600 or less (root's own may be 0640)";

fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |e: rustix::io::Errno| (e.to_string(), FILE_HINT);
    // Not blocking, so that a FIFO in the file's place is refused rather than waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(("not a regular file".into(), FILE_HINT));
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != own {
        return Err(("it belongs to another user".into(), FILE_HINT));
    }
    // Who can write the directory could give another secret of the user's this name as well.
    if stat.st_nlink > 1 {
        return Err(("it has several names (hard links)".into(), FILE_HINT));
    }
    // `root:signers 0640` is how a service reads what it cannot change.
    let permitted = if stat.st_uid == 0 && own != 0 { 0o640 } else { 0o600 };
    if stat.st_mode & 0o777 & !permitted != 0 {
        return Err((format!("its mode is {:04o}", stat.st_mode & 0o777), FILE_HINT));
    }
    contents(File::from(file))
}

fn descriptor(number: u16) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const HINT: &str = "open it for this command, as in `hsmsign … 3< pin`";
    // Every file that this program opens itself is closed on exec, so what is not was inherited. Without
    // this check the number could be that of the artifact, whose bytes would go to the token as a PIN.
    const O_CLOEXEC: u32 = OFlags::CLOEXEC.bits();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))
        .map_err(|_| ("it is not open".into(), HINT))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok()).unwrap_or(O_CLOEXEC);
    if flags & O_CLOEXEC != 0 {
        return Err(("it is not inherited".into(), HINT));
    }
    // Safe Rust cannot adopt a number as a descriptor; /proc opens the same pipe or file again.
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    contents(File::open(path).map_err(|e| (e.to_string(), HINT))?)
}

fn credential(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const HINT: &str = "start the command from a unit with `LoadCredential=` or `LoadCredentialEncrypted=`";
    let directory =
        std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(("CREDENTIALS_DIRECTORY is not set".into(), HINT))?;
    if name.contains('/') || name.starts_with('.') {
        return Err(("its name is no plain file name".into(), HINT));
    }
    file(&Path::new(&directory).join(name))
}

fn contents(file: File) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Sized once: a buffer that grows would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(vec![0; MAX_LEN_BYTES + 3]);
    let mut len = 0;
    let mut file = file;
    while let Some(rest) = bytes.get_mut(len..).filter(|r| !r.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err((e.to_string(), "")),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The first line's characters; a line break at the end does not count.
fn pin(mut bytes: Zeroizing<Vec<u8>>) -> Result<Pin, Failure> {
    const HINT: &str = "a PIN is one line of text";
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ("it is not UTF-8 text".into(), HINT))?;
    if text.is_empty() {
        return Err(("it is empty".into(), HINT));
    }
    if text.len() > MAX_LEN_BYTES {
        return Err((format!("it is longer than {MAX_LEN_BYTES} bytes"), HINT));
    }
    if text.chars().any(char::is_control) {
        return Err(("it has control characters or several lines".into(), HINT));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Asks on the terminal itself, whatever standard input and output are.
fn prompt(token: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const HINT: &str = "without a terminal, name a file, descriptor or credential in the host settings";
    let failed = |e: std::io::Error| (format!("no terminal to ask on: {e}"), HINT);
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let quiet = Quiet::new(&terminal).map_err(|e| failed(e.into()))?;
    write!(terminal, "PIN of token `{token}`: ").map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN_BYTES + 1));
    let mut typed = [0];
    loop {
        let read = terminal.read(&mut typed).map_err(failed)?;
        let [key] = typed;
        typed.zeroize();
        match (read, key) {
            (0, _) | (_, b'\r' | b'\n' | 0x04) => break,
            // Ctrl-C comes as a character, so that the terminal is set right before the command ends.
            (_, 0x03) => {
                let _ = writeln!(terminal);
                return Err(("cancelled".into(), ""));
            }
            (_, 0x7f | 0x08) => {
                bytes.pop();
            }
            (_, 0x15) => bytes.clear(),
            (_, other) if bytes.len() <= MAX_LEN_BYTES => bytes.push(other),
            _ => {}
        }
    }
    drop(quiet);
    let _ = writeln!(terminal);
    Ok(bytes)
}

/// A terminal that shows nothing of what is typed, until dropped.
struct Quiet {
    terminal: File,
    before: termios::Termios,
}

impl Quiet {
    fn new(terminal: &File) -> rustix::io::Result<Self> {
        let terminal = File::from(rustix::io::dup(terminal)?);
        let before = termios::tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn write(directory: &Path, mode: u32, bytes: &[u8]) -> PathBuf {
        let path = directory.join(format!("pin-{mode:o}-{}", bytes.len()));
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_file_gives_its_line() {
        let directory = tempfile::tempdir().unwrap();
        for bytes in [&b"12 34"[..], b"12 34\n", b"12 34\r\n"] {
            let path = write(directory.path(), 0o600, bytes);
            assert_eq!(*read(&PinSource::File(path), "t").unwrap(), "12 34");
        }
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o604, 0o620, 0o640, 0o666] {
            let path = write(directory.path(), mode, b"secret-1234");
            let error = read(&PinSource::File(path), "t").unwrap_err().to_string();
            assert!(error.contains("mode is") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn links_fifos_and_directories_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink(write(directory.path(), 0o600, b"1234"), &link).unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        // It holds a PIN, which ends: so it is not refused for being empty, or for having no end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let _keeps_it = rustix::fs::open(&fifo, flags, Mode::empty()).unwrap();
        File::options().write(true).open(&fifo).unwrap().write_all(b"1234\n").unwrap();
        for path in [link, fifo, directory.path().to_owned(), directory.path().join("missing")] {
            assert!(read(&PinSource::File(path), "t").is_err());
        }
    }

    #[test]
    fn a_file_of_another_user_or_with_a_second_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), 0o600, b"secret-1234");
        std::fs::hard_link(&path, directory.path().join("second")).unwrap();
        let refused = |path: &Path| read(&PinSource::File(path.to_owned()), "t").unwrap_err().to_string();
        assert!(refused(&path).contains("hard links"));
        if rustix::process::geteuid().is_root() {
            let path = write(directory.path(), 0o600, b"secret-12345");
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            assert!(refused(&path).contains("belongs to another user"));
        }
    }

    /// Somebody puts a link in the file's place and takes it away again, as fast as can be.
    #[test]
    fn a_link_that_comes_and_goes_is_never_followed() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::rename(write(directory.path(), 0o600, b"planted"), at("planted")).unwrap();
        let own = write(directory.path(), 0o600, b"own-pin");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    symlink(at("planted"), at("link")).unwrap();
                    std::fs::rename(at("link"), at("pin")).unwrap();
                    std::fs::copy(&own, at("copy")).unwrap();
                    std::fs::rename(at("copy"), at("pin")).unwrap();
                }
            });
            let mut taken = (0..4000).filter_map(|_| read(&PinSource::File(at("pin")), "t").ok());
            let foreign = taken.find(|pin| **pin != "own-pin");
            stop.store(true, Ordering::Relaxed);
            assert!(foreign.is_none());
        });
    }

    /// How often `masked`, whose bytes are turned over, stands in what this process can write: heap and stacks.
    fn copies_in_memory(masked: &[u8]) -> usize {
        use std::os::unix::fs::FileExt as _;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut copies = 0;
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            // Wiped, as it may lie in one of the mappings itself; what stands once may be counted more often.
            let mut bytes = Zeroizing::new(vec![0; usize::try_from(end - start).unwrap()]);
            let read = memory.read_at(&mut bytes, start).unwrap_or(0);
            let found = |window: &[u8]| window.iter().zip(masked).all(|(byte, masked)| *byte == !masked);
            copies += bytes[..read].windows(masked.len()).filter(|window| found(window)).count();
        }
        copies
    }

    #[test]
    fn memory_holds_a_pin_until_it_is_dropped_and_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        // Never whole in memory but where it is looked for.
        let masked: Vec<u8> = (0..24).map(|i| !(b'a' + i * 7 % 26)).collect();
        let path = {
            let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(masked.iter().map(|b| !b).collect());
            write(directory.path(), 0o600, &bytes)
        };
        assert_eq!(copies_in_memory(&masked), 0);
        let pin = read(&PinSource::File(path), "t").unwrap();
        assert_ne!(copies_in_memory(&masked), 0);
        drop(pin);
        assert_eq!(copies_in_memory(&masked), 0);
    }

    #[test]
    fn what_is_no_pin_is_refused_without_being_shown() {
        let directory = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"\n", b"secret\nsecond", b"secret\0", b"\xff\xfe", &[b'1'; 300]] {
            let path = write(directory.path(), 0o600, bytes);
            let error = read(&PinSource::File(path), "t").unwrap_err();
            assert!(!format!("{error}{error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_descriptor_of_our_own_is_never_taken_for_the_pins() {
        use std::os::fd::AsRawFd as _;
        let (reader, writer) = std::io::pipe().unwrap();
        File::from(std::os::fd::OwnedFd::from(writer)).write_all(b"4321\n").unwrap();
        let number = u16::try_from(reader.as_raw_fd()).unwrap();
        assert!(read(&PinSource::Fd(number), "t").unwrap_err().to_string().contains("not inherited"));
        rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
        assert_eq!(*read(&PinSource::Fd(number), "t").unwrap(), "4321");
        assert!(read(&PinSource::Fd(65_000), "t").is_err());
    }
}
