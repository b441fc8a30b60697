//! Every kind of artifact through an agent, with a key of another type each; judged by other makers' tools.

use super::{
    common::{find_tool, run, skip, token::TestToken},
    running::{Agent, token},
};
use std::{path::PathBuf, process::Command};

/// Role, what the policy says of it, and the key's type in pkcs11-tool's words.
const ROLES: [(&str, &str, &str); 4] = [
    ("bootloader", "algorithm: ecdsa-p384", "EC:secp384r1"),
    ("fit", "algorithm: rsa2048, padding: pss", "rsa:2048"),
    ("rootfs", "algorithm: ecdsa-p256", "EC:prime256v1"),
    ("update", "algorithm: rsa3072, format: cms", "rsa:3072"),
];

/// A key per role, with a certificate of a test authority, and the policy that pins them.
fn prepare(token: &TestToken, openssl: &std::path::Path) {
    let (mut roles, mut keys) = (String::new(), String::new());
    let sh = |script: &str| token.bench.tool(std::path::Path::new("/bin/sh"), &["-ec", script]);
    let ssl = openssl.display();
    token.bench.write("leaf.ext", "extendedKeyUsage=emailProtection\nkeyUsage=critical,digitalSignature\n");
    sh(&format!(
        "{ssl} req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 9"
    ));
    for (number, (role, settings, key_type)) in ROLES.into_iter().enumerate() {
        token.generate(key_type, role, &["--id", &format!("1{number}")]);
        let pin = token.public_key(role);
        sh(&format!(
            "{ssl} x509 -new -force_pubkey {role}.pem -subj /CN={role} -out {role}.crt -CA ca.pem -CAkey ca.key \
             -set_serial {number} -days 9 -extfile leaf.ext"
        ));
        roles += &format!("  {role}: {{ {settings} }}\n");
        keys += &format!(
            "    {role}: {{ token: hsm, uri: \"pkcs11:token=hsm;object={role}\", pins: [\"{pin}\"], \
             certificate: {role}.crt }}\n"
        );
    }
    token.bench.write(
        "hsmsign.yaml",
        format!("version: 1\nproduct: test\nroles:\n{roles}release:\n  rehearsal: true\n  keys:\n{keys}"),
    );
}

#[test]
fn every_artifact_is_signed_through_it() {
    let Some(token) = token() else { return };
    let Some(images) = std::env::var_os("HSMSIGN_TEST_IMAGES").map(PathBuf::from) else {
        return skip("HSMSIGN_TEST_IMAGES names no directory (test-images/make.sh DIR fills one)");
    };
    let tools = ["openssl", "veritysetup", "swupdate"].map(find_tool);
    let [Some(openssl), Some(veritysetup), Some(swupdate)] = tools else { return };
    prepare(&token, &openssl);
    let bench = &token.bench;
    for name in ["fit.itb", "u-boot.dtb", "rootfs.squashfs", "sw-description"] {
        bench.write(name, std::fs::read(images.join(name)).unwrap());
    }
    let agent = Agent::start(&token, "");
    // The build has neither the PIN nor the way to the token.
    std::fs::remove_file(bench.path("pin")).unwrap();
    let client = |arguments: &[&str]| run(agent.client(&token, arguments).env_remove("SOFTHSM2_CONF"));
    std::fs::create_dir(bench.path("out")).unwrap();

    // Each result names the agent's log at its last record, for whoever keeps heads elsewhere.
    let signs = |arguments: &[&str]| {
        let signed = client(&[&["--json"], arguments].concat()).exits(0);
        let head = String::from_utf8(bench.read(".state/hsmsign/audit/head")).unwrap();
        let told: serde_json::Value = serde_json::from_str(&signed.stdout).unwrap();
        assert_eq!(told["audit_head"], head.trim(), "{arguments:?}");
        signed.says(&format!("head {}", head.trim()));
    };
    signs(&["sign", "rootfs", "rootfs.squashfs", "-o", "out/rootfs.squashfs"]);
    let fit = ["sign", "fit", "fit.itb", "-o", "out/fit.itb", "--control-dtb", "u-boot.dtb"];
    signs(&[&fit[..], &["--rootfs", "out/rootfs.squashfs.verity.json"]].concat());
    let swu = ["sign", "swu", "--description", "sw-description", "-o", "out/update.swu", "--image"];
    signs(&[&swu[..], &["out/rootfs.squashfs", "out/fit.itb"]].concat());
    signs(&["sign", "blob", "input", "--role", "bootloader", "--format", "raw", "-o", "out/input.sig"]);
    let records = agent.records(&token);
    for (role, ..) in ROLES {
        assert!(records.iter().any(|r| r["role"] == role && r["requester"]["via"] == "agent"), "{role}");
    }
    agent.end();

    let root_hash = String::from_utf8(bench.read("out/rootfs.squashfs.roothash")).unwrap();
    let description: serde_json::Value =
        serde_json::from_slice(&bench.read("out/rootfs.squashfs.verity.json")).unwrap();
    let offset = format!("--hash-offset={}", description["hash_offset_bytes"]);
    let image = "out/rootfs.squashfs";
    bench.tool(&veritysetup, &["verify", &offset, image, image, root_hash.trim()]);
    bench.write("text", root_hash.trim());
    let smime =
        "smime -verify -binary -inform der -in out/rootfs.squashfs.roothash.p7s -content text -certfile";
    let with = |certificate: &str| format!("{smime} {certificate} -nointern -noverify");
    bench.tool(&openssl, &with("rootfs.crt").split(' ').collect::<Vec<_>>());
    assert_ne!(bench.try_tool(&openssl, &with("fit.crt").split(' ').collect::<Vec<_>>()).code, 0);
    let fit = ["verify", "fit", "out/fit.itb", "--trust", "fit.pem"];
    run(&mut token.command(&fit)).exits(0).says("rsa-pss-sha256");
    run(&mut token.command(&["verify", "fit", "out/fit.itb", "--trust", "update.pem"])).exits(7);
    let check = |certificate: &str| {
        let mut command = Command::new(&swupdate);
        command.args([
            "-c",
            "-H",
            "board:1.0",
            "-e",
            "stable,slot-b",
            "-k",
            certificate,
            "-i",
            "out/update.swu",
        ]);
        run(command.current_dir(bench.directory()).env("TMPDIR", bench.path("out"))).code
    };
    assert_eq!(check("ca.pem"), 0);
    assert_ne!(check("rootfs.crt"), 0);
    let signature = ["--role", "bootloader", "--format", "raw", "--signature", "out/input.sig"];
    let verify = |key| [&["verify", "blob", "input"], &signature[..], &["--trust", key]].concat();
    run(&mut token.command(&verify("bootloader.pem"))).exits(0).says("ecdsa-sha384");
    run(&mut token.command(&verify("fit.pem"))).exits(7);
}
