//! Laws of live windows: order, cuts and merges change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use data_processor_core::window::aggregate::{Accumulator, Value};
use data_processor_core::window::group::{Touched, add};
use data_processor_core::window::sketch::{Distinct, Quantiles};
use data_processor_core::window::spec::{AggregateSpec, Kind, Values};
use data_processor_core::window::store::Change;
use data_processor_core::window::{Group, KeyState, Memory, WindowReader, WindowSpec, WindowStore, starts};
use proptest::prelude::*;

fn column(kind: Kind, values: Values) -> AggregateSpec {
    AggregateSpec { name: "x".into(), kind, values, scale: 2, q: 0.5 }
}

fn columns() -> Vec<AggregateSpec> {
    let exact =
        [Kind::Count, Kind::Sum, Kind::Min, Kind::Max, Kind::Distinct, Kind::Quantile].map(|kind| column(kind, Values::Exact));
    exact.into_iter().chain([column(Kind::Min, Values::Text), column(Kind::Max, Values::Float)]).collect()
}

fn value<'a>(spec: &AggregateSpec, digits: i64, text: &'a str) -> Value<'a> {
    match spec.values {
        Values::Text => Value::Text(text),
        Values::Float => Value::Float(digits as f64 / 7.0),
        _ => Value::Exact(digits.into()),
    }
}

fn windows(shape: &str, lateness_us: i64) -> Vec<WindowSpec> {
    let json = format!(
        r#"[{{"name":"w","hash":"h","shape":{shape},"lateness_us":{lateness_us},"emit":"update","keys":1,
            "aggregates":[{{"name":"n","kind":"count","values":"rows"}},{{"name":"s","kind":"sum","values":"exact","scale":2}}]}}]"#
    );
    WindowSpec::parse(&json).expect("a window")
}

proptest! {
    #[test]
    fn every_window_of_an_instant_holds_it_and_no_other_does(at in -1_000_000_i64..1_000_000, hop in 1_i64..500, more in 0_i64..2_000) {
        let size = hop + more;
        let found: Vec<i64> = starts(at, size, hop).collect();
        prop_assert!(found.iter().all(|start| start.rem_euclid(hop) == 0 && *start <= at && at < start + size));
        prop_assert!(found.is_sorted());
        let all = (at - size - hop..=at).filter(|start| start.rem_euclid(hop) == 0 && at < start + size).count();
        prop_assert_eq!(found.len(), all);
    }

    #[test]
    fn parts_merge_to_the_whole_and_bytes_give_it_back(values in prop::collection::vec((-1_000_000_i64..1_000_000, "[a-c]{0,3}"), 0..600), cut in 0_usize..600) {
        let cut = cut.min(values.len());
        for spec in columns() {
            let fill = |part: &[(i64, String)]| {
                let mut made = Accumulator::new(&spec);
                part.iter().for_each(|(digits, text)| made.add(value(&spec, *digits, text), spec.scale));
                made
            };
            let mut parts = fill(&values[..cut]);
            parts.merge(&fill(&values[cut..]));
            prop_assert_eq!(&parts, &fill(&values));
            let group = Group { end: 0, revision: 0, closed: false, accumulators: vec![parts] };
            prop_assert_eq!(Group::decode(&group.encode()), Some(group.accumulators));
        }
    }

    #[test]
    fn a_float_sum_is_exact_to_the_last_digits(values in prop::collection::vec(-1e9_f64..1e9, 1..200), cut in 0_usize..200) {
        let spec = column(Kind::Sum, Values::Float);
        let fill = |part: &[f64]| {
            let mut made = Accumulator::new(&spec);
            part.iter().for_each(|one| made.add(Value::Float(*one), 0));
            made
        };
        let cut = cut.min(values.len());
        let mut parts = fill(&values[..cut]);
        parts.merge(&fill(&values[cut..]));
        let sum = |one: &Accumulator| one.result(&spec).parse::<f64>().unwrap_or(f64::NAN);
        let size: f64 = values.iter().map(|one| one.abs()).sum();
        prop_assert!((sum(&parts) - sum(&fill(&values))).abs() <= 1e-15 * size);
    }

    #[test]
    fn quantiles_are_within_one_percent(mut values in prop::collection::vec(-1e6_f64..1e6, 1..300), q in 0.0_f64..=1.0) {
        let mut sketch = Quantiles::default();
        values.iter().for_each(|one| sketch.add(*one));
        values.sort_by(f64::total_cmp);
        let wanted = values[(q * (values.len() - 1) as f64).floor() as usize];
        let found = sketch.quantile(q).unwrap_or(f64::NAN);
        prop_assert!((found - wanted).abs() <= 0.0101 * wanted.abs() + 1e-12, "{found} for {wanted}");
    }

    #[test]
    fn sessions_do_not_depend_on_the_order_of_events(times in prop::collection::vec(0_i64..200, 1..40), gap in 1_i64..12) {
        let spec = &windows(&format!(r#"{{"kind":"session","gap_us":{gap}}}"#), 0)[0];
        let mut state = KeyState::new();
        for at in &times {
            add(spec, &mut state, &mut Touched::default(), (*at, None), &[Value::Row, Value::Exact(1)], |_| {});
        }
        let mut sorted = times.clone();
        sorted.sort_unstable();
        let mut wanted: Vec<(i64, i64, u64)> = Vec::new();
        for at in sorted {
            match wanted.last_mut() {
                Some((_, end, count)) if at <= *end => (*end, *count) = (at + gap, *count + 1),
                _ => wanted.push((at, at + gap, 1)),
            }
        }
        let found: Vec<_> = state.iter().map(|(start, group)| {
            let Accumulator::Count(count) = group.accumulators[0] else { panic!("a count") };
            (*start, group.end, count)
        }).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn distinct_is_exact_while_few_and_near_when_many() {
    for count in [0_u64, 1, 256, 257, 5_000, 200_000] {
        let mut sketch = Distinct::new();
        let mut accumulator = Accumulator::new(&column(Kind::Distinct, Values::Text));
        for number in (0..count).chain(0..count / 2) {
            accumulator.add(Value::Text(&number.to_string()), 0);
        }
        if let Accumulator::Distinct(made) = accumulator {
            sketch.merge(&made);
        }
        let (found, wanted) = (sketch.count() as f64, count as f64);
        assert!(if count <= 256 { found == wanted } else { (found - wanted).abs() <= 0.06 * wanted }, "{found} for {wanted}");
    }
}

fn batch(events: &[(i64, u8, i64)], first: i64) -> (RecordBatch, RecordBatch) {
    let times = || TimestampMicrosecondArray::from_iter_values(events.iter().map(|one| one.0)).with_timezone("UTC");
    let ids: Int64Array = (first..).take(events.len()).collect();
    let text = |of: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(events.iter().map(|_| of))) };
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(events.iter().map(|one| one.1.to_string())));
    let values = Decimal128Array::from_iter_values(events.iter().map(|one| one.2.into()));
    let read = RecordBatch::try_from_iter([
        ("time", Arc::new(times()) as ArrayRef),
        ("received", Arc::new(times())),
        ("log", text("log")),
        ("partition", text("0")),
        ("offset", Arc::new(ids.clone())),
        ("0.where", Arc::new(BooleanArray::from(vec![true; events.len()]))),
        ("0.k0", keys),
        ("0.a1", Arc::new(values.with_precision_and_scale(38, 2).expect("fits"))),
    ]);
    let rows = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]);
    (rows.expect("rows"), read.expect("events"))
}

/// Final results after these cuts, and memory; `most_bytes` bounds it, `reopen` loses it after every commit.
fn finals(
    shape: &str,
    events: &[(i64, u8, i64)],
    cut: usize,
    most_bytes: usize,
    reopen: bool,
) -> (BTreeMap<(String, i64, i64), String>, Memory) {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.db");
    let open =
        || WindowStore::open(&path, windows(shape, 1_000), vec!["id".into()], vec!["id".into()], most_bytes).expect("opens");
    let mut store = open();
    let closing = [(100_000, 255_u8, 0)];
    for part in events.chunks(cut).chain([&closing[..]]) {
        let head = store.head().expect("head").sequence;
        let (rows, read) = batch(part, head * 1_000);
        let change = Change { head, position: "{}", totals: "{}", replay: None, now_us: 0 };
        store.append(&rows, &read, &change).expect("appends");
        if reopen {
            store = open();
        }
    }
    let memory = store.memory();
    let reader = WindowReader::open(&path).expect("reads");
    let found = reader.changes(0, None, 10_000).expect("changes");
    let finals = found.into_iter().filter(|one| one.state == 1).map(|one| ((one.key, one.start, one.end), one.body)).collect();
    (finals, memory)
}

/// Fates of these events, as a store that is open on the file sees them.
fn fates(store: &mut WindowStore, events: &[(i64, u8, i64)], first: i64) -> Vec<i8> {
    let (rows, read) = batch(events, first);
    store.seen(&rows, &read).expect("answers").column(0).as_primitive::<Int8Type>().values().to_vec()
}

#[test]
fn a_key_is_known_whoever_landed_it_and_after_whatever_restart() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.db");
    let shape = r#"{"kind":"hopping","size_us":100,"hop_us":100}"#;
    let open = || WindowStore::open(&path, windows(shape, 1_000), vec!["id".into()], vec!["id".into()], 1_000).expect("opens");
    let land = |store: &mut WindowStore, first: i64| {
        let (rows, read) = batch(&[(5, 0, 1), (6, 0, 1)], first);
        let head = store.head().expect("head").sequence;
        store.append(&rows, &read, &Change { head, position: "{}", totals: "{}", replay: None, now_us: 0 }).expect("appends");
    };
    let events = [(5, 0, 1); 3];
    let (mut one, mut two) = (open(), open());
    assert_eq!(fates(&mut one, &events, 10), [0, 0, 0]);
    land(&mut two, 10);
    assert_eq!(fates(&mut one, &events, 10), [1, 1, 0], "another one landed them");
    land(&mut one, 12);
    assert_eq!(fates(&mut one, &events, 11), [1, 1, 1]);
    assert_eq!(fates(&mut two, &events, 11), [1, 1, 1]);
    one.maintain(0).expect("tidies");
    assert_eq!(fates(&mut one, &events, 11), [1, 1, 1]);
    let (rows, read) = batch(&[(7, 0, 1)], 20);
    let stale = Change { head: -5, position: "{}", totals: "{}", replay: None, now_us: 0 };
    one.append(&rows, &read, &stale).expect_err("another head");
    assert_eq!(fates(&mut one, &events, 20), [0, 0, 0], "what was rolled back is not there");
    assert_eq!(fates(&mut open(), &events, 11), [1, 1, 1], "after a restart");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn cuts_memory_and_restarts_change_no_final_result(events in prop::collection::vec((0_i64..900, 0_u8..4, -99_i64..99), 1..60), cut in 1_usize..20) {
        for shape in [r#"{"kind":"hopping","size_us":100,"hop_us":30}"#, r#"{"kind":"session","gap_us":25}"#] {
            let (whole, _) = finals(shape, &events, events.len(), usize::MAX, false);
            prop_assert!(!whole.is_empty());
            prop_assert_eq!(&finals(shape, &events, cut, usize::MAX, false).0, &whole);
            prop_assert_eq!(&finals(shape, &events, cut, usize::MAX, true).0, &whole);
            for most in [0, 2_000] {
                for cut in [cut, events.len()] {
                    let (bounded, memory) = finals(shape, &events, cut, most, false);
                    prop_assert_eq!(&bounded, &whole);
                    prop_assert!(memory.held <= most && (most > 0 || memory.spilled > 0), "{memory:?}");
                }
            }
        }
    }
}
