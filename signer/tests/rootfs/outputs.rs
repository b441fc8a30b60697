//! Kills, failed writes and a full disk: the old files or the new ones.

use super::*;

/// A process killed at any moment leaves the old outputs or the new ones, whole.
#[test]
fn a_kill_leaves_whole_files() {
    let bench = Bench::new();
    bench.write("old", image(BLOCKS * BLOCK));
    bench.write("image", image(64 << 20));
    sign(&bench, "old", "out", &[]).exits(0);
    let suffixes = ["", ".roothash", ".roothash.p7s", ".verity.json"];
    let outputs = |name: &str| suffixes.map(|s| bench.read(&format!("{name}{s}")));
    let old = outputs("out");
    sign(&bench, "image", "expected", &[]).exits(0);
    let new = outputs("expected");
    let mut killed = 0;
    for delay_ms in [5, 20, 40, 80, 120, 200, 300] {
        let arguments = ["sign", "rootfs", "image", "-o", "out"];
        let mut child =
            bench.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        for (found, (old, new)) in outputs("out").iter().zip(old.iter().zip(&new)) {
            assert!(found == old || found == new, "after {delay_ms} ms");
        }
    }
    assert!(killed > 0);
    sign(&bench, "image", "out", &[]).exits(0);
    verify(&bench, &["out"]).exits(0);
}

/// A file size limit stands in for a full disk: writes fail in the same way.
#[test]
fn a_failed_write_is_an_error_and_leaves_the_old_output() {
    let bench = signed(&[]);
    let old = bench.read("out");
    let files = bench.files();
    bench.write("image", image(4 << 20));
    let script = r#"trap '' XFSZ; ulimit -f 4000; exec "$0" sign rootfs image -o out"#;
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_hsmsign")])
        .current_dir(bench.directory())
        .env("HSMSIGN_DEV_DIR", bench.path(".hsmsign"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("`out`"), "{stderr}");
    assert!(bench.read("out") == old);
    assert_eq!(bench.files(), files, "nothing is left behind");
}

/// The same on a file system that is really full, where one may be mounted.
#[test]
fn a_full_disk_is_an_error_and_leaves_the_old_output() {
    let bench = signed(&[]);
    let old = bench.read("out");
    bench.write("image", image(3 << 20));
    let script = r#"
        mkdir full && mount -t tmpfs -o size=2560k tmpfs full || exit 77
        cp out full/out || exit 77
        "$0" sign rootfs image -o full/out
        code=$?
        cmp out full/out || exit 99
        [ "$(ls -A full)" = out ] || exit 98
        exit $code"#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_hsmsign")])
        .current_dir(bench.directory())
        .env("HSMSIGN_DEV_DIR", bench.path(".hsmsign"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || stderr.contains("unshare") {
        eprintln!("SKIPPED: no file system can be mounted here: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("`full/out`"), "{stderr}");
    assert!(bench.read("out") == old);
}
