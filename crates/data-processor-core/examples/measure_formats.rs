//! Measures files of CSV, Avro and Parquet to validated columns: CPU nanoseconds per record of one thread, the median of several rounds.
//!
//! `cargo run --release --example measure_formats PLAN.json FILE… [rounds]`; a file's ending is its format.

use std::sync::Arc;

use bytes::Bytes;
use data_processor_core::contract::Plan;
use data_processor_core::process::admit::Format;
use data_processor_core::process::csv::Dialect;
use data_processor_core::process::events::{parse_in, validate};

/// The wheel's own allocator: the system's gives large blocks back and pays for their pages again in every round.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIVED: i64 = 1_795_200_000_000_000;

/// CPU nanoseconds of this thread.
fn cpu_ns() -> f64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut at) };
    at.tv_sec as f64 * 1e9 + at.tv_nsec as f64
}

fn median(rounds: &mut [f64], records: usize) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2] / records as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.last().and_then(|text| text.parse().ok()).unwrap_or(9);
    let plan = Arc::new(Plan::compile(&std::fs::read_to_string(&arguments[0])?)?);
    for name in arguments[1..].iter().filter(|name| name.contains('.')) {
        let (body, format) = (Bytes::from(std::fs::read(name)?), Format::parse(name.rsplit('.').next().unwrap_or_default())?);
        let (mut parse, mut judge, mut records) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            let start = cpu_ns();
            let events = parse_in(Arc::clone(&plan), body.clone(), format, &Dialect::default(), RECEIVED)?;
            let parsed = cpu_ns();
            let found = std::hint::black_box(validate(&events, &plan)?);
            parse.push(parsed - start);
            judge.push(cpu_ns() - parsed);
            records = events.len();
            assert_eq!(found.len(), 0, "{}", found[0].violation.message);
        }
        let (parse, judge) = (median(&mut parse, records), median(&mut judge, records));
        println!("{:8} parse {parse:6.0}  validate {judge:6.0}  ns/record", format.as_str());
    }
    Ok(())
}
