//! Dev mode against everything that would lead it to another module, token or key (invariants 1 and 2).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;
mod interrupted;
mod isolation;
mod planted;
use common::{Bench, Outcome, SIGN, find_softhsm, find_tool};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

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
fn a_keys_age_is_told() {
    let bench = bench();
    let list = || bench.hsmsign(&["--dev-dir", "dev", "keys", "list"]).exits(0).stdout;
    assert!(!list().contains("age"));
    signs(&bench, "dev");
    let file = fs::File::open(bench.path("dev/certificates/fit-rsa2048.pem")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3 * 86_400 + 3600)).unwrap();
    let ages: Vec<_> =
        list().lines().filter_map(|l| Some(l.trim().strip_prefix("age ")?.trim().to_owned())).collect();
    assert_eq!(ages.len(), 4, "{ages:?}");
    assert!(ages[1].starts_with("3 days, since 2") && ages[0].starts_with("0 days"), "{ages:?}");
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
        refused("dev", "each member of a team has a copy: `cp -r ");
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

#[test]
fn mode_off_signs_and_makes_nothing() {
    let bench = bench();
    bench.hsmsign(&[&["--mode", "off"], &SIGN[..]].concat()).exits(4).says("mode is `off`");
    assert_eq!(bench.files(), ["input"]);
    assert!(!bench.path(".hsmsign").exists());
}
