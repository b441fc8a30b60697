//! What would lead dev mode to another module, token or key: environment, libraries, configuration.

use super::*;

/// Compiles the witness. Returns the library and the file it writes to.
pub(super) fn witness(bench: &Bench, name: &str, define: &str) -> Option<(PathBuf, PathBuf)> {
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

pub(super) fn told(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
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
