//! Dev mode against everything that would lead it to another module, token or key (invariants 1 and 2).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Bench, Outcome, find_softhsm, find_tool};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const SIGN: [&str; 9] = ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("input", b"what is signed");
    bench
}

/// Signs and has OpenSSL verify the signature with the dev certificate's key.
#[track_caller]
fn signs(bench: &Bench, dev_dir: &str) -> String {
    bench.hsmsign(&[&["--dev-dir", dev_dir], &SIGN[..]].concat()).exits(0);
    judge(bench, dev_dir);
    fingerprint(bench, dev_dir)
}

#[track_caller]
fn judge(bench: &Bench, dev_dir: &str) {
    let Some(openssl) = find_tool("openssl") else { return };
    let certificate = format!("{dev_dir}/certificates/fit-rsa2048.pem");
    let key = bench.tool(&openssl, &["x509", "-in", &certificate, "-noout", "-pubkey"]).stdout;
    bench.write("key.pem", key);
    bench.tool(&openssl, &["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "input"]);
}

/// SHA-256 of the fit key's SubjectPublicKeyInfo, computed by OpenSSL.
fn fingerprint(bench: &Bench, dev_dir: &str) -> String {
    let script = format!(
        "openssl x509 -in {dev_dir}/certificates/fit-rsa2048.pem -noout -pubkey \
         | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1"
    );
    let hex = bench.tool(Path::new("/bin/sh"), &["-c", &script]).stdout;
    format!("sha256:{}", hex.trim())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Compiles the witness. Returns the library and the file it writes to.
fn witness(bench: &Bench, name: &str, define: &str) -> Option<(PathBuf, PathBuf)> {
    let cc = find_tool("cc")?;
    let (library, told) = (bench.path(name), bench.path(&format!("{name}.told")));
    let arguments = [
        format!("-DWITNESS_FILE=\"{}\"", told.display()),
        format!("-DOWN_PATH=\"{}\"", library.display()),
        format!("-D{define}"),
        "-shared".into(),
        "-fPIC".into(),
        "-o".into(),
        library.display().to_string(),
        format!("{}/tests/c/witness.c", env!("CARGO_MANIFEST_DIR")),
    ];
    bench.tool(&cc, &arguments);
    Some((library, told))
}

fn told(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn first_use_makes_a_private_token_and_one_key_a_role() {
    let bench = bench();
    let before = signs(&bench, "dev");
    assert_eq!(signs(&bench, "dev"), before, "the second use has the same key");
    assert_eq!(mode(&bench.path("dev")), 0o700);
    assert_eq!(mode(&bench.path("dev/tokens")), 0o700);
    assert_eq!(mode(&bench.path("dev/pin")), 0o600);
    let Some(openssl) = find_tool("openssl") else { return };
    for role in ["bootloader", "fit", "rootfs", "update"] {
        let file = format!("dev/certificates/{role}-rsa2048.pem");
        // Swupdate asks for this purpose.
        bench.tool(&openssl, &["verify", "-purpose", "smimesign", "-CAfile", &file, &file]);
        let subject = bench.tool(&openssl, &["x509", "-in", &file, "-noout", "-subject"]).stdout;
        assert!(subject.contains("DEVELOPMENT") && subject.contains(role), "{subject}");
        // A device without a clock starts in 1970.
        let arguments = ["verify", "-attime", "86400", "-CAfile", &file, &file];
        bench.tool(&openssl, &arguments);
    }
}

#[test]
fn the_token_says_that_it_is_for_development() {
    let bench = bench();
    signs(&bench, "dev");
    let (Some(tool), Some(module)) = (find_tool("pkcs11-tool"), find_softhsm()) else { return };
    let set_id = String::from_utf8(bench.read("dev/set-id")).unwrap();
    let pin = String::from_utf8(bench.read("dev/pin")).unwrap();
    let mut command = Command::new(tool);
    command.arg("--module").arg(module).args(["--list-objects", "--login", "--pin", &pin]);
    command.args(["--token-label", &format!("hsmsign-dev-{set_id}")]);
    let listing = command.env("SOFTHSM2_CONF", bench.path("dev/softhsm2.conf")).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    for role in ["bootloader", "fit", "rootfs", "update"] {
        assert!(listing.contains(&format!("hsmsign-dev-{role}-rsa2048")), "{listing}");
    }
    assert!(listing.contains("never extractable"), "{listing}");
}

#[test]
fn a_hostile_environment_is_left_behind() {
    let bench = bench();
    let expected = signs(&bench, "dev");
    let Some((library, told_file)) = witness(&bench, "witness.so", "PLAIN") else { return };
    // Another SoftHSMv2 token that must not be looked at.
    fs::create_dir(bench.path("decoy")).unwrap();
    let decoy = format!("directories.tokendir = {}\n", bench.path("decoy").display());
    bench.write("decoy.conf", decoy);
    // OpenSSL would load the library as a provider.
    let openssl_conf = format!(
        "openssl_conf = o\n[o]\nproviders = p\n[p]\nevil = e\ndefault = d\n[d]\nactivate = 1\n\
         [e]\nmodule = {}\nactivate = 1\n",
        library.display()
    );
    bench.write("openssl.cnf", openssl_conf);
    let mut command = bench.command(&[&["--dev-dir", "dev"], &SIGN[..]].concat());
    command
        .env("LD_PRELOAD", &library)
        .env("LD_AUDIT", "/nonexistent")
        .env("SOFTHSM2_CONF", bench.path("decoy.conf"))
        .env("OPENSSL_CONF", bench.path("openssl.cnf"))
        .env("OPENSSL_MODULES", bench.directory())
        .env("OPENSSL_ENGINES", bench.directory())
        .env("PKCS11_MODULE_PATH", &library)
        .env("PKCS11_PROVIDER_MODULE", &library)
        .env("P11_KIT_STRICT", "1")
        .env("P11_KIT_SERVER_ADDRESS", "unix:path=/nonexistent")
        .env("GCONV_PATH", bench.directory())
        .env("HSMSIGN_HOST_CONFIG", "/nonexistent")
        .env("HSMSIGN_STARTED_AGAIN", "1");
    // Claiming to be the second start does not help an environment that is not clean.
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    fs::remove_file(&told_file).unwrap();

    let done = command.env_remove("HSMSIGN_STARTED_AGAIN").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(told(&told_file), "loaded before\n", "only the loader of the first start obeys LD_PRELOAD");
    assert_eq!(fs::read_dir(bench.path("decoy")).unwrap().count(), 0);
    judge(&bench, "dev");
    assert_eq!(fingerprint(&bench, "dev"), expected);
}

#[test]
fn a_library_that_clings_to_the_environment_is_an_error_and_no_endless_loop() {
    let bench = bench();
    let Some((library, told_file)) = witness(&bench, "cling.so", "CLING") else { return };
    let mut command = bench.command(&SIGN);
    let refused = command.env("LD_PRELOAD", &library).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("LD_PRELOAD"), "{stderr}");
    assert_eq!(told(&told_file).lines().count(), 2);
    assert!(!bench.path(".hsmsign").exists());
}

#[test]
fn pseudo_stays_and_nothing_else_with_it() {
    let bench = bench();
    fs::create_dir(bench.path("lib")).unwrap();
    let Some((pseudo, told_file)) = witness(&bench, "lib/libpseudo.so", "CLING") else { return };
    let Some((evil, evil_told)) = witness(&bench, "evil.so", "PLAIN") else { return };
    let mut command = bench.command(&[&["--dev-dir", "dev"], &SIGN[..]].concat());
    command
        .env("LD_PRELOAD", format!("{} {}", pseudo.display(), evil.display()))
        .env("LD_LIBRARY_PATH", format!("{}:/nonexistent", bench.path("lib").display()))
        .env("PSEUDO_PREFIX", bench.directory())
        .env("PSEUDO_DISABLED", "0");
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(told(&told_file), "loaded before\nloaded clean\n");
    assert_eq!(told(&evil_told), "loaded before\n");
}

#[test]
fn another_module_is_refused_before_its_code_runs() {
    let bench = bench();
    let Some((library, told_file)) = witness(&bench, "libsofthsm2.so", "PLAIN") else { return };
    let sign =
        |library: &Path| bench.hsmsign(&[&["--softhsm", library.to_str().unwrap()], &SIGN[..]].concat());
    // Its strings are those of SoftHSMv2; whoever may write it decides.
    for bits in [0o777, 0o775, 0o757] {
        set_mode(&library, bits);
        sign(&library).exits(5).says("others can write");
    }
    set_mode(&library, 0o755);
    fs::create_dir(bench.path("open")).unwrap();
    set_mode(&bench.path("open"), 0o777);
    fs::copy(&library, bench.path("open/libsofthsm2.so")).unwrap();
    sign(&bench.path("open/libsofthsm2.so")).exits(5).says("others can write");
    symlink(bench.path("open/libsofthsm2.so"), bench.path("link.so")).unwrap();
    sign(&bench.path("link.so")).exits(5).says("others can write");
    for other in ["/dev/null", "/nonexistent", "/etc/passwd", "/"] {
        sign(Path::new(other)).exits(5);
    }
    let huge = fs::File::create(bench.path("huge.so")).unwrap();
    huge.set_len(1 << 40).unwrap();
    set_mode(&bench.path("huge.so"), 0o755);
    sign(&bench.path("huge.so")).exits(5).says("at most 67108864");
    if let Some(proxy) = ["x86_64", "aarch64"]
        .map(|a| PathBuf::from(format!("/usr/lib/{a}-linux-gnu/p11-kit-proxy.so")))
        .into_iter()
        .find(|p| p.exists())
    {
        sign(&proxy).exits(5).says("not a build of SoftHSMv2");
    }
    if is_root() {
        std::os::unix::fs::chown(&library, Some(65_534), None).unwrap();
        sign(&library).exits(5).says("belongs to user 65534");
    }
    assert_eq!(told(&told_file), "");
    assert_eq!(bench.files().iter().filter(|f| f.contains("signature")).count(), 0);
}

#[test]
fn a_module_that_is_no_softhsm_is_asked_for_no_token() {
    let bench = bench();
    let Some((library, told_file)) = witness(&bench, "libsofthsm2.so", "MODULE") else { return };
    set_mode(&library, 0o755);
    bench
        .hsmsign(&[&["--softhsm", "./libsofthsm2.so"], &SIGN[..]].concat())
        .exits(4)
        .says("dev mode uses SoftHSMv2 alone")
        .says("ACME HSM");
    assert_eq!(told(&told_file), "loaded clean\n");
}

#[test]
fn a_directory_that_is_not_the_users_own_is_refused() {
    let bench = bench();
    fs::create_dir(bench.path("dev")).unwrap();
    let refused = |name: &str, why: &str| {
        bench.hsmsign(&[&["--dev-dir", name], &SIGN[..]].concat()).exits(5).says(why);
    };
    for bits in [0o777, 0o775, 0o722] {
        set_mode(&bench.path("dev"), bits);
        refused("dev", "others can write");
    }
    set_mode(&bench.path("dev"), 0o700);
    symlink(bench.path("dev"), bench.path("link")).unwrap();
    refused("link", "not a directory, but a link");
    bench.write("file", "");
    refused("file", "not a directory");
    symlink("/nonexistent", bench.path("dangling")).unwrap();
    refused("dangling", "not a directory, but a link");
    refused("has#hash", "SoftHSMv2 cannot use a path");
    if is_root() {
        std::os::unix::fs::chown(bench.path("dev"), Some(65_534), None).unwrap();
        refused("dev", "belongs to another user");
    }
    assert_eq!(fs::read_dir(bench.path("dev")).unwrap().count(), 0);
}

#[test]
fn files_of_the_directory_are_not_followed_elsewhere() {
    let bench = bench();
    signs(&bench, "dev");
    fs::rename(bench.path("dev/pin"), bench.path("pin")).unwrap();
    symlink(bench.path("pin"), bench.path("dev/pin")).unwrap();
    bench.hsmsign(&[&["--dev-dir", "dev"], &SIGN[..]].concat()).exits(5);
}

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
fn files_that_do_not_belong_together_are_named_with_their_remedy() {
    let bench = bench();
    signs(&bench, "good");
    let damages: [(&str, &str, &dyn Fn()); 4] = [
        ("`pin` does not open", "bad", &|| drop(bench.write("bad/pin", "0123"))),
        ("`set-id` is not", "bad", &|| drop(bench.write("bad/set-id", "../../etc"))),
        ("holds no token", "bad", &|| {
            fs::remove_dir_all(bench.path("bad/tokens")).unwrap();
            fs::create_dir(bench.path("bad/tokens")).unwrap();
        }),
        ("of another key", "bad", &|| {
            let certificates = bench.path("bad/certificates");
            fs::copy(certificates.join("rootfs-rsa2048.pem"), certificates.join("fit-rsa2048.pem")).unwrap();
        }),
    ];
    for (complaint, directory, damage) in damages {
        bench.tool(Path::new("/bin/cp"), &["-r", "good", directory]);
        damage();
        let outcome = bench.hsmsign(&[&["--dev-dir", directory], &SIGN[..]].concat());
        outcome.exits(5).says(complaint).says("remove the directory");
        fs::remove_dir_all(bench.path(directory)).unwrap();
    }
}

#[test]
fn a_directory_that_has_moved_keeps_its_keys() {
    let bench = bench();
    let before = signs(&bench, "dev");
    fs::rename(bench.path("dev"), bench.path("elsewhere")).unwrap();
    assert_eq!(signs(&bench, "elsewhere"), before);
    assert!(!bench.path("dev").exists());
}

#[test]
fn a_team_shares_keys_by_copying_the_directory() {
    let bench = bench();
    let before = signs(&bench, "dev");
    bench.tool(Path::new("/bin/cp"), &["-r", "dev", "copy"]);
    assert_eq!(signs(&bench, "copy"), before);
    let own = fs::read_to_string(bench.path("copy/softhsm2.conf")).unwrap();
    assert!(own.contains("/copy/tokens"), "{own}");
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

#[test]
fn a_key_of_another_type_is_added_when_the_policy_asks_for_it() {
    let bench = bench();
    bench.hsmsign(&SIGN).exits(0);
    bench.write("hsmsign.yaml", "version: 1\nproduct: p\nroles:\n  fit: { algorithm: ecdsa-p256 }\n");
    bench.hsmsign(&SIGN).exits(0);
    let Some(openssl) = find_tool("openssl") else { return };
    let certificate = ".hsmsign/certificates/fit-ecdsa-p256.pem";
    bench.tool(&openssl, &["verify", "-CAfile", certificate, certificate]);
    let key = bench.tool(&openssl, &["x509", "-in", certificate, "-noout", "-pubkey"]).stdout;
    bench.write("key.pem", key);
    bench.tool(&openssl, &["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "input"]);
}

/// A policy whose release section pins `pin`, reached through a module that tells if it is loaded.
fn release_policy(pin: &str) -> String {
    format!(
        "version: 1\nproduct: p\nrelease:\n  keys:\n    fit:\n      token: boot\n      \
         uri: \"pkcs11:token=x;object=y\"\n      pins: [\"{pin}\"]\n"
    )
}

#[test]
fn a_key_that_is_pinned_for_release_is_refused_in_the_dev_token() {
    let bench = bench();
    let pin = signs(&bench, ".hsmsign");
    fs::remove_file(bench.path("signature")).unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    bench.write("hsmsign.yaml", release_policy(&other));
    bench.hsmsign(&SIGN).exits(0);
    let verify = ["verify", "blob", "input", "--role", "fit", "--format", "raw", "--signature", "signature"];
    bench.hsmsign(&verify).exits(0);
    fs::rename(bench.path("signature"), bench.path("kept")).unwrap();
    bench.write("hsmsign.yaml", release_policy(&pin.to_uppercase().replace("SHA256", "sha256")));
    bench.hsmsign(&SIGN).exits(4).says("pinned for release").says(&pin);
    assert!(!bench.path("signature").exists());
    fs::rename(bench.path("kept"), bench.path("signature")).unwrap();
    bench.hsmsign(&verify).exits(4).says("pinned for release");
}

#[test]
fn the_release_section_reaches_no_module_in_dev_mode() {
    let bench = bench();
    let Some((library, told_file)) = witness(&bench, "hsm.so", "MODULE") else { return };
    let host = format!("version: 1\ntokens:\n  boot: {{ module: {} }}\n", library.display());
    let host = bench.write("host.yaml", host);
    bench.write("hsmsign.yaml", release_policy(&format!("sha256:{}", "0".repeat(64))));
    let mut command = bench.command(&SIGN);
    command.env("HSMSIGN_HOST_CONFIG", &host).env("XDG_CONFIG_HOME", bench.directory());
    assert!(command.status().unwrap().success());
    let _: Outcome = bench.hsmsign(&[&["--host-config", "host.yaml"], &SIGN[..]].concat()).exits(2);
    assert_eq!(told(&told_file), "");
}

#[test]
fn mode_off_signs_and_makes_nothing() {
    let bench = bench();
    bench.hsmsign(&[&["--mode", "off"], &SIGN[..]].concat()).exits(4).says("mode is `off`");
    assert_eq!(bench.files(), ["input"]);
    assert!(!bench.path(".hsmsign").exists());
}
