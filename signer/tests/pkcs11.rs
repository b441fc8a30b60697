//! The same signatures from several PKCS#11 modules, judged by OpenSSL.
//!
//! SoftHSMv2 alone proves little: the others reach a token in another process (p11-kit), in a TPM
//! (tpm2-pkcs11) and, where it was built, in Kryoptic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{Outcome, find_tool, token::TestToken};

/// Role lines, hash, and OpenSSL's options, for a key type in pkcs11-tool's words.
fn algorithms(key_type: &str) -> &'static [(&'static str, &'static str, bool)] {
    match key_type {
        "rsa:2048" => &[
            ("algorithm: rsa2048", "sha256", false),
            ("algorithm: rsa2048, hash: sha384", "sha384", false),
            ("algorithm: rsa2048, hash: sha512", "sha512", false),
            ("algorithm: rsa2048, padding: pss", "sha256", true),
            ("algorithm: rsa2048, padding: pss, hash: sha512", "sha512", true),
        ],
        "rsa:3072" => &[
            ("algorithm: rsa3072", "sha256", false),
            ("algorithm: rsa3072, padding: pss, hash: sha384", "sha384", true),
        ],
        "rsa:4096" => &[
            ("algorithm: rsa4096, hash: sha512", "sha512", false),
            ("algorithm: rsa4096, padding: pss", "sha256", true),
        ],
        // A digest wider than the curve counts by its leftmost bits.
        "EC:prime256v1" => &[
            ("algorithm: ecdsa-p256", "sha256", false),
            ("algorithm: ecdsa-p256, hash: sha512", "sha512", false),
        ],
        "EC:secp384r1" => &[
            ("algorithm: ecdsa-p384", "sha384", false),
            ("algorithm: ecdsa-p384, hash: sha256", "sha256", false),
        ],
        other => panic!("{other}"),
    }
}

/// OpenSSL's verdict on `signature` of `file`.
fn openssl(token: &TestToken, label: &str, hash: &str, pss: bool, file: &str) -> Outcome {
    let (hash, key) = (format!("-{hash}"), format!("{label}.pem"));
    let mut arguments = vec!["dgst", &hash, "-verify", &key, "-signature", "signature"];
    if pss {
        arguments.extend(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:auto"]);
    }
    arguments.push(file);
    token.bench.try_tool(&find_tool("openssl").unwrap(), &arguments)
}

#[track_caller]
fn judge(token: &TestToken, label: &str, hash: &str, pss: bool) {
    openssl(token, label, hash, pss, "input").exits(0);
    openssl(token, label, hash, pss, "other").exits(1);
}

fn inputs(token: &TestToken) {
    token.bench.write("input", "what is signed");
    token.bench.write("other", "what is sibned");
}

/// Every algorithm that the token can do.
fn signs_with_every_algorithm(token: &TestToken) {
    inputs(token);
    for key_type in token.key_types {
        let label = &key_type.replace(':', "-");
        token.generate(key_type, label, &[]);
        let pin = token.public_key(label);
        for (role, hash, pss) in algorithms(key_type) {
            token.policy(role, &format!("pkcs11:token=hsm;object={label}"), &[&pin], "");
            token.sign().exits(0).says("REHEARSAL").says(&pin);
            judge(token, label, hash, *pss);
        }
    }
}

#[test]
fn softhsm_signs_with_every_algorithm() {
    let Some(token) = TestToken::softhsm() else { return };
    signs_with_every_algorithm(&token);
}

#[test]
fn softhsm_in_another_process_signs_with_every_algorithm() {
    let Some(token) = TestToken::p11_kit() else { return };
    signs_with_every_algorithm(&token);
}

#[test]
fn a_tpm_signs_with_every_algorithm() {
    let Some(token) = TestToken::tpm2() else { return };
    signs_with_every_algorithm(&token);
}

#[test]
fn kryoptic_signs_with_every_algorithm() {
    let Some(token) = TestToken::kryoptic() else { return };
    signs_with_every_algorithm(&token);
}

/// What holds for each module besides its algorithms.
fn finds_exactly_one_key(token: &TestToken) {
    inputs(token);
    token.generate("rsa:2048", "twin", &["--id", "01"]);
    let pin = token.public_key("twin");
    token.generate("rsa:2048", "twin", &["--id", "02"]);
    let policy = |uri: &str| token.policy("algorithm: rsa2048", uri, &[&pin], "");
    policy("pkcs11:token=hsm;object=twin");
    token.sign().exits(5).says("2 match");
    policy("pkcs11:token=hsm;object=twin;id=%01");
    token.sign().exits(0);
    judge(token, "twin", "sha256", false);
    policy("pkcs11:token=hsm;id=%02");
    token.sign().exits(4).says("not pinned");
    policy("pkcs11:token=hsm;object=none");
    token.sign().exits(5).says("no private key `none`");
    policy("pkcs11:token=other;object=twin");
    token.sign().exits(5).says("no token that matches");
    policy("pkcs11:token=hsm;serial=000;object=twin;id=%01");
    token.sign().exits(5).says("no token that matches");
}

#[test]
fn softhsm_finds_exactly_one_key() {
    let Some(token) = TestToken::softhsm() else { return };
    finds_exactly_one_key(&token);
}

#[test]
fn p11_kit_finds_exactly_one_key() {
    let Some(token) = TestToken::p11_kit() else { return };
    finds_exactly_one_key(&token);
}

#[test]
fn a_tpm_finds_exactly_one_key() {
    let Some(token) = TestToken::tpm2() else { return };
    finds_exactly_one_key(&token);
}

#[test]
fn a_key_without_public_object_is_known_by_its_numbers_or_its_certificate() {
    let Some(token) = TestToken::softhsm() else { return };
    inputs(&token);
    for (key_type, label, role) in
        [("rsa:2048", "r", "algorithm: rsa2048"), ("EC:prime256v1", "e", "algorithm: ecdsa-p256")]
    {
        token.generate(key_type, label, &[]);
        let pin = token.public_key(label);
        token.logged_in(&["--delete-object", "--type", "pubkey", "--label", label]).exits(0);
        let uri = format!("pkcs11:token=hsm;object={label}");
        token.policy(role, &uri, &[&pin], "");
        if label == "r" {
            token.sign().exits(0);
            judge(&token, label, "sha256", false);
            continue;
        }
        // SoftHSMv2 keeps nothing of the public half in an EC private key.
        token.sign().exits(5).says("the public key of `e` cannot be used");
        certify(&token, label);
        token.policy(role, &uri, &[&pin], "      certificate: e.crt\n");
        token.sign().exits(0);
        judge(&token, label, "sha256", false);
        // The same certificate as an object in the token.
        let der = "openssl x509 -in e.crt -outform der -out e.crt.der";
        token.bench.tool("/bin/sh".as_ref(), &["-c", der]);
        let file = token.bench.path("e.crt.der");
        let file = file.to_str().unwrap();
        token.logged_in(&["--write-object", file, "--type", "cert", "--label", label]).exits(0);
        token.policy(role, &uri, &[&pin], "");
        token.sign().exits(0);
    }
}

/// A certificate for the key in `LABEL.pem`, issued by a CA that OpenSSL makes.
fn certify(token: &TestToken, label: &str) {
    let script = format!(
        "set -e; openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 9 \
         -addext keyUsage=critical,keyCertSign 2>/dev/null; \
         openssl req -new -key ca.key -subj /CN=signer -out x.csr; \
         printf 'keyUsage=digitalSignature\\nextendedKeyUsage=emailProtection\\n' > ext; \
         openssl x509 -req -in x.csr -force_pubkey {label}.pem -CA ca.crt -CAkey ca.key -days 5 \
         -CAcreateserial -extfile ext -out {label}.crt 2>/dev/null"
    );
    token.bench.tool("/bin/sh".as_ref(), &["-c", &script]);
}

#[test]
fn a_key_that_wants_its_pin_each_time_gets_it() {
    let Some(token) = TestToken::softhsm() else { return };
    inputs(&token);
    token.generate("rsa:2048", "k", &["--always-auth"]);
    let pin = token.public_key("k");
    for (role, pss) in [("algorithm: rsa2048", false), ("algorithm: rsa2048, padding: pss", true)] {
        token.policy(role, "pkcs11:token=hsm;object=k", &[&pin], "");
        token.sign().exits(0);
        judge(&token, "k", "sha256", pss);
    }
}

#[test]
fn a_key_with_hashed_mechanisms_alone_signs_what_it_can_be_given() {
    let Some(token) = TestToken::softhsm() else { return };
    inputs(&token);
    let mechanisms = ["--allowed-mechanisms", "SHA256-RSA-PKCS-PSS,SHA256-RSA-PKCS"];
    token.generate("rsa:2048", "k", &mechanisms);
    let pin = token.public_key("k");
    for (role, pss) in [("algorithm: rsa2048", false), ("algorithm: rsa2048, padding: pss", true)] {
        token.policy(role, "pkcs11:token=hsm;object=k", &[&pin], "");
        token.bench.write("input", "what is signed");
        token.sign().exits(0);
        judge(&token, "k", "sha256", pss);
        // Too long to be carried to the token.
        token.bench.write("input", vec![0; 3 << 20]);
        std::fs::remove_file(token.bench.path("signature")).unwrap();
        token.sign().exits(5).says("hash by themselves");
        assert!(!token.bench.path("signature").exists());
    }
}
