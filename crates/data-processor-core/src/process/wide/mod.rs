//! Eight, sixteen and thirty-two bytes at once: by SSE2 on x86-64, elsewhere byte by byte with the same results.

mod bytewise;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(not(target_arch = "x86_64"))]
use bytewise as lanes;
#[cfg(target_arch = "x86_64")]
use sse2 as lanes;

pub use lanes::{bytes_of_hex, come_near, other_than_digits, stops_of_block, string_stops};

use super::text::u64_at;

/// Sixteen bytes of a text.
pub type Lane = [u8; 16];

/// The lane at `at`.
#[inline(always)]
pub fn lane(bytes: &[u8], at: usize) -> Lane {
    bytes[at..at + 16].try_into().unwrap()
}

/// The first bytes of a lane; what lies behind them is zero. `count` is at most 15.
#[inline(always)]
pub fn first_bytes(lane: Lane, count: usize) -> u128 {
    const MASKS: [u128; 16] = {
        let (mut masks, mut count) = ([0; 16], 0);
        while count < 16 {
            masks[count] = (1 << (8 * count)) - 1;
            count += 1;
        }
        masks
    };
    u128::from_le_bytes(lane) & MASKS[count % 16]
}

/// A spelling to be found at a place: at most 32 bytes, and which of them count.
#[derive(Debug, Clone, Copy)]
pub struct Spelling {
    bytes: [Lane; 2],
    mask: [Lane; 2],
}

impl Spelling {
    /// Bytes of the longest spelling.
    pub const LONGEST: usize = 32;

    /// A spelling of at most [`Spelling::LONGEST`] bytes; longer ones are cut.
    pub fn new(text: &[u8]) -> Spelling {
        let (mut bytes, mut mask) = ([[0; 16]; 2], [[0; 16]; 2]);
        for (at, byte) in text.iter().take(Self::LONGEST).enumerate() {
            (bytes[at / 16][at % 16], mask[at / 16][at % 16]) = (*byte, 0xff);
        }
        Spelling { bytes, mask }
    }

    /// Whether it stands at `at`; the buffer holds 32 bytes from there.
    #[inline(always)]
    pub fn stands_at(&self, bytes: &[u8], at: usize) -> bool {
        let text: &[u8; 32] = bytes[at..at + 32].try_into().unwrap();
        self.is_start_of(text, [0xff; 16])
    }

    /// Whether it stands at `at` but for its first byte, which may be another; the buffer holds 32 bytes from there.
    #[inline(always)]
    pub fn stands_at_but_first(&self, bytes: &[u8], at: usize) -> bool {
        let text: &[u8; 32] = bytes[at..at + 32].try_into().unwrap();
        const BUT_FIRST: Lane = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        self.is_start_of(text, BUT_FIRST)
    }

    /// Whether a text begins so; of the first sixteen bytes those in `counting` count.
    #[inline(always)]
    fn is_start_of(&self, text: &[u8; 32], counting: Lane) -> bool {
        lanes::same_where([lane(text, 0), lane(text, 16)], self.bytes, self.mask, counting)
    }
}

/// A range of values for each byte of a lane.
#[derive(Debug, Clone, Copy)]
pub struct Ranges {
    low: Lane,
    /// From the least value to the greatest.
    span: Lane,
}

impl Ranges {
    /// Least and greatest value of each byte.
    pub fn new(ranges: [(u8, u8); 16]) -> Ranges {
        Ranges { low: ranges.map(|(low, _)| low), span: ranges.map(|(low, high)| high - low) }
    }

    /// Whether every byte of a text lies in one of its ranges.
    #[inline(always)]
    pub fn all_within<const COUNT: usize>(ranges: &[Ranges; COUNT], text: Lane) -> bool {
        lanes::all_within(ranges.map(|one| (one.low, one.span)), text)
    }
}

/// The number that the first `count` (1 to 8) digits of a little-endian word spell.
#[inline(always)]
pub fn first_digits(word: u64, count: usize) -> u64 {
    // Shifted so that the last digit is the top byte; what comes in below counts as leading zeros.
    let digits = (word << (64 - 8 * count)) & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

/// Four decimal numbers 0 to 255 without leading zeros, with stops between them.
#[inline]
pub fn is_ipv4(text: &[u8]) -> bool {
    let length = text.len();
    if !(8..=15).contains(&length) {
        return length == 7 && super::format::is_ipv4(std::str::from_utf8(text).unwrap_or_default());
    }
    // The last eight bytes overlap the first eight; where they do, they agree.
    let whole = u128::from(u64_at(text, 0)) | u128::from(u64_at(text, length - 8)) << (8 * (length - 8));
    let lane = whole.to_le_bytes();
    let all = (1u32 << length) - 1;
    let points = lanes::points(lane) & all;
    if (other_than_digits(lane) & all) != points || points.count_ones() != 3 {
        return false;
    }
    let (first, rest) = (points.trailing_zeros(), points & (points - 1));
    let (second, third) = (rest.trailing_zeros(), 31 - points.leading_zeros());
    // The three bytes that end at a place; in front of the first number there are two of none.
    let before = |end: u32| (whole >> (8 * (end.max(3) - 3))) as u32;
    let at_first = ((whole as u64) << 16 >> (8 * (first.clamp(1, 3) - 1))) as u32;
    is_byte(at_first, first)
        & is_byte(before(second), second - first - 1)
        & is_byte(before(third), third - second - 1)
        & is_byte(before(length as u32), length as u32 - third - 1)
}

/// Whether the last `count` of three digits are a number of that many digits from 0 to 255.
#[inline(always)]
fn is_byte(three: u32, count: u32) -> bool {
    /// The least number of so many digits.
    const LEAST: [u32; 4] = [u32::MAX, 0, 0x01_00, 0x01_00_00];
    if count > 3 {
        return false;
    }
    // Digits compare as their number does once the first one is on top.
    let digits = ((three & 0x0f_0f_0f) << 8).swap_bytes() & (0xff_ff_ff >> (8 * (3 - count)));
    LEAST[count as usize] <= digits && digits <= 0x02_05_05
}

/// The UUID of the 36 characters at `at` of a padded buffer (RFC 9562, any case).
#[inline(always)]
pub fn uuid(bytes: &[u8], at: usize) -> Option<u128> {
    let text: &[u8; 40] = bytes[at..at + 40].try_into().unwrap();
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    spelled_uuid(text)
}

#[inline(always)]
fn spelled_uuid(text: &[u8; 40]) -> Option<u128> {
    // Without the four hyphens: 8, 4 + 4, 4 + 4 of the last twelve and their last eight.
    let four = |at: usize| u64::from(u32::from_le_bytes(text[at..at + 4].try_into().unwrap()));
    let words = [u64_at(text, 0), four(9) | four(14) << 32, four(19) | four(24) << 32, u64_at(text, 28)];
    let [low, high] = [[words[0], words[1]], [words[2], words[3]]].map(|[low, high]| u128::from(low) | u128::from(high) << 64);
    bytes_of_hex([low.to_le_bytes(), high.to_le_bytes()]).map(u128::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::format;
    use super::*;

    #[test]
    fn digits_are_their_number() {
        for (text, count, number) in [
            ("12345678", 8, 12_345_678),
            ("1,345678", 1, 1),
            ("00900000", 3, 9),
            ("99999999", 8, 99_999_999),
            ("42\"}\0\0\0\0", 2, 42),
        ] {
            assert_eq!(first_digits(u64_at(text.as_bytes(), 0), count), number, "{text}");
        }
    }

    #[test]
    fn a_uuid_is_what_its_format_says_for_every_byte() {
        let plain = *b"01934b6e-7c0A-7dEf-8123-456789abcdef\0\0\0\0";
        for byte in 0..=255u8 {
            for place in 0..36 {
                let mut text = plain;
                text[place] = byte;
                assert_eq!(uuid(&text, 0), format::uuid(&text, 0), "{byte} at {place}");
            }
        }
    }

    #[test]
    fn an_address_is_what_its_format_says_for_every_byte() {
        for plain in ["1.2.3.45", "127.0.0.1", "255.255.255.255", "10.20.30.4", "1.2.3.4", "0.0.0.0", "256.1.1.10", "1.2.3.4.5.6"]
        {
            for byte in 0..=127u8 {
                for place in 0..plain.len() {
                    let mut text = plain.as_bytes().to_vec();
                    text[place] = byte;
                    for text in [&text[..], &text[1..], &text[..text.len() - 1]] {
                        assert_eq!(is_ipv4(text), format::is_ipv4(std::str::from_utf8(text).unwrap()), "{text:?}");
                    }
                }
            }
        }
        assert!(!is_ipv4("1.2.3.é5".as_bytes()));
    }

    #[test]
    fn a_spelling_stands_where_all_its_bytes_do() {
        let text = b"\"properties\":{\"a\":1}, and then some more of it";
        assert!(Spelling::new(b"\"properties\":").stands_at(text, 0));
        assert!(!Spelling::new(b"\"properties\":").stands_at(text, 1));
        assert!(Spelling::new(&text[..32]).stands_at(text, 0));
        let mut other = *text;
        other[0] ^= 1;
        assert!(!Spelling::new(&text[..32]).stands_at(&other, 0));
        assert!(Spelling::new(&text[..32]).stands_at_but_first(&other, 0));
        other[1] ^= 1;
        assert!(!Spelling::new(&text[..32]).stands_at_but_first(&other, 0));
        other = *text;
        other[31] ^= 1;
        assert!(!Spelling::new(&text[..32]).stands_at_but_first(&other, 0));
        assert!(!Spelling::new(&text[..32]).stands_at(&other, 0));
    }
}
