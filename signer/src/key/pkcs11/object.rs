//! Objects in a token: found by label and id, public keys read in every form that tokens give them.

use super::Token;
use crate::{
    crypto::{Curve, PublicKey},
    key::KeyError,
};
use cryptoki::{
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::Session,
};
use der::{Decode as _, asn1::OctetStringRef};

/// Which key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::key) struct Selector {
    /// CKA_LABEL.
    pub(in crate::key) label: Option<String>,
    /// CKA_ID.
    pub(in crate::key) id: Option<Vec<u8>>,
}

impl Selector {
    /// By label alone.
    pub(in crate::key) fn label(label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), id: None }
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(self.label.as_ref().map(|l| Attribute::Label(l.clone().into_bytes())));
        template.extend(self.id.as_ref().map(|i| Attribute::Id(i.clone())));
        template
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.label, &self.id) {
            (Some(label), Some(id)) => write!(f, "{label}` with id `{}", hex::encode(id)),
            (Some(label), None) => f.write_str(label),
            (None, Some(id)) => write!(f, "id {}", hex::encode(id)),
            (None, None) => f.write_str("any key"),
        }
    }
}

impl Token {
    /// Handles of all objects of `class` that match.
    pub(super) fn find(
        &self,
        class: ObjectClass,
        selector: &Selector,
    ) -> Result<Vec<ObjectHandle>, KeyError> {
        let _turn = self.module().turn();
        self.session()
            .find_objects(&selector.template(class))
            .map_err(KeyError::pkcs11(format!("looking for `{selector}` in token `{}`", self.label())))
    }

    /// The one private key that matches.
    pub(super) fn find_private_key(&self, selector: &Selector) -> Result<ObjectHandle, KeyError> {
        let found = self.find(ObjectClass::PRIVATE_KEY, selector)?;
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                Err(KeyError::NotFound(format!("token `{}` holds no private key `{selector}`", self.label())))
            }
            several => Err(KeyError::Ambiguous {
                what: format!("private keys `{selector}` in token `{}`", self.label()),
                count: several.len(),
            }),
        }
    }

    /// The public half of `private`: from the private key's own attributes, else from the public key
    /// object or certificate with the same id, as tokens may lack any of these.
    pub(super) fn public_key(
        &self,
        private: ObjectHandle,
        selector: &Selector,
    ) -> Result<PublicKey, KeyError> {
        let unusable = |reason: String| KeyError::PublicKey { label: selector.to_string(), reason };
        let mut candidates = vec![private];
        let id = {
            let _turn = self.module().turn();
            attribute(&self.session(), private, AttributeType::Id)
        };
        let mut partner = selector.clone();
        if let Some(Attribute::Id(id)) = id
            && !id.is_empty()
        {
            partner = Selector { label: None, id: Some(id) };
        }
        candidates.extend(self.find(ObjectClass::PUBLIC_KEY, &partner)?);
        let _turn = self.module().turn();
        let session = self.session();
        let mut last = "the token shows neither CKA_PUBLIC_KEY_INFO nor its numbers".to_owned();
        for object in candidates {
            match read_public_key(&session, object) {
                Ok(Some(key)) => return Ok(key),
                Ok(None) => {}
                Err(reason) => last = reason,
            }
        }
        drop(session);
        drop(_turn);
        for object in self.find(ObjectClass::CERTIFICATE, &partner)? {
            let _turn = self.module().turn();
            if let Some(Attribute::Value(der)) = attribute(&self.session(), object, AttributeType::Value) {
                match crate::key::certificate::public_key(&der) {
                    Ok(key) => return Ok(key),
                    Err(reason) => last = reason,
                }
            }
        }
        Err(unusable(last))
    }
}

/// One attribute, or `None` if the token does not give it.
///
/// Asked for one by one: some tokens answer a list with an error when they lack one of it.
pub(super) fn attribute(session: &Session, object: ObjectHandle, kind: AttributeType) -> Option<Attribute> {
    session.get_attributes(object, &[kind]).ok()?.pop()
}

fn read_public_key(session: &Session, object: ObjectHandle) -> Result<Option<PublicKey>, String> {
    let get = |kind| attribute(session, object, kind);
    if let Some(Attribute::PublicKeyInfo(der)) = get(AttributeType::PublicKeyInfo)
        && !der.is_empty()
    {
        return PublicKey::from_spki_der(&der).map(Some).map_err(|e| e.to_string());
    }
    if let (Some(Attribute::Modulus(n)), Some(Attribute::PublicExponent(e))) =
        (get(AttributeType::Modulus), get(AttributeType::PublicExponent))
        && !n.is_empty()
        && !e.is_empty()
    {
        return PublicKey::from_rsa(&n, &e).map(Some).map_err(|e| e.to_string());
    }
    if let (Some(Attribute::EcParams(parameters)), Some(Attribute::EcPoint(point))) =
        (get(AttributeType::EcParams), get(AttributeType::EcPoint))
        && !point.is_empty()
    {
        return ec_public_key(&parameters, &point).map(Some);
    }
    Ok(None)
}

/// From CKA_EC_PARAMS (a named curve) and CKA_EC_POINT, which the standard wraps in an OCTET STRING
/// and some tokens do not.
fn ec_public_key(parameters: &[u8], point: &[u8]) -> Result<PublicKey, String> {
    let curve = match der::asn1::ObjectIdentifier::from_der(parameters) {
        Ok(const_oid::db::rfc5912::SECP_256_R_1) => Curve::P256,
        Ok(const_oid::db::rfc5912::SECP_384_R_1) => Curve::P384,
        _ => return Err(format!("unknown curve {}", hex::encode(parameters))),
    };
    // A raw point starts with 02, 03 or 04; an OCTET STRING with 04 and a length. Lengths tell them apart.
    let raw = OctetStringRef::from_der(point).map_or(point, |wrapped| wrapped.as_bytes());
    PublicKey::from_ec_point(curve, raw)
        .or_else(|_| PublicKey::from_ec_point(curve, point))
        .map_err(|e| e.to_string())
}
