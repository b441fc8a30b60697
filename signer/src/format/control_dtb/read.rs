//! Reads the keys of a control tree back, and checks that their numbers agree with one another.

use super::{
    ControlDtbError, RsaNumbers,
    place::{hint_of, refuse_ambiguous_signature},
};
use crate::{
    crypto::{Curve, PublicKey},
    format::fdt::{Fdt, FdtError, NodeId},
};

/// Longest number in a key node: RSA with 16384 bits.
const MAX_NUMBER_BYTES: usize = 2048;

/// What `/signature` of a control tree says.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Property `required-mode`: `all` if absent; whatever stands there, else.
    pub required_mode: Option<String>,
    /// The key nodes in order.
    pub nodes: Vec<KeyNode>,
}

/// A key node.
#[derive(Clone, Debug)]
pub struct KeyNode {
    /// Its path.
    pub path: String,
    /// Its hint: the node's name without `key-`.
    pub hint: String,
    /// Property `algo`.
    pub algo: Option<String>,
    /// Property `required`.
    pub required: Option<String>,
    /// The key, or why U-Boot could not use it as the numbers say.
    pub key: Result<PublicKey, String>,
}

/// The key nodes under `/signature`; `None` if there is no such node.
///
/// # Errors
///
/// [`ControlDtbError`] if the tree is malformed. A malformed key is told in its [`KeyNode`].
pub fn read_keys(fdt: &Fdt<'_>) -> Result<Option<Keys>, ControlDtbError> {
    if fdt.find("/images").is_some() {
        return Err(ControlDtbError::IsFit);
    }
    refuse_ambiguous_signature(fdt)?;
    let Some(signature) = fdt.child(Fdt::ROOT, "signature") else { return Ok(None) };
    let required_mode = fdt.string(signature, "required-mode")?;
    let nodes = fdt.children(signature).map(|(id, _)| read_key(fdt, id)).collect::<Result<_, _>>()?;
    Ok(Some(Keys { required_mode, nodes }))
}

fn read_key(fdt: &Fdt<'_>, id: NodeId) -> Result<KeyNode, ControlDtbError> {
    let has = |name: &str| fdt.property(id, name).is_some();
    let key = match (has("rsa,modulus"), has("ecdsa,curve")) {
        (true, false) => read_rsa(fdt, id),
        (false, true) => read_ecdsa(fdt, id),
        (true, true) => Err("it holds an RSA key and an ECDSA key".into()),
        (false, false) => Err("it holds no key".into()),
    };
    Ok(KeyNode {
        path: fdt.path(id),
        hint: hint_of(fdt, id),
        algo: fdt.string(id, "algo")?,
        required: fdt.string(id, "required")?,
        key,
    })
}

fn read_rsa(fdt: &Fdt<'_>, id: NodeId) -> Result<PublicKey, String> {
    let modulus = number(fdt, id, "rsa,modulus")?.ok_or("`rsa,modulus` is absent")?;
    // U-Boot takes 65537 where there is none (lib/rsa/rsa-verify.c).
    let exponent = match number(fdt, id, "rsa,exponent")? {
        Some(bytes) if bytes.len() == 8 => bytes,
        Some(bytes) => return Err(format!("`rsa,exponent` has {} bytes, not 8", bytes.len())),
        None => vec![1, 0, 1],
    };
    let right = RsaNumbers::compute(&modulus, &exponent).map_err(|e| e.to_string())?;
    if modulus.len() != right.modulus.len() {
        return Err("`rsa,modulus` begins with zeros".into());
    }
    let words =
        [("rsa,num-bits", right.bits.to_be_bytes()), ("rsa,n0-inverse", right.n0_inverse.to_be_bytes())];
    let expected = words
        .iter()
        .map(|(name, word)| (*name, word.as_slice()))
        .chain([("rsa,r-squared", right.r_squared.as_slice())]);
    for (name, value) in expected {
        match number(fdt, id, name)? {
            None => return Err(format!("`{name}` is absent")),
            Some(found) if found != value => return Err(format!("`{name}` does not belong to this modulus")),
            Some(_) => {}
        }
    }
    PublicKey::from_rsa(&modulus, &exponent).map_err(|e| e.to_string())
}

fn read_ecdsa(fdt: &Fdt<'_>, id: NodeId) -> Result<PublicKey, String> {
    let curve = match fdt.string(id, "ecdsa,curve").map_err(|e| e.to_string())?.as_deref() {
        Some("prime256v1") => Curve::P256,
        Some("secp384r1") => Curve::P384,
        other => return Err(format!("`ecdsa,curve` is `{}`", other.unwrap_or_default())),
    };
    let mut point = vec![0x04]; // uncompressed (SEC 1, section 2.3.3)
    for name in ["ecdsa,x-point", "ecdsa,y-point"] {
        let coordinate = number(fdt, id, name)?.ok_or_else(|| format!("`{name}` is absent"))?;
        if coordinate.len() != curve.width_bytes() {
            return Err(format!("`{name}` has {} bytes, not {}", coordinate.len(), curve.width_bytes()));
        }
        point.extend(coordinate);
    }
    PublicKey::from_ec_point(curve, &point).map_err(|_| "its point is not on the curve".into())
}

fn number(fdt: &Fdt<'_>, id: NodeId, name: &str) -> Result<Option<Vec<u8>>, String> {
    fdt.bytes(id, name, MAX_NUMBER_BYTES).map_err(|e: FdtError| e.to_string())
}
