//! Text of `hsmsign.yaml` to [`Config`].

use super::{
    Allowed, Config, GateSettings, Pattern, ReleaseKey, ReleaseSettings, RoleSettings, Roles, ScanSettings,
    UpdateFormat,
    error::Fault,
    place::Step,
    scan::{self, RawScan},
    yaml::{self, Parsed},
};
use crate::{
    crypto::{Fingerprint, HashAlgorithm, KeyType, Scheme},
    key::uri::KeyUri,
    vocabulary::Role,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Component, PathBuf},
    str::FromStr,
};

/// `hsmsign.yaml` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    version: u64,
    product: Parsed<Product>,
    #[serde(default)]
    roles: RawRoles,
    release: Option<RawRelease>,
    #[serde(default)]
    gate: RawGate,
    #[serde(default)]
    scan: RawScan,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoles {
    bootloader: Option<RawRole>,
    fit: Option<RawRole>,
    rootfs: Option<RawRole>,
    update: Option<RawRole>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    algorithm: Parsed<Named<KeyType>>,
    padding: Option<Parsed<Named<Padding>>>,
    hash: Option<Parsed<Named<HashAlgorithm>>>,
    format: Option<Parsed<Named<UpdateFormat>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelease {
    #[serde(default)]
    keys: RawKeys,
    #[serde(default)]
    rehearsal: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    bootloader: Option<RawKey>,
    fit: Option<RawKey>,
    rootfs: Option<RawKey>,
    update: Option<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    token: Parsed<TokenName>,
    uri: Parsed<UriText>,
    #[serde(default)]
    pins: Vec<Parsed<Fingerprint>>,
    serial: Option<Parsed<Serial>>,
    certificate: Option<Parsed<CertificatePath>>,
    #[serde(default)]
    chain: Vec<Parsed<CertificatePath>>,
    #[serde(default)]
    accept: Vec<Parsed<Named<Acceptance>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGate {
    #[serde(default)]
    allow: Vec<RawAllowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAllowed {
    path: Parsed<Pattern>,
    reason: Parsed<Reason>,
}

impl Config {
    /// Parses the policy file's text; pure.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], naming key, line and column.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw: RawConfig = yaml::read(text, "`hsmsign init` writes a commented hsmsign.yaml")?;
        check_version(text, raw.version)?;
        let mut roles = Roles::default();
        let RawRoles { bootloader, fit, rootfs, update } = raw.roles;
        for (role, raw) in Role::ALL.into_iter().zip([bootloader, fit, rootfs, update]) {
            if let Some(raw) = raw {
                *roles.get_mut(role) = role_settings(text, role, &raw)?;
            }
        }
        let release = raw.release.map(|raw| release_settings(text, raw)).transpose()?;
        let gate = GateSettings { allow: allowed(text, "gate", raw.gate.allow)? };
        let scan = ScanSettings { allow: scan::section(text, raw.scan)? };
        Ok(Self { product: raw.product.0.0, roles, release, gate, scan })
    }
}

/// Refuses files of a version that this program does not know.
pub(super) fn check_version(text: &str, version: u64) -> Result<(), Fault> {
    if version == 1 {
        return Ok(());
    }
    let message = format!("`version`: {version} is not known");
    Err(Fault::at(text, &["version".into()], message, "this hsmsign knows `version: 1`"))
}

fn role_settings(text: &str, role: Role, raw: &RawRole) -> Result<RoleSettings, Fault> {
    let fault = |key: &str, message: &str, hint: &str| {
        let path: [Step; 3] = ["roles".into(), role.name().into(), key.into()];
        Fault::at(text, &path, format!("`roles.{role}.{key}`: {message}"), hint)
    };
    let key_type = raw.algorithm.0.0;
    let padding = raw.padding.as_ref().map(|p| p.0.0);
    let format = raw.format.as_ref().map(|f| f.0.0);
    if padding.is_some() && !key_type.is_rsa() {
        return Err(fault("padding", "only RSA has one", "remove `padding`, or choose an RSA algorithm"));
    }
    if format.is_some() && role != Role::Update {
        let message = "only the role `update` has one";
        return Err(fault("format", message, "remove `format`"));
    }
    let update_format = (role == Role::Update).then(|| format.unwrap_or(UpdateFormat::Cms));
    let padding = match (update_format, padding) {
        (Some(UpdateFormat::Rsa | UpdateFormat::RsaPss), _) if !key_type.is_rsa() => {
            return Err(fault(
                "format",
                "the bare forms are RSA's, and the key is ECDSA",
                "write `format: cms`, or choose an RSA algorithm",
            ));
        }
        (Some(UpdateFormat::Rsa), Some(Padding::Pss)) => {
            return Err(fault("padding", "`format: rsa` is PKCS#1 v1.5", "write `format: rsa-pss`"));
        }
        (Some(UpdateFormat::RsaPss), Some(Padding::Pkcs1)) => {
            return Err(fault("padding", "`format: rsa-pss` is PSS", "write `format: rsa`"));
        }
        (Some(UpdateFormat::RsaPss), None) => Padding::Pss,
        (_, padding) => padding.unwrap_or(Padding::Pkcs1),
    };
    if role == Role::Rootfs && padding == Padding::Pss {
        return Err(fault(
            "padding",
            "the kernel's PKCS#7 parser knows no PSS",
            "write `padding: pkcs1`, or choose an ECDSA algorithm",
        ));
    }
    let scheme = match (key_type.is_rsa(), padding) {
        (false, _) => Scheme::Ecdsa,
        (true, Padding::Pkcs1) => Scheme::RsaPkcs1v15,
        (true, Padding::Pss) => Scheme::RsaPss,
    };
    let default_hash = match key_type {
        KeyType::EcdsaP384 => HashAlgorithm::Sha384,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 | KeyType::EcdsaP256 => HashAlgorithm::Sha256,
    };
    let hash = raw.hash.as_ref().map_or(default_hash, |h| h.0.0);
    Ok(RoleSettings { key_type, scheme, hash, update_format })
}

/// The exceptions that `section` lists under `allow`.
fn allowed(text: &str, section: &str, raw: Vec<RawAllowed>) -> Result<Vec<Allowed>, Fault> {
    let mut all: Vec<Allowed> = Vec::new();
    for (index, RawAllowed { path, reason }) in raw.into_iter().enumerate() {
        if all.iter().any(|known| known.path == path.0) {
            let place: [Step; 4] = [section.into(), "allow".into(), index.into(), "path".into()];
            let message = format!("`{section}.allow`: `{}` stands twice", path.0);
            return Err(Fault::at(text, &place, message, "keep one of them"));
        }
        all.push(Allowed { path: path.0, reason: reason.0.0 });
    }
    Ok(all)
}

fn release_settings(text: &str, raw: RawRelease) -> Result<ReleaseSettings, Fault> {
    let RawKeys { bootloader, fit, rootfs, update } = raw.keys;
    let mut keys = BTreeMap::new();
    for (role, raw) in Role::ALL.into_iter().zip([bootloader, fit, rootfs, update]) {
        if let Some(raw) = raw {
            keys.insert(role, release_key(text, role, raw)?);
        }
    }
    Ok(ReleaseSettings { keys, rehearsal: raw.rehearsal })
}

fn release_key(text: &str, role: Role, raw: RawKey) -> Result<ReleaseKey, Fault> {
    let mut seen = HashSet::new();
    for (index, pin) in raw.pins.iter().enumerate() {
        if !seen.insert(pin.0) {
            let path: [Step; 5] =
                ["release".into(), "keys".into(), role.name().into(), "pins".into(), index.into()];
            let message = format!("`release.keys.{role}.pins`: this pin stands twice");
            return Err(Fault::at(text, &path, message, "keep one of them"));
        }
    }
    Ok(ReleaseKey {
        token: raw.token.0.0,
        uri: raw.uri.0.0,
        pins: raw.pins.into_iter().map(|p| p.0).collect(),
        serial: raw.serial.map(|s| s.0.0),
        certificate: raw.certificate.map(|c| c.0.0),
        chain: raw.chain.into_iter().map(|c| c.0.0).collect(),
        accept_imported: !raw.accept.is_empty(),
    })
}

/// A value chosen from a list by name.
struct Named<T>(T);

/// What can be chosen by name.
trait Choice: Copy + Sized + 'static {
    /// What it is, in an error.
    const WHAT: &'static str;
    /// The names and what they stand for.
    const CHOICES: &'static [(&'static str, Self)];
}

impl<T: Choice> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        T::CHOICES.iter().find(|(name, _)| *name == text).map(|(_, value)| Self(*value)).ok_or_else(|| {
            let names: Vec<String> = T::CHOICES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("unknown {} `{text}`, expected {}", T::WHAT, names.join(", "))
        })
    }
}

impl Choice for KeyType {
    const WHAT: &'static str = "algorithm";
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Self::Rsa2048.name(), Self::Rsa2048),
        (Self::Rsa3072.name(), Self::Rsa3072),
        (Self::Rsa4096.name(), Self::Rsa4096),
        (Self::EcdsaP256.name(), Self::EcdsaP256),
        (Self::EcdsaP384.name(), Self::EcdsaP384),
    ];
}

impl Choice for HashAlgorithm {
    const WHAT: &'static str = "hash";
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Self::Sha256.name(), Self::Sha256),
        (Self::Sha384.name(), Self::Sha384),
        (Self::Sha512.name(), Self::Sha512),
    ];
}

impl Choice for UpdateFormat {
    const WHAT: &'static str = "format";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("cms", Self::Cms), ("rsa", Self::Rsa), ("rsa-pss", Self::RsaPss)];
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Pkcs1,
    Pss,
}

impl Choice for Padding {
    const WHAT: &'static str = "padding";
    const CHOICES: &'static [(&'static str, Self)] = &[("pkcs1", Self::Pkcs1), ("pss", Self::Pss)];
}

#[derive(Clone, Copy)]
enum Acceptance {
    Imported,
}

impl Choice for Acceptance {
    const WHAT: &'static str = "exception";
    const CHOICES: &'static [(&'static str, Self)] = &[("imported", Self::Imported)];
}

struct Product(String);

impl FromStr for Product {
    type Err = String;

    /// At most 40 characters, since it becomes part of a common name (RFC 5280: 64) beside mode and role.
    fn from_str(text: &str) -> Result<Self, String> {
        let fits =
            !text.trim().is_empty() && text.chars().count() <= 40 && !text.chars().any(char::is_control);
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err("not a product name, expected 1 to 40 characters".into())
    }
}

/// Why something is excepted.
pub(super) struct Reason(pub(super) String);

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.trim().chars().count() >= 10 && !text.chars().any(char::is_control);
        if fits && text.len() <= 500 {
            return Ok(Self(text.trim().to_owned()));
        }
        Err("not a reason, expected a sentence of 10 to 500 characters on one line".into())
    }
}

/// A token's name, as host settings resolve it.
pub(super) struct TokenName(pub(super) String);

impl FromStr for TokenName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("not a token's name: `{text}`, expected letters, digits, `-`, `_`, `.`"))
    }
}

struct Serial(String);

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=16).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Ok(Self(text.to_owned()));
        }
        Err("not a serial number, expected 1 to 16 characters (CK_TOKEN_INFO)".into())
    }
}

struct CertificatePath(PathBuf);

impl FromStr for CertificatePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let relative = path.components().all(|c| !matches!(c, Component::RootDir | Component::Prefix(_)));
        if text.is_empty() || !relative {
            return Err(format!("a path of one machine: `{text}`, expected a path relative to hsmsign.yaml"));
        }
        Ok(Self(path))
    }
}

/// The text of a URI that names one private key, and says nothing of modules and PINs.
struct UriText(String);

impl FromStr for UriText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Its errors show no value, as one may be a PIN.
        let _: KeyUri = text.parse().map_err(|e| {
            format!("the PKCS#11 URI cannot be used: {e}, expected `pkcs11:token=LABEL;object=LABEL`")
        })?;
        Ok(Self(text.to_owned()))
    }
}
