//! Every decision of the policy over plain facts: who may sign in which mode, and why not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used, missing_docs)]

use hsmsign::{
    config::Config,
    crypto::{Fingerprint, PublicKey},
    policy::{
        Certificates, DevPolicy, Exception, KeyFacts, Mode, ModuleFacts, Policy, Refusal, ReleasePolicy,
        TokenFacts,
    },
    request::Role,
};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509Name, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage},
    },
};
use std::sync::LazyLock;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const OWN: &str = "hsmsign-dev-0123456789abcdef";

/// One RSA-2048 key for all tests: what is judged does not depend on its numbers.
static KEY: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(2048, 65537));
static OTHER_KEY: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(2048, 65537));

fn rsa(bits: u32, exponent: u32) -> PKey<Private> {
    let exponent = BigNum::from_u32(exponent).unwrap();
    PKey::from_rsa(Rsa::generate_with_e(bits, &exponent).unwrap()).unwrap()
}

fn public(key: &PKey<Private>) -> PublicKey {
    PublicKey::from_spki_der(&key.public_key_to_der().unwrap()).unwrap()
}

fn token(label: &str, manufacturer: &str, model: &str) -> TokenFacts {
    TokenFacts {
        label: label.into(),
        manufacturer: manufacturer.into(),
        model: model.into(),
        serial: "0042".into(),
    }
}

fn hardware() -> TokenFacts {
    token("ACME Boot", "Yubico (www.yubico.com)", "YubiKey YK5")
}

fn key_facts(key: &PKey<Private>) -> KeyFacts {
    KeyFacts {
        label: "any".into(),
        public_key: public(key),
        sensitive: Some(true),
        always_sensitive: Some(true),
        extractable: Some(false),
        never_extractable: Some(true),
        local: Some(true),
    }
}

/// A policy in which every role's release key is `KEY`; `extra` goes into each key, `release` beside them.
fn config(extra: &str, release: &str) -> Config {
    let pin = Fingerprint::of(&public(&KEY));
    let mut text = String::from("version: 1\nproduct: test\nrelease:\n  keys:\n");
    for role in Role::ALL {
        text.push_str(&format!(
            "    {role}: {{ token: t, uri: \"pkcs11:token=t;object=k\", pins: [\"{pin}\"], {extra} }}\n"
        ));
    }
    Config::parse(&format!("{text}{release}")).unwrap()
}

fn release_policy(extra: &str, release: &str) -> ReleasePolicy {
    match Policy::new(Mode::Release, config(extra, release)).unwrap() {
        Policy::Release(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn dev_policy(config: Config) -> DevPolicy {
    match Policy::new(Mode::Dev, config).unwrap() {
        Policy::Dev(policy) => policy,
        other => panic!("{other:?}"),
    }
}

const REHEARSAL: &str = "  rehearsal: true\n";

/// What a kind of token may do in each mode: sign in dev, pass in release, pass in a rehearsal.
#[test]
fn every_mode_role_and_token_kind() {
    let softhsm = |label| token(label, "SoftHSM project", "SoftHSM v2");
    // token, dev, release
    let kinds = [
        ("this workspace's dev token", softhsm(OWN), true, false),
        ("another workspace's dev token", softhsm("hsmsign-dev-ffffffffffffffff"), false, false),
        ("SoftHSMv2 with a release label", softhsm("ACME Boot"), false, false),
        ("an HSM", hardware(), false, true),
        ("an HSM with the dev token's label", token(OWN, "Thales", "Luna K7"), false, true),
        ("a network HSM", token("ACME Boot", "Nitrokey GmbH", "NetHSM"), false, true),
        ("opencryptoki on a real coprocessor", token("ACME", "IBM", "EP11"), false, true),
        ("SoftHSM of version 1", token(OWN, "SoftHSM", "SoftHSM"), false, false),
        ("SoftHSM in other letters", token("ACME", "SOFTHSM PROJECT", "softhsm V2"), false, false),
        ("SoftHSM renamed by half", token("ACME", "ACME Corp", "SoftHSM v3"), false, false),
        ("kryoptic", token(OWN, "Kryoptic Project", "v1"), false, false),
        ("NSS softoken", token("NSS Certificate DB", "Mozilla Foundation", "NSS 3"), false, false),
        ("opencryptoki's soft token", token("ACME", "IBM", "Soft"), false, false),
        ("a software TPM", token("ACME", "IBM", "SW   TPM"), false, false),
        ("p11-kit itself", token("System Trust", "PKCS#11 Kit", "p11-kit-trust"), false, false),
        ("a vendor's simulator", token("ACME", "Utimaco IS GmbH", "CryptoServer Simulator"), false, false),
    ];
    let dev = dev_policy(Config::default());
    let release = release_policy("", "");
    let rehearsal = release_policy("", REHEARSAL);
    let key = key_facts(&KEY);
    for (kind, token, signs_in_dev, passes_in_release) in &kinds {
        for role in Role::ALL {
            let certificate = good_certificate();
            let case = format!("{kind}, role {role}");

            let authorized = dev.authorize(role, OWN, token, &key);
            assert_eq!(authorized.is_ok(), *signs_in_dev, "dev, {case}: {authorized:?}");
            if let Ok(authorized) = authorized {
                assert_eq!((authorized.mode(), authorized.role()), (Mode::Dev, role));
            }

            let judgement = release.judge(role, token, &key, Some(&certificate), NOW);
            let refused = judgement.refusals.iter().any(|r| matches!(r, Refusal::SoftwareToken { .. }));
            assert_eq!(judgement.refusals.is_empty(), *passes_in_release, "{case}: {judgement:?}");
            assert_eq!(refused, !passes_in_release, "{case}: {judgement:?}");
            let authorized = release.authorize(role, token, &key, Some(&certificate), NOW);
            assert_eq!(authorized.is_ok(), *passes_in_release, "{case}: {authorized:?}");
            assert!(authorized.is_ok_and(|a| a.exceptions().is_empty()) || !passes_in_release, "{case}");

            let authorized = rehearsal.authorize(role, token, &key, Some(&certificate), NOW).unwrap();
            assert_eq!((authorized.mode(), authorized.role()), (Mode::Release, role));
            let [Exception::Rehearsal { software_token }] = authorized.exceptions() else {
                panic!("{case}: a rehearsal must be loud: {authorized:?}");
            };
            assert_eq!(software_token.is_none(), *passes_in_release, "{case}");
        }
    }
    assert!(matches!(Policy::new(Mode::Off, config("", "")), Ok(Policy::Off)));
}

#[test]
fn dev_refuses_every_key_that_is_pinned_for_release() {
    let dev = dev_policy(config("", REHEARSAL));
    let own = token(OWN, "SoftHSM project", "SoftHSM v2");
    for role in Role::ALL {
        let refusal = dev.authorize(role, OWN, &own, &key_facts(&KEY)).unwrap_err();
        assert!(matches!(refusal, Refusal::ReleaseKeyInDev { .. }), "{refusal}");
        dev.authorize(role, OWN, &own, &key_facts(&OTHER_KEY)).unwrap();
    }
}

#[test]
fn dev_knows_nothing_of_release_but_its_pins() {
    let text = format!("{:?}", dev_policy(config("serial: \"0042\", certificate: c.pem", REHEARSAL)));
    for secret in ["pkcs11:", "c.pem", "0042", "rehearsal"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn dev_refuses_modules_that_are_not_softhsm() {
    let module = |manufacturer: &str, description: &str| ModuleFacts {
        path: "/usr/lib/x.so".into(),
        manufacturer: manufacturer.into(),
        description: description.into(),
    };
    DevPolicy::permit_module(&module("SoftHSM", "Implementation of PKCS11")).unwrap();
    for (manufacturer, description) in [
        ("PKCS#11 Kit", "PKCS#11 Kit Proxy Module"),
        ("Yubico (www.yubico.com)", "PKCS#11 PIV Library (SP-800-73)"),
        ("OpenSC Project", "OpenSC smartcard framework"),
        ("Kryoptic", "Kryoptic PKCS11 Module"),
        ("SoftHSM", "something else"),
        ("", ""),
    ] {
        assert!(DevPolicy::permit_module(&module(manufacturer, description)).is_err(), "{manufacturer}");
    }
}

#[test]
fn dev_refuses_a_key_of_another_type_than_the_roles() {
    let text = "version: 1\nproduct: t\nroles:\n  fit: { algorithm: rsa4096 }\n";
    let dev = dev_policy(Config::parse(text).unwrap());
    let own = token(OWN, "SoftHSM project", "SoftHSM v2");
    let refusal = dev.authorize(Role::Fit, OWN, &own, &key_facts(&KEY)).unwrap_err();
    assert!(matches!(refusal, Refusal::WrongKeyType { .. }), "{refusal}");
}

#[test]
fn release_needs_a_section_and_a_key_for_the_role() {
    assert!(matches!(Policy::new(Mode::Release, Config::default()), Err(Refusal::NoReleaseSection)));
    let text = "version: 1\nproduct: t\nrelease: { rehearsal: true }\n";
    let Policy::Release(policy) = Policy::new(Mode::Release, Config::parse(text).unwrap()).unwrap() else {
        panic!()
    };
    let refusal = policy.authorize(Role::Fit, &hardware(), &key_facts(&KEY), None, NOW).unwrap_err();
    assert_eq!(refusal, Refusal::NoReleaseKey(Role::Fit));
}

fn refusals(extra: &str, token: &TokenFacts, key: &KeyFacts) -> Vec<Refusal> {
    let policy = release_policy(extra, REHEARSAL);
    let authorized = policy.authorize(Role::Fit, token, key, None, NOW);
    let judgement = policy.judge(Role::Fit, token, key, None, NOW);
    assert_eq!(authorized.err().as_ref(), judgement.refusals.first(), "authorize gives the gravest");
    judgement.refusals
}

#[test]
fn release_refuses_keys_that_are_not_pinned_and_other_tokens() {
    assert_eq!(refusals("serial: \"0042\"", &hardware(), &key_facts(&KEY)), []);
    let refused = refusals("", &hardware(), &key_facts(&OTHER_KEY));
    assert!(matches!(refused.as_slice(), [Refusal::NotPinned { .. }]), "{refused:?}");
    let refused = refusals("serial: \"0043\"", &hardware(), &key_facts(&KEY));
    assert!(matches!(refused.as_slice(), [Refusal::WrongSerial { .. }]), "{refused:?}");
}

#[test]
fn release_refuses_each_attribute_that_is_wrong_or_untold() {
    type Set = fn(&mut KeyFacts, Option<bool>);
    let attributes: [(&str, bool, bool, Set); 4] = [
        ("CKA_SENSITIVE", true, false, |k, v| k.sensitive = v),
        ("CKA_EXTRACTABLE", false, false, |k, v| k.extractable = v),
        ("CKA_ALWAYS_SENSITIVE", true, true, |k, v| k.always_sensitive = v),
        ("CKA_NEVER_EXTRACTABLE", true, true, |k, v| k.never_extractable = v),
    ];
    for (name, required, waived_by_imported, set) in attributes {
        for found in [Some(!required), None] {
            let mut key = key_facts(&KEY);
            set(&mut key, found);
            let refused = refusals("", &hardware(), &key);
            let [Refusal::KeyAttribute { attribute, found: told, .. }] = refused.as_slice() else {
                panic!("{name}: {refused:?}");
            };
            assert_eq!((*attribute, *told), (name, found));
            let refused = refusals("accept: [imported]", &hardware(), &key);
            assert_eq!(refused.is_empty(), waived_by_imported, "{name}: {refused:?}");
        }
    }
}

#[test]
fn a_key_that_its_token_did_not_make_is_refused_though_all_else_is_said_of_it() {
    let imported = KeyFacts { local: Some(false), ..key_facts(&KEY) };
    let refused = refusals("", &hardware(), &imported);
    assert!(
        matches!(refused.as_slice(), [Refusal::KeyAttribute { attribute: "CKA_LOCAL", .. }]),
        "{refused:?}"
    );
    assert_eq!(refusals("accept: [imported]", &hardware(), &imported), []);
    // Not every module tells it.
    assert_eq!(refusals("", &hardware(), &KeyFacts { local: None, ..key_facts(&KEY) }), []);
}

#[test]
fn release_refuses_an_issuer_that_is_a_public_example_key() {
    let pin = Fingerprint::of(&public(&OTHER_KEY));
    let list = hsmsign::config::Blocklist::parse(&format!("{pin} is in the manual\n")).unwrap();
    let issuer = make("issuer", &authority(&OTHER_KEY));
    let leaf = make("leaf", &Shape { issuer: Some((&issuer, &OTHER_KEY)), ..shape(&KEY) });
    let certificates =
        Certificates { certificate: leaf.to_der().unwrap(), chain: vec![issuer.to_der().unwrap()] };
    let judge = |policy: &ReleasePolicy| {
        policy.judge(Role::Update, &hardware(), &key_facts(&KEY), Some(&certificates), NOW).refusals
    };
    let policy = release_policy("", REHEARSAL);
    assert_eq!(judge(&policy), []);
    let refused = judge(&policy.with_examples(hsmsign::policy::ExampleKeys::with([list])));
    assert!(matches!(refused.as_slice(), [Refusal::PublicExampleKey { .. }]), "{refused:?}");
}

#[test]
fn an_accepted_import_is_loud_and_only_where_it_is_used() {
    let policy = release_policy("accept: [imported]", REHEARSAL);
    let exceptions = |key: &KeyFacts| {
        let authorized = policy.authorize(Role::Fit, &hardware(), key, None, NOW).unwrap();
        authorized.exceptions().to_vec()
    };
    assert!(!exceptions(&key_facts(&KEY)).contains(&Exception::Imported { role: Role::Fit }));
    let imported = KeyFacts { never_extractable: Some(false), ..key_facts(&KEY) };
    assert!(exceptions(&imported).contains(&Exception::Imported { role: Role::Fit }));
}

#[test]
fn release_refuses_weak_keys() {
    let weak = [
        (rsa(1024, 65537), "fewer than 2048"),
        (rsa(2048, 3), "below 65537"),
        (rsa(2048, 17), "below 65537"),
    ];
    for (key, reason) in weak {
        let refused = refusals("", &hardware(), &key_facts(&key));
        let found = refused.iter().find_map(|r| match r {
            Refusal::WeakKey { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(found.as_ref().is_some_and(|f| f.contains(reason)), "{refused:?}");
    }
    // OpenSSL makes no key with an even exponent, but a token could report one.
    let modulus = KEY.rsa().unwrap().n().to_vec();
    let even = PublicKey::from_rsa(&modulus, &[1, 0, 0]).unwrap();
    let facts = KeyFacts { public_key: even, ..key_facts(&KEY) };
    let refused = refusals("", &hardware(), &facts);
    assert!(refused.iter().any(|r| r.to_string().contains("exponent")), "{refused:?}");
}

#[test]
fn release_refuses_a_key_of_another_type() {
    for key in [rsa(3072, 65537), ec()] {
        let refused = refusals("", &hardware(), &key_facts(&key));
        assert!(refused.iter().any(|r| matches!(r, Refusal::WrongKeyType { .. })), "{refused:?}");
    }
}

fn ec() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// What is special about a certificate.
#[derive(Clone, Copy)]
struct Shape<'a> {
    key: &'a PKey<Private>,
    issuer: Option<(&'a X509, &'a PKey<Private>)>,
    not_before: i64,
    not_after: i64,
    ca: bool,
    usage: Option<fn() -> KeyUsage>,
    extended: Option<fn() -> ExtendedKeyUsage>,
}

fn shape(key: &PKey<Private>) -> Shape<'_> {
    Shape {
        key,
        issuer: None,
        not_before: NOW - DAY,
        not_after: NOW + DAY,
        ca: false,
        usage: None,
        extended: Some(code_signing),
    }
}

fn code_signing() -> ExtendedKeyUsage {
    let mut usage = ExtendedKeyUsage::new();
    usage.code_signing();
    usage
}

fn email_protection() -> ExtendedKeyUsage {
    let mut usage = ExtendedKeyUsage::new();
    usage.email_protection();
    usage
}

fn server_auth() -> ExtendedKeyUsage {
    let mut usage = ExtendedKeyUsage::new();
    usage.server_auth();
    usage
}

fn key_encipherment() -> KeyUsage {
    let mut usage = KeyUsage::new();
    usage.key_encipherment();
    usage
}

fn name(text: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", text).unwrap();
    name.build()
}

fn authority(key: &PKey<Private>) -> Shape<'_> {
    Shape { ca: true, extended: None, ..shape(key) }
}

fn make(subject: &str, shape: &Shape<'_>) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    let subject = name(subject);
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(shape.issuer.map_or(&subject, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_pubkey(shape.key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(shape.not_before).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(shape.not_after).unwrap()).unwrap();
    if shape.ca {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    if let Some(usage) = shape.usage {
        builder.append_extension(usage().build().unwrap()).unwrap();
    }
    if let Some(extended) = shape.extended {
        builder.append_extension(extended().build().unwrap()).unwrap();
    }
    builder.sign(shape.issuer.map_or(shape.key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

fn certificates(leaf: &X509, chain: &[&X509]) -> Certificates {
    Certificates {
        certificate: leaf.to_der().unwrap(),
        chain: chain.iter().map(|c| c.to_der().unwrap()).collect(),
    }
}

fn good_certificate() -> Certificates {
    certificates(&make("leaf", &shape(&KEY)), &[])
}

/// What a rehearsal says of a certificate for the update role.
fn certificate_refusal(certificates: Option<&Certificates>) -> Option<Refusal> {
    let policy = release_policy("", REHEARSAL);
    policy.authorize(Role::Update, &hardware(), &key_facts(&KEY), certificates, NOW).err()
}

#[track_caller]
fn assert_refused(certificates: &Certificates, reason: &str) {
    let refusal = certificate_refusal(Some(certificates)).expect(reason);
    assert!(matches!(refusal, Refusal::Certificate { .. }), "{refusal}");
    assert!(refusal.to_string().contains(reason), "{refusal}");
}

#[test]
fn rootfs_and_update_need_a_certificate() {
    let policy = release_policy("", REHEARSAL);
    for role in Role::ALL {
        let authorized = policy.authorize(role, &hardware(), &key_facts(&KEY), None, NOW);
        assert_eq!(authorized.is_err(), matches!(role, Role::Rootfs | Role::Update), "{role}");
    }
    assert_eq!(certificate_refusal(None), Some(Refusal::NoCertificate(Role::Update)));
    assert_eq!(certificate_refusal(Some(&good_certificate())), None);
}

#[test]
fn certificates_out_of_their_time_are_refused() {
    let good = shape(&KEY);
    let expired = make("leaf", &Shape { not_after: NOW - 1, ..good });
    assert_refused(&certificates(&expired, &[]), "expired at");
    let future = make("leaf", &Shape { not_before: NOW + 1, not_after: NOW + DAY, ..good });
    assert_refused(&certificates(&future, &[]), "not valid before");
    let last_second = make("leaf", &Shape { not_before: NOW, not_after: NOW + 1, ..good });
    assert_eq!(certificate_refusal(Some(&certificates(&last_second, &[]))), None);
}

#[test]
fn certificates_of_other_keys_are_refused() {
    assert_refused(&certificates(&make("leaf", &shape(&OTHER_KEY)), &[]), "is for another key");
    let garbage = Certificates { certificate: vec![0x30, 0x82, 0xff, 0xff], chain: Vec::new() };
    assert_refused(&garbage, "malformed");
}

#[test]
fn certificates_for_other_purposes_are_refused() {
    let good = shape(&KEY);
    let without = make("leaf", &Shape { extended: None, ..good });
    assert_refused(&certificates(&without, &[]), "no extended key usage");
    let server = make("leaf", &Shape { extended: Some(server_auth), ..good });
    assert_refused(&certificates(&server, &[]), "without emailProtection and codeSigning");
    let email = make("leaf", &Shape { extended: Some(email_protection), ..good });
    assert_eq!(certificate_refusal(Some(&certificates(&email, &[]))), None);
    let encipher = make("leaf", &Shape { usage: Some(key_encipherment), ..good });
    assert_refused(&certificates(&encipher, &[]), "without digitalSignature");
    // The kernel asks for no extended key usage, so the rootfs role does not either.
    let policy = release_policy("", REHEARSAL);
    let certificates = certificates(&without, &[]);
    policy.authorize(Role::Rootfs, &hardware(), &key_facts(&KEY), Some(&certificates), NOW).unwrap();
}

#[test]
fn chains_must_hold_together() {
    let (root_key, middle_key, other_key, impostor_key) = (ec(), ec(), ec(), ec());
    let root = make("root", &authority(&root_key));
    let middle = make("middle", &Shape { issuer: Some((&root, &root_key)), ..authority(&middle_key) });
    let leaf = make("leaf", &Shape { issuer: Some((&middle, &middle_key)), ..shape(&KEY) });
    for chain in [&[&middle] as &[&X509], &[&middle, &root]] {
        assert_eq!(certificate_refusal(Some(&certificates(&leaf, chain))), None);
    }
    assert_refused(&certificates(&leaf, &[&root]), "does not hold");

    let other_root = make("root", &authority(&other_key));
    assert_refused(&certificates(&leaf, &[&middle, &other_root]), "does not hold");

    let forged = make("leaf", &Shape { issuer: Some((&middle, &impostor_key)), ..shape(&KEY) });
    assert_refused(&certificates(&forged, &[&middle, &root]), "does not hold");

    let no_ca = make("middle", &Shape { ca: false, issuer: Some((&root, &root_key)), ..shape(&middle_key) });
    assert_refused(&certificates(&leaf, &[&no_ca, &root]), "does not hold");

    let expired = Shape { not_after: NOW - 1, issuer: Some((&root, &root_key)), ..authority(&middle_key) };
    let expired = make("middle", &expired);
    assert_refused(&certificates(&leaf, &[&expired, &root]), "certificate 1 of the chain expired");

    // Self-signed, but by another key than its own.
    let itself = make("leaf", &shape(&KEY));
    for impostor in [&impostor_key, &OTHER_KEY] {
        let forged = make("leaf", &Shape { issuer: Some((&itself, impostor)), ..shape(&KEY) });
        assert_refused(&certificates(&forged, &[]), "does not hold");
    }
}
