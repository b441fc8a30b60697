//! Every kind of leak, made by the tool that makes it in life.

use super::{
    common::{Bench, find_softhsm, find_tool},
    scan, shell, short,
};

/// Makes `leak` with a line of shell; exactly one finding of `kind` whose detail says `says`.
#[track_caller]
fn finds(tool: &str, line: &str, kind: &str, says: &str) {
    if find_tool(tool).is_none() {
        return;
    }
    let bench = Bench::new();
    shell(&bench, &format!("mkdir d; {line}"));
    let found = scan(&bench, "d");
    assert_eq!(short(&found), [("leak", kind)], "{line}: {found:?}");
    assert!(found[0].detail.contains(says), "{line}: {found:?}");
}

/// The fingerprint that OpenSSL gives the key in `key.pem`.
fn fingerprint(bench: &Bench, key: &str) -> Option<String> {
    shell(
        bench,
        &format!(
            "openssl pkey -in {key} -pubout -outform der -out spki; sha256sum < spki | cut -c1-64 > sum"
        ),
    );
    Some(format!("sha256:{}", String::from_utf8(bench.read("sum")).unwrap().trim()))
}

#[test]
fn openssl_keys_in_every_form() {
    for (make, name) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RSA-2048"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "EC-256"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "EC-384"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "EC-256"),
        ("-algorithm ED25519", "Ed25519"),
        ("-algorithm X25519", "X25519"),
    ] {
        let bench = Bench::new();
        shell(&bench, &format!("openssl genpkey {make} -out key.pem; mkdir d"));
        let expected = fingerprint(&bench, "key.pem");
        for form in [
            "pkey -in key.pem -out d/leak",
            "pkey -in key.pem -outform der -out d/leak",
            "pkey -in key.pem -traditional -out d/leak",
            "pkey -in key.pem -traditional -outform der -out d/leak",
        ] {
            // The older forms are those of RSA and EC alone.
            if form.contains("-traditional") && name.contains("25519") {
                continue;
            }
            shell(&bench, &format!("openssl {form}"));
            let found = scan(&bench, "d");
            assert_eq!(short(&found), [("leak", "private-key")], "{make} {form}: {found:?}");
            assert!(found[0].detail.contains(name), "{found:?}");
            assert_eq!(found[0].fingerprint, expected, "{make} {form}");
        }
    }
}

#[test]
fn keys_with_a_password_are_told_apart() {
    let make = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k";
    for (form, says) in [
        ("pkcs8 -topk8 -in k -passout pass:x -out d/leak", "in PEM"),
        ("pkcs8 -topk8 -in k -passout pass:x -outform der -out d/leak", "in DER"),
        ("pkcs8 -topk8 -in k -v1 PBE-SHA1-3DES -passout pass:x -outform der -out d/leak", "in DER"),
        ("ec -in k -aes128 -passout pass:x -out d/leak", "in PEM"),
    ] {
        finds("openssl", &format!("{make}; openssl {form} 2> /dev/null"), "encrypted-private-key", says);
    }
}

#[test]
fn pkcs12_with_a_key_and_without() {
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout k -subj /CN=x -out c 2> /dev/null";
    finds(
        "openssl",
        &format!("{make}; openssl pkcs12 -export -inkey k -in c -passout pass:x -out d/leak"),
        "key-store",
        "PKCS#12",
    );
    let bench = Bench::new();
    shell(
        &bench,
        &format!("mkdir d; {make}; openssl pkcs12 -export -nokeys -in c -passout pass:x -out d/certificates"),
    );
    assert_eq!(scan(&bench, "d"), []);
}

#[test]
fn openssh_keys() {
    for (kind, says) in [("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256"), ("ed25519", "ssh-ed25519")] {
        let line = format!("ssh-keygen -q -t {kind} -N '' -f d/leak; rm d/leak.pub");
        finds("ssh-keygen", &line, "private-key", says);
        let line = format!("ssh-keygen -q -t {kind} -N secret -f d/leak; rm d/leak.pub");
        finds("ssh-keygen", &line, "encrypted-private-key", "OpenSSH");
    }
    // The same key in two forms has one fingerprint.
    let bench = Bench::new();
    shell(
        &bench,
        "mkdir d; ssh-keygen -q -t rsa -N '' -f d/a; cp d/a b; ssh-keygen -q -p -m PEM -N '' -f b; rm d/a.pub",
    );
    assert_eq!(scan(&bench, "d")[0].fingerprint, fingerprint(&bench, "b"));
}

#[test]
fn putty_keys() {
    for version in [2, 3] {
        let make = format!(
            "ssh-keygen -q -t rsa -N '' -f k; puttygen k --ppk-param version={version} -O private -o d/leak"
        );
        finds("puttygen", &make, "private-key", "PuTTY");
    }
    let line =
        "ssh-keygen -q -t rsa -N '' -f k; echo x > p; puttygen k -O private --new-passphrase p -o d/leak";
    finds("puttygen", line, "encrypted-private-key", "PuTTY");
}

#[test]
fn keys_pasted_into_code() {
    let make = "openssl genpkey -algorithm RSA -out k 2> /dev/null";
    for paste in [
        r#"sed 's/.*/"&\\n"/' k > d/leak"#,
        r#"{ printf 'x = "'; awk '{ printf "%s\\n", $0 }' k; echo '"'; } > d/leak"#,
        r#"sed 's/^/# /' k > d/leak"#,
        r#"sed 's/^/ * /' k > d/leak"#,
        r#"sed "s/.*/    '&' +/" k > d/leak"#,
        r#"sed 's/$/\r/' k > d/leak"#,
        r#"{ head -c 3000000 /dev/zero; cat k; head -c 3000000 /dev/zero; } > d/leak"#,
        r#"openssl pkey -in k -outform der -out k.der; { head -c 1234567 /dev/urandom; cat k.der; } > d/leak"#,
    ] {
        finds("openssl", &format!("{make}; {paste}"), "private-key", "RSA-2048");
    }
}

#[test]
fn aes_keys_for_swupdate() {
    finds(
        "openssl",
        "echo \"$(openssl rand -hex 32) $(openssl rand -hex 16)\" > d/leak",
        "aes-key",
        "swupdate",
    );
    finds(
        "openssl",
        "printf \"$(openssl rand -hex 16) $(openssl rand -hex 16)\" > d/leak",
        "aes-key",
        "swupdate",
    );
    finds(
        "openssl",
        "openssl enc -aes-256-cbc -k x -P -md sha1 > d/leak 2> /dev/null",
        "aes-key",
        "openssl enc",
    );
}

#[test]
fn a_softhsm_token_and_our_own_dev_directory() {
    let (Some(softhsm), Some(_)) = (find_softhsm(), find_tool("openssl")) else { return };
    let bench = Bench::new();
    bench.hsmsign(&["init", "--softhsm", softhsm.to_str().unwrap()]).exits(0);
    let found = scan(&bench, ".hsmsign");
    assert_eq!(found.iter().filter(|f| f.kind == "token").count(), 4, "{found:?}");
    assert!(found.iter().all(|f| f.location.starts_with("tokens/")), "{found:?}");
}

#[test]
fn pins() {
    for text in [
        "pkcs11:token=boot;object=fit?pin-value=271828",
        "MKIMAGE_SIGN_PIN = \"271828\"",
        "pkcs11-tool --login --pin 271828 --sign",
    ] {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("d")).unwrap();
        bench.write("d/local.conf", format!("# a comment\n{text}\n"));
        let found = scan(&bench, "d");
        assert_eq!(short(&found), [("local.conf", "pin")], "{text}");
        assert_eq!(found[0].line, Some(2));
        let outcome = bench.hsmsign(&["scan", "d"]);
        assert!(!outcome.stdout.contains("271828") && !outcome.stderr.contains("271828"), "{outcome:?}");
    }
}

#[test]
fn json_web_keys_and_age() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("d")).unwrap();
    bench.write("d/private.jwk", r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#);
    bench.write(
        "d/public.jwk",
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}"#,
    );
    bench.write("d/age", format!("AGE-SECRET-KEY-1{}\n", "QPZRY9X8GF".repeat(5) + "2TVDW0S3"));
    bench.write("d/manual", "the file begins with AGE-SECRET-KEY-1 and more\n");
    assert_eq!(short(&scan(&bench, "d")), [("age", "private-key"), ("private.jwk", "private-key")]);
}

#[test]
fn a_key_that_is_pinned_for_release_says_so() {
    let bench = Bench::new();
    shell(&bench, "mkdir d; openssl genpkey -algorithm RSA -out d/leak 2> /dev/null");
    let pin = fingerprint(&bench, "d/leak").unwrap();
    bench.write(
        "hsmsign.yaml",
        format!("version: 1\nproduct: x\nrelease:\n  keys:\n    fit:\n      token: t\n      uri: \"pkcs11:token=t;object=o\"\n      pins: [\"{pin}\"]\n"),
    );
    assert!(scan(&bench, "d")[0].detail.contains("pinned for release (role fit)"));
}
