//! Formats of text.

use super::text::u64_at;

/// `local@domain`: one `@`, no white space or control characters, a domain of at least two labels of ASCII letters,
/// digits, hyphens and characters beyond ASCII (which of those are letters depends on the version of Unicode).
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || !c.is_ascii());
    !local.is_empty()
        && !domain.contains('@')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// Four decimal numbers 0 to 255 without leading zeros.
pub fn is_ipv4(text: &str) -> bool {
    let (mut numbers, mut value, mut digits) = (1, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits == 0 || value != 0 => {
                (value, digits) = (value * 10 + u32::from(byte - b'0'), digits + 1);
                if value > 255 {
                    return false;
                }
            }
            b'.' if digits > 0 => (numbers, value, digits) = (numbers + 1, 0, 0),
            _ => return false,
        }
    }
    numbers == 4 && digits > 0
}

/// RFC 4291 text, without a zone.
pub fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// `scheme:` and a non-empty rest without white space, control characters and characters that RFC 3986 leaves out.
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_admits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let rest_admits = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"{}|\\^`".contains(c);
    scheme_admits && !rest.is_empty() && rest.chars().all(rest_admits)
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// The value of eight hexadecimal digits, all bytes at once.
#[inline(always)]
fn hex8(text: u64) -> Option<u64> {
    // A letter has bit 6 set: its low four bits + 9 are its value.
    let value = (text & (ONES * 0x0f)).wrapping_add(((text >> 6) & ONES) * 9);
    // Spelled back in lower case, it must be the text itself (a letter's case bit aside).
    let spelled = value.wrapping_add(ONES * 0x30).wrapping_add(((value.wrapping_add(ONES * 6) >> 4) & ONES) * 39);
    let printable = ((text >> 5) | (text >> 6)) & ONES == ONES;
    if value & (ONES * 0xf0) != 0 || spelled != text | (ONES * 0x20) || !printable {
        return None;
    }
    let digits = value.swap_bytes();
    let pairs = (digits | digits >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((quads | quads >> 16) & 0xffff_ffff)
}

/// The UUID of the 36 characters at `at` of a padded buffer (RFC 9562, any case).
#[inline(always)]
pub fn uuid(bytes: &[u8], at: usize) -> Option<u128> {
    let text: &[u8; 40] = bytes[at..at + 40].try_into().unwrap();
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let first = hex8(u64_at(text, 0))?;
    let second = hex8((u64_at(text, 9) & 0xffff_ffff) | (u64_at(text, 14) << 32))?;
    let third = hex8((u64_at(text, 19) & 0xffff_ffff) | (u64_at(text, 24) << 32))?;
    let last = hex8(u64_at(text, 28))?;
    Some(u128::from(first) << 96 | u128::from(second) << 64 | u128::from(third) << 32 | u128::from(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_exact_for_every_byte() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut text = *b"0123abCD";
                text[place] = byte;
                let expected = std::str::from_utf8(&text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
                let expected = expected.and_then(|t| u64::from_str_radix(t, 16).ok());
                assert_eq!(hex8(u64::from_le_bytes(text)), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn a_uuid_has_hyphens_in_their_places() {
        let padded = |text: &str| [text.as_bytes(), &[0; 64]].concat();
        let value = 0x0193_4b6e_7c0a_7def_8123_4567_89ab_cdef;
        assert_eq!(uuid(&padded("01934b6e-7c0a-7def-8123-456789abcdef"), 0), Some(value));
        assert_eq!(uuid(&padded("01934B6E-7C0A-7DEF-8123-456789ABCDEF"), 0), Some(value));
        assert_eq!(uuid(&padded("01934b6e77c0a-7def-8123-456789abcdef"), 0), None);
        assert_eq!(uuid(&padded("01934b6e-7c0a-7def-8123-456789abcdeg"), 0), None);
    }

    #[test]
    fn an_ipv4_address_is_what_the_standard_library_reads() {
        let parts = ["", "0", "00", "01", "1", "9", "19", "99", "255", "256", "999", "0255", "+1", "1 ", "x"];
        for (first, second) in parts.iter().flat_map(|first| parts.map(|second| (first, second))) {
            for text in [
                format!("{first}.{second}.3.4"),
                format!("1.2.{first}.{second}"),
                format!("{first}.{second}"),
                format!("1.{first}.2.3.{second}"),
                format!("1.2.{first}"),
            ] {
                assert_eq!(is_ipv4(&text), text.parse::<std::net::Ipv4Addr>().is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn formats_follow_the_specification() {
        for (text, good) in [
            ("a@b.c", true),
            ("ä+x@bücher.example", true),
            ("a@b", false),
            ("@b.c", false),
            ("a@b..c", false),
            ("a b@c.d", false),
            ("a@b.c.", false),
            ("a@@b.c", false),
        ] {
            assert_eq!(is_email(text), good, "{text}");
        }
        for (text, good) in [("1.2.3.4", true), ("01.2.3.4", false), ("256.1.1.1", false), ("1.2.3", false)] {
            assert_eq!(is_ipv4(text), good, "{text}");
        }
        for (text, good) in
            [("::1", true), ("2001:db8::", true), ("::ffff:1.2.3.4", true), ("fe80::1%eth0", false), ("1::2::3", false)]
        {
            assert_eq!(is_ipv6(text), good, "{text}");
        }
        for (text, good) in [
            ("https://a.b/c?d=ä", true),
            ("urn:x", true),
            ("x:", false),
            ("1a:b", false),
            ("a b:c", false),
            ("a:b c", false),
            ("a:<b>", false),
        ] {
            assert_eq!(is_uri(text), good, "{text}");
        }
    }
}
