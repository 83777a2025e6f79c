//! Byte-level primitives of JSON. A buffer carries [`PAD`] readable bytes after the place that is looked at, so loads of fixed
//! width are plain slices; what lies there is never believed.

use super::wide;

/// Readable bytes a buffer must hold after the end of the text that is scanned.
pub const PAD: usize = 64;

/// The bytes from a place on that are readable whatever they are.
pub type Window = [u8; PAD];

/// The window at `at`.
#[inline(always)]
pub fn window(bytes: &[u8], at: usize) -> &Window {
    bytes[at..].first_chunk().unwrap()
}

/// Eight bytes at `at`, little endian.
#[inline(always)]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Sixteen bytes at `at`, little endian.
#[inline(always)]
pub fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().unwrap())
}

/// The first byte at or after `at` that ends or complicates a string: a quote, a backslash or a control byte.
#[inline(always)]
pub fn string_stop(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let stops = wide::string_stops(wide::lane(bytes, at));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize;
        }
        at += 16;
    }
}

/// The first byte at or after `at` that is not white space (RFC 8259: space, tab, line feed, carriage return).
#[inline(always)]
pub fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n') {
        at += 1;
    }
    at
}

/// As [`skip_space`], but for line feeds.
#[inline(always)]
pub fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes[at], b' ' | b'\t' | b'\r') {
        at += 1;
    }
    at
}

/// End of the number at `at` by the grammar of RFC 8259, or None.
pub fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(bytes[at] == b'-');
    match bytes[at] {
        b'0' => at += 1,
        b'1'..=b'9' => at = digits_end(bytes, at),
        _ => return None,
    }
    if bytes[at] == b'.' {
        at = some_digits(bytes, at + 1)?;
    }
    if bytes[at] | 0x20 == b'e' {
        at += 1 + usize::from(matches!(bytes[at + 1], b'+' | b'-'));
        at = some_digits(bytes, at)?;
    }
    Some(at)
}

fn digits_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes[at].is_ascii_digit() {
        at += 1;
    }
    at
}

fn some_digits(bytes: &[u8], at: usize) -> Option<usize> {
    bytes[at].is_ascii_digit().then(|| digits_end(bytes, at))
}

/// The character an escape stands for and the place after it; None for a wrong one, lone surrogates included. `at` is its backslash.
pub fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let plain = match bytes[at + 1] {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes, at),
        _ => return None,
    };
    Some((plain, at + 2))
}

fn unicode_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let high = hex4(bytes, at + 2)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, at + 6)); // None: a low surrogate that stands first
    }
    if bytes[at + 6] != b'\\' || bytes[at + 7] != b'u' {
        return None;
    }
    let low = hex4(bytes, at + 8)?;
    if !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, at + 12))
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes[at..at + 4].iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
}

/// Appends the text of a JSON string whose first byte after the quote is at `at`; the place after its closing quote.
///
/// None where the text is no JSON string.
pub fn unescape(bytes: &[u8], mut at: usize, text: &mut Vec<u8>) -> Option<usize> {
    loop {
        let stop = string_stop(bytes, at);
        text.extend_from_slice(&bytes[at..stop]);
        match bytes[stop] {
            b'"' => return Some(stop + 1),
            b'\\' => {
                let (character, next) = escape(bytes, stop)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at = next;
            }
            _ => return None,
        }
    }
}

/// Appends `text` as the inside of a JSON string, escaping only what RFC 8259 asks for.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Appends one reference token of a JSON pointer (RFC 6901) with its slash.
pub fn push_pointer(path: &mut String, name: &str) {
    path.push('/');
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            other => path.push(other),
        }
    }
}
