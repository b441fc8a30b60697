//! Forms of signature, certificates and chains.

use super::*;

#[test]
fn certificates_are_judged_as_swupdate_judges_them() {
    let Some(openssl) = find_tool("openssl") else { return };
    let bench = cms();
    let hash = "a172cedcae47474b615c54d510a5d84a8dea3032e958587430b413538be3f333";
    let entry =
        format!("{{ filename = \"app.bin\"; type = \"rawfile\"; path = \"/x\"; sha256 = \"{hash}\"; }}");
    let head = "version = \"1\"; hardware-compatibility: [ \"1.0\" ];";
    bench.write("d", format!("software = {{ {head} files: ( {entry} ); }};"));
    for (usage, more, expected) in [
        ("emailProtection", &[][..], true),
        ("emailProtection,codeSigning", &["-noattr"][..], true),
        ("emailProtection", &["-md", "sha512"][..], true),
        ("emailProtection", &["-keyopt", "rsa_padding_mode:pss"][..], true),
        ("serverAuth", &[][..], false),
        ("emailProtection", &["-nocerts"][..], false),
    ] {
        signer_of_openssl(&bench, &openssl, usage);
        openssl_bundle(&bench, &openssl, more);
        eprintln!("{usage}, {more:?}");
        let code = if expected { 0 } else { 7 };
        verify(&bench, "openssl.swu", &["--trust", "signer.pem"]).exits(code);
        swupdate_says(expected, &bench, "signer.pem", "openssl.swu");
    }
    // swupdate takes this one with `--cert-purpose codeSigning`, and we say so.
    signer_of_openssl(&bench, &openssl, "codeSigning");
    openssl_bundle(&bench, &openssl, &[]);
    verify(&bench, "openssl.swu", &["--trust", "signer.pem"]).exits(0).says("--cert-purpose codeSigning");
    // A bare key as anchor: the certificate in the message is judged all the same.
    bench.tool(&openssl, &["pkey", "-in", "signer.key", "-pubout", "-out", "signer.pub"]);
    verify(&bench, "openssl.swu", &["--trust", "signer.pub"]).exits(0);
    verify(&bench, "openssl.swu", &["--trust", "update.pub"]).exits(7);
    verify(&bench, "openssl.swu", &["--trust", "update.pem"]).exits(7);
}

/// RSA and RSA-PSS: a bare signature that OpenSSL checks, and a swupdate built for it.
fn bare_signatures(form: &str, options: &[&str], variable: &str) {
    let padding = if form == "rsa-pss" { ", padding: pss" } else { "" };
    let bench = signed(bench(&format!("  update: {{ algorithm: rsa4096, format: {form}{padding} }}\n")));
    verify(&bench, "out.swu", &[]).exits(0).says(&format!("form {form}"));
    verify(&bench, "out.swu", &["--trust", "update.pub"]).exits(0);
    let members = unpack(&bench.read("out.swu"));
    bench.write("d", &members[0].data);
    bench.write("d.sig", &members[1].data);
    if let Some(openssl) = find_tool("openssl") {
        let head = ["dgst", "-sha256", "-verify", "update.pub", "-signature", "d.sig"];
        let check = [&head[..], options, &["d"]].concat();
        bench.tool(&openssl, &check);
        bench.write("d", [&members[0].data[..], b" "].concat());
        assert_ne!(bench.try_tool(&openssl, &check).code, 0);
    }
    tamper(&bench, "signature.swu", |m| m[1].data[100] ^= 1);
    tamper(&bench, "version.swu", |m| m[0].replace("1.0.0", "9.0.0"));
    tamper(&bench, "payload.swu", |m| m[2].data[7] ^= 1);
    for name in ["signature.swu", "version.swu", "payload.swu"] {
        verify(&bench, name, &[]).exits(7);
    }
    if let Some(program) = optional_tool(variable) {
        assert!(swupdate(&program, &bench, "update.pub", "out.swu"));
        for name in ["signature.swu", "version.swu", "payload.swu"] {
            assert!(!swupdate(&program, &bench, "update.pub", name), "{name}");
        }
    }
}

#[test]
fn rsa_signatures_are_judged_by_openssl_and_swupdate() {
    bare_signatures("rsa", &[], "SWUPDATE_RSA");
}

#[test]
fn pss_signatures_are_judged_by_openssl_and_swupdate() {
    bare_signatures("rsa-pss", &["-sigopt", "rsa_padding_mode:pss"], "SWUPDATE_PSS");
}

#[test]
fn ecdsa_signatures_of_every_length_leave_the_payloads_in_place() {
    let bench = bench("  update: { algorithm: ecdsa-p256, format: cms }\n");
    for _ in 0..6 {
        sign(&bench, "out.swu").exits(0);
        verify(&bench, "out.swu", &[]).exits(0).says("ecdsa-sha256");
        swupdate_says(true, &bench, "update.pem", "out.swu");
        assert_eq!(unpack(&bench.read("out.swu"))[2].data, bench.read("rootfs.img"));
    }
}

#[test]
fn release_bundles_carry_the_chain_to_a_root() {
    let Some(openssl) = find_tool("openssl") else { return };
    let Some(token) = TestToken::softhsm() else { return };
    let bench = &token.bench;
    token.generate("rsa:2048", "k", &["--id", "01"]);
    let pin = token.public_key("k");
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=k", &[&pin], "");
    for (name, file, text) in [
        ("authority", "ca.ext", "basicConstraints=critical,CA:TRUE\n"),
        ("signer", "leaf.ext", "extendedKeyUsage=emailProtection\nkeyUsage=critical,digitalSignature\n"),
    ] {
        bench.write(file, format!("[{name}]\n{text}"));
    }
    let openssl = |line: &str| bench.tool(&openssl, &line.split(' ').collect::<Vec<_>>());
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 9");
    openssl("req -new -newkey rsa:2048 -nodes -keyout inter.key -out inter.csr -subj /CN=inter");
    let ca = "-CA root.pem -CAkey root.key -CAcreateserial -days 9 -extfile ca.ext -extensions authority";
    openssl(&format!("x509 -req -in inter.csr -out inter.pem {ca}"));
    let ca = "-CA inter.pem -CAkey inter.key -set_serial 7 -days 9 -extfile leaf.ext -extensions signer";
    openssl(&format!("x509 -new -force_pubkey k.pem -subj /CN=leaf -out leaf.pem {ca}"));
    bench.write(
        "hsmsign.yaml",
        format!(
            "version: 1\nproduct: test\nroles:\n  update: {{ algorithm: rsa2048 }}\nrelease:\n  rehearsal: true\n  \
             keys:\n    update:\n      token: hsm\n      uri: \"pkcs11:token=hsm;object=k\"\n      \
             pins: [\"{pin}\"]\n      certificate: leaf.pem\n      chain: [inter.pem]\n"
        ),
    );
    bench.write("sw-description", DESCRIPTION);
    bench.write("rootfs.img", "image");
    bench.write("app.bin", "app");
    let sign = ["sign", "swu", "--description", "sw-description", "--image", "rootfs.img", "app.bin"];
    token.hsmsign(&[&sign[..], &["-o", "out.swu"]].concat()).exits(0).says("REHEARSAL");
    // 2022.12 takes intermediates from its key file alone, newer ones from the message too.
    bench.write("both.pem", [bench.read("root.pem"), bench.read("inter.pem")].concat());
    swupdate_says(true, bench, "both.pem", "out.swu");
    if let Some(program) = optional_tool("SWUPDATE_CMS") {
        assert!(swupdate(&program, bench, "root.pem", "out.swu"));
    }
    for trust in [&[][..], &["--trust", "root.pem"], &["--trust", "inter.pem"], &["--trust", "leaf.pem"]] {
        token.hsmsign(&[&["verify", "swu", "out.swu"], trust].concat()).exits(0);
    }
    // Without the intermediate nothing leads to the root; swupdate wants it in the message or in its file.
    let policy = String::from_utf8(bench.read("hsmsign.yaml")).unwrap();
    bench.write("hsmsign.yaml", policy.replace("chain: [inter.pem]", "chain: []"));
    token.hsmsign(&[&sign[..], &["-o", "short.swu"]].concat()).exits(0);
    swupdate_says(false, bench, "root.pem", "short.swu");
    verify(bench, "short.swu", &["--trust", "root.pem"]).exits(7).says("not acceptable");
}

#[test]
fn a_policy_that_swupdate_cannot_follow_is_told_before_work() {
    let bench = cms();
    let policy =
        "version: 1\nproduct: test\nroles:\n  update: { algorithm: rsa2048, hash: sha512, format: rsa }\n";
    bench.write("hsmsign.yaml", policy);
    sign(&bench, "no.swu").exits(3);
    assert!(!bench.path("no.swu").exists());
    if find_tool("swupdate").is_none() {
        skip("swupdate is the judge of this file");
    }
}
