//! Keys that a verification accepts.

use super::Mode;
use crate::crypto::PublicKey;

/// A public key that counts as trusted for one role.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The key.
    pub public_key: PublicKey,
    /// Its certificate, DER, where there is one.
    pub certificate: Option<Vec<u8>>,
    /// Certificates, DER, through which other certificates may chain to this one's issuer.
    pub chain: Vec<Vec<u8>>,
    /// Which mode's key this is; `None` for one named on the command line.
    pub mode: Option<Mode>,
    /// Where it came from, for people: `dev key of role fit`, `certs/update.pem`.
    pub origin: String,
}
