//! Key pairs made inside a token.

use super::{Selector, Token};
use crate::{crypto::KeyType, key::KeyError};
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
    types::Ulong,
};
use der::Encode as _;

impl Token {
    /// Makes a key pair that never leaves the token.
    ///
    /// The session must be read-write and logged in.
    pub(in crate::key) fn generate(&self, key_type: KeyType, label: &str, id: &[u8]) -> Result<(), KeyError> {
        let what = format!("making an {key_type} key `{label}` in token `{}`", self.label());
        let name = || [Attribute::Label(label.into()), Attribute::Id(id.to_vec()), Attribute::Token(true)];
        let mut public = name().to_vec();
        public.extend([Attribute::Private(false), Attribute::Verify(true)]);
        let mut private = name().to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ]);
        let mechanism = match key_type {
            KeyType::Rsa2048 => rsa(&mut public, 2048),
            KeyType::Rsa3072 => rsa(&mut public, 3072),
            KeyType::Rsa4096 => rsa(&mut public, 4096),
            KeyType::EcdsaP256 => ec(&mut public, const_oid::db::rfc5912::SECP_256_R_1),
            KeyType::EcdsaP384 => ec(&mut public, const_oid::db::rfc5912::SECP_384_R_1),
        };
        let _turn = self.module().turn();
        self.session().generate_key_pair(&mechanism, &public, &private).map_err(KeyError::pkcs11(what))?;
        Ok(())
    }

    /// Destroys every object with that label: what an interrupted generation left behind.
    pub(in crate::key) fn destroy(&self, label: &str) -> Result<(), KeyError> {
        let selector = Selector::label(label);
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            for object in self.find(class, &selector)? {
                let _turn = self.module().turn();
                self.session()
                    .destroy_object(object)
                    .map_err(KeyError::pkcs11(format!("destroying unfinished key `{label}`")))?;
            }
        }
        Ok(())
    }
}

fn rsa(public: &mut Vec<Attribute>, bits: u32) -> Mechanism<'static> {
    public.push(Attribute::ModulusBits(Ulong::new(bits.into())));
    public.push(Attribute::PublicExponent(vec![0x01, 0x00, 0x01]));
    Mechanism::RsaPkcsKeyPairGen
}

fn ec(public: &mut Vec<Attribute>, curve: const_oid::ObjectIdentifier) -> Mechanism<'static> {
    // Encoding an OID that the library itself defines does not fail.
    public.push(Attribute::EcParams(curve.to_der().unwrap_or_default()));
    Mechanism::EccKeyPairGen
}
