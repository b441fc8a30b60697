//! What other people's tokens do differently, played by a module around SoftHSMv2 (invariants 7 and 9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod common;

use common::{quirky::quirky, token::PIN};

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
