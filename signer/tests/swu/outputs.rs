//! Bad input, kills and a full disk: the old bundle or the new one, and nothing between.

use super::*;

#[test]
fn what_does_not_fit_together_is_refused_and_leaves_nothing() {
    let bench = cms();
    let directory = bench.path("d");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("app.bin"), b"x").unwrap();
    File::create(bench.path("huge.img")).unwrap().set_len(1 << 32).unwrap();
    bench.write("unnamed", b"x");
    let other = "0".repeat(63) + "1";
    let entry = |entry: &str| format!("software = {{ images: ( {{ {entry} }} ); }};");
    for (name, text) in [
        ("huge", entry("filename = \"huge.img\";")),
        ("wrong", entry(&format!("filename = \"app.bin\";\n sha256 = \"{other}\";"))),
        ("variable", entry("filename = \"app.bin\"; version = \"@@VERSION@@\";")),
        ("include", "@include \"other\"\n".to_owned() + &entry("filename = \"app.bin\";")),
        ("broken", entry("filename = \"app.bin\"; (")),
    ] {
        bench.write(name, text);
    }
    bench.write("no.swu", b"old");
    let before = bench.files();
    for (description, images, code, reason) in [
        ("sw-description", &["rootfs.img"][..], 6, "line 7: `app.bin` is named, but not given"),
        (
            "sw-description",
            &["rootfs.img", "app.bin", "unnamed"],
            6,
            "`unnamed` is not named in sw-description",
        ),
        ("sw-description", &["rootfs.img", "app.bin", "d/app.bin"], 6, "two files are named `app.bin`"),
        ("sw-description", &["rootfs.img", "gone"], 8, "gone"),
        ("sw-description", &["rootfs.img", "d"], 8, "not a regular file"),
        ("gone", &["rootfs.img"], 8, "gone"),
        ("huge", &["huge.img"], 6, "`huge.img` has 4294967296 bytes"),
        ("wrong", &["app.bin"], 6, "line 2: the sha256 of `app.bin` is 0000"),
        ("variable", &["app.bin"], 6, "placeholder `@@VERSION@@` is not filled in"),
        ("include", &["app.bin"], 6, "line 1: `@include`"),
        ("broken", &["app.bin"], 6, "line 1: expected a setting"),
        ("rootfs.img", &["app.bin"], 6, "rootfs.img"),
    ] {
        let head = ["sign", "swu", "--description", description, "-o", "no.swu", "--image"];
        let outcome = bench.hsmsign(&[&head[..], images].concat()).exits(code).says(reason);
        assert_eq!(bench.files(), before, "{outcome:?}");
        assert_eq!(bench.read("no.swu"), b"old");
    }
    // Outputs that are inputs.
    sign(&bench, "rootfs.img").exits(2).says("would be overwritten");
    sign(&bench, "sw-description").exits(2).says("would be overwritten");
    bench.hsmsign(&["sign", "swu", "-o", "no.swu"]).exits(2);
    bench.hsmsign(&["sign", "swu", "x", "--description", "sw-description", "-o", "no.swu"]).exits(2);
    bench
        .hsmsign(&["--mode", "off", "sign", "swu", "--description", "sw-description", "-o", "no.swu"])
        .exits(4)
        .says("mode is `off`");
    assert_eq!(bench.files(), before);
}

#[test]
fn truncated_bundles_are_malformed() {
    let bench = signed(cms());
    let bytes = bench.read("out.swu");
    let last = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
    for len in [0, 1, 109, 110, 125, 500, 2000, 4096, last / 2, last - 200, last - 1] {
        bench.write("short.swu", &bytes[..len]);
        verify(&bench, "short.swu", &[]).exits(6);
        bench.hsmsign(&["sign", "swu", "short.swu", "-o", "no.swu"]).exits(6);
    }
    assert!(!bench.path("no.swu").exists());
}

#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    let bench = cms();
    bench.write("out.swu", b"old");
    let before = bench.files();
    let mut command = Command::new("sh");
    // Writing past the limit fails as on a full disk, once the signal that would come is ignored.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let program = bench.command(&[
        "sign",
        "swu",
        "--description",
        "sw-description",
        "--image",
        "rootfs.img",
        "app.bin",
        "-o",
        "out.swu",
    ]);
    command.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    command.current_dir(bench.directory()).stdin(Stdio::null());
    command.env("HSMSIGN_DEV_DIR", bench.path(".hsmsign"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("cannot write `out.swu`"), "{stderr}");
    assert_eq!(bench.read("out.swu"), b"old");
    assert_eq!(bench.files(), before);
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    let bench = cms();
    bench.write("big", "software = { images: ( { filename = \"big.img\"; } ); };");
    File::create(bench.path("big.img")).unwrap().set_len(48 << 20).unwrap();
    let arguments = ["sign", "swu", "--description", "big", "--image", "big.img", "-o", "out.swu"];
    bench.write("out.swu", b"old");
    let start = Instant::now();
    bench.hsmsign(&arguments).exits(0);
    let took = start.elapsed();
    let new = bench.read("out.swu");
    for step in 1..12 {
        bench.write("out.swu", b"old");
        let mut child = bench.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * step / 12);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = bench.read("out.swu");
        assert!(found == b"old" || found == new, "after {:?}", took * step / 12);
    }
    // What is left are temporary files that nobody takes for bundles.
    for name in bench.files() {
        assert!(!name.ends_with(".swu") || name == "out.swu", "{name}");
    }
    bench.hsmsign(&arguments).exits(0);
    assert_eq!(bench.read("out.swu"), new);
    assert!(took < Duration::from_secs(60));
}
