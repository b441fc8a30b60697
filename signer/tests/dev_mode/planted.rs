//! A release module, key or token planted wherever dev mode could come across it: every variable of the environment,
//! every place of the configuration, the dev directory itself. Each ends in a refusal or has no effect.

use super::{isolation::witness, *};

/// Variables by which something else is loaded, read or asked; `{so}` is a library, `{dir}` a directory with
/// libraries and configurations, `{conf}` a configuration that names them.
const REDIRECTING: &[(&str, &str)] = &[
    ("PKCS11_MODULE_PATH", "{so}"),
    ("PKCS11_PROVIDER_MODULE", "{so}"),
    ("PKCS11_PROVIDER_DEBUG", "file:{dir}/debug"),
    ("PKCS11_MODULE", "{so}"),
    ("P11_KIT_SERVER_ADDRESS", "unix:path={dir}/socket"),
    ("P11_KIT_SERVER_PID", "1"),
    ("P11_KIT_DEBUG", "all"),
    ("P11_KIT_STRICT", "1"),
    ("P11_KIT_NO_USER_CONFIG", "0"),
    ("SOFTHSM2_CONF", "{conf}"),
    ("SOFTHSM_CONF", "{conf}"),
    ("KRYOPTIC_CONF", "{conf}"),
    ("TPM2_PKCS11_STORE", "{dir}"),
    ("TPM2_PKCS11_TCTI", "{so}"),
    ("YKCS11_DBG", "9"),
    ("YUBIHSM_PKCS11_CONF", "{conf}"),
    ("KMS_PKCS11_CONFIG", "{conf}"),
    ("ChrystokiConfigurationPath", "{dir}"),
    ("OPENSC_CONF", "{conf}"),
    ("OPENSSL_CONF", "{conf}"),
    ("OPENSSL_CONF_INCLUDE", "{dir}"),
    ("OPENSSL_MODULES", "{dir}"),
    ("OPENSSL_ENGINES", "{dir}"),
    ("SSL_CERT_FILE", "{conf}"),
    ("LD_PRELOAD", "{so}"),
    ("LD_LIBRARY_PATH", "{dir}"),
    ("LD_AUDIT", "{so}"),
    ("LD_DEBUG_OUTPUT", "{dir}/debug"),
    ("LD_PROFILE_OUTPUT", "{dir}"),
    ("LD_BIND_NOW", "1"),
    ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
    ("GCONV_PATH", "{dir}"),
    ("LOCPATH", "{dir}"),
    ("NLSPATH", "{dir}/%N"),
    ("MALLOC_TRACE", "{dir}/trace"),
    ("MALLOC_CHECK_", "3"),
    ("BASH_ENV", "{conf}"),
    ("ENV", "{conf}"),
    ("XDG_CONFIG_HOME", "{dir}"),
    ("XDG_CONFIG_DIRS", "{dir}"),
    ("XDG_DATA_HOME", "{dir}"),
    ("XDG_RUNTIME_DIR", "{dir}"),
    ("HOME", "{dir}"),
    ("TMPDIR", "{dir}"),
    ("CREDENTIALS_DIRECTORY", "{dir}"),
    ("NOTIFY_SOCKET", "{dir}/socket"),
    ("HSMSIGN_HOST_CONFIG", "{dir}/hsmsign/host.yaml"),
    ("HSMSIGN_AGENT", "{dir}/socket"),
    ("HSMSIGN_TEST_KRYOPTIC", "{so}"),
];

/// Host settings, p11-kit's and SoftHSMv2's configurations that all lead to `library` or a decoy token, where a
/// home or a configuration directory would have them.
fn plant(bench: &Bench, library: &Path) -> PathBuf {
    let directory = bench.path("planted");
    let decoy = format!("directories.tokendir = {}\n", bench.path("decoy").display());
    fs::create_dir_all(bench.path("decoy")).unwrap();
    let host = format!("version: 1\ntokens:\n  boot: {{ module: {} }}\n", library.display());
    let module = format!("module: {}\n", library.display());
    for (file, text) in [
        ("hsmsign/host.yaml", &host),
        (".config/hsmsign/host.yaml", &host),
        (".config/softhsm2/softhsm2.conf", &decoy),
        ("softhsm2/softhsm2.conf", &decoy),
        ("pkcs11/modules/evil.module", &module),
        (".config/pkcs11/modules/evil.module", &module),
        ("conf", &decoy),
    ] {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // No library that the program itself is linked with: its first start obeys the caller's loader.
    for name in ["libsofthsm2.so", "UTF-16.so", "pkcs11.so", "legacy.so"] {
        symlink(library, directory.join(name)).unwrap();
    }
    directory
}

#[test]
fn no_variable_leads_elsewhere() {
    let bench = bench();
    let expected = signs(&bench, "dev");
    let Some((library, told)) = witness(&bench, "witness.so", "PLAIN") else { return };
    let directory = plant(&bench, &library);
    for (name, value) in REDIRECTING {
        let _ = fs::remove_file(&told);
        let _ = fs::remove_file(bench.path("signature"));
        let value = value
            .replace("{so}", library.to_str().unwrap())
            .replace("{conf}", directory.join("conf").to_str().unwrap())
            .replace("{dir}", directory.to_str().unwrap());
        let mut command = bench.command(&[&["--dev-dir", "dev"], &SIGN[..]].concat());
        let done = command.env(name, &value).output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        // The loader of the caller's own start obeys the caller; what dev mode runs in does not.
        let said = fs::read_to_string(&told).unwrap_or_default();
        assert!(said.lines().all(|line| line == "loaded before"), "{name}: {said}");
        let loader = matches!(*name, "LD_PRELOAD" | "LD_AUDIT" | "LD_LIBRARY_PATH");
        assert!(said.is_empty() || loader, "{name}: {said}");
        judge(&bench, "dev");
        assert_eq!(fingerprint(&bench, "dev"), expected, "{name}");
        assert_eq!(fs::read_dir(bench.path("decoy")).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn the_agent_is_not_asked_in_dev_mode() {
    let bench = bench();
    let socket = bench.path("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let done = bench.command(&SIGN).env("HSMSIGN_AGENT", &socket).status().unwrap();
    assert!(done.success());
    assert!(listener.accept().is_err(), "somebody asked the agent");
}

#[test]
fn a_module_in_the_policy_is_an_error() {
    let bench = bench();
    let Some((library, told)) = witness(&bench, "hsm.so", "MODULE") else { return };
    let path = library.display();
    let key = |more: &str| {
        format!(
            "release:\n  keys:\n    fit: {{ token: boot, uri: \"pkcs11:token=x;object=y{more}\", pins: [\"sha256:{}\"] }}\n",
            "0".repeat(64)
        )
    };
    for (text, place) in [
        (format!("module: {path}\n"), "module"),
        (format!("tokens:\n  boot: {{ module: {path} }}\n"), "tokens"),
        (format!("dev: {{ module: {path} }}\n"), "dev"),
        ("dev: { uri: \"pkcs11:token=boot\" }\n".into(), "dev"),
        (format!("softhsm: {path}\n"), "softhsm"),
        (format!("roles:\n  fit: {{ algorithm: rsa2048, module: {path} }}\n"), "module"),
        ("roles:\n  fit: { algorithm: rsa2048, uri: \"pkcs11:token=boot\" }\n".into(), "uri"),
        (format!("release: {{ module: {path} }}\n"), "module"),
        (key(&format!("?module-path={path}")), "uri"),
        (key(&format!("?module-name={path}")), "uri"),
        (key("?pin-value=1234"), "uri"),
        (key("?pin-source=/etc/pin"), "uri"),
    ] {
        bench.write("hsmsign.yaml", format!("version: 1\nproduct: p\n{text}"));
        bench.hsmsign(&SIGN).exits(3).says(place);
        assert!(!bench.path("signature").exists(), "{text}");
    }
    assert_eq!(super::isolation::told(&told), "");
}

#[test]
fn what_dev_mode_may_not_load_is_refused_wherever_it_is_named() {
    let bench = bench();
    let Some((library, told)) = witness(&bench, "libsofthsm2.so", "PLAIN") else { return };
    set_mode(&library, 0o777);
    let mut command = bench.command(&SIGN);
    let refused = command.env("HSMSIGN_SOFTHSM", &library).output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("others can write"), "{refused:?}");
    assert_eq!(super::isolation::told(&told), "");
}

#[test]
fn release_arguments_in_dev_mode_are_refused_or_do_nothing() {
    let bench = bench();
    let Some((library, told)) = witness(&bench, "hsm.so", "MODULE") else { return };
    let directory = plant(&bench, &library);
    let host = directory.join("hsmsign/host.yaml");
    let host = host.to_str().unwrap();
    for arguments in [
        &["--mode", "dev", "--host-config", host, "keys", "check"][..],
        &["--mode", "dev", "keys", "csr", "--role", "fit"],
        &["--mode", "dev", "keys", "pin", "--role", "fit"],
        &[
            "--mode",
            "dev",
            "--host-config",
            host,
            "sign",
            "blob",
            "input",
            "--role",
            "fit",
            "--format",
            "raw",
            "-o",
            "x",
        ],
    ] {
        bench.hsmsign(arguments).exits(2).says("release");
    }
    // Without a release section there is nobody to trust.
    bench.hsmsign(&SIGN).exits(0);
    let verify = ["verify", "blob", "input", "--role", "fit", "--format", "raw", "--signature", "signature"];
    bench.hsmsign(&[&verify[..], &["--trust", "release"]].concat()).exits(4);
    assert_eq!(super::isolation::told(&told), "");
}

#[test]
fn a_softhsm_configuration_that_leads_to_another_token_is_written_anew() {
    let bench = bench();
    let before = signs(&bench, "dev");
    let Some(other) = common::token::TestToken::softhsm() else { return };
    let tokens = other.bench.path("tokens");
    fs::write(bench.path("dev/softhsm2.conf"), format!("directories.tokendir = {}\n", tokens.display()))
        .unwrap();
    assert_eq!(signs(&bench, "dev"), before);
    let conf = fs::read_to_string(bench.path("dev/softhsm2.conf")).unwrap();
    assert!(conf.contains("/dev/tokens") && !conf.contains(tokens.to_str().unwrap()), "{conf}");
}

#[test]
fn a_token_directory_that_is_a_link_to_another_token_is_refused() {
    let bench = bench();
    signs(&bench, "dev");
    fs::remove_file(bench.path("signature")).unwrap();
    let Some(other) = common::token::TestToken::softhsm() else { return };
    other.generate("rsa:2048", "hsmsign-dev-fit-rsa2048", &[]);
    fs::rename(bench.path("dev/tokens"), bench.path("own")).unwrap();
    symlink(other.bench.path("tokens"), bench.path("dev/tokens")).unwrap();
    let signs_nothing = || {
        let refused = bench.hsmsign(&[&["--dev-dir", "dev"], &SIGN[..]].concat());
        assert!(matches!(refused.code, 4 | 5), "{refused:?}");
        assert!(!bench.path("signature").exists());
        refused
    };
    signs_nothing();
    // Its PIN and a certificate of its key are planted as well: the token's label is what is left.
    let Some(openssl) = find_tool("openssl") else { return };
    other.public_key("hsmsign-dev-fit-rsa2048");
    let key = other.bench.path("hsmsign-dev-fit-rsa2048.pem");
    let arguments = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 9";
    bench.tool(&openssl, &arguments.split(' ').collect::<Vec<_>>());
    let arguments = format!(
        "x509 -new -force_pubkey {} -subj /CN=planted -CA ca.pem -CAkey ca.key -days 9 -out dev/certificates/fit-rsa2048.pem",
        key.display()
    );
    bench.tool(&openssl, &arguments.split(' ').collect::<Vec<_>>());
    bench.write("dev/pin", common::token::PIN);
    signs_nothing().says("holds no token `hsmsign-dev-");
}

#[test]
fn a_release_key_imported_into_the_dev_token_signs_nothing() {
    let bench = bench();
    signs(&bench, ".hsmsign");
    fs::remove_file(bench.path("signature")).unwrap();
    let (Some(openssl), Some(tool), Some(module)) =
        (find_tool("openssl"), find_tool("pkcs11-tool"), find_softhsm())
    else {
        return;
    };
    let script = "openssl genrsa -out release.pem 2048 && openssl rsa -in release.pem -outform der -out release.der && \
                  openssl rsa -in release.pem -pubout -outform der -out public.der && sha256sum public.der | cut -d' ' -f1";
    let _ = openssl;
    let pin = format!("sha256:{}", bench.tool(Path::new("/bin/sh"), &["-c", script]).stdout.trim());
    let label = "hsmsign-dev-fit-rsa2048";
    let user_pin = String::from_utf8(bench.read(".hsmsign/pin")).unwrap();
    let pkcs11 = |arguments: &[&str]| {
        let mut command = Command::new(&tool);
        command.arg("--module").arg(&module).args(["--login", "--pin", user_pin.trim()]).args(arguments);
        let done =
            command.current_dir(bench.directory()).env("SOFTHSM2_CONF", bench.path(".hsmsign/softhsm2.conf"));
        let done = done.output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    for kind in ["privkey", "pubkey"] {
        pkcs11(&["--delete-object", "--type", kind, "--label", label]);
    }
    pkcs11(&["--write-object", "release.der", "--type", "privkey", "--label", label, "--usage-sign"]);
    pkcs11(&["--write-object", "public.der", "--type", "pubkey", "--label", label, "--usage-sign"]);
    // Certified as the dev key would be, so that nothing but the pin stands against it.
    let certificate = ".hsmsign/certificates/fit-rsa2048.pem";
    let certify =
        ["req", "-x509", "-new", "-key", "release.pem", "-subj", "/CN=x", "-days", "1", "-out", certificate];
    bench.tool(&find_tool("openssl").unwrap(), &certify);
    bench.write(
        "hsmsign.yaml",
        format!(
            "version: 1\nproduct: p\nrelease:\n  keys:\n    fit: {{ token: t, uri: \"pkcs11:token=x;object=y\", pins: [\"{pin}\"] }}\n"
        ),
    );
    bench.hsmsign(&SIGN).exits(4).says("pinned for release").says(&pin);
    assert!(!bench.path("signature").exists());
}
