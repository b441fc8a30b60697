//! Salt and UUID that follow from what is signed, so that builds are reproducible.

use super::Uuid;
use crate::{crypto::HashAlgorithm, vocabulary::Role};

/// The salt for an image: SHA-256 of `hsmsign dm-verity salt v1`, product, role and the number of data
/// bytes in decimal, each followed by a zero byte.
///
/// A salt need not be secret or random: it keeps digests computed for one product from being used against
/// another. Dev and release images of a product share it and so stay bit-identical.
#[must_use]
pub fn derived_salt(product: &str, role: Role, data_len_bytes: u64) -> Vec<u8> {
    derived("hsmsign dm-verity salt v1", product, role, data_len_bytes)
}

/// The UUID for an image: the first half of the same over `hsmsign dm-verity uuid v1`, marked as version 8
/// (RFC 9562, section 5.8).
#[must_use]
pub fn derived_uuid(product: &str, role: Role, data_len_bytes: u64) -> Uuid {
    let mut bytes = [0; 16];
    for (place, byte) in
        bytes.iter_mut().zip(derived("hsmsign dm-verity uuid v1", product, role, data_len_bytes))
    {
        *place = byte;
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    Uuid(bytes)
}

fn derived(purpose: &str, product: &str, role: Role, data_len_bytes: u64) -> Vec<u8> {
    let text = format!("{purpose}\0{product}\0{role}\0{data_len_bytes}\0");
    HashAlgorithm::Sha256.digest(text.as_bytes()).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_depend_on_product_and_size_and_on_nothing_else() {
        let salt = derived_salt("acme", Role::Rootfs, 4096);
        assert_eq!(salt, derived_salt("acme", Role::Rootfs, 4096));
        assert_ne!(salt, derived_salt("acmf", Role::Rootfs, 4096));
        assert_ne!(salt, derived_salt("acme", Role::Rootfs, 8192));
        // `printf 'hsmsign dm-verity salt v1\0acme\0rootfs\0004096\0' | sha256sum`
        assert_eq!(hex::encode(salt), "381a1b8ecba0398d677bfe6883708915a37f56873904930c94e99023eec46ecc");
    }

    #[test]
    fn uuids_are_of_version_8() {
        let text = derived_uuid("acme", Role::Rootfs, 4096).to_string();
        assert_eq!(&text[14..15], "8");
        assert!("89ab".contains(&text[19..20]), "{text}");
    }
}
