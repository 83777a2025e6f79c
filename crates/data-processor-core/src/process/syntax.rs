//! RFC 8259 to the letter: where a value ends, or what is wrong and where. No recursion, no tree.

use super::text::{escape, number_end, skip_blank, skip_space, string_stop};

/// Why a text is refused; `at` is a byte offset in the scanned buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON at this byte.
    Invalid {
        /// The first byte that cannot continue valid JSON.
        at: usize,
    },
    /// Nested deeper than allowed.
    TooDeep,
}

/// What a scan may meet, and what it has met.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Levels of objects and arrays that may still be opened.
    pub depth: usize,
    /// Members and items met so far, at all levels.
    pub members: usize,
}

/// Which brackets are open: one bit per level, set for an object.
#[derive(Default)]
struct Open {
    levels: usize,
    near: u64,
    far: Vec<u64>,
}

impl Open {
    #[inline(always)]
    fn push(&mut self, object: bool) {
        if self.levels > 0 && self.levels.is_multiple_of(64) {
            self.far.push(self.near);
            self.near = 0;
        }
        self.near = self.near << 1 | u64::from(object);
        self.levels += 1;
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.levels -= 1;
        self.near >>= 1;
        if self.levels > 0 && self.levels.is_multiple_of(64) {
            self.near = self.far.pop().unwrap_or_default();
        }
    }

    #[inline(always)]
    fn in_object(&self) -> bool {
        self.near & 1 == 1
    }
}

/// The place after the value that starts at `at` (not white space).
///
/// The buffer holds zero bytes after the text, which no value contains, so a scan never leaves it.
///
/// Errors: [`Fault::Invalid`] at the first byte that cannot continue JSON, [`Fault::TooDeep`] where `limits.depth` is passed.
pub fn value_end(bytes: &[u8], at: usize, limits: &mut Limits) -> Result<usize, Fault> {
    end_of_value::<false>(bytes, at, limits)
}

/// As [`value_end`] inside a line: a line feed is no white space, so a scan never leaves the line. Zero bytes need not follow it.
pub fn value_end_in_line(bytes: &[u8], at: usize, limits: &mut Limits) -> Result<usize, Fault> {
    end_of_value::<true>(bytes, at, limits)
}

#[inline(always)]
fn space<const LINE: bool>(bytes: &[u8], at: usize) -> usize {
    if LINE { skip_blank(bytes, at) } else { skip_space(bytes, at) }
}

fn end_of_value<const LINE: bool>(bytes: &[u8], at: usize, limits: &mut Limits) -> Result<usize, Fault> {
    let mut open = Open::default();
    let mut at = at;
    loop {
        // Here a value begins; a bracket that is not closed at once goes round again for its first value.
        at = match bytes[at] {
            b'"' => string_end(bytes, at + 1)?,
            bracket @ (b'{' | b'[') => {
                if open.levels == limits.depth {
                    return Err(Fault::TooDeep);
                }
                let first = space::<LINE>(bytes, at + 1);
                if bytes[first] == bracket + 2 {
                    first + 1 // in ASCII each closing bracket is two after its opening one
                } else {
                    open.push(bracket == b'{');
                    at = next_value::<LINE>(bytes, first, &open, limits)?;
                    continue;
                }
            }
            b't' => literal_end(bytes, at, b"true")?,
            b'f' => literal_end(bytes, at, b"false")?,
            b'n' => literal_end(bytes, at, b"null")?,
            _ => number_end(bytes, at).ok_or(Fault::Invalid { at })?,
        };
        // Here a value has ended: close what closes, then go to the next value.
        loop {
            if open.levels == 0 {
                return Ok(at);
            }
            at = space::<LINE>(bytes, at);
            let close = if open.in_object() { b'}' } else { b']' };
            match bytes[at] {
                b',' => {
                    at = next_value::<LINE>(bytes, space::<LINE>(bytes, at + 1), &open, limits)?;
                    break;
                }
                found if found == close => {
                    open.pop();
                    at += 1;
                }
                _ => return Err(Fault::Invalid { at }),
            }
        }
    }
}

/// Counts a member or item; in an object reads its name. The place of its value.
#[inline(always)]
fn next_value<const LINE: bool>(bytes: &[u8], at: usize, open: &Open, limits: &mut Limits) -> Result<usize, Fault> {
    limits.members += 1;
    if !open.in_object() {
        return Ok(at);
    }
    if bytes[at] != b'"' {
        return Err(Fault::Invalid { at });
    }
    let colon = space::<LINE>(bytes, string_end(bytes, at + 1)?);
    if bytes[colon] != b':' {
        return Err(Fault::Invalid { at: colon });
    }
    Ok(space::<LINE>(bytes, colon + 1))
}

/// The place after the closing quote of a string whose text begins at `at`.
#[inline(always)]
pub fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    loop {
        at = string_stop(bytes, at);
        match bytes[at] {
            b'"' => return Ok(at + 1),
            b'\\' => at = escape(bytes, at).ok_or(Fault::Invalid { at })?.1,
            _ => return Err(Fault::Invalid { at }),
        }
    }
}

fn literal_end(bytes: &[u8], at: usize, literal: &[u8]) -> Result<usize, Fault> {
    if bytes[at..at + literal.len()] == *literal { Ok(at + literal.len()) } else { Err(Fault::Invalid { at }) }
}

/// Checks that `length` bytes are one JSON value with nothing but white space around it; its start and end.
pub fn whole_value(bytes: &[u8], length: usize, limits: &mut Limits) -> Result<(usize, usize), Fault> {
    let start = skip_space(bytes, 0);
    let end = value_end(bytes, start, limits).map_err(|fault| within(fault, length))?;
    let rest = skip_space(bytes, end);
    if rest == length { Ok((start, end)) } else { Err(Fault::Invalid { at: rest.min(length) }) }
}

/// A fault in the padding means: the text ended too early.
fn within(fault: Fault, length: usize) -> Fault {
    match fault {
        Fault::Invalid { at } => Fault::Invalid { at: at.min(length) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::PAD;
    use super::*;

    fn check(text: &str, depth: usize) -> Result<usize, Fault> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(text.len() + PAD, 0);
        let mut limits = Limits { depth, members: 0 };
        whole_value(&bytes, text.len(), &mut limits).map(|_| limits.members)
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let cases = [
            (r#"{"a": tru}"#, 6),
            ("[01]", 2),
            ("[1.]", 1),
            (r#"["\ud800"]"#, 2),
            (r#"["a"#, 3),
            ("", 0),
            ("[1,]", 3),
            ("[1] x", 4),
            ("{1:2}", 1),
            ("[1", 2),
            ("{\"a\" 1}", 5),
            ("-", 0),
            ("[\"\u{1}\"]", 2),
            ("\0", 0),
            ("[]\0", 2),
        ];
        for (text, at) in cases {
            assert_eq!(check(text, 64), Err(Fault::Invalid { at }), "{text}");
        }
    }

    #[test]
    fn in_a_line_a_line_feed_ends_every_scan() {
        let end = |text: &str| {
            let bytes = [text.as_bytes(), &[b' '; PAD]].concat();
            value_end_in_line(&bytes, 0, &mut Limits { depth: 9, members: 0 })
        };
        for value in ["{ \"a\" :\t[ 1 , {} ] }", "[]", "\"a b\"", "12.5e-3", "true", "{\"a\":\"\\u00e9\"}"] {
            assert_eq!(end(&format!("{value}\n")), Ok(value.len()), "{value}");
            for cut in 1..value.len() {
                let found = end(&format!("{}\n", &value[..cut]));
                assert!(found.is_err() || found == Ok(cut) && value.starts_with('1'), "{value} cut at {cut}");
            }
        }
        assert_eq!(end("[1,\n2]"), Err(Fault::Invalid { at: 3 }));
    }

    #[test]
    fn depth_counts_levels_and_never_the_stack() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(&nested(64), 64), Ok(63));
        assert_eq!(check(&nested(65), 64), Err(Fault::TooDeep));
        assert_eq!(check(&nested(100_000), 100_000), Ok(99_999));
        assert_eq!(check(&"[".repeat(100_000), 64), Err(Fault::TooDeep));
        let mixed = r#"{"a":["#.repeat(500) + &"]}".repeat(500);
        assert_eq!(check(&mixed, 1_000), Ok(999));
    }

    #[test]
    fn members_count_at_every_level() {
        assert_eq!(check(r#"{"a":[1,2,{"b":null}],"c":{}}"#, 64), Ok(6));
    }
}
