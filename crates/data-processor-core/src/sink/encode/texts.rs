//! Texts of a page: what all of them begin with is told once.
//!
//! Ids of one kind begin alike (`user_0…`): left out, there is half as much to compress, and the rest are digits.

use parquet::basic::Encoding;

use super::pack;

/// Fewest bytes that are worth a length for each text of how much it shares.
const WORTH: usize = 2;
/// Most bytes that are looked at, and copied at once.
const LANE: usize = 16;
/// Texts after which most columns are known to share nothing.
const GLANCE: usize = 64;

/// Appends the texts that lie end to end in `raw`: lengths as differences, then the bytes of all; the beginning that all share
/// is in the first one only.
pub fn put(out: &mut Vec<u8>, lengths: &[i64], raw: &[u8]) -> Encoding {
    let shared = shared(lengths, raw);
    if shared < WORTH {
        pack::delta(out, lengths, true);
        out.extend_from_slice(raw);
        return Encoding::DELTA_LENGTH_BYTE_ARRAY;
    }
    // Lengths of what is shared with the text before, then of what follows it.
    let mut numbers = vec![shared as i64; lengths.len()];
    numbers[0] = 0;
    pack::delta(out, &numbers, true);
    numbers.iter_mut().zip(lengths).for_each(|(number, length)| *number = length - *number);
    pack::delta(out, &numbers, true);
    put_ends(out, lengths, raw, shared);
    Encoding::DELTA_BYTE_ARRAY
}

/// Bytes that all texts begin with, [`LANE`] at most.
fn shared(lengths: &[i64], raw: &[u8]) -> usize {
    let Some(head) = raw.first_chunk::<LANE>().map(|head| u128::from_le_bytes(*head)) else { return 0 };
    let (mut other, mut at, mut least) = (0, 0, i64::MAX);
    for some in lengths.chunks(GLANCE) {
        for length in some {
            // What lies behind a short text does not count, since no more than the shortest is shared.
            let lane = match raw[at..].first_chunk::<LANE>() {
                Some(lane) => u128::from_le_bytes(*lane),
                None => raw[at..].iter().rev().fold(0, |lane, byte| lane << 8 | u128::from(*byte)),
            };
            other |= lane ^ head;
            least = least.min(*length);
            at += *length as usize;
        }
        if (other.trailing_zeros() as usize) < WORTH * 8 || least < WORTH as i64 {
            return 0;
        }
    }
    (other.trailing_zeros() as usize / 8).min(least as usize)
}

/// Appends the first text and the ends of the others.
fn put_ends(out: &mut Vec<u8>, lengths: &[i64], raw: &[u8], shared: usize) {
    let (start, total) = (out.len(), raw.len() - shared * (lengths.len() - 1));
    out.resize(start + total + LANE, 0); // slack: whole lanes are stored
    let ends = &mut out[start..];
    let (mut from, mut at, mut skipped) = (0, 0, 0);
    for length in lengths {
        let (text, length) = (&raw[from + skipped..], *length as usize - skipped);
        match text.first_chunk::<LANE>() {
            Some(lane) if length <= LANE => ends[at..at + LANE].copy_from_slice(lane),
            _ => ends[at..at + length].copy_from_slice(&text[..length]),
        }
        from += skipped + length;
        at += length;
        skipped = shared;
    }
    out.truncate(start + total);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(texts: &[String]) -> (Encoding, Vec<u8>) {
        let (raw, mut out) = (texts.concat().into_bytes(), vec![7; 3]);
        let lengths: Vec<i64> = texts.iter().map(|text| text.len() as i64).collect();
        let encoding = put(&mut out, &lengths, &raw);
        (encoding, out)
    }

    /// What the page should hold: lengths shared, lengths of ends, ends.
    fn expected(texts: &[String], shared: usize) -> Vec<u8> {
        let mut out = vec![7; 3];
        let skipped = |at: usize| if at == 0 { 0 } else { shared };
        let shares: Vec<i64> = (0..texts.len()).map(|at| skipped(at) as i64).collect();
        let ends: Vec<&str> = texts.iter().enumerate().map(|(at, text)| &text[skipped(at)..]).collect();
        pack::delta(&mut out, &shares, true);
        pack::delta(&mut out, &ends.iter().map(|end| end.len() as i64).collect::<Vec<_>>(), true);
        out.extend_from_slice(ends.concat().as_bytes());
        out
    }

    #[test]
    fn what_all_texts_begin_with_is_told_once() {
        let numbered = |count: usize| (0..count).map(|at| format!("user_{:05}", at * 7919 % 89_989)).collect::<Vec<_>>();
        for count in [2, 3, 63, 64, 65, 1_000] {
            assert_eq!(
                spelled(&numbered(count)),
                (Encoding::DELTA_BYTE_ARRAY, expected(&numbered(count), if count < 3 { 6 } else { 5 }))
            );
        }
        let uneven: Vec<String> = (0..500).map(|at| format!("ab{}", "x".repeat(at % 40))).collect();
        assert_eq!(spelled(&uneven), (Encoding::DELTA_BYTE_ARRAY, expected(&uneven, 2)));
        let same = vec!["the very same text, again".to_owned(); 100];
        assert_eq!(spelled(&same), (Encoding::DELTA_BYTE_ARRAY, expected(&same, LANE)));
    }

    #[test]
    fn texts_that_share_nothing_are_told_whole() {
        let mut late: Vec<String> = (0..1_000).map(|at| format!("ab{at:020}")).collect();
        late.push("b".into());
        for texts in [vec![], vec![String::new()], vec!["one".into()], vec!["ab".into(), String::new(), "ab".into()], late] {
            let (encoding, out) = spelled(&texts);
            assert_eq!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY);
            assert!(out.ends_with(texts.concat().as_bytes()));
        }
    }
}
