//! One function per parser: hostile bytes in, a law held or a panic out. `cargo test` runs the same functions on altered seeds.

use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use bytes::Bytes;
use data_processor_core::contract::Plan;
use data_processor_core::error::Error;
use data_processor_core::log::{Encoder, RecordRef, records_of};
use data_processor_core::process::admit::{Format, admit};
use data_processor_core::process::avro;
use data_processor_core::process::body::BodyDecoder;
use data_processor_core::process::csv::Dialect;
use data_processor_core::process::events::{parse_in, transform, validate};
use data_processor_core::process::parquet_input;

const RECEIVED: i64 = 1_795_000_000_000_000;

/// A plan with every kind, nested, with rules.
pub const PLAN: &str = r#"{"contract":"all","version":"1","hash":"","key":[],"event_time":"/at","unknown":"keep","earliest_us":946684800000000,
"ahead_us":86400000000,"max_depth":8,"max_members":60,"max_bytes":4096,"fields":[
{"name":"id","path":"/id","kind":"uuid","required":true},
{"name":"name","path":"/name","kind":"string","required":true,"min_length":1,"max_length":12},
{"name":"at","path":"/at","kind":"timestamp","unit":"ms","zone":"Europe/Berlin"},
{"name":"count","path":"/count","kind":"integer","minimum":"-5","maximum":"1000"},
{"name":"size","path":"/size","kind":"number","minimum":"0","maximum":"0.3"},
{"name":"price","path":"/price","kind":"decimal","precision":10,"scale":2},
{"name":"ok","path":"/ok","kind":"boolean"},
{"name":"day","path":"/day","kind":"date"},
{"name":"payload","path":"/payload","kind":"json"},
{"name":"tags","path":"/tags","kind":"array","max_items":4,"items":{"name":"element","path":"/tags/*","kind":"string"}},
{"name":"context","path":"/context","kind":"object","fields":[{"name":"ip","path":"/context/ip","kind":"string","format":"ipv4"}]}]}"#;

fn plan() -> &'static Arc<Plan> {
    static PLAN_COMPILED: OnceLock<Arc<Plan>> = OnceLock::new();
    PLAN_COMPILED.get_or_init(|| Arc::new(Plan::compile(PLAN).expect("the plan compiles")))
}

fn slow_plan() -> &'static Arc<Plan> {
    static SLOW: OnceLock<Arc<Plan>> = OnceLock::new();
    SLOW.get_or_init(|| {
        let mut plan = Plan::compile(PLAN).expect("the plan compiles");
        plan.fast = false;
        Arc::new(plan)
    })
}

/// The door's verdicts on a body under both roads are the same.
fn both_roads(body: &[u8], format: Format) {
    let door = |plan: &Plan| {
        admit(plan, Bytes::copy_from_slice(body), format, RECEIVED, usize::MAX)
            .map(|door| (door.ranges, door.accepted, door.errors))
    };
    assert_eq!(door(plan()), door(slow_plan()));
}

/// The two JSON roads agree on one record.
pub fn json_roads(bytes: &[u8]) {
    let line: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    both_roads(&line, Format::Ndjson);
}

/// A body of lines is cut at line feeds, whatever they hold.
pub fn ndjson_body(bytes: &[u8]) {
    both_roads(bytes, Format::Ndjson);
    if let Ok(door) = admit(plan(), Bytes::copy_from_slice(bytes), Format::Ndjson, RECEIVED, 0) {
        for index in 0..door.len() {
            assert!(!door.record(index).contains(&b'\n'));
        }
    }
}

/// A JSON body is cut into its elements.
pub fn json_body(bytes: &[u8]) {
    both_roads(bytes, Format::Json);
}

/// Rows of cells become records that both JSON roads judge alike.
pub fn csv_body(bytes: &[u8]) {
    both_roads(bytes, Format::Csv);
}

/// Cells that go straight into columns are what their records say: the same rows, lines and violations, before and after the rules.
///
/// The first byte chooses the dialect, and whether the rows are many: 64 are taken at a time, those near the end one by one.
pub fn csv_roads(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let dialect = match first % 4 {
        0 => Dialect::default(),
        1 => Dialect::new(";", "'", true, None, vec!["NULL".into()]).unwrap(),
        2 => Dialect::new(",", "", true, None, Vec::new()).unwrap(),
        _ => Dialect::new(",", "\"", false, Some(COLUMNS.map(String::from).to_vec()), vec!["-".into()]).unwrap(),
    };
    let mut body = rest.to_vec();
    if first & 4 != 0 && body.len() < 2000 {
        let rows = body.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (0..70).for_each(|_| body.extend_from_slice(&rest[rows..]));
    }
    if first & 8 != 0 {
        body.extend_from_slice(&[b'\n'; 80]);
    }
    let body = Bytes::from(body);
    let told = |plan: &Arc<Plan>| {
        let events = parse_in(Arc::clone(plan), body.clone(), Format::Csv, &dialect, RECEIVED)?;
        let lines: Vec<_> = (0..events.len()).map(|record| events.line(record)).collect();
        let violations = [events.violations.clone(), validate(&events, plan)?, validate(&events, another_plan())?];
        Ok::<_, Error>((lines, violations, [events.rows.clone(), transform(&events, plan)?]))
    };
    assert_eq!(told(plan()), told(slow_plan()));
}

/// Columns of a CSV body without a header.
const COLUMNS: [&str; 9] = ["id", "name", "at", "count", "size", "price", "ok", "day", "context.ip"];

/// The same contract as another: whoever validates by it judges every record by its text.
fn another_plan() -> &'static Plan {
    static OTHER: OnceLock<Plan> = OnceLock::new();
    OTHER.get_or_init(|| Plan::compile(&PLAN.replace(r#""hash":"""#, r#""hash":"other""#)).expect("the plan compiles"))
}

fn texts(mut each: impl FnMut(&mut dyn FnMut(&[u8])) -> bool) -> Option<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    each(&mut |text| texts.push(text.to_vec())).then_some(texts)
}

/// Rows and refused records of a file, and of the text of its records, are as many and at the same places.
fn same(texts: Option<Vec<Vec<u8>>>, read: Option<(usize, Vec<u64>)>) {
    match (texts, read) {
        (Some(texts), Some((rows, refused))) => {
            assert_eq!(rows + refused.len(), texts.len());
            let refused_by_text = texts.iter().enumerate().filter(|(_, text)| {
                // A lone record as a line would be cut at line feeds that stand between its tokens: as an array it is not.
                let body = [b"[".as_slice(), text, b"]"].concat();
                admit(slow_plan(), body.into(), Format::Json, RECEIVED, 0).map_or(true, |door| door.accepted == 0)
            });
            assert_eq!(refused_by_text.map(|(at, _)| at as u64).collect::<Vec<_>>(), refused);
        }
        (None, None) => {}
        (texts, read) => panic!("{:?} {:?}", texts.map(|texts| texts.len()), read),
    }
}

fn gathered(mut next: impl FnMut() -> Option<Option<(RecordBatch, Vec<u64>)>>) -> Option<(usize, Vec<u64>)> {
    let (mut rows, mut refused) = (0, Vec::new());
    while let Some((batch, found)) = next()? {
        rows += batch.num_rows();
        refused.extend(found);
    }
    Some((rows, refused))
}

/// Both ways through an Avro file agree.
pub fn avro_file(bytes: &[u8]) {
    let by_text = texts(|push| {
        avro::canonical(plan(), bytes, |text| {
            push(text);
            Ok(())
        })
        .is_ok()
    });
    let read = avro::Reader::open(Arc::clone(plan()), Bytes::copy_from_slice(bytes), RECEIVED, 9).ok().and_then(|mut reader| {
        gathered(|| Some(reader.batch().ok()?.map(|batch| (batch.rows, batch.refused.into_iter().map(|(at, _)| at).collect()))))
    });
    same(by_text, read);
}

/// A value of the schema that stands before the first line feed.
pub fn avro_value(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (schema, value) = bytes.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    if let Ok(schema) = avro::Schema::parse(schema) {
        let _ = avro::canonical_value(plan(), &schema, value);
    }
}

/// Whether work was done; that it stopped for a fault of ours is none of the ways it may end.
fn done(outcome: Result<(), Error>) -> bool {
    outcome.map_err(|error| assert_ne!(error.code, "process.panicked", "{}", error.message)).is_ok()
}

/// Both ways through a Parquet file agree.
pub fn parquet_file(bytes: &[u8]) {
    let file = || Bytes::copy_from_slice(bytes);
    let by_text = texts(|push| {
        done(parquet_input::canonical(plan(), file(), |text| {
            push(text);
            Ok(())
        }))
    });
    let read = parquet_input::Reader::open(Arc::clone(plan()), file(), RECEIVED, 9).ok().and_then(|mut reader| {
        gathered(|| Some(reader.batch().ok()?.map(|batch| (batch.rows, batch.refused.into_iter().map(|(at, _)| at).collect()))))
    });
    same(by_text, read);
}

/// Records that can be read from a row of the log are the same after they are written and read again.
pub fn log_rows(bytes: &[u8]) {
    let Some(records) = records_of(bytes) else { return };
    let mut encoder = Encoder::new(7, RECEIVED, "json");
    for record in &records {
        encoder.push(RecordRef { value: record.value, key: record.key, line: record.line });
    }
    assert_eq!(encoder.finish().len(), records.len());
}

/// A body in pieces, of some encoding, within its bounds.
pub fn compressed_body(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let encoding = ["identity", "gzip", "zstd"][usize::from(*first) % 3];
    let Ok(mut decoder) = BodyDecoder::new(encoding, 1 << 20, 100) else { return };
    for piece in rest.chunks(usize::from(*first).max(1)) {
        if decoder.feed(piece).is_err() {
            return;
        }
    }
    assert!(decoder.finish().map_or(0, |whole| whole.len()) <= 1 << 20);
}
