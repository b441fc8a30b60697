//! What the bytes of U-Boot proper show.

use crate::format::{ReadError, Source};

/// A message that U-Boot has if, and only if, `bootm` takes legacy images (`boot/bootm.c`).
const LEGACY_MESSAGE: &[u8] = b"## Booting kernel from Legacy Image at ";
/// Programs are scanned in pieces of this size.
const CHUNK_BYTES: u64 = 1 << 20;

/// Whether this U-Boot, uncompressed, boots legacy images, which carry no signature.
///
/// # Errors
///
/// [`ReadError`] if `program` cannot be read.
pub fn boots_legacy_images(program: &dyn Source) -> Result<bool, ReadError> {
    let overlap = LEGACY_MESSAGE.len() as u64 - 1;
    let mut start = 0;
    while start < program.len_bytes() {
        let end = program.len_bytes().min(start + CHUNK_BYTES + overlap);
        let chunk = program.read_range(start..end, usize::try_from(2 * CHUNK_BYTES).unwrap_or(usize::MAX))?;
        if chunk.windows(LEGACY_MESSAGE.len()).any(|window| window == LEGACY_MESSAGE) {
            return Ok(true);
        }
        start += CHUNK_BYTES;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_message_across_pieces() {
        for at in [0, 7, (1 << 20) - 20, 1 << 20] {
            let mut program = vec![0; at];
            program.extend(LEGACY_MESSAGE);
            assert!(boots_legacy_images(&program).unwrap(), "{at}");
            program.pop();
            assert!(!boots_legacy_images(&program).unwrap(), "{at}");
        }
        assert!(!boots_legacy_images(&Vec::new()).unwrap());
    }
}
