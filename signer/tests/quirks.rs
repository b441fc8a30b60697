//! What other people's tokens do differently, played by a module around SoftHSMv2 (invariants 7 and 9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{
    Outcome, find_tool, run, skip,
    token::{PIN, TestToken},
};
use std::{fs, path::Path};

/// A token behind the quirky module, with an RSA key `r` and an EC key `e`.
struct Quirky {
    token: TestToken,
    rsa: String,
    ec: String,
}

fn quirky() -> Option<Quirky> {
    let mut token = TestToken::softhsm()?;
    let cc = find_tool("cc")?;
    if !Path::new("/usr/include/p11-kit-1/p11-kit/pkcs11.h").exists() {
        skip("p11-kit's headers are not installed");
        return None;
    }
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "r", &[]);
    token.generate("EC:prime256v1", "e", &[]);
    let (rsa, ec) = (token.public_key("r"), token.public_key("e"));
    let module = token.bench.path("quirks.so");
    let arguments = [
        "-I/usr/include/p11-kit-1".to_owned(),
        format!("-DSOFTHSM=\"{}\"", token.module.display()),
        format!("-DTOLD=\"{}\"", token.bench.path("told").display()),
        "-shared".into(),
        "-fPIC".into(),
        "-o".into(),
        module.display().to_string(),
        format!("{}/tests/c/quirks.c", env!("CARGO_MANIFEST_DIR")),
    ];
    token.bench.tool(&cc, &arguments);
    token.module = module;
    Some(Quirky { token, rsa, ec })
}

impl Quirky {
    fn sign(&self, quirks: &str) -> Outcome {
        let _ = fs::remove_file(self.token.bench.path("signature"));
        let _ = fs::remove_file(self.token.bench.path("told"));
        let arguments = ["sign", "blob", "input", "--role", "fit", "--format", "raw", "-o", "signature"];
        run(self.token.command(&arguments).env("QUIRKS", quirks))
    }

    fn rsa(&self, quirks: &str) -> Outcome {
        self.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&self.rsa], "");
        self.sign(quirks)
    }

    fn ec(&self, quirks: &str) -> Outcome {
        self.token.policy("algorithm: ecdsa-p256", "pkcs11:token=hsm;object=e", &[&self.ec], "");
        self.sign(quirks)
    }

    /// OpenSSL accepts the signature, and the module was left in order.
    #[track_caller]
    fn accepted(&self, label: &str) {
        let key = format!("{label}.pem");
        let arguments = ["dgst", "-sha256", "-verify", &key, "-signature", "signature", "input"];
        self.token.bench.tool(&find_tool("openssl").unwrap(), &arguments);
        self.left_in_order();
    }

    /// C_Finalize came last and once, C_Logout never.
    #[track_caller]
    fn left_in_order(&self) {
        let told = String::from_utf8(self.token.bench.read("told")).unwrap();
        assert!(told.ends_with("finalized\n") && told.matches("finalized").count() == 1, "{told}");
        assert!(!told.contains("logout"), "{told}");
    }

    #[track_caller]
    fn signed_nothing(&self) {
        assert!(!self.token.bench.path("signature").exists());
        let told = String::from_utf8(self.token.bench.read("told")).unwrap();
        assert!(told.ends_with("finalized\n"), "{told}");
    }

    fn logins(&self) -> usize {
        String::from_utf8(self.token.bench.read("told")).unwrap().matches("login").count()
    }
}

#[test]
fn a_signature_that_does_not_verify_stays_inside() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("flip").exits(5).says("does not verify");
    quirky.signed_nothing();
    quirky.ec("flip").exits(5).says("does not verify");
    quirky.signed_nothing();
    quirky.rsa("").exits(0);
    quirky.accepted("r");
}

#[test]
fn a_module_that_cannot_lock_is_used_by_one_thread_at_a_time() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("cant-lock").exits(0);
    quirky.accepted("r");
    let told = String::from_utf8(quirky.token.bench.read("told")).unwrap();
    assert!(told.starts_with("initialized for threads\ninitialized for one thread\n"), "{told}");
}

#[test]
fn ec_points_without_wrapping_and_signatures_in_der_are_understood() {
    let Some(quirky) = quirky() else { return };
    for quirks in ["raw-point", "der", "raw-point,der"] {
        // r and s begin with a zero byte now and then, which DER leaves out.
        for _ in 0..4 {
            quirky.ec(quirks).exits(0);
            quirky.accepted("e");
        }
    }
}

#[test]
fn an_error_for_always_authenticate_means_no() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("no-always-authenticate").exits(0);
    quirky.accepted("r");
}

#[test]
fn hashed_mechanisms_stand_in_for_raw_ones() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("hashed-alone").exits(0);
    quirky.accepted("r");
}

#[test]
fn a_token_on_its_last_try_is_not_tried() {
    let Some(quirky) = quirky() else { return };
    for (quirk, why) in [("final-try", "one more wrong PIN would lock it"), ("locked", "its PIN is locked")] {
        quirky.rsa(quirk).exits(5).says(why);
        assert_eq!(quirky.logins(), 0);
        quirky.signed_nothing();
    }
}

#[test]
fn a_wrong_pin_costs_one_try() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("").exits(0);
    assert_eq!(quirky.logins(), 1);
    quirky.token.bench.write("pin", format!("not-{PIN}"));
    quirky.sign("").exits(5).says("CKR_PIN_INCORRECT");
    assert_eq!(quirky.logins(), 1);
    quirky.signed_nothing();
}

#[test]
fn a_wrong_pin_costs_one_try_however_many_roles_are_checked() {
    let Some(quirky) = quirky() else { return };
    let other = format!(
        "    bootloader: {{ token: hsm, uri: \"pkcs11:token=hsm;object=r\", pins: [\"{0}\"] }}\n",
        quirky.rsa
    );
    quirky.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], &other);
    quirky.token.bench.write("pin", format!("not-{PIN}"));
    quirky.token.hsmsign(&["keys", "check"]).exits(5).says("CKR_PIN_INCORRECT");
    assert_eq!(quirky.logins(), 1);
}

#[test]
fn a_token_pulled_out_is_an_error_with_its_code() {
    let Some(quirky) = quirky() else { return };
    quirky.rsa("removed").exits(5).says("C_SignInit: CKR_DEVICE_REMOVED");
    quirky.signed_nothing();
}

/// cryptoki refuses all that such a token tells, so it cannot be used; but nobody has to guess why.
#[test]
fn a_token_whose_clock_is_malformed_is_named() {
    let Some(quirky) = quirky() else { return };
    let outcome = quirky.rsa("malformed-clock").exits(5);
    outcome.says("shows a token that cannot be described").says("tells a malformed time");
    assert!(!quirky.token.bench.path("signature").exists());
}
