//! Laws of the keys of earlier rows: answers are exact whatever fits into memory, memory stays within its bound, and a scratch
//! disk that fails is an error for good.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;

use data_processor_core::process::dedupe::{EarlierKeys, KeyRoom};
use proptest::prelude::*;

thread_local! {
    /// Bytes this thread holds, and the most it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(bytes, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that look drawn by chance (SplitMix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(number: u64) -> u128 {
    u128::from(mixed(number)) << 64 | u128::from(number)
}

fn earlier(bytes: usize, place: &Path) -> EarlierKeys {
    EarlierKeys::new(KeyRoom { bytes, scratch: Some(place.to_owned()) })
}

/// How the keys of a batch are drawn.
#[derive(Clone, Debug)]
struct Drawn {
    rows: usize,
    /// Numbers are drawn below this one; 0: each is new.
    below: u64,
    /// Keys are the numbers themselves: all alike but for their last bytes.
    plain: bool,
}

fn batches() -> impl Strategy<Value = Vec<Drawn>> {
    let rows = prop_oneof![Just(0_usize), Just(1), 2..700_usize, 2_000..9_000_usize];
    let below = prop_oneof![Just(0_u64), Just(1), 10..3_000_u64, 20_000..60_000_u64];
    let drawn = (rows, below, any::<bool>()).prop_map(|(rows, below, plain)| Drawn { rows, below, plain });
    prop::collection::vec(drawn, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_key_is_new_once_however_few_fit_into_memory(
        batches in batches(), bound in prop_oneof![Just(0_usize), 60_000..300_000_usize], seed in any::<u64>(),
    ) {
        let place = tempfile::tempdir().unwrap();
        let (mut keys, mut model, mut draws) = (earlier(bound, place.path()), HashSet::new(), 0);
        for batch in batches {
            let draw = |number: u64| if batch.plain { u128::from(number) } else { key(number) };
            let given: Vec<u128> = (0..batch.rows).map(|_| {
                draws += 1;
                draw(mixed(seed ^ draws).checked_rem(batch.below).unwrap_or(1 << 40 | draws))
            }).collect();
            let expected: Vec<u32> = (0..).zip(&given).filter(|(_, key)| !model.insert(**key)).map(|(row, _)| row).collect();
            prop_assert_eq!(keys.repeats(given.len(), |row| given[row]).unwrap(), expected);
            prop_assert!(keys.spilled_bytes() <= 16 * model.len() as u64);
            prop_assert!(keys.size_bytes() >= 16 * model.len() - keys.spilled_bytes() as usize);
        }
        prop_assert!(bound > 0 || model.len() < 10_000 || keys.spilled_bytes() > 0);
        prop_assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

#[test]
fn repeats_are_found_across_many_merges() {
    let place = tempfile::tempdir().unwrap();
    let mut keys = earlier(0, place.path());
    for batch in 0..60_u64 {
        let first = batch * 5_000;
        assert!(keys.repeats(5_000, |row| key(first + row as u64)).unwrap().is_empty());
        // one in seven of all so far, and each of those twice
        let some: Vec<u64> =
            (0..first + 5_000).filter(|number| mixed(number ^ batch).is_multiple_of(70)).flat_map(|one| [one, one]).collect();
        assert!(keys.repeats(some.len(), |row| key(some[row])).unwrap().into_iter().eq(0..some.len() as u32));
    }
    assert!(keys.spilled_bytes() > 16 * 290_000);
}

#[test]
fn memory_stays_within_the_bound_and_the_filters() {
    const BOUND: usize = 2 << 20;
    let place = tempfile::tempdir().unwrap();
    let (held, _) = HELD.get();
    let mut keys = earlier(BOUND, place.path());
    let mut repeats = 0;
    for batch in 0..80_u64 {
        HELD.set((HELD.get().0, HELD.get().0));
        // every fifth key is one of long ago
        let number = |row: usize| {
            if row % 5 == 4 { mixed(batch * 7_919 + row as u64) % (batch * 8_000 + 1) } else { batch * 8_000 + row as u64 }
        };
        repeats += keys.repeats(8_000, |row| key(number(row))).unwrap().len();
        let (now, most) = HELD.get();
        let said = keys.size_bytes() as isize;
        assert!((now - held - said).abs() < 20_000, "{} bytes are held, {said} said after {batch}", now - held);
        let beside = keys.spilled_bytes() as usize * 13 / 160 + 40_000; // 1.3 bytes per key
        assert!(
            (most - held) as usize <= BOUND + beside,
            "{} bytes at most for {} on the disk",
            most - held,
            keys.spilled_bytes()
        );
    }
    assert!(repeats > 80_000 && keys.spilled_bytes() > 5 << 20);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_for_good() {
    let place = tempfile::tempdir().unwrap();
    let mut keys = earlier(0, &place.path().join("none"));
    let error = keys.repeats(9_000, |row| key(row as u64)).unwrap_err();
    assert_eq!(error.code, "key.scratch_failed");
    assert!(!error.hint.is_empty());
    assert_eq!(keys.repeats(1, |_| 0).unwrap_err(), error);
    assert_eq!(KeyRoom { bytes: 0, scratch: Some(place.path().join("none")) }.check().unwrap_err().code, "key.scratch_failed");
    KeyRoom { bytes: 0, scratch: Some(place.path().to_owned()) }.check().unwrap();
}
