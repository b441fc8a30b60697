//! PKCS#11 URIs (RFC 7512) that name one private key.
//!
//! Only what identifies a token and an object is read. PINs and modules do not belong in a policy, and
//! attributes that change with the machine (slots, library versions) would name nothing lasting: all
//! of these are errors, as is everything unknown, since a part that is ignored could have told two keys
//! apart.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Longest URI that is read, in bytes.
const MAX_LEN_BYTES: usize = 4096;

/// Everything but RFC 3986's unreserved characters is written percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which private key in which token; `None` matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUri {
    /// `token`: CK_TOKEN_INFO's label.
    pub token: Option<String>,
    /// `manufacturer`: CK_TOKEN_INFO's manufacturerID.
    pub manufacturer: Option<String>,
    /// `serial`: CK_TOKEN_INFO's serialNumber.
    pub serial: Option<String>,
    /// `model`: CK_TOKEN_INFO's model.
    pub model: Option<String>,
    /// `object`: CKA_LABEL.
    pub object: Option<String>,
    /// `id`: CKA_ID.
    pub id: Option<Vec<u8>>,
}

/// Why text is not such a URI. Values are never shown, as one may be a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme or none.
    #[error("not a URI that begins with `pkcs11:`")]
    Scheme,
    /// Longer than any sensible one.
    #[error("longer than {MAX_LEN_BYTES} bytes")]
    TooLong,
    /// A part without `=`.
    #[error("part {0} is not `name=value`")]
    NoValue(usize),
    /// The same attribute twice.
    #[error("`{0}` stands there twice")]
    Duplicate(&'static str),
    /// A PIN, or where it comes from.
    #[error("`{0}` does not belong in a policy; the host settings say where the PIN comes from")]
    Pin(&'static str),
    /// A module.
    #[error("`{0}` does not belong in a policy; the host settings say which module a token has")]
    Module(&'static str),
    /// Names nothing lasting.
    #[error("`{0}` differs from machine to machine; name the token by `token`, `serial`, `model`")]
    Unstable(&'static str),
    /// Not in RFC 7512, a vendor's own, or in the wrong half.
    #[error("part {0} is not an attribute that hsmsign knows")]
    Unknown(usize),
    /// Anything after `?`.
    #[error("nothing may stand after `?`")]
    Query,
    /// A character that must be percent-encoded, or a broken encoding.
    #[error("`{0}` has a character that must be percent-encoded, or a broken `%` sequence")]
    Encoding(&'static str),
    /// Percent-decoded, it is not UTF-8.
    #[error("`{0}` is not UTF-8 text")]
    NotText(&'static str),
    /// An empty value.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// Something else than a private key.
    #[error("`type` must be `private`")]
    Type,
    /// Neither token nor serial number.
    #[error("it names no token: `token` or `serial` is needed")]
    NoToken,
    /// Neither object nor id.
    #[error("it names no key: `object` or `id` is needed")]
    NoObject,
}

/// Attributes of RFC 7512, section 2.3, and what becomes of them.
const PATH: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "object",
    "id",
    "type",
    "library-manufacturer",
    "library-version",
    "library-description",
    "slot-description",
    "slot-manufacturer",
    "slot-id",
];

impl std::str::FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_LEN_BYTES {
            return Err(UriError::TooLong);
        }
        let rest = match text.split_at_checked(7) {
            // RFC 3986, section 3.1: schemes have no case.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("pkcs11:") => rest,
            _ => return Err(UriError::Scheme),
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        if let Some(query) = query {
            refuse_query(query)?;
        }
        let mut uri = Self::default();
        let mut type_seen = false;
        for (index, part) in path.split(';').enumerate().filter(|_| !path.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(UriError::NoValue(index + 1))?;
            let name =
                PATH.iter().copied().find(|known| *known == name).ok_or(UriError::Unknown(index + 1))?;
            match name {
                "token" => set(&mut uri.token, name, decode_text(name, value)?)?,
                "manufacturer" => set(&mut uri.manufacturer, name, decode_text(name, value)?)?,
                "serial" => set(&mut uri.serial, name, decode_text(name, value)?)?,
                "model" => set(&mut uri.model, name, decode_text(name, value)?)?,
                "object" => set(&mut uri.object, name, decode_text(name, value)?)?,
                "id" => set(&mut uri.id, name, decode(name, value)?)?,
                "type" if type_seen => return Err(UriError::Duplicate("type")),
                "type" if value == "private" => type_seen = true,
                "type" => return Err(UriError::Type),
                unstable => return Err(UriError::Unstable(unstable)),
            }
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return Err(UriError::NoToken);
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(UriError::NoObject);
        }
        // What is read can be written, and read again.
        if uri.to_string().len() > MAX_LEN_BYTES {
            return Err(UriError::TooLong);
        }
        Ok(uri)
    }
}

/// Nothing that may stand after `?` may stand in a policy.
fn refuse_query(query: &str) -> Result<(), UriError> {
    let names = query.split('&').map(|part| part.split_once('=').map_or(part, |(name, _)| name));
    let named = names.map(|name| match name {
        "pin-value" => UriError::Pin("pin-value"),
        "pin-source" => UriError::Pin("pin-source"),
        "module-path" => UriError::Module("module-path"),
        "module-name" => UriError::Module("module-name"),
        _ => UriError::Query,
    });
    // The gravest complaint of all parts; there is at least one part.
    Err(named.min_by_key(|e| matches!(e, UriError::Query)).unwrap_or(UriError::Query))
}

fn set<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), UriError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Duplicate(name)),
    }
}

fn decode(name: &'static str, value: &str) -> Result<Vec<u8>, UriError> {
    if value.is_empty() {
        return Err(UriError::Empty(name));
    }
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        // RFC 7512, section 2.3: pk11-pchar.
        let good = match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&byte),
        };
        if !good {
            return Err(UriError::Encoding(name));
        }
    }
    Ok(percent_decode_str(value).collect())
}

fn decode_text(name: &'static str, value: &str) -> Result<String, UriError> {
    String::from_utf8(decode(name, value)?).map_err(|_| UriError::NotText(name))
}

impl std::fmt::Display for KeyUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("serial", &self.serial),
            ("model", &self.model),
            ("object", &self.object),
        ];
        let texts = texts.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes())));
        let id = self.id.iter().map(|id| ("id", id.as_slice()));
        f.write_str("pkcs11:")?;
        for (index, (name, value)) in texts.chain(id).enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            // CKA_ID is binary: RFC 7512 recommends that all of it is encoded.
            if name == "id" {
                write!(f, "{separator}{name}=")?;
                value.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
            } else {
                write!(f, "{separator}{name}={}", percent_encode(value, ENCODED))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<KeyUri, UriError> {
        text.parse()
    }

    #[test]
    fn reads_what_tools_print() {
        // As `p11tool --list-all` prints it.
        let uri = parse(
            "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=5ea1;token=ACME%20Boot;\
             id=%01%ff;object=boot-2026;type=private",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("ACME Boot"));
        assert_eq!(uri.manufacturer.as_deref(), Some("SoftHSM project"));
        assert_eq!(uri.id.as_deref(), Some([0x01, 0xff].as_slice()));
        assert_eq!(uri.object.as_deref(), Some("boot-2026"));
    }

    #[test]
    fn refuses_what_a_policy_must_not_hold() {
        let cases = [
            ("pkcs11:token=t;object=o?pin-value=1234", UriError::Pin("pin-value")),
            ("pkcs11:token=t;object=o?pin-source=file:/p", UriError::Pin("pin-source")),
            ("pkcs11:token=t;object=o?module-path=/tmp/evil.so", UriError::Module("module-path")),
            ("pkcs11:token=t;object=o?module-name=evil", UriError::Module("module-name")),
            ("pkcs11:token=t;object=o?x-acme=1", UriError::Query),
            ("pkcs11:token=t;object=o?x=1&pin-value=1234", UriError::Pin("pin-value")),
            ("pkcs11:token=t;object=o?", UriError::Query),
            ("pkcs11:token=t;object=o;pin-value=1", UriError::Unknown(3)),
            ("pkcs11:slot-id=1;object=o", UriError::Unstable("slot-id")),
            ("pkcs11:token=t;token=u;object=o", UriError::Duplicate("token")),
            ("pkcs11:token=t;type=private;type=private;object=o", UriError::Duplicate("type")),
            ("pkcs11:token=t;object=o;type=public", UriError::Type),
            ("pkcs11:token=t", UriError::NoObject),
            ("pkcs11:object=o", UriError::NoToken),
            ("pkcs11:", UriError::NoToken),
            ("pkcs11:token=;object=o", UriError::Empty("token")),
            ("pkcs11:token=a b;object=o", UriError::Encoding("token")),
            ("pkcs11:token=%4;object=o", UriError::Encoding("token")),
            ("pkcs11:token=%ff;object=o", UriError::NotText("token")),
            ("pkcs11:token;object=o", UriError::NoValue(1)),
            ("pkcs11:token=t;object=o;", UriError::NoValue(3)),
            ("file:/etc/key.pem", UriError::Scheme),
            ("", UriError::Scheme),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        assert_eq!(parse(&format!("pkcs11:token={}", "t".repeat(5000))), Err(UriError::TooLong));
    }

    #[test]
    fn complaints_show_no_value() {
        let error = parse("pkcs11:token=t;object=o?pin-value=secret").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn what_is_read_can_be_written() {
        // Each `[` takes three bytes when it is written. Found by the fuzz target.
        let uri = |len| format!("pkcs11:token=t;object={}", "[".repeat(len)).parse::<KeyUri>();
        assert_eq!(uri(2000), Err(UriError::TooLong));
        let short = uri(1000).unwrap();
        assert_eq!(short.to_string().parse(), Ok(short));
    }

    proptest! {
        #[test]
        fn writing_and_reading_is_identity(
            token in "\\PC{1,20}",
            serial in proptest::option::of("\\PC{1,20}"),
            object in "\\PC{1,20}",
            id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
        ) {
            let uri = KeyUri { token: Some(token), serial, object: Some(object), id, ..KeyUri::default() };
            prop_assert_eq!(parse(&uri.to_string()).unwrap(), uri);
        }

        #[test]
        fn hostile_text_never_panics(text in "(pkcs11:)?[a-z;=%?&é-]{0,60}") {
            let _ = parse(&text);
        }
    }
}
