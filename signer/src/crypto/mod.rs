//! The vocabulary of digests, signature algorithms, public keys and signatures.

mod algorithm;
mod digest;
mod fingerprint;
mod public_key;
mod signature;
mod weakness;

pub use algorithm::{KeyType, Scheme, SignatureAlgorithm};
pub use digest::{Digest, HashAlgorithm, Hasher};
pub use fingerprint::Fingerprint;
pub use public_key::{Curve, KeyMaterial, PublicKey, PublicKeyError};
pub use signature::{Signature, SignatureError};
pub use weakness::weakness;
