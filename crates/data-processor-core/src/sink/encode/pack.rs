//! Integers packed into few bits. Source: Parquet's Encodings.md.

/// Unsigned LEB128.
pub fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bits that hold every value up to `largest`; at least one, since readers disagree about none.
pub fn width_of(largest: u32) -> u32 {
    (32 - largest.leading_zeros()).max(1)
}

/// Values of `width` bits in the RLE / bit-packing hybrid: one repeated run if they are all the same, else one packed run.
pub fn hybrid<T: Copy + Into<u32> + PartialEq>(out: &mut Vec<u8>, values: &[T], width: u32) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value == first) {
        return repeated(out, (*first).into(), values.len(), width);
    }
    let groups = values.len().div_ceil(8);
    uvarint(out, (groups as u64) << 1 | 1);
    let (start, total) = (out.len(), groups * width as usize);
    out.resize(start + total + 16, 0); // slack: the last store is of sixteen bytes
    match width {
        0..=8 => in_eights::<8, T>(&mut out[start..], values, width),
        9..=16 => in_eights::<4, T>(&mut out[start..], values, width),
        _ => by_words(&mut out[start..], values, width),
    }
    out.truncate(start + total);
}

/// Eight values fill `width` bytes; `HALF` of them fit into 64 bits.
fn in_eights<const HALF: usize, T: Copy + Into<u32>>(out: &mut [u8], values: &[T], width: u32) {
    let held = |values: &[T]| values.iter().rev().fold(0, |held: u64, value| held << width | u64::from((*value).into()));
    let mut put = |number: usize, eight: &[T; 8]| {
        let high = if HALF < 8 { u128::from(held(&eight[HALF..])) << (HALF as u32 * width) } else { 0 };
        let at = number * width as usize;
        out[at..at + 16].copy_from_slice(&(u128::from(held(&eight[..HALF])) | high).to_le_bytes());
    };
    let (eights, rest) = values.as_chunks::<8>();
    eights.iter().enumerate().for_each(|(number, eight)| put(number, eight));
    if let Some(first) = rest.first() {
        let mut eight = [*first; 8]; // what follows the last value means nothing
        eight[..rest.len()].copy_from_slice(rest);
        put(eights.len(), &eight);
    }
}

fn by_words<T: Copy + Into<u32>>(out: &mut [u8], values: &[T], width: u32) {
    let (mut held, mut bits, mut at) = (0_u64, 0, 0);
    for value in values {
        held |= u64::from((*value).into()) << bits;
        bits += width;
        if bits >= 32 {
            out[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
            at += 4;
            held >>= 32;
            bits -= 32;
        }
    }
    out[at..at + 8].copy_from_slice(&held.to_le_bytes());
}

/// One value of `width` bits, `count` times.
pub fn repeated(out: &mut Vec<u8>, value: u32, count: usize, width: u32) {
    uvarint(out, (count as u64) << 1);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

const BLOCK: usize = 128;
const MINI: usize = 32;

/// DELTA_BINARY_PACKED of 64-bit values, or of 32-bit ones (`narrow`), whose differences then wrap at 32 bits.
pub fn delta(out: &mut Vec<u8>, values: &[i64], narrow: bool) {
    uvarint(out, BLOCK as u64);
    uvarint(out, (BLOCK / MINI) as u64);
    uvarint(out, values.len() as u64);
    zigzag(out, values.first().copied().unwrap_or_default());
    let wrap = |difference: i64| if narrow { i64::from(difference as i32) } else { difference };
    let mask = if narrow { u64::from(u32::MAX) } else { u64::MAX };
    let mut block = [0_i64; BLOCK];
    let mut at = 1;
    while at < values.len() {
        let count = BLOCK.min(values.len() - at);
        for (difference, pair) in block.iter_mut().zip(values[at - 1..at + count].windows(2)) {
            *difference = wrap(pair[1].wrapping_sub(pair[0]));
        }
        at += count;
        let first = block[0];
        if block[..count].iter().fold(0, |varied, difference| varied | (difference ^ first)) == 0 {
            // Ids are of one length, mostly: there is nothing to pack.
            zigzag(out, first);
            out.extend_from_slice(&[0; BLOCK / MINI]);
        } else {
            delta_block(out, &mut block, count, mask);
        }
    }
}

/// A block of so many differences, each as what it has above the least one.
fn delta_block(out: &mut Vec<u8>, block: &mut [i64; BLOCK], count: usize, mask: u64) {
    let least = block[..count].iter().copied().min().unwrap_or_default();
    block[count..].fill(least);
    zigzag(out, least);
    let mut widths = [0_u8; BLOCK / MINI];
    for (mini, width) in block.chunks_exact_mut(MINI).zip(&mut widths) {
        let mut all = 0;
        for difference in mini {
            let above = difference.wrapping_sub(least).cast_unsigned() & mask;
            *difference = above.cast_signed();
            all |= above;
        }
        *width = 64 - all.leading_zeros() as u8;
    }
    out.extend_from_slice(&widths);
    for (mini, width) in block.chunks_exact(MINI).zip(widths).filter(|(_, width)| *width > 0) {
        pack_wide(out, mini, u32::from(width));
    }
}

/// Thirty-two values of up to 64 bits.
fn pack_wide(out: &mut Vec<u8>, values: &[i64], width: u32) {
    let (mut held, mut bits) = (0_u128, 0);
    for value in values {
        held |= u128::from(value.cast_unsigned()) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(held as u64).to_le_bytes());
            held >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// BYTE_STREAM_SPLIT: all first bytes of the lower `width` ones, all second bytes, and so on; neighbours in a stream are alike
/// and compress.
pub fn split(out: &mut Vec<u8>, values: &[i64], width: usize) {
    for byte in 0..width as u32 {
        out.extend(values.iter().map(|value| (value >> (byte * 8)) as u8));
    }
}
