//! Raw signatures and their two encodings.

use der::{Decode as _, Encode as _, Sequence, asn1::UintRef};

/// A signature as its mechanism yields it.
///
/// RSA: the modulus' length, big-endian. ECDSA: r‖s, each as wide as the curve's order
/// (PKCS#11 and U-Boot use this form; X.509 and CMS use [`to_ecdsa_der`](Self::to_ecdsa_der)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

/// A signature that is not in the form its algorithm demands.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// r‖s has no even, non-zero length.
    #[error("an ECDSA signature of {0} bytes is not a pair of equally wide integers")]
    Width(usize),
    /// The DER form is malformed or an integer is wider than the curve's order.
    #[error("malformed DER of an ECDSA signature")]
    Der,
}

#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl Signature {
    /// Wraps raw signature bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `ECDSA-Sig-Value` form of RFC 3279, section 2.2.3.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Width`] if this is not r‖s.
    pub fn to_ecdsa_der(&self) -> Result<Vec<u8>, SignatureError> {
        let half = self.0.len() / 2;
        if self.0.is_empty() || !self.0.len().is_multiple_of(2) {
            return Err(SignatureError::Width(self.0.len()));
        }
        let (r, s) = self.0.split_at(half);
        let pair = EcdsaSigValue {
            r: UintRef::new(r).map_err(|_| SignatureError::Width(self.0.len()))?,
            s: UintRef::new(s).map_err(|_| SignatureError::Width(self.0.len()))?,
        };
        pair.to_der().map_err(|_| SignatureError::Der)
    }

    /// r‖s from the `ECDSA-Sig-Value` form, each integer `width_bytes` wide.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Der`] if `bytes` is not that form or an integer is too wide.
    pub fn from_ecdsa_der(bytes: &[u8], width_bytes: usize) -> Result<Self, SignatureError> {
        let pair = EcdsaSigValue::from_der(bytes).map_err(|_| SignatureError::Der)?;
        let mut raw = Vec::with_capacity(width_bytes * 2);
        for integer in [pair.r.as_bytes(), pair.s.as_bytes()] {
            let padding = width_bytes.checked_sub(integer.len()).ok_or(SignatureError::Der)?;
            raw.resize(raw.len() + padding, 0);
            raw.extend_from_slice(integer);
        }
        Ok(Self(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ecdsa_forms_convert_back(raw in proptest::collection::vec(any::<u8>(), 64)) {
            let signature = Signature::from_bytes(raw);
            let der = signature.to_ecdsa_der().unwrap();
            prop_assert_eq!(Signature::from_ecdsa_der(&der, 32).unwrap(), signature);
        }

        #[test]
        fn hostile_der_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _ = Signature::from_ecdsa_der(&bytes, 32);
        }
    }
}
