//! A checksum that is the same in every release and on every machine: FNV-1a of 128 bits over words of 64.
//!
//! Every step is a bijection of the state, so a change of one word always shows; it is no defense against forgery.

use std::fmt;

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = (1 << 88) + (1 << 8) + 0x3b;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Checksum(u128);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(OFFSET)
    }
}

impl Checksum {
    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(PRIME);
    }

    /// Their number, and the bytes by eight, the last ones filled up with zeros.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_below_256_are_bytes_of_the_published_function() {
        // FNV-1a of 128 bits of "" and "a", from the specification.
        assert_eq!(Checksum::default().to_string(), "6c62272e07bb014262b821756295c58d");
        let mut a = Checksum::default();
        a.word(u64::from(b'a'));
        assert_eq!(a.to_string(), "d228cb696f1a8caf78912b704e4a8964");
    }

    #[test]
    fn one_changed_bit_or_byte_more_shows() {
        let of = |bytes: &[u8]| {
            let mut checksum = Checksum::default();
            checksum.bytes(bytes);
            checksum
        };
        let bytes = *b"eleven byte";
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&changed), of(&bytes));
        }
        assert_ne!(of(b"eleven byte\0"), of(&bytes));
    }
}
