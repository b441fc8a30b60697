//! Public keys that can be broken: what is known of weak generators, and cheap to see.

use super::{KeyMaterial, PublicKey};
use openssl::{
    bn::{BigNum, BigNumContext, BigNumRef},
    error::ErrorStack,
};
use std::cmp::Ordering;

/// Primes below 168, the divisors of the smallest of the products M that Infineon's generator used.
const PRIMES: [u32; 39] = [
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Steps of Fermat's method: finds primes that differ in no more than a little over half of their bits.
const FERMAT_STEPS: usize = 100;

/// Factors below this are found.
const TRIAL_LIMIT: u32 = 1 << 12;

/// Why `key` is weak, one line without a full stop; `None` if nothing is known against it.
///
/// RSA: fewer than 2048 bits; a public exponent below 65537 or even (FIPS 186-5, section 5.1); a modulus with a small
/// factor, with two primes close to each other (CVE-2022-26320), or made by Infineon's library (CVE-2017-15361, "ROCA").
/// An EC key has nothing to be told: a point off its curve or at infinity is no [`PublicKey`].
#[must_use]
pub fn weakness(key: &PublicKey) -> Option<String> {
    let KeyMaterial::Rsa { modulus, exponent } = key.material() else { return None };
    if key.bits() < 2048 {
        return Some(format!("{} bits are fewer than 2048", key.bits()));
    }
    if exponent.len() < 3 || (exponent.len() == 3 && exponent.as_slice() < [1, 0, 1].as_slice()) {
        return Some("its public exponent is below 65537".into());
    }
    if exponent.last().is_none_or(|b| b % 2 == 0) {
        return Some("its public exponent is even".into());
    }
    // OpenSSL fails here for want of memory alone; then the key is not known to be good.
    of_modulus(modulus).unwrap_or_else(|e| Some(format!("its modulus cannot be examined: {e}")))
}

fn of_modulus(modulus: &[u8]) -> Result<Option<String>, ErrorStack> {
    let n = BigNum::from_slice(modulus)?;
    if !n.is_bit_set(0) {
        return Ok(Some("its modulus is even".into()));
    }
    if let Some(factor) = small_factor(&n)? {
        return Ok(Some(format!("its modulus is divisible by {factor}")));
    }
    if is_infineons(&n)? {
        return Ok(Some("its modulus bears the mark of Infineon's generator (CVE-2017-15361, ROCA)".into()));
    }
    if has_close_primes(&n)? {
        return Ok(Some("its two primes are close to each other, so Fermat's method finds them".into()));
    }
    Ok(None)
}

fn small_factor(n: &BigNumRef) -> Result<Option<u32>, ErrorStack> {
    for candidate in (3..TRIAL_LIMIT).step_by(2) {
        if n.mod_word(candidate)? == 0 {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// Whether each prime p of [`PRIMES`] has a power of 65537 that is congruent to `n` modulo p.
///
/// The primes that Infineon's library made are k·M + (65537^a mod M), M being the product of the first primes, so this
/// holds for their product. For other moduli it holds by chance, about once in 2^28.
///
/// Source: Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, ACM CCS 2017, section 3.
fn is_infineons(n: &BigNumRef) -> Result<bool, ErrorStack> {
    for prime in PRIMES {
        if !is_power_of_65537(n.mod_word(prime)?, u64::from(prime)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_power_of_65537(residue: u64, prime: u64) -> bool {
    let mut power = 1 % prime;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * (65537 % prime) % prime;
    }
    false
}

/// Fermat's method: n = a² - b² for an a just above n's root, if the primes are close.
fn has_close_primes(n: &BigNumRef) -> Result<bool, ErrorStack> {
    let mut ctx = BigNumContext::new()?;
    let mut a = integer_root(n, &mut ctx)?;
    for _ in 0..FERMAT_STEPS {
        // From the root on: one that is exact shows the square of a prime, for b = 0.
        let mut square = BigNum::new()?;
        square.sqr(&a, &mut ctx)?;
        if square.ucmp(n) != Ordering::Less {
            let mut rest = BigNum::new()?;
            rest.checked_sub(&square, n)?;
            if rest.num_bits() == 0 || is_square(&rest, &mut ctx)? {
                return Ok(true);
            }
        }
        a.add_word(1)?;
    }
    Ok(false)
}

fn is_square(n: &BigNumRef, ctx: &mut BigNumContext) -> Result<bool, ErrorStack> {
    // Squares leave few residues: most numbers need no root.
    for modulus in [64, 63, 65, 11] {
        let residue = n.mod_word(modulus)?;
        let modulus = u64::from(modulus);
        if !(0..modulus).any(|x| x * x % modulus == residue) {
            return Ok(false);
        }
    }
    let root = integer_root(n, ctx)?;
    let mut square = BigNum::new()?;
    square.sqr(&root, ctx)?;
    Ok(square.ucmp(n) == Ordering::Equal)
}

/// The largest integer whose square is not more than `n`, by Newton's method from above.
fn integer_root(n: &BigNumRef, ctx: &mut BigNumContext) -> Result<BigNum, ErrorStack> {
    let mut root = BigNum::new()?;
    root.set_bit((n.num_bits() + 1) / 2 + 1)?;
    loop {
        let (mut quotient, mut next) = (BigNum::new()?, BigNum::new()?);
        quotient.checked_div(n, &root, ctx)?;
        next.checked_add(&quotient, &root)?;
        let mut half = BigNum::new()?;
        half.rshift1(&next)?;
        if half.ucmp(&root) != Ordering::Less {
            return Ok(root);
        }
        root = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Curve;
    use openssl::rsa::Rsa;

    fn number(decimal: &str) -> BigNum {
        BigNum::from_dec_str(decimal).unwrap()
    }

    /// A prime k·M + (65537^a mod M) of `bits` bits, as Infineon's library made them; k and a from `seed`.
    fn infineons_prime(bits: i32, seed: u32, ctx: &mut BigNumContext) -> BigNum {
        // For keys of 2048 bits M is the product of the first 126 primes: those up to 701.
        let mut m = BigNum::from_u32(1).unwrap();
        for p in (2..=701_u32).filter(|n| (2..*n).all(|d| n % d != 0)) {
            m.mul_word(p).unwrap();
        }
        assert_eq!(m.num_bits(), 971);
        let mut a = seed;
        loop {
            a += 1;
            let mut residue = BigNum::new().unwrap();
            let power = BigNum::from_u32(a).unwrap();
            residue.mod_exp(&BigNum::from_u32(65537).unwrap(), &power, &m, ctx).unwrap();
            let mut k = BigNum::new().unwrap();
            k.rand(bits - 970, openssl::bn::MsbOption::ONE, false).unwrap();
            let mut product = BigNum::new().unwrap();
            product.checked_mul(&k, &m, ctx).unwrap();
            let mut candidate = BigNum::new().unwrap();
            candidate.checked_add(&product, &residue).unwrap();
            if candidate.num_bits() == bits && candidate.is_prime_fasttest(20, ctx, true).unwrap() {
                return candidate;
            }
        }
    }

    fn product(p: &BigNumRef, q: &BigNumRef) -> BigNum {
        let mut n = BigNum::new().unwrap();
        n.checked_mul(p, q, &mut BigNumContext::new().unwrap()).unwrap();
        n
    }

    fn rsa(n: &BigNumRef) -> PublicKey {
        PublicKey::from_rsa(&n.to_vec(), &[1, 0, 1]).unwrap()
    }

    #[test]
    fn infineons_keys_are_known_by_their_residues() {
        let mut ctx = BigNumContext::new().unwrap();
        let p = infineons_prime(1025, 1000, &mut ctx);
        let q = infineons_prime(1025, 77_000, &mut ctx);
        let reason = weakness(&rsa(&product(&p, &q))).unwrap();
        assert!(reason.contains("ROCA"), "{reason}");
        // One such prime and an ordinary one are not such a key.
        let mut other = BigNum::new().unwrap();
        other.generate_prime(1025, false, None, None).unwrap();
        assert_eq!(weakness(&rsa(&product(&p, &other))), None);
    }

    #[test]
    fn chance_alone_hardly_bears_the_mark() {
        let share = PRIMES.iter().map(|p| {
            let p = u64::from(*p);
            let marked = (1..p).filter(|r| is_power_of_65537(*r, p)).count();
            f64::from(u32::try_from(marked).unwrap()) / f64::from(u32::try_from(p - 1).unwrap())
        });
        let chance: f64 = share.product();
        assert!(chance < 1.0 / f64::from(1 << 27) && chance > 0.0, "{chance}");
    }

    #[test]
    fn no_healthy_key_is_called_weak() {
        // Short ones are made fast, and the tests of the modulus do not care for its length.
        for _ in 0..400 {
            let key = Rsa::generate(512).unwrap();
            assert_eq!(of_modulus(&key.n().to_vec()).unwrap(), None, "{:?}", key.n());
        }
        for bits in [2048, 3072] {
            let key = Rsa::generate(bits).unwrap();
            assert_eq!(weakness(&rsa(key.n())), None);
        }
    }

    #[test]
    fn close_primes_are_found() {
        let mut ctx = BigNumContext::new().unwrap();
        let mut p = BigNum::new().unwrap();
        p.generate_prime(1100, false, None, None).unwrap();
        let mut q = BigNum::from_slice(&p.to_vec()).unwrap();
        q.add_word(2).unwrap();
        while !q.is_prime_fasttest(20, &mut ctx, true).unwrap() {
            q.add_word(2).unwrap();
        }
        let reason = weakness(&rsa(&product(&p, &q))).unwrap();
        assert!(reason.contains("Fermat"), "{reason}");
        assert!(weakness(&rsa(&product(&p, &p))).unwrap().contains("Fermat"), "a square");
    }

    #[test]
    fn small_factors_are_found() {
        let mut p = BigNum::new().unwrap();
        p.generate_prime(2100, false, None, None).unwrap();
        for factor in [3, 4093] {
            let n = product(&p, &BigNum::from_u32(factor).unwrap());
            assert!(weakness(&rsa(&n)).unwrap().ends_with(&format!("divisible by {factor}")));
        }
        assert_eq!(of_modulus(&[6]).unwrap().unwrap(), "its modulus is even");
    }

    #[test]
    fn roots_are_rounded_down() {
        let mut ctx = BigNumContext::new().unwrap();
        for (n, root) in [("1", "1"), ("3", "1"), ("4", "2"), ("99", "9"), ("100", "10"), ("101", "10")] {
            assert_eq!(integer_root(&number(n), &mut ctx).unwrap(), number(root), "{n}");
        }
        let large = number("123456789012345678901234567890");
        let mut square = BigNum::new().unwrap();
        square.sqr(&large, &mut ctx).unwrap();
        assert_eq!(integer_root(&square, &mut ctx).unwrap(), large);
        assert!(is_square(&square, &mut ctx).unwrap());
        square.add_word(1).unwrap();
        assert!(!is_square(&square, &mut ctx).unwrap());
    }

    #[test]
    fn points_off_the_curve_and_at_infinity_are_no_keys() {
        for (curve, width) in [(Curve::P256, 32), (Curve::P384, 48)] {
            let off = [&[4_u8][..], &vec![1; 2 * width]].concat();
            for point in [&[0_u8][..], &off, &[4], &[]] {
                assert!(PublicKey::from_ec_point(curve, point).is_err(), "{point:?}");
            }
        }
        // The same in a SubjectPublicKeyInfo (RFC 5480): P-256 and infinity.
        let infinity = hex::decode("3019301306072a8648ce3d020106082a8648ce3d03010703020000").unwrap();
        assert!(PublicKey::from_spki_der(&infinity).is_err());
    }
}
