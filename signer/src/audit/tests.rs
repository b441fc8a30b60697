//! The chain under attack, and the log under many hands.

use super::{
    AuditError, HEAD_NAME, Head, LOG_NAME, Log, Requester, Signed,
    chain::{self, Findings},
    record::{Event, MAX_LINE_LEN_BYTES, Record, Token},
};
use crate::{
    request::Format,
    vocabulary::{Mode, Role},
};
use proptest::prelude::*;
use std::{fs, path::Path};

fn signed(artifact: &str) -> Signed {
    Signed {
        mode: Mode::Release,
        rehearsal: false,
        exceptions: Vec::new(),
        role: Role::Fit,
        key: format!("sha256:{}", "ab".repeat(32)),
        token: Token { label: "hsm".into(), serial: "0042".into() },
        format: Format::Fit,
        artifact: artifact.into(),
        identity: "cd".repeat(32),
        algorithm: "rsa-pkcs1-v1_5-sha256".into(),
        digest: format!("sha256:{}", "ef".repeat(32)),
        signature: format!("sha256:{}", "01".repeat(32)),
        requester: Requester::this_process(),
        policy: format!("sha256:{}", "23".repeat(32)),
        tool: "hsmsign test".into(),
    }
}

/// A log with records of these artifacts. Returns its bytes and the head at each record.
fn log_of(artifacts: &[&str]) -> (tempfile::TempDir, Vec<u8>, Vec<Head>) {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::new(directory.path().join("audit"));
    let heads = artifacts.iter().map(|a| log.append(signed(a)).unwrap()).collect();
    let bytes = fs::read(directory.path().join("audit").join(LOG_NAME)).unwrap();
    (directory, bytes, heads)
}

fn verify(bytes: &[u8], anchors: &[Head]) -> Findings {
    chain::verify(bytes, anchors, |_| {}).unwrap()
}

#[track_caller]
fn is_whole(bytes: &[u8], anchors: &[Head]) {
    let findings = verify(bytes, anchors);
    assert_eq!(findings.problems, []);
}

#[track_caller]
fn is_broken(bytes: &[u8], anchors: &[Head], why: &str) {
    let problems = verify(bytes, anchors).problems;
    assert!(problems.iter().any(|p| p.detail.contains(why)), "no `{why}` in {problems:?}");
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn what_was_appended_is_whole_and_in_order() {
    let (_directory, bytes, heads) = log_of(&["a", "b\nc", "d"]);
    is_whole(&bytes, &heads);
    let mut names = Vec::new();
    let findings = chain::verify(bytes.as_slice(), &[], |record| match &record.event {
        Event::Signature(signed) => names.push(signed.artifact.clone()),
        Event::Repair(_) => {}
    });
    assert_eq!(names, ["a", "b\nc", "d"]);
    assert_eq!(findings.unwrap().head, heads[2]);
}

#[test]
fn another_log_object_goes_on_where_the_first_ended() {
    let (directory, _, heads) = log_of(&["a", "b"]);
    let path = directory.path().join("audit");
    let head = Log::new(path.clone()).append(signed("c")).unwrap();
    assert_eq!(head.sequence, 3);
    is_whole(&fs::read(path.join(LOG_NAME)).unwrap(), &[heads[0], heads[1], head]);
}

#[test]
fn deletion_reordering_copies_and_truncation_are_found() {
    let (_directory, bytes, heads) = log_of(&["a", "b", "c", "d"]);
    let lines = lines(&bytes);
    let last = [heads[3]];
    is_broken(&[&lines[1..]].concat().concat(), &last, "record 2 follows record 0: 1 missing");
    is_broken(&[&lines[..1], &lines[2..]].concat().concat(), &last, "record 3 follows record 1: 1 missing");
    let swapped = [&lines[0], &lines[2], &lines[1], &lines[3]].map(|l| l.as_slice()).concat();
    is_broken(&swapped, &last, "record 2 follows record 3");
    let twice = [&lines[0], &lines[0], &lines[1]].map(|l| l.as_slice()).concat();
    is_broken(&twice, &[], "record 1 follows record 1");
    is_broken(&lines[..3].concat(), &last, "names a record that is missing; the last one is 3");
    is_broken(b"", &last, "names a record that is missing; the last one is 0");
    // Without an anchor nobody can tell.
    is_whole(&lines[..3].concat(), &[]);
}

#[test]
fn a_renumbered_record_does_not_fit() {
    let (_directory, bytes, _) = log_of(&["a", "b", "c"]);
    let lines = lines(&bytes);
    let renumbered = String::from_utf8(lines[2].clone()).unwrap().replace("\"sequence\":3", "\"sequence\":2");
    is_broken(&[&lines[0], renumbered.as_bytes()].concat(), &[], "record 2 does not fit");
}

#[test]
fn a_torn_end_is_told_kept_and_repaired() {
    let (directory, whole, heads) = log_of(&["a", "b"]);
    let path = directory.path().join("audit").join(LOG_NAME);
    let next = b"{\"version\":1,\"sequence\":3,\"prev";
    for torn in [&next[..], b"{", b"garbage\nmore\n", b"\0\0\0\0", b"\n"] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        let before = fs::read(&path).unwrap();
        let findings = verify(&before, &[heads[1]]);
        assert_eq!((findings.problems, findings.notes.len()), (vec![], 1), "{torn:?}");
        fs::write(directory.path().join("audit").join(HEAD_NAME), format!("{}\n", heads[1])).unwrap();
        let head = Log::new(directory.path().join("audit")).append(signed("c")).unwrap();
        assert_eq!(head.sequence, 4);
        let after = fs::read(&path).unwrap();
        assert!(after.starts_with(&before), "nothing is cut");
        let findings = verify(&after, &[heads[1], head]);
        assert_eq!((findings.problems, findings.records), (vec![], 4), "{torn:?}");
        assert!(findings.notes[0].detail.contains("a crash left"), "{:?}", findings.notes);
        // What was torn is covered by the chain from now on.
        let mut edited = after.clone();
        edited[before.len() - 1] ^= 0x20;
        assert!(!verify(&edited, &[]).problems.is_empty(), "{torn:?}");
    }
}

#[test]
fn a_torn_first_record_is_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::new(directory.path().join("audit"));
    log.prepare().unwrap();
    fs::write(directory.path().join("audit").join(LOG_NAME), "{\"ver").unwrap();
    let head = log.append(signed("a")).unwrap();
    let bytes = fs::read(directory.path().join("audit").join(LOG_NAME)).unwrap();
    assert_eq!((head.sequence, verify(&bytes, &[head]).problems), (2, vec![]));
}

#[test]
fn a_record_that_lacks_its_line_break_alone_counts() {
    let (directory, whole, heads) = log_of(&["a", "b"]);
    let path = directory.path().join("audit").join(LOG_NAME);
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let head = Log::new(directory.path().join("audit")).append(signed("c")).unwrap();
    let after = fs::read(&path).unwrap();
    assert!(after.starts_with(&whole));
    is_whole(&after, &[heads[1], head]);
}

#[test]
fn a_log_that_lost_records_is_not_added_to() {
    let (directory, bytes, heads) = log_of(&["a", "b"]);
    let audit = directory.path().join("audit");
    let write = |bytes: &[u8]| fs::write(audit.join(LOG_NAME), bytes).unwrap();
    let append = || Log::new(audit.clone()).append(signed("c"));
    write(&lines(&bytes)[0]);
    assert!(matches!(append(), Err(AuditError::Truncated { head, .. }) if head == heads[1]));
    write(b"");
    assert!(matches!(append(), Err(AuditError::Truncated { .. })));
    fs::remove_file(audit.join(LOG_NAME)).unwrap();
    assert!(matches!(append(), Err(AuditError::Truncated { .. })));
    let edited =
        String::from_utf8(bytes.clone()).unwrap().replace("\"artifact\":\"b\"", "\"artifact\":\"x\"");
    write(edited.as_bytes());
    assert!(matches!(append(), Err(AuditError::Edited { sequence: 2, .. })));
    write(&bytes);
    for head in ["", "nonsense\n", "2:\n"] {
        fs::write(audit.join(HEAD_NAME), head).unwrap();
        assert!(matches!(append(), Err(AuditError::Head { .. })), "{head}");
    }
    fs::remove_file(audit.join(HEAD_NAME)).unwrap();
    assert!(matches!(append(), Err(AuditError::Head { .. })));
    fs::write(audit.join(HEAD_NAME), format!("{}\n", heads[1])).unwrap();
    assert_eq!(append().unwrap().sequence, 3);
}

#[test]
fn a_log_moved_away_while_open_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let log = Log::new(audit.clone());
    log.append(signed("a")).unwrap();
    fs::rename(&audit, directory.path().join("old")).unwrap();
    assert_eq!(log.append(signed("b")).unwrap().sequence, 1);
    is_whole(&fs::read(audit.join(LOG_NAME)).unwrap(), &[]);
}

#[test]
fn many_threads_over_several_logs_make_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let logs = [Log::new(directory.path().join("audit")), Log::new(directory.path().join("audit"))];
    let mut heads: Vec<Head> = Vec::new();
    std::thread::scope(|scope| {
        let work = |index: usize| {
            let log = &logs[index % 2];
            move || (0..25).map(|n| log.append(signed(&format!("{index}/{n}"))).unwrap()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|index| scope.spawn(work(index))).collect();
        heads = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    });
    let bytes = fs::read(directory.path().join("audit").join(LOG_NAME)).unwrap();
    let findings = verify(&bytes, &heads);
    assert_eq!((findings.problems, findings.records), (vec![], 200));
    heads.sort_by_key(|h| h.sequence);
    assert!(heads.iter().map(|h| h.sequence).eq(1..=200), "each record has one writer");
}

#[test]
fn names_of_any_length_fit_a_line() {
    let (_directory, bytes, heads) = log_of(&[&"\u{1}\u{2028}\"".repeat(40_000), "b"]);
    is_whole(&bytes, &heads);
    assert!(lines(&bytes).iter().all(|l| l.len() <= MAX_LINE_LEN_BYTES));
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, _, _) = log_of(&["a"]);
    let audit = directory.path().join("audit");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, open, good) in [
        (audit.clone(), 0o777, 0o700),
        (audit.join(LOG_NAME), 0o666, 0o600),
        (audit.join(HEAD_NAME), 0o620, 0o600),
    ] {
        set(&path, open);
        let error = Log::new(audit.clone()).append(signed("b")).unwrap_err();
        assert!(matches!(error, AuditError::Unsafe { .. }), "{error}");
        set(&path, good);
    }
    Log::new(audit).append(signed("b")).unwrap();
}

#[test]
fn a_line_too_long_to_be_a_record_costs_no_memory_and_is_told() {
    let (_directory, bytes, _) = log_of(&["a"]);
    let zeros = vec![0; MAX_LINE_LEN_BYTES * 3];
    let findings = verify(&[&bytes[..], &zeros].concat(), &[]);
    assert_eq!((findings.problems.len(), findings.notes.len()), (0, 1));
    is_broken(&[&zeros[..], b"\n", &bytes].concat(), &[], "record 1 does not fit");
}

#[test]
fn unknown_fields_of_later_versions_are_passed_over() {
    let (_directory, bytes, _) = log_of(&["a"]);
    let later =
        String::from_utf8(bytes).unwrap().replace("{\"version\":1", "{\"approvals\":[],\"version\":2");
    assert!(Record::parse(later.trim_end().as_bytes()).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever single byte is changed, taken out or put in, the chain or the anchor tells.
    #[test]
    fn every_edit_of_one_byte_is_found(at in 0.0..1.0_f64, byte: u8, kind in 0..3) {
        let (_directory, bytes, heads) = log_of(&["a", "b", "c"]);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short log")]
        let at = (at * (bytes.len() as f64)) as usize;
        let mut edited = bytes.clone();
        match kind {
            0 => edited[at] = byte,
            1 => edited.insert(at, byte),
            _ => { edited.remove(at); }
        }
        prop_assume!(edited != bytes);
        let findings = verify(&edited, &[heads[2]]);
        // A byte that is missing at the very end, or follows it, is what a crash leaves.
        prop_assert!(!findings.problems.is_empty() || !findings.notes.is_empty());
        prop_assert!(!findings.problems.is_empty() || edited.starts_with(&bytes[..bytes.len() - 1]));
    }

    #[test]
    fn arbitrary_bytes_are_read_to_their_end(bytes: Vec<u8>) {
        let _ = verify(&bytes, &[Head::empty()]);
    }
}
