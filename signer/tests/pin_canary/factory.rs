//! A token with one key for all roles, and something to sign for each.

use crate::common::{find_tool, token::TestToken};
use std::{
    fs,
    path::{Path, PathBuf},
};

const URI: &str = "pkcs11:token=hsm;object=k";

/// A token with one key for all roles, certificates for it, and something to sign for each role.
pub fn factory() -> Option<TestToken> {
    let (mkimage, dtc, openssl) = (find_tool("mkimage")?, find_tool("dtc")?, find_tool("openssl")?);
    let token = TestToken::softhsm()?;
    let bench = &token.bench;
    token.generate("rsa:2048", "k", &[]);
    let pin = token.public_key("k");
    let roles = |certificates: bool| {
        let certificate = if certificates { ", certificate: k.crt" } else { "" };
        ["bootloader", "rootfs", "update"]
            .map(|role| {
                format!("    {role}: {{ token: hsm, uri: \"{URI}\", pins: [\"{pin}\"]{certificate} }}\n")
            })
            .concat()
    };
    token.policy("algorithm: rsa2048", URI, &[&pin], &roles(false));
    token.hsmsign(&["keys", "csr", "--role", "update", "-o", "k.csr"]).exits(0);
    let ca = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj",
        "/CN=ca",
    ];
    bench.tool(&openssl, &ca);
    bench.write("ext", "keyUsage=digitalSignature\nextendedKeyUsage=emailProtection\n");
    let sign = [
        "x509",
        "-req",
        "-in",
        "k.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "9",
    ];
    bench.tool(&openssl, &[&sign[..], &["-extfile", "ext", "-out", "k.crt"]].concat());
    let roles = format!("      certificate: k.crt\n{}", roles(true));
    token.policy("algorithm: rsa2048", URI, &[&pin], &roles);
    fs::create_dir(bench.path("deploy")).unwrap();
    bench.write("kernel", "kernel");
    bench.write("rootfs", vec![7; 64 * 1024]);
    bench.write("image.bin", "image");
    bench.write(
        "sw-description",
        "software = { version = \"1\"; images: ( { filename = \"image.bin\"; } ); };\n",
    );
    bench.write("tree.dts", "/dts-v1/; / { config { a = <1>; }; };");
    bench.tool(&dtc, &["-q", "-p", "8192", "-O", "dtb", "-o", "u-boot.dtb", "tree.dts"]);
    bench.write(
        "image.its",
        "/dts-v1/; / { description = \"x\"; #address-cells = <1>; images { kernel { data = /incbin/(\"kernel\"); type = \
         \"kernel\"; arch = \"arm64\"; os = \"linux\"; compression = \"none\"; load = <0>; entry = <0>; hash-1 { algo = \
         \"sha256\"; }; }; }; configurations { default = \"conf-1\"; conf-1 { kernel = \"kernel\"; signature-1 { algo = \
         \"sha256,rsa2048\"; key-name-hint = \"x\"; sign-images = \"kernel\"; }; }; }; };",
    );
    bench.tool(&mkimage, &["-f", "image.its", "fit"]);
    Some(token)
}

/// Files below `directory` that hold `text`.
pub fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() && fs::read(&path).unwrap().windows(text.len()).any(|w| w == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}
