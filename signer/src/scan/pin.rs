//! PINs: in PKCS#11 URIs, in assignments of configuration, in command lines.
//!
//! A word such as PIN stands in every driver of a board, so an assignment counts only if its name says whose
//! PIN it is, or if the text around it speaks of PKCS#11; and its value has to look like a PIN, not like a
//! variable, a path or a placeholder.

use super::{
    finding::Leak,
    pem::{head, tail},
    stream::Place,
};
use crate::vocabulary::LeakKind;

/// Longest value; PKCS#11 tokens take up to 255 bytes, real PINs are far shorter.
const MAX_VALUE_LEN: usize = 64;
/// Longest name that is looked at.
const MAX_NAME_LEN: usize = 64;
/// How far around a bare `PIN` the text has to speak of PKCS#11.
const CONTEXT_LEN_BYTES: usize = 2048;

/// Words in a name that make it a token's PIN.
const OWNERS: [&str; 24] = [
    "CARD",
    "CKA",
    "CST",
    "ENGINE",
    "FIT",
    "HSM",
    "HSMSIGN",
    "KEY",
    "LOGIN",
    "MKIMAGE",
    "P11",
    "PIV",
    "PKCS11",
    "RAUC",
    "SIGN",
    "SIGNING",
    "SLOT",
    "SMARTCARD",
    "SO",
    "SOFTHSM",
    "SOFTHSM2",
    "SWUPDATE",
    "TOKEN",
    "USER",
];
/// Words around a bare `PIN` or `--pin` that say what it is for.
const SPEAK_OF_PKCS11: [&[u8]; 9] = [
    b"pkcs11",
    b"PKCS11",
    b"pkcs#11",
    b"PKCS#11",
    b"softhsm",
    b"SoftHSM",
    b"pkcs15",
    b"yubico-piv",
    b"sc-hsm",
];

/// PINs of the examples in OpenSC's manual pages, which are on every machine that has it.
const MANUAL_PINS: [&[u8]; 2] = [b"648219", b"3537363231383830"];

/// `pin-value=` in a URI (RFC 7512).
pub(super) fn in_uri(place: &Place<'_>) -> Option<Leak> {
    let rest = place.behind();
    let rest = rest
        .strip_prefix(b"=")
        .or_else(|| rest.strip_prefix(b"%3D"))
        .or_else(|| rest.strip_prefix(b"%3d"))?;
    let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'`;&?<>|\\)]},\0".contains(b);
    let value = head(rest, MAX_VALUE_LEN + 1);
    let value = value.get(..value.iter().position(ends).unwrap_or(value.len()))?;
    is_pin(value, false).then(|| Leak::new(LeakKind::Pin, "PIN in a PKCS#11 URI (`pin-value`)"))
}

/// `NAME_PIN = value`, and its relatives in shell, bitbake, YAML, make and OpenSSL's configuration.
pub(super) fn in_assignment(place: &Place<'_>) -> Option<Leak> {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    // The marker may end in `=`, which belongs to what follows.
    let marker = head(place.at_marker(), place.len);
    let word = marker.iter().take_while(|b| is_name(b)).count();
    let before = tail(place.before(), MAX_NAME_LEN);
    let start = before.iter().rposition(|b| !is_name(b)).map_or(0, |at| at + 1);
    let name = [before.get(start..)?, marker.get(..word)?].concat();
    let name = String::from_utf8(name).ok()?.to_ascii_uppercase();
    let rest = place.at_marker().get(word..)?;
    if rest.first().is_some_and(is_name) {
        return None;
    }
    let mut words = name.split(['_', '-', '.']).filter(|word| !word.is_empty()).rev();
    if words.next() != Some("PIN") {
        return None;
    }
    let mut bare = true;
    let owned = words.inspect(|_| bare = false).any(|word| OWNERS.contains(&word));
    if !(owned || bare && speaks_of_pkcs11(place)) {
        return None;
    }
    let (value, quoted) = assigned(rest)?;
    let line = place.before();
    let line = line.get(memchr::memrchr(b'\n', line).map_or(0, |at| at + 1)..)?;
    if line.starts_with(b".") || line.starts_with(b"\\&") {
        // A manual page's source.
        return None;
    }
    // A name may hold more than one marker.
    let covers = word + 1;
    let leak = || Leak::new(LeakKind::Pin, format!("PIN in an assignment to `{name}`")).spanning(0, covers);
    is_pin(value, quoted).then(leak)
}

/// `--pin value` of tools that open a token.
pub(super) fn in_option(place: &Place<'_>) -> Option<Leak> {
    let before = tail(place.before(), MAX_NAME_LEN);
    let start = before.iter().rposition(|b| !(b.is_ascii_lowercase() || *b == b'-')).map_or(0, |at| at + 1);
    let option = [before.get(start..)?, b"-pin"].concat();
    if !matches!(option.as_slice(), b"--pin" | b"--so-pin" | b"--user-pin" | b"--new-pin" | b"--set-pin") {
        return None;
    }
    let line = tail(place.before(), CONTEXT_LEN_BYTES);
    let tools: [&[u8]; 8] = [
        b"pkcs11-tool",
        b"softhsm",
        b"p11tool",
        b"pkcs15-",
        b"sc-hsm-tool",
        b"tpm2_ptool",
        b"ykman",
        b"hsmsign",
    ];
    if !tools.iter().any(|tool| memchr::memmem::find(line, tool).is_some()) {
        return None;
    }
    let (value, quoted) = unquoted(place.behind());
    if MANUAL_PINS.contains(&value) {
        return None;
    }
    let option = String::from_utf8(option).ok()?;
    is_pin(value, quoted).then(|| Leak::new(LeakKind::Pin, format!("PIN behind the option `{option}`")))
}

fn speaks_of_pkcs11(place: &Place<'_>) -> bool {
    let around = [tail(place.before(), CONTEXT_LEN_BYTES), head(place.at_marker(), CONTEXT_LEN_BYTES)];
    around.iter().any(|text| SPEAK_OF_PKCS11.iter().any(|word| memchr::memmem::find(text, word).is_some()))
}

/// The value behind `=`, `:`, `?=`, `:=`, `??=` or `+=`, and whether it stood in quotes.
fn assigned(rest: &[u8]) -> Option<(&[u8], bool)> {
    let rest = rest.trim_ascii_start();
    // `"NAME": value` of JSON.
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
    let rest = rest.strip_prefix(b"??").or_else(|| rest.strip_prefix(b"?")).unwrap_or(rest);
    let rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let (colon, rest) = match rest {
        [b':', b'=', rest @ ..] => (false, rest),
        // A comparison, an arrow.
        [b'=', b'=' | b'>' | b'~', ..] => return None,
        [b'=', rest @ ..] => (false, rest),
        [b':', rest @ ..] => (true, rest),
        _ => return None,
    };
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let rest = rest.get(blanks..)?;
    let (value, quoted) = unquoted(rest);
    // A colon stands in prose too, and then more words follow.
    let behind = rest.get(value.len()..)?.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r'));
    if colon && !quoted && behind.is_some_and(|b| !b"\n,}#".contains(b)) {
        return None;
    }
    Some((value, quoted))
}

/// The word at the beginning of `rest`, and whether it stood in quotes.
fn unquoted(rest: &[u8]) -> (&[u8], bool) {
    let (quote, rest) = match rest {
        [quote @ (b'"' | b'\''), rest @ ..] => (Some(*quote), rest),
        _ => (None, rest),
    };
    let ends = |b: &u8| match quote {
        Some(quote) => *b == quote || *b == b'\n',
        None => b.is_ascii_whitespace() || b"\"';,&|)<>\0".contains(b),
    };
    let value = head(rest, MAX_VALUE_LEN + 1);
    (head(value, value.iter().position(ends).unwrap_or(value.len())), quote.is_some())
}

/// Whether `value` looks like a PIN: four to 64 characters, and no variable, path, placeholder or name.
///
/// Without quotes a word of letters alone is a name more often than a PIN.
fn is_pin(value: &[u8], quoted: bool) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if !(4..=MAX_VALUE_LEN).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    if text.contains(['$', '%', '{', '}', '<', '>', '*', '(', ')', '[', ']', '/', '\\', '@'])
        || text.contains("...")
    {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let placeholders =
        ["secret", "prompt", "none", "null", "true", "false", "unset", "password", "passphrase", "changeme"];
    let is_word = placeholders.contains(&lower.as_str()) || lower.ends_with("pin");
    if is_word || lower.contains("xxxx") || lower.starts_with("file:") || lower.starts_with("env:") {
        return false;
    }
    // Hexadecimal numbers are registers and bit masks.
    if lower.starts_with("0x") {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits == text.len() || (quoted && !text.contains('-')) || digits >= 2
}

#[cfg(test)]
mod tests {
    use super::super::markers::Markers;
    use super::*;

    /// How many PINs are found in `text`.
    fn pins(text: &str) -> usize {
        let (markers, mut at, mut count) = (Markers::new(), 0, 0);
        while let Some((start, len, marker)) = markers.find(text.as_bytes(), at) {
            let place = Place { bytes: text.as_bytes(), at: start, len, marker, offset: 0 };
            use super::super::markers::Marker;
            let leak = match marker {
                Marker::PinValue => in_uri(&place),
                Marker::PinName => in_assignment(&place),
                Marker::PinOption => in_option(&place),
                _ => None,
            };
            count += usize::from(leak.is_some());
            at = start + leak.map_or(1, |leak| leak.covers.max(1));
        }
        count
    }

    #[test]
    fn pins_are_found() {
        for text in [
            "pkcs11:token=a;object=b?pin-value=1234",
            "key = \"pkcs11:token=a;pin-value=geheim99\"",
            "pin-value%3D123456&x",
            "MKIMAGE_SIGN_PIN = \"123456\"",
            "export MKIMAGE_SIGN_PIN=648219",
            "HSM_USER_PIN ?= \"geheim\"",
            "TOKEN_PIN: 123456",
            "{\"token-pin\": \"123456\"}",
            "  PKCS11_PIN := 0001password1",
            "[pkcs11_section]\nengine_id = pkcs11\nPIN = 123456\n",
            "pkcs11-module-token-pin = 123456",
            "softhsm2-util --init-token --free --label x --pin 1234",
            "pkcs11-tool --login --pin=271828 --sign",
        ] {
            assert_eq!(pins(text), 1, "{text}");
        }
        assert_eq!(pins("softhsm2-util --pin 1234 --so-pin 5678"), 2);
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for text in [
            "pkcs11:token=a;pin-value=${PIN}",
            "pkcs11:token=a;pin-value=<PIN>",
            "pkcs11:token=a?pin-value=%s",
            "?pin-source=file:/run/pin",
            "the `pin-value` attribute",
            "RESET_PIN = 1234",
            "#define LED_PIN 1234",
            "KEY_PIN = 12",
            "PIN = 1234",
            "MKIMAGE_SIGN_PIN = \"${THE_PIN}\"",
            "MKIMAGE_SIGN_PIN = \"$(cat /run/pin)\"",
            "USER_PIN_LEN = 1234",
            "if (USER_PIN == 1234)",
            "CKA_SIGN_PIN = 0x12345678",
            "pkcs11-module-token-pin = file:/etc/pin.txt",
            "TOKEN_PIN: /run/secrets/pin",
            "USER_PIN: \"xxxxxxxx\"",
            "sc-hsm-tool --wrap-key wrap-key.bin --key-reference 1 --pin 648219",
            "USER_PIN: PKCS11 PIN to use",
            "\n\\& TOKEN_PIN = 1234",
            "gpio-cli --pin 1234",
            "pkcs11-tool --login --pin $PIN",
            "pkcs11-tool --login --pin PIN",
            "SO_PIN = sopin",
        ] {
            assert_eq!(pins(text), 0, "{text}");
        }
    }
}
