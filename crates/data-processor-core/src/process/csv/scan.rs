//! Where unquoted cells end, sixty-four bytes at a time.

/// Bytes that are looked at together.
pub const BLOCK: usize = 64;

/// One bit for each of the 64 bytes from `at` that is the delimiter, a line feed or a carriage return; none beyond the end of the text.
#[inline(always)]
pub fn ends(bytes: &[u8], at: usize, delimiter: u8) -> u64 {
    match bytes.get(at..at + BLOCK) {
        Some(block) => ends_of_block(block.try_into().unwrap(), delimiter),
        None => ends_of_last(&bytes[at.min(bytes.len())..], delimiter),
    }
}

#[cold]
fn ends_of_last(rest: &[u8], delimiter: u8) -> u64 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    ends_of_block(&block, delimiter) & ((1 << rest.len()) - 1)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ends_of_block(block: &[u8; BLOCK], delimiter: u8) -> u64 {
    let lanes: &[[u8; 16]; 4] = bytemuck::cast_ref(block);
    let [first, second, third, fourth] = lanes;
    let halves = [
        ends_of_sixteen(first, delimiter) | ends_of_sixteen(second, delimiter) << 16,
        ends_of_sixteen(third, delimiter) | ends_of_sixteen(fourth, delimiter) << 16,
    ];
    u64::from(halves[0]) | u64::from(halves[1]) << 32
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ends_of_sixteen(lane: &[u8; 16], delimiter: u8) -> u32 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    let lane: __m128i = bytemuck::cast(*lane);
    // SAFETY: SSE2 belongs to every x86-64 processor, and these instructions touch registers only.
    unsafe {
        let delimiter = _mm_cmpeq_epi8(lane, _mm_set1_epi8(delimiter as i8));
        let feed = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'\n' as i8));
        let back = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'\r' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(delimiter, feed), back)) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn ends_of_block(block: &[u8; BLOCK], delimiter: u8) -> u64 {
    let is_end = |byte: u8| byte == delimiter || byte == b'\n' || byte == b'\r';
    block.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(is_end(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_one_bit_wherever_it_stands() {
        for byte in 0..=255u8 {
            for place in 0..70 {
                for length in [63, 64, 65, 70] {
                    let mut text = vec![b'x'; length];
                    if let Some(there) = text.get_mut(place) {
                        *there = byte;
                    }
                    let is_end = matches!(byte, b';' | b'\n' | b'\r') && place < length;
                    for at in [0, 3] {
                        let seen = is_end && (at..at + BLOCK).contains(&place);
                        let expected = if seen { 1 << (place - at) } else { 0 };
                        assert_eq!(ends(&text, at, b';'), expected, "{byte} at {place} of {length}, from {at}");
                    }
                }
            }
        }
        assert_eq!(ends(b"abc", 3, b','), 0);
    }
}
