//! The logical block guard. SBC-4 r22 "Logical block guard".

/// SBC-4 "CRC polynomials": G(x), without its highest term.
const POLYNOMIAL: u16 = 0x8bb7;

/// Bytes that are taken at a time.
const STRIDE: usize = 16;

/// What a byte comes to with so many bytes of zeros behind it.
static TABLES: [[u16; 256]; STRIDE] = tables();

const fn tables() -> [[u16; 256]; STRIDE] {
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = match crc & 0x8000 {
                0 => crc << 1,
                _ => crc << 1 ^ POLYNOMIAL,
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// The guard of the user data of a block.
pub(crate) fn guard_of(data: &[u8]) -> u16 {
    let (pieces, rest) = data.as_chunks::<STRIDE>();
    let mut crc = 0u16;
    for piece in pieces {
        let mut piece = *piece;
        let [high, low] = crc.to_be_bytes();
        piece[0] ^= high;
        piece[1] ^= low;
        crc = 0;
        for (byte, table) in piece.iter().zip(TABLES.iter().rev()) {
            crc ^= table[usize::from(*byte)];
        }
    }
    for byte in rest {
        let [high, low] = crc.to_be_bytes();
        crc = u16::from_be_bytes([low, 0]) ^ TABLES[0][usize::from(high ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_of_the_standard_s_patterns_is_as_it_says() {
        // SBC-4 "CRC test cases".
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0xe0..=0xff).rev().collect();
        let mut start = [0; 32];
        start[..2].fill(0xff);
        assert_eq!(guard_of(&[0; 32]), 0x0000);
        assert_eq!(guard_of(&[0xff; 32]), 0xa293);
        assert_eq!(guard_of(&up), 0x0224);
        assert_eq!(guard_of(&start), 0x21b8);
        assert_eq!(guard_of(&down), 0xa0b7);
    }

    #[test]
    fn guard_of_any_length_is_the_remainder_bit_by_bit() {
        let by_bits = |data: &[u8]| {
            let mut crc = 0u16;
            for byte in data {
                for bit in (0..8).rev() {
                    let carry = crc >> 15 ^ u16::from(byte >> bit & 1);
                    crc = crc << 1 ^ if carry == 1 { POLYNOMIAL } else { 0 };
                }
            }
            crc
        };
        let data: Vec<u8> = (0..100u8).map(|at| at.wrapping_mul(167) ^ 0x5a).collect();
        for len in 0..data.len() {
            assert_eq!(guard_of(&data[..len]), by_bits(&data[..len]), "{len}");
        }
    }
}
