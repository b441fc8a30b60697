//! Options, parameters and the description.

use super::*;

#[test]
fn equal_input_gives_equal_bytes_with_any_key() {
    let bench = signed(&[]);
    sign(&bench, "image", "again", &[]).exits(0);
    for suffix in ["", ".roothash", ".roothash.p7s", ".verity.json"] {
        let [one, two] = ["out", "again"].map(|n| bench.read(&format!("{n}{suffix}")));
        assert!(one == two, "{suffix}");
    }
    let other_keys = signed(&[]);
    assert!(bench.read("out") == other_keys.read("out"));
    assert!(bench.read("out.roothash") == other_keys.read("out.roothash"));
    assert!(bench.read("out.roothash.p7s") != other_keys.read("out.roothash.p7s"));
}

#[test]
fn options_mean_what_veritysetup_means() {
    let bench = Bench::new();
    bench.write("image", image(BLOCKS * BLOCK));
    let uuid = "--uuid=00112233-4455-6677-8899-aabbccddeeff";
    let both = ["--salt=a0b1c2", "--hash=sha512", "--data-block-size=1024", "--hash-block-size=2048"];
    sign(&bench, "image", "out", &[&both[..], &["--hash-file", uuid]].concat()).exits(0);
    sign(&bench, "image", "bare", &[&both[..], &["--hash-file", "--no-superblock"]].concat()).exits(0);
    for output in ["out", "bare"] {
        verify(&bench, &["image", "--hash-file", output]).exits(0);
    }
    let Some(tool) = find_tool("veritysetup") else { return };
    bench.tool(&tool, &[&["format", "image", "theirs"], &both[..], &[uuid]].concat());
    bench.tool(&tool, &[&["format", "image", "theirs-bare", "--no-superblock"], &both[..]].concat());
    assert!(bench.read("theirs") == bench.read("out"));
    assert!(bench.read("theirs-bare") == bench.read("bare"));
    bench.tool(&tool, &["verify", "image", "out", "--root-hash-file", "out.roothash"]);
}

#[test]
fn the_description_opens_what_it_describes() {
    let bench = signed(&["--no-superblock"]);
    let description = description(&bench, "out");
    assert_eq!(description["version"], 1);
    assert_eq!(description["root_hash"], root_hash(&bench, "out"));
    assert!(description["dm_mod_create_does_not_cover"].as_array().is_some_and(|a| !a.is_empty()));
    let table = description["dm_table"].as_str().unwrap();
    let expected =
        format!("0 {} verity 1 DATA_DEVICE HASH_DEVICE 4096 4096 {BLOCKS} {BLOCKS} sha256", BLOCKS * 8);
    assert!(table.starts_with(&expected), "{table}");
    // The same arguments, but `verify` needs no device-mapper and knows no signature.
    let Some(tool) = find_tool("veritysetup") else { return };
    let arguments = description["veritysetup_open"].as_array().unwrap().iter().map(|a| a.as_str().unwrap());
    let arguments: Vec<_> = arguments
        .filter(|a| *a != "NAME" && !a.contains("SIGNATURE_FILE"))
        .map(|a| match a {
            "open" => "verify",
            "DATA_DEVICE" | "HASH_DEVICE" => "out",
            other => other,
        })
        .collect();
    bench.tool(&tool, &arguments);
}

#[test]
fn incomplete_blocks_are_padded_and_that_is_said() {
    let bench = Bench::new();
    bench.write("image", image(BLOCKS * BLOCK - 100));
    sign(&bench, "image", "out", &[]).exits(0).says("100 zero bytes");
    verify(&bench, &["out"]).exits(0);
    let root = root_hash(&bench, "out");
    assert!(veritysetup(&bench, "out", &root).is_none_or(|code| code == 0));
    sign(&bench, "image", "tree", &["--hash-file"]).exits(0).says("pad it to");
    verify(&bench, &["image", "--hash-file", "tree"]).exits(0).says("100 zero bytes");
    assert_eq!(root_hash(&bench, "tree"), root);
    bench.write("longer", image(BLOCKS * BLOCK + 1));
    verify(&bench, &["longer", "--hash-file", "tree"]).exits(7);
}

#[test]
fn wrong_use_is_told_before_anything_is_written() {
    let bench = Bench::new();
    bench.write("image", image(BLOCK));
    bench.write("empty", b"");
    for (option, value) in [
        ("--salt", "xyz"),
        ("--salt", "abc"),
        ("--uuid", "1234"),
        ("--hash", "sha1"),
        ("--data-block-size", "1000"),
        ("--hash-block-size", "1048576"),
    ] {
        sign(&bench, "image", "out", &[option, value]).exits(2).says(option);
    }
    sign(&bench, "empty", "out", &[]).exits(6).says("empty");
    sign(&bench, "missing", "out", &[]).exits(8).says("`missing`");
    sign(&bench, "image", "no/such/out", &[]).exits(8);
    sign(&bench, "image", "out", &["--mode", "off"]).exits(4);
    sign(&bench, "image", "image", &["--hash-file"]).exits(2).says("overwritten");
    bench.write("x.roothash", image(BLOCK));
    sign(&bench, "x.roothash", "x", &[]).exits(2).says("overwritten");
    assert_eq!(bench.files(), ["empty", "image", "x.roothash"]);
    assert_eq!(bench.read("image"), image(BLOCK));
    verify(&bench, &["image"]).exits(6).says("hash area");
}

#[test]
fn pss_is_a_configuration_error() {
    let bench = Bench::new();
    bench.write("image", image(BLOCK));
    bench.write(
        "hsmsign.yaml",
        "version: 1\nproduct: test\nroles:\n  rootfs: { algorithm: rsa2048, padding: pss }\n",
    );
    sign(&bench, "image", "out", &[]).exits(3).says("PSS");
    assert_eq!(bench.files(), ["hsmsign.yaml", "image"]);
}

#[test]
fn ecdsa_signs_too() {
    let bench = Bench::new();
    bench.write("image", image(BLOCKS * BLOCK));
    bench.write("hsmsign.yaml", "version: 1\nproduct: test\nroles:\n  rootfs: { algorithm: ecdsa-p256 }\n");
    sign(&bench, "image", "out", &[]).exits(0);
    verify(&bench, &["out"]).exits(0).says("ecdsa-sha256");
    dev_certificate(&bench);
    let accepted = openssl_accepts(&bench, "out.roothash.p7s", "out.roothash", "dev.pem");
    assert!(accepted.is_none_or(|a| a));
}

#[test]
fn ext4_with_blocks_too_small_is_warned_of() {
    let Some(mkfs) = find_tool("mkfs.ext4") else { return };
    let bench = Bench::new();
    bench.write("image", vec![0; 8 << 20]);
    bench.tool(&mkfs, &["-q", "-b", "1024", "image"]);
    sign(&bench, "image", "out", &[]).exits(0).says("--data-block-size 1024");
    let quiet = sign(&bench, "image", "out", &["--data-block-size", "1024"]).exits(0);
    assert!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
}
