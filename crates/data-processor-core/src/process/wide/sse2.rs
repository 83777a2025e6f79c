//! Lanes by SSE2.
//!
//! The only `unsafe` here is calling its instructions: they belong to every x86-64 processor and work on registers only, every
//! load is that of a Rust array. One of them is a hint that loads nothing.

use std::arch::x86_64::{
    __m128i, _MM_HINT_T1, _mm_add_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
    _mm_packus_epi16, _mm_prefetch, _mm_set1_epi8, _mm_set1_epi16, _mm_setzero_si128, _mm_slli_epi16, _mm_srli_epi16,
    _mm_sub_epi8, _mm_xor_si128,
};

use super::Lane;

/// Bytes that a processor fetches at once.
const CACHE_LINE: usize = 64;

/// Asks that the bytes of `from..to`, as many as there are, be near when they are read; says nothing about them.
#[inline(always)]
pub fn come_near(bytes: &[u8], from: usize, to: usize) {
    for line in bytes.get(from..to.min(bytes.len())).unwrap_or_default().chunks(CACHE_LINE) {
        // SAFETY: a hint, part of SSE like the rest; the address is that of a byte of ours.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }
}

/// One bit per byte that is a quote, a backslash or a control byte.
#[inline(always)]
pub fn string_stops(lane: Lane) -> u32 {
    let chunk: __m128i = bytemuck::cast(lane);
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let quote = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
    }
}

/// One bit per byte that is no digit.
#[inline(always)]
pub fn other_than_digits(lane: Lane) -> u32 {
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let value = _mm_sub_epi8(bytemuck::cast(lane), _mm_set1_epi8(b'0' as i8));
        !_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value)) as u32 & 0xffff
    }
}

/// One bit per full stop.
#[inline(always)]
pub fn points(lane: Lane) -> u32 {
    // SAFETY: SSE2 is always there, registers only.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(bytemuck::cast(lane), _mm_set1_epi8(b'.' as i8))) as u32 }
}

/// One bit for each of 64 bytes that is the delimiter, a line feed or a carriage return.
#[inline(always)]
pub fn stops_of_block(block: &[u8; 64], delimiter: u8) -> u64 {
    let lanes: &[Lane; 4] = bytemuck::cast_ref(block);
    let [first, second, third, fourth] = lanes.map(|lane| stops_of_lane(lane, delimiter));
    u64::from(first | second << 16) | u64::from(third | fourth << 16) << 32
}

#[inline(always)]
fn stops_of_lane(lane: Lane, delimiter: u8) -> u32 {
    let lane: __m128i = bytemuck::cast(lane);
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let delimiter = _mm_cmpeq_epi8(lane, _mm_set1_epi8(delimiter as i8));
        let feed = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'\n' as i8));
        let back = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'\r' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(delimiter, feed), back)) as u32
    }
}

/// Whether two lanes are the same as two others in the bits of a mask; of the first lane only those in `counting` count.
#[inline(always)]
pub fn same_where(lanes: [Lane; 2], others: [Lane; 2], mask: [Lane; 2], counting: Lane) -> bool {
    let load = |lane: Lane| -> __m128i { bytemuck::cast(lane) };
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let differs = |at: usize| _mm_and_si128(_mm_xor_si128(load(lanes[at]), load(others[at])), load(mask[at]));
        let first = _mm_and_si128(differs(0), load(counting));
        let same = _mm_cmpeq_epi8(_mm_or_si128(first, differs(1)), _mm_setzero_si128());
        _mm_movemask_epi8(same) == 0xffff
    }
}

/// Whether every byte of a text lies in one of its ranges: its least value, and what the greatest is above it.
#[inline(always)]
pub fn all_within<const COUNT: usize>(ranges: [(Lane, Lane); COUNT], text: Lane) -> bool {
    let load = |lane: Lane| -> __m128i { bytemuck::cast(lane) };
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let mut within = _mm_setzero_si128();
        for (low, span) in ranges {
            let above = _mm_sub_epi8(load(text), load(low));
            within = _mm_or_si128(within, _mm_cmpeq_epi8(_mm_min_epu8(above, load(span)), above));
        }
        _mm_movemask_epi8(within) == 0xffff
    }
}

/// The sixteen bytes that 32 hexadecimal digits of any case spell; None where one is none.
#[inline(always)]
pub fn bytes_of_hex(digits: [Lane; 2]) -> Option<Lane> {
    // SAFETY: SSE2 is always there, registers only.
    unsafe {
        let halves = digits.map(|half| {
            let text: __m128i = bytemuck::cast(half);
            let within = |value: __m128i, most: i8| _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(most)), value);
            let number = _mm_sub_epi8(text, _mm_set1_epi8(b'0' as i8));
            let letter = _mm_sub_epi8(_mm_or_si128(text, _mm_set1_epi8(0x20)), _mm_set1_epi8(b'a' as i8));
            let (is_number, is_letter) = (within(number, 9), within(letter, 5));
            let value =
                _mm_or_si128(_mm_and_si128(is_number, number), _mm_and_si128(is_letter, _mm_add_epi8(letter, _mm_set1_epi8(10))));
            // In each pair the first digit is the low byte: it moves up four bits, the second comes down eight.
            let pairs = _mm_and_si128(_mm_or_si128(_mm_slli_epi16(value, 4), _mm_srli_epi16(value, 8)), _mm_set1_epi16(0xff));
            (pairs, _mm_or_si128(is_number, is_letter))
        });
        let good = _mm_movemask_epi8(_mm_and_si128(halves[0].1, halves[1].1)) == 0xffff;
        good.then(|| bytemuck::cast(_mm_packus_epi16(halves[0].0, halves[1].0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bytewise;
    use super::*;

    /// Every byte at every place of a lane.
    fn lanes() -> impl Iterator<Item = Lane> {
        (0..=255u8).flat_map(|byte| {
            (0..16).map(move |place| {
                let mut lane = *b"0123456789abCDEf";
                lane[place] = byte;
                lane
            })
        })
    }

    #[test]
    fn every_byte_at_every_place_is_what_it_is_byte_by_byte() {
        for lane in lanes() {
            assert_eq!(string_stops(lane), bytewise::string_stops(lane));
            assert_eq!(other_than_digits(lane), bytewise::other_than_digits(lane));
            assert_eq!(points(lane), bytewise::points(lane));
            for halves in [[lane, *b"0123456789ABCdef"], [*b"0123456789ABCdef", lane]] {
                assert_eq!(bytes_of_hex(halves), bytewise::bytes_of_hex(halves));
            }
            let block: [u8; 64] = bytemuck::cast([*b"one;two,three\r\n.", lane, lane, *b"four,five;six..\n"]);
            for delimiter in *b";,\t" {
                assert_eq!(stops_of_block(&block, delimiter), bytewise::stops_of_block(&block, delimiter));
            }
        }
    }

    proptest! {
        #[test]
        fn lanes_compare_as_byte_by_byte(
            text: [Lane; 2], other: [Lane; 2], mask in prop::array::uniform2(prop::array::uniform16(prop::sample::select(vec![0u8, 0xff]))),
            counting in prop::array::uniform16(prop::sample::select(vec![0u8, 0xff])), alike: bool,
            ranges: [(Lane, Lane); 2], wide: bool,
        ) {
            let other = if alike { text } else { other };
            prop_assert_eq!(same_where(text, other, mask, counting), bytewise::same_where(text, other, mask, counting));
            let ranges = if wide { ranges.map(|(low, _)| (low, [0xf0; 16])) } else { ranges };
            prop_assert_eq!(all_within(ranges, text[0]), bytewise::all_within(ranges, text[0]));
        }
    }
}
