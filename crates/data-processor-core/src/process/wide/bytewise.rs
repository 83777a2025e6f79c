//! Lanes byte by byte, for processors without SSE2; the tests compare both, so that this is never dead.
#![cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "other processors' code, compiled here to stay whole"))]

use super::Lane;

/// Nothing: no processor but x86-64 is given the hint.
pub fn come_near(_bytes: &[u8], _from: usize, _to: usize) {}

/// Bit `n` is set where `test` holds for byte `n`.
#[inline(always)]
fn bits(bytes: &[u8], test: impl Fn(u8) -> bool) -> u64 {
    bytes.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(test(*byte)))
}

/// One bit per byte that is a quote, a backslash or a control byte.
pub fn string_stops(lane: Lane) -> u32 {
    bits(&lane, |byte| byte < 0x20 || byte == b'"' || byte == b'\\') as u32
}

/// One bit per byte that is no digit.
pub fn other_than_digits(lane: Lane) -> u32 {
    bits(&lane, |byte| !byte.is_ascii_digit()) as u32
}

/// One bit per full stop.
pub fn points(lane: Lane) -> u32 {
    bits(&lane, |byte| byte == b'.') as u32
}

/// One bit for each of 64 bytes that is the delimiter, a line feed or a carriage return.
pub fn stops_of_block(block: &[u8; 64], delimiter: u8) -> u64 {
    bits(block, |byte| byte == delimiter || byte == b'\n' || byte == b'\r')
}

/// Whether two lanes are the same as two others in the bits of a mask; of the first lane only those in `counting` count.
pub fn same_where(lanes: [Lane; 2], others: [Lane; 2], mask: [Lane; 2], counting: Lane) -> bool {
    let word = u128::from_le_bytes;
    let differs = |at: usize| (word(lanes[at]) ^ word(others[at])) & word(mask[at]);
    differs(0) & word(counting) | differs(1) == 0
}

/// Whether every byte of a text lies in one of its ranges: its least value, and what the greatest is above it.
pub fn all_within<const COUNT: usize>(ranges: [(Lane, Lane); COUNT], text: Lane) -> bool {
    let within = |at: usize| ranges.iter().any(|(low, span)| text[at].wrapping_sub(low[at]) <= span[at]);
    (0..16).all(within)
}

/// The sixteen bytes that 32 hexadecimal digits of any case spell; None where one is none.
pub fn bytes_of_hex(digits: [Lane; 2]) -> Option<Lane> {
    let digit = |at: usize| char::from(digits[at / 16][at % 16]).to_digit(16);
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (digit(2 * at)? << 4 | digit(2 * at + 1)?) as u8;
    }
    Some(bytes)
}
