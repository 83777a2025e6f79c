//! Where unquoted cells end, sixty-four bytes at a time.

use super::super::wide::stops_of_block;

/// Bytes that are looked at together.
pub const BLOCK: usize = 64;

/// One bit for each of the 64 bytes from `at` that is the delimiter, a line feed or a carriage return; none beyond the end of the text.
#[inline(always)]
pub fn ends(bytes: &[u8], at: usize, delimiter: u8) -> u64 {
    match bytes.get(at..at + BLOCK) {
        Some(block) => stops_of_block(block.try_into().unwrap(), delimiter),
        None => ends_of_last(&bytes[at.min(bytes.len())..], delimiter),
    }
}

#[cold]
fn ends_of_last(rest: &[u8], delimiter: u8) -> u64 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    stops_of_block(&block, delimiter) & ((1 << rest.len()) - 1)
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
