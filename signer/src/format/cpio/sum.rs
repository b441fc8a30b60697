//! The crc format's checksum, which is no CRC.

/// Wrapping sum of all bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        // Blocks this short cannot overflow 16 bits a lane, which lets the compiler use wide vectors.
        for block in bytes.chunks(256 * LANES) {
            let mut lanes = [0_u16; LANES];
            let mut rows = block.chunks_exact(LANES);
            for row in &mut rows {
                for (lane, byte) in lanes.iter_mut().zip(row) {
                    *lane += u16::from(*byte);
                }
            }
            let rest = rows.remainder().iter().map(|b| u32::from(*b)).sum::<u32>();
            let whole = lanes.iter().map(|l| u32::from(*l)).sum::<u32>();
            self.0 = self.0.wrapping_add(whole).wrapping_add(rest);
        }
    }

    /// The checksum field.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0
    }
}

const LANES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_plain_sum(parts in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..20_000), 0..4)
        ) {
            let mut sum = Sum::default();
            for part in &parts {
                sum.update(part);
            }
            let plain = parts.iter().flatten().fold(0_u32, |s, b| s.wrapping_add(u32::from(*b)));
            prop_assert_eq!(sum.value(), plain);
        }
    }

    #[test]
    fn a_block_of_all_ones_does_not_overflow() {
        let mut sum = Sum::default();
        sum.update(&vec![0xff; 1 << 20]);
        assert_eq!(sum.value(), 0xff << 20);
    }
}
