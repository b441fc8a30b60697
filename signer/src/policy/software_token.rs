//! Tokens that are software, known by what they report.

use super::TokenFacts;

/// One family of software tokens; a token belongs to it if both of its fields begin like these,
/// whatever their case.
struct Family {
    manufacturer: &'static str,
    model: &'static str,
    name: &'static str,
}

const FAMILIES: &[Family] = &[
    Family { manufacturer: "SoftHSM", model: "", name: "SoftHSM" },
    Family { manufacturer: "", model: "SoftHSM", name: "SoftHSM" },
    Family { manufacturer: "Kryoptic", model: "", name: "Kryoptic" },
    Family { manufacturer: "", model: "Kryoptic", name: "Kryoptic" },
    Family { manufacturer: "Mozilla", model: "", name: "NSS softoken" },
    Family { manufacturer: "", model: "NSS", name: "NSS softoken" },
    // opencryptoki gives every token type IBM's name; only the model tells them apart.
    Family { manufacturer: "IBM", model: "Soft", name: "opencryptoki soft token" },
    // tpm2-pkcs11 over swtpm, whose vendor string is `SW   TPM`.
    Family { manufacturer: "", model: "SW ", name: "software TPM" },
    Family { manufacturer: "", model: "xCG fTPM", name: "software TPM" },
    Family { manufacturer: "PKCS#11 Kit", model: "", name: "p11-kit" },
    Family { manufacturer: "GNOME Keyring", model: "", name: "GNOME keyring" },
];

/// Words that give away a vendor's simulator or emulator.
const WORDS: &[&str] = &["simulator", "emulator", "simulation"];

/// The name of the software token that `token` is, or `None` if it is not known to be one.
///
/// Judged by manufacturer and model, which p11-kit's remoting hands through unchanged. `CKF_HW_SLOT`
/// is not believed: software sets it as it likes.
pub(super) fn software_token(token: &TokenFacts) -> Option<&'static str> {
    let manufacturer = token.manufacturer.to_ascii_lowercase();
    let model = token.model.to_ascii_lowercase();
    let begins = |field: &str, prefix: &str| field.starts_with(&prefix.to_ascii_lowercase());
    let family = FAMILIES.iter().find(|f| begins(&manufacturer, f.manufacturer) && begins(&model, f.model));
    let simulated = || WORDS.iter().any(|w| manufacturer.contains(w) || model.contains(w));
    family.map(|f| f.name).or_else(|| simulated().then_some("vendor's simulator"))
}
