//! What is told by a whole small file or by its very first bytes.

use super::finding::Leak;
use crate::vocabulary::LeakKind;

/// Longest file with an AES key for swupdate that is looked at; real ones have 100 to 130 bytes.
const MAX_AES_FILE_LEN_BYTES: usize = 4096;

/// What `beginning` shows; `is_whole` says whether it is all of the file.
pub(super) fn examine(beginning: &[u8], is_whole: bool) -> Option<Leak> {
    if beginning.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return java_key_store(beginning);
    }
    if beginning.starts_with(&[0; 4]) {
        return softhsm_object(beginning);
    }
    if is_whole && beginning.len() <= MAX_AES_FILE_LEN_BYTES {
        return aes_key_file(beginning);
    }
    None
}

/// A line with a key of 16, 24 or 32 bytes and an initialisation vector of 16, in hexadecimal; or what
/// `openssl enc -P` prints, from which people make it.
///
/// Source: swupdate `doc/source/encrypted_images.rst`.
fn aes_key_file(bytes: &[u8]) -> Option<Leak> {
    let text = std::str::from_utf8(bytes).ok()?;
    let leak = |what: &str| Some(Leak::new(LeakKind::AesKey, what));
    let is_hex = |word: &str, lengths: &[usize]| {
        lengths.contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))
            .map(str::trim)
    };
    if value("key").is_some_and(|key| is_hex(key, &[32, 48, 64]))
        && value("iv").is_some_and(|iv| is_hex(iv, &[32]))
    {
        return leak("AES key and initialisation vector as `openssl enc -P` prints them");
    }
    // Checksum lists have two words a line too; but only a file name that is 32 hexadecimal digits looks so.
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let is_key_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [key, iv, ..] if words.len() <= 3 && is_hex(key, &[32, 48, 64]) && is_hex(iv, &[32]))
    };
    let first = lines.next()?;
    (is_key_line(first) && lines.next().is_none())
        .then(|| Leak::new(LeakKind::AesKey, "AES key file for swupdate (key and initialisation vector)"))
}

/// An object file of SoftHSMv2 whose class is private or secret key; whatever it is called.
///
/// Eight bytes of generation, then attributes in order: type, kind and value of eight bytes each, big-endian.
/// The first is `CKA_CLASS`, the second `CKA_TOKEN`, a boolean.
///
/// Source: SoftHSMv2 `src/lib/object_store/ObjectFile.cpp`; PKCS#11 2.40 `pkcs11t.h`.
fn softhsm_object(bytes: &[u8]) -> Option<Leak> {
    const CKA_CLASS: u64 = 0;
    const ULONG: u64 = 2;
    const CKA_TOKEN: u64 = 1;
    const BOOLEAN: u64 = 1;
    let mut numbers = bytes
        .get(8..48)?
        .chunks_exact(8)
        .map(|n| n.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)));
    let (a, b, class, c, d) =
        (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
    if (a, b, c, d) != (CKA_CLASS, ULONG, CKA_TOKEN, BOOLEAN) {
        return None;
    }
    match class {
        3 => Some(Leak::new(
            LeakKind::Token,
            "private key in a SoftHSMv2 token; its PIN is all that protects it",
        )),
        4 => Some(Leak::new(
            LeakKind::Token,
            "secret key in a SoftHSMv2 token; its PIN is all that protects it",
        )),
        _ => None,
    }
}

/// A Java key store with a private key. One with certificates alone is a trust store.
///
/// Source: OpenJDK `sun/security/provider/JavaKeyStore.java`.
fn java_key_store(bytes: &[u8]) -> Option<Leak> {
    let mut rest = bytes.get(4..)?;
    let mut number = || take::<4>(&mut rest).map(u32::from_be_bytes);
    let (version, count) = (number()?, number()?);
    if !(1..=2).contains(&version) {
        return None;
    }
    for _ in 0..count.min(10_000) {
        let tag = u32::from_be_bytes(take(&mut rest)?);
        match tag {
            1 => return Some(Leak::new(LeakKind::KeyStore, "Java key store with a private key")),
            2 => {
                string(&mut rest)?;
                take::<8>(&mut rest)?;
                if version == 2 {
                    string(&mut rest)?;
                }
                let len = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
                rest = rest.get(len..)?;
            }
            3 => return Some(Leak::new(LeakKind::KeyStore, "Java key store with a secret key")),
            _ => return None,
        }
    }
    None
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

/// A string with its length in two bytes; what is in it does not matter.
fn string(rest: &mut &[u8]) -> Option<()> {
    let len = usize::from(u16::from_be_bytes(take(rest)?));
    *rest = rest.get(len..)?;
    Some(())
}
