//! The numbers that spare U-Boot long division: R² mod n and −n⁻¹ mod 2³².

use crate::crypto::{KeyMaterial, PublicKey};
use openssl::{
    bn::{BigNum, BigNumContext},
    error::ErrorStack,
};

/// An RSA public key as a control tree holds it.
///
/// Source: U-Boot `lib/rsa/rsa-sign.c` (`rsa_get_params`) and `lib/rsa/rsa-mod-exp.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaNumbers {
    /// Size of the modulus; also the exponent of R = 2^bits.
    pub bits: u32,
    /// −n⁻¹ mod 2³², for Montgomery multiplication with 32-bit words.
    pub n0_inverse: u32,
    /// The public exponent.
    pub exponent: u64,
    /// n, big-endian, `bits` / 8 bytes.
    pub modulus: Vec<u8>,
    /// R² mod n, big-endian, `bits` / 8 bytes.
    pub r_squared: Vec<u8>,
}

/// Why U-Boot could not compute with an RSA key.
#[derive(Debug, thiserror::Error)]
pub enum RsaNumbersError {
    /// Montgomery multiplication needs an odd modulus of whole 32-bit words.
    #[error("an RSA modulus of {0} bits that is not odd and a whole number of words")]
    Modulus(u32),
    /// The control tree has 64 bits for it.
    #[error("an RSA exponent wider than 64 bits, or zero")]
    Exponent,
    /// OpenSSL failed, such as for lack of memory.
    #[error("cannot compute with the RSA modulus: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl RsaNumbers {
    /// From the numbers of an RSA key, big-endian.
    ///
    /// # Errors
    ///
    /// [`RsaNumbersError`] if U-Boot could not use such a key: it never happens for keys that a
    /// policy can name.
    pub fn compute(modulus: &[u8], exponent: &[u8]) -> Result<Self, RsaNumbersError> {
        let n = BigNum::from_slice(modulus)?;
        let bits = u32::try_from(n.num_bits()).unwrap_or(0);
        let low_bit = modulus.last().copied().unwrap_or(0) & 1;
        if bits == 0 || !bits.is_multiple_of(32) || low_bit == 0 {
            return Err(RsaNumbersError::Modulus(bits));
        }
        let width_bytes = i32::try_from(bits / 8).map_err(|_| RsaNumbersError::Modulus(bits))?;

        let mut ctx = BigNumContext::new()?;
        let mut two_to_32 = BigNum::new()?;
        two_to_32.set_bit(32)?;
        let mut inverse = BigNum::new()?;
        inverse.mod_inverse(&n, &two_to_32, &mut ctx)?;
        let mut n0_inverse = BigNum::new()?;
        n0_inverse.checked_sub(&two_to_32, &inverse)?;

        let mut r_squared = BigNum::new()?;
        r_squared.set_bit(n.num_bits().saturating_mul(2))?;
        let mut reduced = BigNum::new()?;
        reduced.nnmod(&r_squared, &n, &mut ctx)?;

        Ok(Self {
            bits,
            n0_inverse: word(&n0_inverse.to_vec_padded(4)?).ok_or(RsaNumbersError::Modulus(bits))?,
            exponent: exponent_u64(exponent).ok_or(RsaNumbersError::Exponent)?,
            modulus: n.to_vec_padded(width_bytes)?,
            r_squared: reduced.to_vec_padded(width_bytes)?,
        })
    }

    /// The numbers of `key`, or `None` if it is no RSA key.
    ///
    /// # Errors
    ///
    /// As for [`compute`](Self::compute).
    pub fn of(key: &PublicKey) -> Option<Result<Self, RsaNumbersError>> {
        match key.material() {
            KeyMaterial::Rsa { modulus, exponent } => Some(Self::compute(modulus, exponent)),
            KeyMaterial::Ec { .. } => None,
        }
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian number of any width that fits 64 bits and is not zero.
fn exponent_u64(bytes: &[u8]) -> Option<u64> {
    let start = bytes.iter().position(|b| *b != 0)?;
    let significant = bytes.get(start..)?;
    let mut wide = [0; 8];
    let padding = wide.len().checked_sub(significant.len())?;
    wide.get_mut(padding..)?.copy_from_slice(significant);
    Some(u64::from_be_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rsa::Rsa;
    use proptest::prelude::*;

    #[test]
    fn a_small_modulus_can_be_checked_by_hand() {
        // n = 2^32 - 5: R = 2^32 = 5 (mod n), so R² = 25; n = -5 (mod 2^32), so -n⁻¹ = 5⁻¹.
        let numbers = RsaNumbers::compute(&[0xff, 0xff, 0xff, 0xfb], &[1, 0, 1]).unwrap();
        assert_eq!(numbers.bits, 32);
        assert_eq!(numbers.exponent, 65537);
        assert_eq!(numbers.r_squared, [0, 0, 0, 25]);
        assert_eq!(numbers.n0_inverse.wrapping_mul(5), 1);
    }

    #[test]
    fn the_defining_equations_hold_for_every_key_size() {
        for bits in [2048_u32, 3072, 4096] {
            let rsa = Rsa::generate(bits).unwrap();
            let numbers = RsaNumbers::compute(&rsa.n().to_vec(), &rsa.e().to_vec()).unwrap();
            assert_eq!(numbers.bits, bits);
            assert_eq!(numbers.modulus.len(), bits as usize / 8);
            assert_eq!(numbers.r_squared.len(), bits as usize / 8);
            let n0 = u32::from_be_bytes(numbers.modulus[numbers.modulus.len() - 4..].try_into().unwrap());
            assert_eq!(n0.wrapping_mul(numbers.n0_inverse), u32::MAX, "n · n0_inverse = -1 (mod 2^32)");
            // Square R mod n by repeated doubling, another way than the one under test.
            let mut ctx = BigNumContext::new().unwrap();
            let n = BigNum::from_slice(&numbers.modulus).unwrap();
            let two = BigNum::from_u32(2).unwrap();
            let exponent = BigNum::from_u32(bits * 2).unwrap();
            let mut power = BigNum::new().unwrap();
            power.mod_exp(&two, &exponent, &n, &mut ctx).unwrap();
            assert_eq!(power, BigNum::from_slice(&numbers.r_squared).unwrap());
        }
    }

    #[test]
    fn refuses_what_u_boot_cannot_compute_with() {
        let even = [0xff, 0xff, 0xff, 0xfa];
        assert!(matches!(RsaNumbers::compute(&even, &[3]), Err(RsaNumbersError::Modulus(32))));
        assert!(matches!(RsaNumbers::compute(&[0x7f, 0xff], &[3]), Err(RsaNumbersError::Modulus(15))));
        assert!(matches!(RsaNumbers::compute(&[], &[3]), Err(RsaNumbersError::Modulus(0))));
        let odd = [0xff, 0xff, 0xff, 0xfb];
        for exponent in [&[][..], &[0], &[1; 9]] {
            assert!(matches!(RsaNumbers::compute(&odd, exponent), Err(RsaNumbersError::Exponent)));
        }
        let wide = RsaNumbers::compute(&odd, &[0, 0, 1, 0, 0, 0, 1, 0, 0, 1]).unwrap();
        assert_eq!(wide.exponent, 0x0100_0000_0100_0001);
    }

    proptest! {
        #[test]
        fn hostile_numbers_never_panic(
            modulus in proptest::collection::vec(any::<u8>(), 0..80),
            exponent in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let _ = RsaNumbers::compute(&modulus, &exponent);
        }
    }
}
