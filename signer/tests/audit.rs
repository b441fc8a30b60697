//! Every release signature is on record, and nobody changes the record unseen (invariant 10). Real release signing,
//! on a module that tells of itself what an HSM would.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    Outcome, SIGN, find_tool,
    quirky::{Quirky, quirky},
    run, skip,
    token::PIN,
};
use std::{fs, path::PathBuf, process::Stdio};

/// The quirky token with key `r` in a policy that knows no rehearsal.
fn release() -> Option<Quirky> {
    let quirky = quirky()?;
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    let policy = String::from_utf8(quirky.token.bench.read("hsmsign.yaml")).unwrap();
    quirky.token.bench.write("hsmsign.yaml", policy.replace("  rehearsal: true\n", ""));
    Some(quirky)
}

fn sign(quirky: &Quirky) -> Outcome {
    quirky.sign("hardware")
}

fn log(quirky: &Quirky) -> PathBuf {
    quirky.token.bench.path(".state/hsmsign/audit/log.jsonl")
}

fn verify(quirky: &Quirky, arguments: &[&str]) -> Outcome {
    run(&mut quirky.token.bench.command(&[&["--mode", "release", "audit", "verify"], arguments].concat()))
}

/// Values of all records by a dotted path, read by Python.
fn python(quirky: &Quirky, expression: &str) -> String {
    let script = format!(
        "import json,hashlib\nlines=open({:?},'rb').read().split(b'\\n')[:-1]\nrecords=[json.loads(l) for l in lines]\n\
         print({expression})",
        log(quirky)
    );
    quirky.token.bench.tool(&find_tool("python3").unwrap(), &["-c", &script]).stdout.trim().to_owned()
}

#[test]
fn a_release_without_rehearsal_is_signed_recorded_and_verified_by_openssl() {
    let Some(quirky) = release() else { return };
    let outcome = sign(&quirky).exits(0).says("audit log: record 1, head 1:");
    assert!(
        !outcome.stderr.contains("REHEARSAL") && !outcome.stderr.contains("warning"),
        "{}",
        outcome.stderr
    );
    quirky.accepted("r");
    let record = |path: &str| python(&quirky, &format!("records[0]{path}"));
    for (path, value) in [
        ("['event']", "signature"),
        ("['mode']", "release"),
        ("['rehearsal']", "False"),
        ("['exceptions']", "[]"),
        ("['role']", "fit"),
        ("['key']", quirky.rsa.as_str()),
        ("['token']['label']", "hsm"),
        ("['format']", "blob"),
        ("['algorithm']", "rsa-pkcs1-v1_5-sha256"),
        ("['requester']['via']", "local"),
    ] {
        assert_eq!(record(path), value, "{path}");
    }
    // The digests are what sha256sum says of the files.
    let sums =
        quirky.token.bench.tool(&find_tool("sha256sum").unwrap(), &["input", "signature", "hsmsign.yaml"]);
    let sums: Vec<_> = sums.stdout.lines().map(|l| format!("sha256:{}", &l[..64])).collect();
    assert_eq!([record("['digest']"), record("['signature']"), record("['policy']")], sums[..]);
    let listing = quirky.token.pkcs11_tool(&["--list-token-slots"]).stdout;
    assert!(listing.contains(&record("['token']['serial']")), "{listing}");
    verify(&quirky, &[]).exits(0).says("1 records");
    // The dev mode of the same workspace signs without a record.
    quirky
        .token
        .bench
        .hsmsign(&["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "d"])
        .exits(0);
    assert_eq!(python(&quirky, "len(records)"), "1");
}

#[test]
fn a_software_token_without_rehearsal_is_refused_before_its_pin_is_read() {
    let Some(quirky) = release() else { return };
    fs::remove_file(quirky.token.bench.path("pin")).unwrap();
    quirky.sign("").exits(4).says("is a software token");
    assert_eq!(quirky.logins(), 0);
    quirky.signed_nothing();
}

#[test]
fn a_rehearsal_and_a_certification_request_are_on_record_as_such() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("").exits(0).says("audit log: record 1");
    quirky
        .token
        .hsmsign(&["keys", "csr", "--role", "fit", "-o", "csr.pem"])
        .exits(0)
        .says("audit log: record 2");
    assert_eq!(
        python(&quirky, "[(r['rehearsal'],r['format']) for r in records]"),
        "[(True, 'blob'), (True, 'certificate')]"
    );
    assert!(python(&quirky, "records[0]['exceptions']").contains("REHEARSAL"));
}

/// For scripts that keep heads elsewhere; `tests/agent/artifacts.rs` has the other artifacts.
#[test]
fn a_result_in_json_names_the_head_at_its_record() {
    let Some(quirky) = release() else { return };
    let words = ["--json", "sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];
    for record in 1..=2 {
        let signed = run(quirky.token.command(&words).env("QUIRKS", "hardware")).exits(0);
        let told: serde_json::Value = serde_json::from_str(&signed.stdout).unwrap();
        let head = told["audit_head"].as_str().unwrap();
        assert!(head.starts_with(&format!("{record}:")), "{head}");
        let verified: serde_json::Value = serde_json::from_str(&verify(&quirky, &["--json"]).stdout).unwrap();
        assert_eq!(verified["head"], head);
        verify(&quirky, &["--head", head]).exits(0);
    }
    // Dev mode keeps no record.
    let mut words = words.to_vec();
    words.extend(["--mode", "dev"]);
    let signed = run(&mut quirky.token.bench.command(&words)).exits(0);
    let told: serde_json::Value = serde_json::from_str(&signed.stdout).unwrap();
    assert_eq!((&told["mode"], &told["audit_head"]), (&"dev".into(), &serde_json::Value::Null));
}

#[test]
fn the_documented_chain_is_what_other_tools_compute() {
    let Some(quirky) = release() else { return };
    for _ in 0..3 {
        sign(&quirky).exits(0);
    }
    let head = fs::read_to_string(log(&quirky).with_file_name("head")).unwrap();
    // docs/audit-log.md, in Python and nothing of ours.
    let chain = "all(r['previous']==hashlib.sha256(lines[i-1]+b'\\n' if i else b'').hexdigest() and r['sequence']==i+1 \
                 for i,r in enumerate(records))";
    assert_eq!(python(&quirky, chain), "True");
    assert_eq!(python(&quirky, "'3:'+hashlib.sha256(lines[2]+b'\\n').hexdigest()"), head.trim());
    let script = format!("sed -n 2p {} | sha256sum | cut -d' ' -f1", log(&quirky).display());
    let sum = quirky.token.bench.tool("/bin/sh".as_ref(), &["-c", &script]).stdout;
    assert_eq!(python(&quirky, "records[2]['previous']"), sum.trim());
    let shown =
        run(&mut quirky.token.bench.command(&["--mode", "release", "audit", "show", "--last", "2"])).exits(0);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
    let json =
        run(&mut quirky.token.bench.command(&["--json", "--mode", "release", "audit", "show"])).exits(0);
    assert_eq!(json.stdout.matches("\"previous\"").count(), 3);
}

#[test]
fn whatever_is_done_to_the_log_is_found_and_stops_signing_where_the_end_is_gone() {
    let Some(quirky) = release() else { return };
    for _ in 0..3 {
        sign(&quirky).exits(0);
    }
    let whole = fs::read_to_string(log(&quirky)).unwrap();
    let head = fs::read_to_string(log(&quirky).with_file_name("head")).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let edited = whole.replacen("\"rehearsal\":false", "\"rehearsal\":true ", 1);
    for (what, text, says) in [
        ("edited", edited, "record 2 does not fit: record 1 was changed"),
        ("removed", [lines[0], lines[2]].concat(), "record 3 follows record 1: 1 missing"),
        ("moved", [lines[1], lines[0], lines[2]].concat(), "record 2 follows record 0"),
        ("cut off", lines[..2].concat(), "names a record that is missing"),
        ("emptied", String::new(), "names a record that is missing"),
    ] {
        fs::write(log(&quirky), text).unwrap();
        let outcome = verify(&quirky, &[]).exits(7);
        assert!(outcome.stdout.contains(says), "{what}: {}", outcome.stdout);
    }
    sign(&quirky).exits(8).says("records are missing").says("audit verify");
    // It is found before a module is loaded.
    assert!(!quirky.token.bench.path("told").exists() && !quirky.token.bench.path("signature").exists());
    // A copy needs no settings; a head that was kept elsewhere tells what was cut off.
    let copy = quirky.token.bench.write("copy.jsonl", lines[..2].concat());
    let copy = copy.to_str().unwrap();
    verify(&quirky, &["--log", copy]).exits(0).says("nobody can tell whether records were cut off");
    verify(&quirky, &["--log", copy, "--head", head.trim()]).exits(7);
    quirky.token.bench.write("copy.jsonl", &whole);
    verify(&quirky, &["--log", copy, "--head", head.trim()]).exits(0);
    verify(&quirky, &["--log", copy, "--head", &head.trim().replace("3:", "2:")]).exits(7);
    verify(&quirky, &["--log", copy, "--head", "3"]).exits(2);
    fs::write(log(&quirky), &whole).unwrap();
    fs::remove_file(log(&quirky).with_file_name("head")).unwrap();
    verify(&quirky, &[]).exits(7).says("head");
    sign(&quirky).exits(8).says("head");
}

#[test]
fn processes_at_once_make_one_chain() {
    let Some(quirky) = release() else { return };
    let children: Vec<_> = (0..8)
        .map(|n| {
            let output = format!("signature-{n}");
            let arguments = ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", &output];
            let mut command = quirky.token.command(&arguments);
            command.env("QUIRKS", "hardware").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        child.wait().unwrap();
    }
    verify(&quirky, &[]).exits(0);
    // SoftHSMv2 loses its token now and then while others log in; what was signed is on record all the same.
    let records = python(&quirky, "[r['signature'] for r in records]");
    let mut signed = 0;
    for n in 0..8 {
        let Ok(signature) = fs::read(quirky.token.bench.path(&format!("signature-{n}"))) else { continue };
        assert!(!signature.is_empty());
        signed += 1;
    }
    assert!(signed > 0 && records.matches("sha256:").count() >= signed, "{signed}: {records}");
}

#[test]
fn no_record_no_signature() {
    let Some(quirky) = release() else { return };
    let Some(strace) = find_tool("strace") else { return };
    sign(&quirky).exits(0);
    let inject = |what: &str| {
        let _ = fs::remove_file(quirky.token.bench.path("signature"));
        let inner = quirky.token.command(&SIGN);
        let mut command = std::process::Command::new(&strace);
        command.args([
            "-f",
            "-o",
            "trace",
            "-e",
            "trace=fdatasync",
            "-e",
            &format!("inject=fdatasync:{what}"),
        ]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(quirky.token.bench.directory());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let outcome = run(command.env("QUIRKS", "hardware"));
        assert!(!quirky.token.bench.path("signature").exists(), "{outcome:?}");
        outcome
    };
    // The disk does not take it.
    inject("error=EIO").exits(8).says("audit log: cannot sync");
    // The process ends after the record and before the answer.
    inject("signal=SIGKILL");
    assert_eq!(python(&quirky, "len(records)"), "3");
    verify(&quirky, &[]).exits(0).says("3 records").says("the log goes on behind its head");
    sign(&quirky).exits(0).says("record 4");
    verify(&quirky, &[]).exits(0);
}

#[test]
fn a_torn_end_is_told_and_repaired() {
    let Some(quirky) = release() else { return };
    sign(&quirky).exits(0);
    let mut bytes = fs::read(log(&quirky)).unwrap();
    bytes.extend_from_slice(b"{\"version\":1,\"sequ");
    fs::write(log(&quirky), &bytes).unwrap();
    verify(&quirky, &[]).exits(0).says("the last 18 bytes are no whole record");
    sign(&quirky).exits(0).says("audit log: record 3");
    assert!(fs::read(log(&quirky)).unwrap().starts_with(&bytes));
    verify(&quirky, &[]).exits(0).says("record 2 tells that a crash left 19 bytes");
    run(&mut quirky.token.bench.command(&["--mode", "release", "audit", "show"]))
        .exits(0)
        .says("repair: 19 bytes");
}

#[test]
fn a_full_disk_refuses_and_leaves_the_log_whole() {
    let Some(quirky) = release() else { return };
    let Some(unshare) = find_tool("unshare") else { return };
    let host = String::from_utf8(quirky.token.bench.read("host.yaml")).unwrap();
    let small = quirky.token.bench.path("small");
    quirky
        .token
        .bench
        .write("host.yaml", format!("{host}audit: {{ directory: {}/audit }}\n", small.display()));
    // A name as long as names can be: few records fill a page.
    let name = "n".repeat(250);
    fs::rename(quirky.token.bench.path("input"), quirky.token.bench.path(&name)).unwrap();
    let inner =
        quirky.token.command(&["sign", "blob", &name, "--role", "fit", "--format", "raw", "-o", "signature"]);
    let words = |c: &std::process::Command| {
        let words = std::iter::once(c.get_program()).chain(c.get_args());
        words.map(|w| w.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let audit = quirky.token.command(&["audit", "verify"]);
    let (sign, verify) = (words(&inner), words(&audit));
    // In a mount namespace of its own: head and log have a page each, and there is no third.
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=8k,mode=700 none small || exit 77; n=0; \
         while :; do {sign}; first=$?; [ $first = 0 ] || break; n=$((n+1)); rm signature; [ $n -lt 20 ] || exit 9; done; \
         [ -e signature ] && exit 10; {verify} || exit 11; mount -o remount,size=4m small; {sign} || exit 12; \
         {verify} || exit 13; echo after $n first $first"
    );
    let mut command = std::process::Command::new(unshare);
    command.args(["-m", "/bin/sh", "-c", &script]).current_dir(quirky.token.bench.directory());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let outcome = run(command.env("QUIRKS", "hardware").stdin(Stdio::null()));
    if outcome.code == 77 || outcome.stderr.contains("unshare failed") {
        skip_here("mounting is not permitted here");
        return;
    }
    let outcome = outcome.exits(0).says("first 8").says("No space left on device");
    assert!(!outcome.stdout.contains(PIN));
}

/// A right that a test may lack, in CI too.
fn skip_here(reason: &str) {
    if std::env::var_os("CI").is_none() {
        skip(reason);
    } else {
        eprintln!("SKIPPED: {reason}");
    }
}
