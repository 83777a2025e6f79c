//! The end of an unquoted cell, sixteen bytes at a time.

/// The first byte at or after `at` that is the delimiter or a line break, or the end of the text.
#[inline(always)]
pub fn cell_end(bytes: &[u8], mut at: usize, delimiter: u8) -> usize {
    #[cfg(target_arch = "x86_64")]
    while at + 16 <= bytes.len() {
        let ends = ends_of_sixteen(bytes[at..at + 16].try_into().unwrap(), delimiter);
        if ends != 0 {
            return at + ends.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < bytes.len() && bytes[at] != delimiter && bytes[at] != b'\n' && bytes[at] != b'\r' {
        at += 1;
    }
    at
}

/// One bit per byte that is the delimiter, a line feed or a carriage return.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ends_of_sixteen(chunk: [u8; 16], delimiter: u8) -> u32 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    let chunk: __m128i = bytemuck::cast(chunk);
    // SAFETY: SSE2 belongs to every x86-64 processor, and these instructions touch registers only.
    unsafe {
        let delimiter = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(delimiter as i8));
        let feed = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\n' as i8));
        let back = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\r' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(delimiter, feed), back)) as u32
    }
}
