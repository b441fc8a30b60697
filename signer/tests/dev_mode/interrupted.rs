//! Several processes at once, kills and a full disk: the keys are whole, and one set.

use super::*;

#[test]
fn twenty_processes_at_once_make_one_set_of_keys() {
    let bench = bench();
    let children: Vec<_> = (0..20)
        .map(|n| {
            let output = format!("signature-{n}");
            let arguments = [
                "--dev-dir",
                "dev",
                "sign",
                "blob",
                "input",
                "--role",
                "fit",
                "--format",
                "raw",
                "-o",
                &output,
            ];
            bench.command(&arguments).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // PKCS#1 v1.5 is deterministic: the same bytes, the same key.
    let signatures: BTreeSet<_> = (0..20).map(|n| bench.read(&format!("signature-{n}"))).collect();
    assert_eq!(signatures.len(), 1);
    assert_eq!(fs::read_dir(bench.path("dev/tokens")).unwrap().count(), 1);
}

#[test]
fn parallel_tasks_do_not_disturb_each_other() {
    let bench = bench();
    signs(&bench, "dev");
    // SoftHSMv2 alone loses about one login in thirty here.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let bench = &bench;
            scope.spawn(move || {
                for _ in 0..12 {
                    let output = format!("signature-{thread}");
                    let words = ["--dev-dir", "dev", "sign", "blob", "input", "--role", "fit"];
                    bench.hsmsign(&[&words[..], &["--format", "raw", "-o", &output]].concat()).exits(0);
                }
            });
        }
    });
}

#[test]
fn a_kill_at_any_moment_is_mended_by_the_next_use() {
    let bench = bench();
    for milliseconds in [5, 12, 20, 40, 80, 150, 300, 500, 800, 1200] {
        let mut child = bench
            .command(&[&["--dev-dir", "dev"], &SIGN[..]].concat())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    signs(&bench, "dev");
    assert_eq!(fs::read_dir(bench.path("dev/tokens")).unwrap().count(), 1);
}

#[test]
fn a_kill_while_softhsm_rewrites_its_token_is_mended_by_the_next_use() {
    let bench = bench();
    let before = signs(&bench, "dev");
    let token = fs::read_dir(bench.path("dev/tokens")).unwrap().next().unwrap().unwrap().path();
    let object = token.join("token.object");
    let whole = fs::read(&object).unwrap();
    for len in [0, whole.len() / 2] {
        fs::write(&object, &whole[..len]).unwrap();
        assert_eq!(signs(&bench, "dev"), before, "{len}");
    }
}

#[test]
fn every_interrupted_step_is_done_again() {
    let bench = bench();
    // As a kill leaves them: what comes after the missing file is missing, or is half of it.
    for (missing, same_key) in [
        ("certificates/fit-rsa2048.pem", false),
        ("token", false),
        ("softhsm2.conf", true),
        (".gitignore", true),
    ] {
        let before = signs(&bench, "dev");
        fs::remove_file(bench.path("dev").join(missing)).unwrap();
        if missing == "token" {
            fs::remove_dir_all(bench.path("dev/certificates")).unwrap();
        }
        assert_eq!(signs(&bench, "dev") == before, same_key, "{missing}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_what_was_begun_is_finished_later() {
    if !is_root() {
        common::skip("only root can mount a small file system");
        return;
    }
    let bench = bench();
    // A mount namespace of its own, so that nothing is left behind.
    let program = bench.command(&SIGN).get_program().to_str().unwrap().to_owned();
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=48k,nr_inodes=2000 none small || exit 77; \
         {program} --dev-dir small/dev {sign}; first=$?; mount -o remount,size=4m small; \
         {program} --dev-dir small/dev {sign} || exit 1; [ $first = 5 ] || [ $first = 8 ]",
        sign = SIGN.join(" ")
    );
    let Some(unshare) = find_tool("unshare") else { return };
    let outcome = bench.try_tool(&unshare, &["-m", "/bin/sh", "-c", &script]);
    if outcome.code == 77 || outcome.stderr.contains("unshare failed") {
        eprintln!("SKIPPED: mounting is not permitted here");
        return;
    }
    outcome.exits(0);
}
