//! Measures judging on deterministic shop events: CPU nanoseconds per event of one thread, the median of several rounds.
//!
//! `cargo run --release --example measure_process [events [part of a name]]`

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, BinaryArray, DictionaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array};
use data_processor_core::batch::raw_schema;
use data_processor_core::contract::Plan;
use data_processor_core::process::admit::{Format, admit};
use data_processor_core::process::events::{parse, transform, validate};
use data_processor_core::process::process;

/// The wheel's own allocator: the system's gives large blocks back and pays for their pages again in every round.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIVED: i64 = 1_795_000_000_000_000;
const ROUNDS: usize = 9;

/// The shop's contract for events, with doubles for money.
const SHOP: &str = r#"{"contract":"events","version":"1.0.0","hash":"h","key":["/event_id"],"event_time":"/timestamp","unknown":"keep",
"earliest_us":946684800000000,"ahead_us":86400000000,"max_depth":64,"max_members":10000,"max_bytes":1048576,"fields":[
{"name":"event_id","path":"/event_id","kind":"uuid","required":true},
{"name":"event_type","path":"/event_type","kind":"string","required":true,"enum":["page_view","click","add_to_cart","purchase"]},
{"name":"user_id","path":"/user_id","kind":"string","required":true,"min_length":1,"max_length":64},
{"name":"session_id","path":"/session_id","kind":"string","min_length":1,"max_length":64},
{"name":"timestamp","path":"/timestamp","kind":"timestamp","required":true},
{"name":"value","path":"/value","kind":"number","minimum":"0"},
{"name":"currency","path":"/currency","kind":"string","pattern":"^[A-Z]{3}$"},
{"name":"properties","path":"/properties","kind":"object","fields":[
 {"name":"product_id","path":"/properties/product_id","kind":"string","pattern":"^p_[0-9]+$"},
 {"name":"price","path":"/properties/price","kind":"number","minimum":"0"},
 {"name":"quantity","path":"/properties/quantity","kind":"integer","minimum":"1","maximum":"1000"}]},
{"name":"context","path":"/context","kind":"object","fields":[
 {"name":"ip","path":"/context/ip","kind":"string","format":"ipv4"},
 {"name":"user_agent","path":"/context/user_agent","kind":"string","max_length":512},
 {"name":"country","path":"/context/country","kind":"string","min_length":2,"max_length":2}]}]}"#;

/// xorshift: the same events on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn shuffle(&mut self, members: &mut [String]) {
        for at in (1..members.len()).rev() {
            members.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64)",
    "Mozilla/5.0 (Windows NT 10.0; Win64)",
    "shop-app/3.2 (iOS 19.1)",
    "shop-app/3.2 (Android 17)",
];

fn event(chance: &mut Chance, number: u64, shuffled: bool, bad: bool) -> String {
    let (high, low) = (chance.below(u64::MAX), chance.below(u64::MAX));
    let (cents, second) = (chance.below(20_000), chance.below(86_400));
    let mut properties = vec![
        format!(r#""product_id":"p_{}""#, chance.below(2_000)),
        format!(r#""price":{}.{:02}"#, cents / 100, cents % 100),
        format!(r#""quantity":{}"#, 1 + chance.below(9)),
    ];
    let mut context = vec![
        format!(r#""ip":"{}.{}.{}.{}""#, 1 + chance.below(200), chance.below(256), chance.below(256), chance.below(256)),
        format!(r#""user_agent":"{}""#, AGENTS[chance.below(4) as usize]),
        format!(r#""country":"{}""#, ["DE", "FR", "US", "JP"][chance.below(4) as usize]),
    ];
    if shuffled {
        chance.shuffle(&mut properties);
        chance.shuffle(&mut context);
    }
    let sign = if bad { "-" } else { "" };
    let mut members = vec![
        format!(
            r#""event_id":"{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}""#,
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        ),
        format!(r#""event_type":"{}""#, ["page_view", "click", "add_to_cart", "purchase"][chance.below(4) as usize]),
        format!(r#""user_id":"u_{}""#, chance.below(20_000)),
        format!(r#""session_id":"s_{}""#, number / 8),
        format!(
            r#""timestamp":"2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z""#,
            12 + number % 7,
            second / 3600,
            second / 60 % 60,
            second % 60,
            number % 1000
        ),
        format!(r#""value":{sign}{}.{:02}"#, 1 + cents / 50, cents % 100),
        r#""currency":"EUR""#.to_string(),
        format!(r#""properties":{{{}}}"#, properties.join(",")),
        format!(r#""context":{{{}}}"#, context.join(",")),
    ];
    if shuffled {
        chance.shuffle(&mut members);
    }
    format!("{{{}}}", members.join(","))
}

fn raw(records: &[String]) -> RecordBatch {
    let count = records.len();
    let code = || -> Arc<dyn Array> { Arc::new(vec!["log"; count].into_iter().collect::<DictionaryArray<Int32Type>>()) };
    let schema = raw_schema();
    let null = |name: &str| new_null_array(schema.field_with_name(name).unwrap().data_type(), count);
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(BinaryArray::from_iter_values(records)),
        null("key"),
        code(),
        code(),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
        Arc::new(TimestampMicrosecondArray::from(vec![RECEIVED; count]).with_timezone("UTC")),
        Arc::new(Int64Array::from(vec![1; count])),
        null("source"),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

/// CPU nanoseconds of this thread.
fn cpu_ns() -> f64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut at) };
    at.tv_sec as f64 * 1e9 + at.tv_nsec as f64
}

/// Measures work, unless the command line asks for others.
fn median<T>(order: &str, name: &str, events: usize, mut work: impl FnMut() -> T) {
    if std::env::args().nth(2).is_some_and(|part| !format!("{order}: {name}").contains(&part)) {
        return;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = cpu_ns();
            std::hint::black_box(work());
            cpu_ns() - start
        })
        .collect();
    let first = rounds[0];
    rounds.sort_by(f64::total_cmp);
    let [middle, least, first] = [rounds[ROUNDS / 2], rounds[0], first].map(|ns| ns / events as f64);
    println!("{name:28} {middle:7.0} ns/event (least {least:.0}, first {first:.0})");
}

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let (plan, mut slow) = (Arc::new(Plan::compile(SHOP).unwrap()), Plan::compile(SHOP).unwrap());
    slow.fast = false;
    for (order, shuffled, bad) in [("in order", false, 0), ("1 % bad", false, 100), ("shuffled", true, 0)] {
        let mut chance = Chance(88_172_645_463_325_252);
        let records: Vec<String> =
            (0..count as u64).map(|number| event(&mut chance, number, shuffled, bad > 0 && number % 100 == 0)).collect();
        let batch = raw(&records);
        let lines: bytes::Bytes = records.join("\n").into();
        let array: bytes::Bytes = format!("[{}]", records.join(",")).into();
        println!("{order}: {count} events of {} bytes", lines.len() / count);
        median(order, "process", count, || process(&plan, &batch).unwrap());
        median(order, "door, NDJSON", count, || admit(&plan, lines.clone(), Format::Ndjson, RECEIVED, 100).unwrap());
        median(order, "door, JSON array", count, || admit(&plan, array.clone(), Format::Json, RECEIVED, 100).unwrap());
        if order == "in order" {
            median(order, "slow road only", count, || process(&slow, &batch).unwrap());
            median(order, "parse", count, || parse(Arc::clone(&plan), lines.clone(), Some(Format::Ndjson), RECEIVED).unwrap());
            let events = parse(Arc::clone(&plan), lines.clone(), Some(Format::Ndjson), RECEIVED).unwrap();
            median(order, "validate", count, || validate(&events, &plan).unwrap());
            median(order, "transform", count, || transform(&events, &plan).unwrap());
        }
    }
}
