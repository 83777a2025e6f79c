//! Fields and objects of a plan, and how the scanner recognises a member's name.

use hashbrown::HashMap;

use crate::process::text::u64_at;
use crate::process::wide::Spelling;

/// What a field holds, with its number among the leaves of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 16 bytes.
    Uuid(usize),
    /// Text.
    Text(usize),
    /// Any JSON value, kept as its own text.
    Json(usize),
    /// 64 bit.
    Integer(usize),
    /// A finite double.
    Number(usize),
    /// Exact, at most 38 digits.
    Decimal(usize),
    /// True or false.
    Boolean(usize),
    /// µs since 1970 UTC.
    Timestamp(usize),
    /// Days since 1970.
    Date(usize),
    /// A nested object, by its number among the nodes.
    Object(usize),
    /// An array, by its number among the arrays.
    Array(usize),
}

/// One member of an object, or the items of an array.
#[derive(Debug)]
pub struct Field {
    /// Name of the member and of its column.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether missing and null are violations.
    pub required: bool,
    /// One bit, its own in its object.
    pub bit: u64,
    /// Whether its column has nulls: unless it and every object above it is required.
    pub nullable: bool,
    /// The separator and `"name":`.
    spelling: Spelling,
    /// Length of the separator and the spelling; 0 when it is too long for a prediction or needs an escape.
    pub literal_length: usize,
}

impl Field {
    /// A field that stands anywhere in its object but first.
    pub fn new(name: String, kind: Kind, required: bool, nullable: bool) -> Field {
        let mut field = Field { name, kind, required, bit: 0, nullable, spelling: Spelling::new(b""), literal_length: 0 };
        field.predict(b',');
        field
    }

    /// Predicts the field behind this separator.
    fn predict(&mut self, separator: u8) {
        let spelled = [&[separator, b'"'], self.name.as_bytes(), b"\":"].concat();
        let plain = self.name.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        let predicted = plain && spelled.len() <= Spelling::LONGEST;
        self.literal_length = if predicted { spelled.len() } else { 0 };
        // What is not predicted is spelled as no UTF-8 is.
        self.spelling = Spelling::new(if predicted { &spelled } else { b"\xff" });
    }

    /// Whether its separator (a comma, for an object's first field the bracket) and `"name":` stand at `at` of a padded buffer.
    #[inline(always)]
    pub fn stands_at(&self, bytes: &[u8], at: usize) -> bool {
        self.spelling.stands_at(bytes, at)
    }

    /// Whether any byte and `"name":` stand at `at` of a padded buffer.
    #[inline(always)]
    fn follows(&self, bytes: &[u8], at: usize) -> bool {
        self.literal_length > 0 && self.spelling.stands_at_but_first(bytes, at)
    }
}

/// Most fields of an object on the fast road: one bit each.
pub const FAST_FIELDS: usize = 64;
const SLOTS: usize = 256;
const FREE: u8 = u8::MAX;

/// Where a name is looked up: its first and last eight bytes and its length, which are all of a name of at most 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    first: u64,
    last: u64,
    length: u32,
    field: u8,
}

const EMPTY: Slot = Slot { first: 0, last: 0, length: 0, field: FREE };

impl Slot {
    fn of_name(name: &[u8], field: u8) -> Slot {
        let word = |part: &[u8]| {
            let mut bytes = [0; 8];
            bytes[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(bytes)
        };
        let first = word(&name[..name.len().min(8)]);
        let last = if name.len() >= 8 { word(&name[name.len() - 8..]) } else { 0 };
        Slot { first, last, length: name.len() as u32, field }
    }
}

/// A guess at a field by the bytes behind a separator and a quote, before the end of the name is known.
#[derive(Debug)]
struct Glance {
    /// Which of eight bytes count: no more than every `name":` has that it knows.
    mask: u64,
    /// Spreads them over the slots, no two fields to one.
    seed: u64,
    /// Fields; [`FREE`] where none is.
    slots: [u8; SLOTS],
}

/// Seeds that are tried.
const SEEDS: u64 = 16;

impl Glance {
    /// The one that knows most fields.
    fn new(fields: &[Field]) -> Glance {
        let (mut best, mut known) = (Glance { mask: 0, seed: 1, slots: [FREE; SLOTS] }, 0);
        for (bytes, number) in (3..=8).flat_map(|bytes| (1..=SEEDS).map(move |number| (bytes, number))) {
            let seed = (2 * number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut glance = Glance { mask: u64::MAX >> (64 - 8 * bytes), seed, slots: [FREE; SLOTS] };
            let placed = glance.place(fields, bytes);
            if placed > known {
                (best, known) = (glance, placed);
            }
        }
        best
    }

    /// Places the fields whose names have enough bytes, of two in one slot the first; how many.
    fn place(&mut self, fields: &[Field], bytes: usize) -> usize {
        let mut placed = 0;
        for (at, field) in fields.iter().take(FAST_FIELDS).enumerate() {
            if field.literal_length == 0 || field.name.len() + 2 < bytes {
                continue;
            }
            let word = u64_at(&[field.name.as_bytes(), b"\":", &[0; 8]].concat(), 0);
            let slot = self.slot(word & self.mask);
            if self.slots[slot] == FREE {
                self.slots[slot] = at as u8;
                placed += 1;
            }
        }
        placed
    }

    #[inline(always)]
    fn slot(&self, word: u64) -> usize {
        (word.wrapping_mul(self.seed) >> 56) as usize
    }
}

/// An object of the contract.
#[derive(Debug)]
pub struct Node {
    /// Its members, in contract order.
    pub fields: Vec<Field>,
    /// Its JSON pointer; None below an array, where it has many.
    pub pointer: Option<String>,
    /// One bit per required field.
    pub required: u64,
    /// One bit per field.
    pub all: u64,
    glance: Glance,
    slots: Vec<Slot>,
    by_name: HashMap<Vec<u8>, usize>,
}

impl Node {
    /// An object with these members, whose names differ.
    pub fn new(mut fields: Vec<Field>, pointer: Option<String>) -> Node {
        // The first one is expected at the bracket only: behind a comma some field has come before.
        fields.iter_mut().take(1).for_each(|first| first.predict(b'{'));
        let by_name: HashMap<_, _> = fields.iter().enumerate().map(|(at, field)| (field.name.clone().into_bytes(), at)).collect();
        fields.iter_mut().take(FAST_FIELDS).enumerate().for_each(|(at, field)| field.bit = 1 << at);
        let (mut slots, mut required, mut all) = (vec![EMPTY; SLOTS], 0, 0);
        for (at, field) in fields.iter().enumerate().take(FAST_FIELDS) {
            let entry = Slot::of_name(field.name.as_bytes(), at as u8);
            let mut slot = slot_of(entry.first, entry.last, field.name.len());
            while slots[slot].field != FREE {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = entry;
            all |= field.bit;
            required |= u64::from(field.required) << at;
        }
        let glance = Glance::new(&fields);
        Node { fields, pointer, required, all, glance, slots, by_name }
    }

    /// The field of a name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The field whose `"name":` stands behind the byte at `at` of a padded buffer; of some fields it knows nothing.
    #[inline(always)]
    pub fn glance(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let found = usize::from(self.glance.slots[self.glance.slot(u64_at(bytes, at + 2) & self.glance.mask)]);
        self.fields.get(found).is_some_and(|field| field.follows(bytes, at)).then_some(found)
    }

    /// The field whose name stands in `start..end` of a padded buffer.
    #[inline(always)]
    pub fn probe(&self, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
        let length = end - start;
        let first = u64_at(bytes, start);
        let (first, last) = if length >= 8 { (first, u64_at(bytes, end - 8)) } else { (first & ((1 << (8 * length)) - 1), 0) };
        let mut slot = slot_of(first, last, length);
        loop {
            let entry = self.slots[slot];
            if entry.field == FREE {
                return None;
            }
            let field = usize::from(entry.field);
            let alike = entry.first == first && entry.last == last && entry.length as usize == length;
            if alike && (length <= 16 || self.fields[field].name.as_bytes() == &bytes[start..end]) {
                return Some(field);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

#[inline(always)]
fn slot_of(first: u64, last: u64, length: usize) -> usize {
    // An odd constant with well-spread bits (2^64 / golden ratio); the top byte of the product depends on all of them.
    ((first ^ last.rotate_left(23) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..64).map(|n| format!("{}{n}", "k".repeat(n % 20))).collect();
        let node = Node::new(
            names.iter().enumerate().map(|(at, name)| Field::new(name.clone(), Kind::Text(at), false, true)).collect(),
            None,
        );
        for (at, name) in names.iter().enumerate() {
            let mut bytes = name.clone().into_bytes();
            bytes.resize(name.len() + 64, b'x');
            assert_eq!(node.probe(&bytes, 0, name.len()), Some(at));
            assert_eq!(node.find(name.as_bytes()), Some(at));
            assert_eq!(node.probe(&bytes, 0, name.len() + 1), None);
        }
    }

    #[test]
    fn a_glance_finds_fields_and_never_a_wrong_one() {
        let cases = [
            (["event_id", "event_type", "value"], [Some(0), Some(1), Some(2)]),
            (["id", "event_id", "event_type"], [Some(0), Some(1), None]),
            (["same_prefix_1", "same_prefix_2", "other"], [Some(0), None, Some(2)]),
            (["a\"b", "x", ""], [None, Some(1), None]),
        ];
        for (names, expected) in cases {
            let fields = names.iter().enumerate().map(|(at, name)| Field::new(name.to_string(), Kind::Text(at), false, true));
            let node = Node::new(fields.collect(), None);
            let seen = |name: &str| node.glance(&[b"{\"", name.as_bytes(), b"\":1,", &[0; 64]].concat(), 0);
            assert_eq!(names.map(seen), expected);
            for other in ["i", "idx", "event_idx", "y", "same_prefix_3"] {
                assert_eq!(seen(other), None, "{other}");
            }
        }
    }

    #[test]
    fn a_member_is_predicted_with_its_comma_or_bracket() {
        let field = |name: &str| Field::new(name.into(), Kind::Number(0), true, false);
        let node = Node::new(vec![field("value"), field("other"), field(&"x".repeat(40))], None);
        let [first, second, long] = &node.fields[..] else { panic!() };
        let padded = |text: &str| [text.as_bytes(), &[0; 64]].concat();
        assert!(first.stands_at(&padded("{\"value\":1"), 0));
        assert!(!first.stands_at(&padded(",\"value\":1"), 0));
        assert!(second.stands_at(&padded(",\"other\":1"), 0));
        assert!(!second.stands_at(&padded("{\"other\":1"), 0));
        assert!(!second.stands_at(&padded(",\"othes\":1"), 0));
        assert_eq!((first.literal_length, long.literal_length), (9, 0));
        assert!(!long.stands_at(&padded(&format!(",\"{}\":1", "x".repeat(40))), 0));
        assert!(!long.stands_at(&padded(""), 0));
    }
}
