//! `sign blob` and `verify blob` with the real binary, judged by OpenSSL.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Bench, Outcome, find_tool};

fn bench(algorithm: &str) -> Bench {
    let bench = Bench::new();
    bench.write("hsmsign.yaml", format!("version: 1\nproduct: test\nroles:\n  update: {{ {algorithm} }}\n"));
    bench.write("blob", vec![7; 3_000_001]);
    bench.hsmsign(&["keys", "certificate", "--role", "update", "-o", "update.pem"]).exits(0);
    bench.hsmsign(&["keys", "public", "--role", "update", "-o", "update.pub"]).exits(0);
    bench
}

fn sign(bench: &Bench, format: &str, output: &str) -> Outcome {
    bench.hsmsign(&["sign", "blob", "blob", "--role", "update", "--format", format, "-o", output])
}

fn verify(bench: &Bench, format: &str, signature: &str, more: &[&str]) -> Outcome {
    let head = ["verify", "blob", "blob", "--role", "update", "--format", format, "--signature", signature];
    bench.hsmsign(&[&head[..], more].concat())
}

fn flip(bench: &Bench, name: &str, from_end: usize) {
    let mut bytes = bench.read(name);
    let place = bytes.len() - from_end;
    bytes[place] ^= 1;
    bench.write(name, bytes);
}

/// OpenSSL on both forms.
fn openssl_accepts(bench: &Bench, hash: &str, options: &[&str]) -> Option<[bool; 2]> {
    let openssl = find_tool("openssl")?;
    let hash = format!("-{hash}");
    let raw = ["dgst", &hash, "-verify", "update.pub", "-signature", "raw"];
    let raw = bench.try_tool(&openssl, &[&raw[..], options, &["blob"]].concat()).code == 0;
    let cms = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "cms", "-content", "blob"];
    let more = ["-CAfile", "update.pem", "-purpose", "any", "-out", "/dev/null"];
    let cms = bench.try_tool(&openssl, &[&cms[..], &more].concat()).code == 0;
    Some([raw, cms])
}

#[test]
fn openssl_accepts_both_forms_of_every_algorithm_and_refuses_changes() {
    for (algorithm, hash, options) in [
        ("algorithm: rsa2048", "sha256", &[][..]),
        ("algorithm: rsa3072, padding: pss, hash: sha384", "sha384", &["-sigopt", "rsa_padding_mode:pss"]),
        ("algorithm: ecdsa-p256", "sha256", &[]),
        ("algorithm: ecdsa-p384, hash: sha384", "sha384", &[]),
    ] {
        let bench = bench(algorithm);
        for format in ["raw", "cms"] {
            sign(&bench, format, format).exits(0);
            verify(&bench, format, format, &[]).exits(0);
            verify(&bench, format, format, &["--trust", "update.pem"]).exits(0);
            verify(&bench, format, format, &["--trust", "update.pub"]).exits(0);
        }
        if let Some(judged) = openssl_accepts(&bench, hash, options) {
            assert_eq!(judged, [true, true], "{algorithm}");
        }
        flip(&bench, "blob", 1_000_000);
        for format in ["raw", "cms"] {
            verify(&bench, format, format, &[]).exits(7);
        }
        if let Some(judged) = openssl_accepts(&bench, hash, options) {
            assert_eq!(judged, [false, false], "{algorithm}");
        }
    }
}

#[test]
fn changed_signatures_and_other_keys_are_refused() {
    let bench = bench("algorithm: rsa2048");
    bench.hsmsign(&["keys", "certificate", "--role", "rootfs", "-o", "rootfs.pem"]).exits(0);
    for format in ["raw", "cms"] {
        sign(&bench, format, format).exits(0);
        verify(&bench, format, format, &["--trust", "rootfs.pem"]).exits(7);
        let role = ["verify", "blob", "blob", "--role", "rootfs", "--format", format, "--signature", format];
        bench.hsmsign(&role).exits(7);
        flip(&bench, format, 20);
        verify(&bench, format, format, &[]).exits(7);
        flip(&bench, format, 20);
        let bytes = bench.read(format);
        bench.write(format, &bytes[..bytes.len() - 1]);
        verify(&bench, format, format, &[]).exits(if format == "raw" { 7 } else { 6 });
        bench.write(format, b"");
        verify(&bench, format, format, &[]).exits(if format == "raw" { 7 } else { 6 });
    }
    bench.write("long", vec![0; 100_000]);
    verify(&bench, "raw", "long", &[]).exits(6);
}

#[test]
fn nothing_is_written_when_nothing_is_signed() {
    let bench = bench("algorithm: rsa2048");
    let before = bench.files();
    let off = ["--mode", "off", "sign", "blob", "blob", "--role", "update", "--format", "raw", "-o", "s"];
    bench.hsmsign(&off).exits(4);
    bench.hsmsign(&["sign", "blob", "gone", "--role", "update", "--format", "raw", "-o", "s"]).exits(8);
    bench.hsmsign(&["sign", "blob", "blob", "--role", "none", "--format", "raw", "-o", "s"]).exits(2);
    bench.hsmsign(&["sign", "blob", "blob", "--role", "update", "--format", "raw", "-o", "no/s"]).exits(8);
    assert_eq!(bench.files(), before);
}

#[test]
fn the_input_is_not_overwritten() {
    let bench = bench("algorithm: ecdsa-p256");
    std::fs::hard_link(bench.path("blob"), bench.path("other-name")).unwrap();
    for format in ["raw", "cms"] {
        for output in ["blob", "./blob", "other-name"] {
            sign(&bench, format, output).exits(2).says("would be overwritten").says("hint: ");
        }
    }
    assert!(bench.read("blob") == vec![7; 3_000_001]);
}

#[test]
fn fifos_and_directories_are_neither_read_nor_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let Some(mkfifo) = find_tool("mkfifo") else { return };
    let bench = bench("algorithm: ecdsa-p256");
    bench.tool(&mkfifo, &["fifo"]);
    std::fs::create_dir(bench.path("directory")).unwrap();
    let before = bench.files();
    for output in ["fifo", "directory"] {
        sign(&bench, "raw", output).exits(8).says("cannot replace").says("not a regular file");
    }
    assert!(std::fs::metadata(bench.path("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(bench.files(), before);
    // Nobody writes into the FIFO: whoever waits for that waits for ever.
    let read = ["sign", "blob", "fifo", "--role", "update", "--format", "raw", "-o", "raw"];
    bench.hsmsign(&read).exits(8).says("not a regular file");
    verify(&bench, "raw", "fifo", &[]).exits(8).says("not a regular file");
    sign(&bench, "raw", "raw").exits(0);
    verify(&bench, "raw", "raw", &["--trust", "fifo"]).exits(8).says("not a regular file");
    // A link is replaced itself.
    std::os::unix::fs::symlink("fifo", bench.path("link")).unwrap();
    sign(&bench, "raw", "link").exits(0);
    assert!(std::fs::symlink_metadata(bench.path("link")).unwrap().is_file());
}

#[test]
fn a_huge_file_of_trusted_keys_is_refused_unread() {
    let bench = bench("algorithm: ecdsa-p256");
    sign(&bench, "raw", "raw").exits(0);
    let huge = std::fs::File::create(bench.path("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    verify(&bench, "raw", "raw", &["--trust", "huge"]).exits(8).says("at most 1048576");
}

#[test]
fn any_path_that_the_system_takes_will_do() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let bench = Bench::new();
    let name = OsStr::from_bytes(b"we ird\n\xff");
    std::fs::write(bench.directory().join(name), b"content").unwrap();
    let output = OsStr::from_bytes(b" signature\t\xfe.sig");
    let sign = ["--json", "sign", "blob", "--role", "update", "--format", "cms"].map(OsStr::new);
    let arguments = [&sign[..], &[name, OsStr::new("-o"), output]].concat();
    let result = bench.hsmsign(&arguments).exits(0).stdout;
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["signature"], " signature\t\u{fffd}.sig");
    let verify = ["verify", "blob", "--role", "update", "--format", "cms", "--signature"].map(OsStr::new);
    let outcome = bench.hsmsign(&[&verify[..], &[output, name]].concat()).exits(0);
    assert!(outcome.stdout.lines().all(|line| line.starts_with("ok ") || line.starts_with("signed ")));

    let rootfs = ["--json", "sign", "rootfs", "-o"].map(OsStr::new);
    let result = bench.hsmsign(&[&rootfs[..], &[output, name]].concat()).exits(0).stdout;
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["description"], " signature\t\u{fffd}.sig.verity.json");
}

#[test]
fn an_output_that_cannot_be_written_says_what_helps() {
    let bench = Bench::new();
    bench.write("input", b"x");
    let sign = ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o"];
    let outcome = bench.hsmsign(&[&sign[..], &["no/such/out"]].concat()).exits(8);
    let outcome = outcome.says("error: cannot create `no/such/out`: No such file or directory");
    assert!(!outcome.says("hint: make the directory `no/such` first").stderr.contains(".tmp"));
    std::fs::create_dir(bench.path("taken")).unwrap();
    bench.hsmsign(&[&sign[..], &["taken"]].concat()).exits(8).says("not a regular file");
}
