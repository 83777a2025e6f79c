//! Patterns that say what each byte of a text may be, such as `^[A-Z]{3}$` or `^P[0-9]{5}$`: sixteen bytes are compared at once
//! where an automaton takes them one by one.

use crate::process::wide::{Lane, Ranges};

/// Bytes of the longest text.
const LONGEST: usize = 64;
/// Ranges of a class.
const RANGES: usize = 3;

/// Texts of one length, with up to three ranges of ASCII for each byte.
#[derive(Debug)]
pub struct Shape {
    length: usize,
    lanes: Vec<[Ranges; RANGES]>,
}

/// First and last byte of each range.
type Class = Vec<(u8, u8)>;

impl Shape {
    /// The shape of a pattern that is one: `^`, characters and classes of ASCII, each perhaps `{n}` times, `$`. None for all
    /// others, which are the automaton's.
    pub fn of(pattern: &str) -> Option<Shape> {
        let mut rest = pattern.strip_prefix('^')?.strip_suffix('$')?.as_bytes();
        let mut bytes: Vec<Class> = Vec::new();
        while !rest.is_empty() {
            let (class, after) = class(rest)?;
            let (count, after) = count(after)?;
            if bytes.len() + count > LONGEST {
                return None;
            }
            bytes.extend(std::iter::repeat_n(class, count));
            rest = after;
        }
        let lanes = bytes.chunks(16).map(|lane| std::array::from_fn(|number| ranges(lane, number))).collect();
        Some(Shape { length: bytes.len(), lanes })
    }

    /// Whether a text has this shape.
    #[inline]
    pub fn admits(&self, text: &[u8]) -> bool {
        if text.len() != self.length {
            return false;
        }
        let (whole, rest) = text.as_chunks::<16>();
        let mut last: Lane = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let texts = whole.iter().chain((!rest.is_empty()).then_some(&last));
        self.lanes.iter().zip(texts).all(|(ranges, text)| Ranges::all_within(ranges, *text))
    }
}

/// One range of each byte of a lane. Where a class has fewer, its first one stands again; behind the text anything goes.
fn ranges(lane: &[Class], number: usize) -> Ranges {
    let range = |at: usize| lane.get(at).map_or((0, 255), |class| *class.get(number).unwrap_or(&class[0]));
    Ranges::new(std::array::from_fn(range))
}

/// A character or a class of ASCII that stands for itself, and what follows.
fn class(text: &[u8]) -> Option<(Class, &[u8])> {
    let (first, rest) = text.split_first()?;
    match first {
        b'[' => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            Some((members(&rest[..end])?, &rest[end + 1..]))
        }
        byte if is_plain(*byte) => Some((vec![(*byte, *byte)], rest)),
        _ => None,
    }
}

/// Characters that mean themselves everywhere in a pattern.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'/' | b'@' | b' ')
}

/// The ranges of a class without its brackets.
fn members(mut text: &[u8]) -> Option<Class> {
    let mut class = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match rest {
            _ if !letter(*first) => return None,
            [b'-', last, after @ ..] if letter(*last) && first <= last => {
                class.push((*first, *last));
                text = after;
            }
            [b'-', ..] => return None,
            _ => {
                class.push((*first, *first));
                text = rest;
            }
        }
    }
    (1..=RANGES).contains(&class.len()).then_some(class)
}

/// How often: `{n}` or once, and what follows.
fn count(text: &[u8]) -> Option<(usize, &[u8])> {
    let Some(rest) = text.strip_prefix(b"{") else { return Some((1, text)) };
    let end = rest.iter().position(|byte| *byte == b'}')?;
    let digits = &rest[..end];
    if !(1..=2).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + usize::from(digit - b'0'));
    Some((count, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    const SHAPES: [&str; 8] = [
        "^[A-Z]{2}$",
        "^P[0-9]{5}$",
        "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        "^[a-c_9]{16}$",
        "^x{0}y$",
        "^$",
        "^a b:c/d@e-f_g$",
        "^[ab]{64}$",
    ];

    #[test]
    fn a_shape_admits_what_its_pattern_matches() {
        let samples = ["DE", "P01234", "01934b6e-7c0A-7dEf-8123-456789abcdef", "abc_9abc_9abc_9a", "y", "", "a b:c/d@e-f_g"];
        let long = "ab".repeat(32);
        for pattern in SHAPES {
            let (shape, regex) = (Shape::of(pattern).unwrap(), Regex::new(pattern).unwrap());
            for sample in samples.iter().copied().chain([long.as_str()]) {
                for place in 0..=sample.len() {
                    for byte in 0..=127u8 {
                        let mut text = sample.as_bytes().to_vec();
                        if place < text.len() {
                            text[place] = byte
                        } else {
                            text.push(byte)
                        }
                        let text = String::from_utf8(text).unwrap();
                        assert_eq!(shape.admits(text.as_bytes()), regex.is_match(&text), "{pattern} {text:?}");
                    }
                }
                assert_eq!(shape.admits(sample.as_bytes()), regex.is_match(sample), "{pattern} {sample:?}");
            }
            assert!(!shape.admits("é".as_bytes()), "{pattern}");
        }
    }

    #[test]
    fn what_says_more_than_a_shape_is_none() {
        let others = [
            "[A-Z]{2}",
            "^a",
            "a$",
            "^a+$",
            "^a*$",
            "^a?$",
            "^(a)$",
            "^a|b$",
            "^.$",
            "^\\d$",
            "^[^a]$",
            "^[a-]$",
            "^[]$",
            "^a{1,2}$",
            "^a{$",
            "^[a-z0-9A-Z_]$",
            "^a{65}$",
            "^(?i)a$",
            "^é$",
            "^a$$",
            "^^a$",
            "^[z-a]$",
            "^[[:alpha:]]$",
            "^a{1}{2}$",
            "^a\\$",
        ];
        for pattern in others {
            assert!(Shape::of(pattern).is_none(), "{pattern}");
        }
    }
}
