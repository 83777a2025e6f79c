//! Avro files made of chance, and rows as text.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::DataType;
use data_processor_core::batch::raw_schema;
use data_processor_core::contract::Plan;
use data_processor_core::process::violation::Violation;
use serde_json::Value;

const PLAN: &str = r#"{"contract":"all","version":"1","hash":"","key":[],"event_time":"/at","unknown":"UNKNOWN","earliest_us":-62135596800000000,
"ahead_us":86400000000,"max_depth":8,"max_members":80,"max_bytes":4096,"fields":[
{"name":"id","path":"/id","kind":"uuid","required":true},
{"name":"name","path":"/name","kind":"string","required":true,"min_length":1,"max_length":12},
{"name":"type","path":"/type","kind":"string","enum":["a","b","click"]},
{"name":"at","path":"/at","kind":"timestamp","unit":"ms","zone":"Europe/Berlin"},
{"name":"count","path":"/count","kind":"integer","minimum":"-5","maximum":"1000000"},
{"name":"size","path":"/size","kind":"number","minimum":"-1","maximum":"0.5"},
{"name":"price","path":"/price","kind":"decimal","precision":10,"scale":2,"minimum":"-100"},
{"name":"ok","path":"/ok","kind":"boolean"},
{"name":"day","path":"/day","kind":"date"},
{"name":"payload","path":"/payload","kind":"json"},
{"name":"tags","path":"/tags","kind":"array","max_items":4,"items":{"name":"element","path":"/tags/*","kind":"string","max_length":5}},
{"name":"lines","path":"/lines","kind":"array","items":{"name":"element","path":"/lines/*","kind":"object","fields":[
  {"name":"sku","path":"/lines/*/sku","kind":"string","required":true},
  {"name":"n","path":"/lines/*/n","kind":"integer"}]}},
{"name":"context","path":"/context","kind":"object","fields":[
  {"name":"ip","path":"/context/ip","kind":"string"},
  {"name":"when","path":"/context/when","kind":"timestamp"}]}]}"#;

/// A schema that meets the plan with every type, well or badly.
pub const SCHEMA: &str = r#"{"type":"record","name":"event","namespace":"shop","fields":[
{"name":"id","type":[{"type":"fixed","name":"uuid","size":16,"logicalType":"uuid"},"string"]},
{"name":"name","type":["string","null","bytes"]},
{"name":"type","type":["null",{"type":"enum","name":"kind","symbols":["a","b","click","other"]},"string"]},
{"name":"at","type":[{"type":"long","logicalType":"timestamp-millis"},{"type":"long","logicalType":"timestamp-micros"},
  {"type":"long","logicalType":"timestamp-nanos"},{"type":"long","logicalType":"local-timestamp-micros"},"long","string","null"]},
{"name":"count","type":["int","long","double","null",{"type":"bytes","logicalType":"decimal","precision":6,"scale":1}]},
{"name":"size","type":["double","float","long","int",{"type":"bytes","logicalType":"decimal","precision":6,"scale":3},"null"]},
{"name":"price","type":[{"type":"bytes","logicalType":"decimal","precision":12,"scale":2},{"type":"fixed","name":"f","size":5,"logicalType":"decimal","precision":9,"scale":4},"double","int","null"]},
{"name":"ok","type":["boolean","null","int"]},
{"name":"day","type":[{"type":"int","logicalType":"date"},"string","null"]},
{"name":"payload","type":["null","string",{"type":"map","values":["int","string","null"]},"double"]},
{"name":"tags","type":["null",{"type":"array","items":["string","null"]}]},
{"name":"extra","type":["null","double",{"type":"map","values":"bytes"}]},
{"name":"lines","type":{"type":"array","items":["null",{"type":"record","name":"line","fields":[
  {"name":"sku","type":"string"},{"name":"n","type":["null","int"]},{"name":"more","type":["null",{"type":"int","logicalType":"time-millis"}]}]}]}},
{"name":"context","type":["null",{"type":"record","name":"context","fields":[
  {"name":"when","type":["null","string",{"type":"long","logicalType":"local-timestamp-millis"},"long"]},
  {"name":"again","type":["null","line"]}]}]}]}"#;

/// The plan with a policy for unknown members.
pub fn plan(unknown: &str) -> Plan {
    Plan::compile(&PLAN.replace("UNKNOWN", unknown)).unwrap()
}

/// Numbers that look like chance; the same seed gives the same.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn run(bytes: &[u8], out: &mut Vec<u8>) {
    zigzag(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// A value of a schema, of chance: mostly good ones.
pub fn encode(schema: &Value, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    value(schema, dice, &mut out);
    out
}

const TEXTS: [&str; 12] = [
    "Ann",
    "a",
    "",
    "click",
    "01934b6e-7c0a-7def-8123-456789abcdef",
    "2026-11-18T12:34:56.789Z",
    "2026-11-18",
    "{\"a\": [1]}",
    "null",
    "é\u{1}\"\\",
    "x,y",
    "a text of more than fifteen bytes",
];
const DOUBLES: [f64; 9] = [0.0, -0.0, 0.5, -1.0, 0.1, 12.25, 1e300, f64::NAN, 1e-7];

fn value(schema: &Value, dice: &mut Dice, out: &mut Vec<u8>) {
    match schema {
        Value::Array(branches) => {
            let branch = dice.roll(branches.len() as u64) * dice.roll(2);
            zigzag(branch as i64, out);
            value(&branches[branch as usize], dice, out);
        }
        Value::Object(object) => match object["type"].as_str() {
            Some("record") => object["fields"].as_array().unwrap().iter().for_each(|field| value(&field["type"], dice, out)),
            Some("enum") => zigzag(dice.roll(object["symbols"].as_array().unwrap().len() as u64) as i64, out),
            Some("fixed") => (0..object["size"].as_u64().unwrap())
                .for_each(|place| out.push(if place == 0 { 0 } else { dice.roll(256) as u8 })),
            Some(kind @ ("array" | "map")) => items(object, kind == "map", dice, out),
            Some(name) => primitive(name, object.get("logicalType").and_then(Value::as_str), dice, out),
            None => value(&object["type"], dice, out),
        },
        Value::String(name) if name == "line" => {
            run(b"AB", out);
            out.extend_from_slice(&[0, 0]);
        }
        name => primitive(name.as_str().unwrap(), None, dice, out),
    }
}

fn items(object: &serde_json::Map<String, Value>, named: bool, dice: &mut Dice, out: &mut Vec<u8>) {
    let count = dice.roll(4);
    let mut block = Vec::new();
    for at in 0..count {
        if named {
            run(format!("k{}", at * dice.roll(2)).as_bytes(), &mut block);
        }
        value(&object[if named { "values" } else { "items" }], dice, &mut block);
    }
    if count > 0 && dice.roll(2) == 0 {
        zigzag(-(count as i64), out);
        zigzag(block.len() as i64, out);
    } else if count > 0 {
        zigzag(count as i64, out);
    }
    out.extend_from_slice(&block);
    out.push(0);
}

fn primitive(name: &str, logical: Option<&str>, dice: &mut Dice, out: &mut Vec<u8>) {
    let now = match logical {
        Some(name) if name.ends_with("millis") => 1_794_900_000_000,
        Some(name) if name.ends_with("nanos") => 1_794_900_000_000_000_000,
        Some("date") => 20_000,
        Some(_) => 1_794_900_000_000_000,
        None => 40,
    };
    match name {
        "null" => {}
        "boolean" => out.push(dice.roll(2) as u8),
        "int" => zigzag([0, 7, -3, 20_000, i64::from(i32::MAX), -700_000][dice.roll(6) as usize], out),
        "long" => zigzag([now, now + 123, 0, -1, i64::MIN, 1 << 53][(dice.roll(6) * dice.roll(2)) as usize], out),
        "float" => out.extend_from_slice(&(DOUBLES[dice.roll(9) as usize] as f32).to_le_bytes()),
        "double" => out.extend_from_slice(&DOUBLES[dice.roll(9) as usize].to_le_bytes()),
        "bytes" => {
            let bytes: Vec<u8> = match logical {
                Some(_) => (0..dice.roll(20)).map(|place| if place == 0 { 0 } else { dice.roll(256) as u8 }).collect(),
                None => (0..dice.roll(18)).map(|_| b"ab\xff\"\xc3\xa9"[dice.roll(6) as usize]).collect(),
            };
            run(&bytes, out);
        }
        _ => run(TEXTS[(dice.roll(12) * dice.roll(2)) as usize].as_bytes(), out),
    }
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug)]
pub enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// A file of records, at most five in a block.
pub fn container(schema: &str, records: &[Vec<u8>], codec: Codec) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    zigzag(2, &mut out);
    run(b"avro.schema", &mut out);
    run(schema.as_bytes(), &mut out);
    run(b"avro.codec", &mut out);
    run([b"null".as_slice(), b"deflate", b"snappy", b"zstandard"][codec as usize], &mut out);
    out.push(0);
    out.extend_from_slice(b"mark of 16 bytes");
    for records in records.chunks(5) {
        zigzag(records.len() as i64, &mut out);
        run(&packed(&records.concat(), codec), &mut out);
        out.extend_from_slice(b"mark of 16 bytes");
    }
    out
}

fn packed(block: &[u8], codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Null => block.to_vec(),
        Codec::Deflate => {
            let mut packed = Vec::new();
            let mut encoder = flate2::read::DeflateEncoder::new(block, flate2::Compression::fast());
            std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
            packed
        }
        Codec::Snappy => {
            let mut packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
            let mut crc = flate2::Crc::new();
            crc.update(block);
            packed.extend_from_slice(&crc.sum().to_be_bytes());
            packed
        }
        Codec::Zstandard => zstd::encode_all(block, 1).unwrap(),
    }
}

/// A cell's value, whatever its column's encoding.
pub fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::Dictionary(..) => {
            let column = column.as_dictionary::<Int32Type>();
            cell(column.values(), column.keys().value(row) as usize)
        }
        DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => format!("{:?}", column.as_fixed_size_binary().value(row)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Struct(_) => {
            format!("{{{}}}", column.as_struct().columns().iter().map(|one| cell(one, row)).collect::<Vec<_>>().join(","))
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            format!("[{}]", (0..items.len()).map(|at| cell(&items, at)).collect::<Vec<_>>().join(","))
        }
        other => panic!("{other}"),
    }
}

/// Rows as text and violations by record, of records that are JSON.
pub fn judged_by_text(plan: &Plan, records: &[Vec<u8>], received_us: i64) -> (Vec<String>, Vec<(u64, Vec<Violation>)>) {
    let count = records.len();
    let code = || -> ArrayRef { Arc::new(vec!["log"; count].into_iter().collect::<DictionaryArray<Int32Type>>()) };
    let schema = raw_schema();
    let null = |name: &str| new_null_array(schema.field_with_name(name).unwrap().data_type(), count);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(records)),
        null("key"),
        code(),
        code(),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
        Arc::new(TimestampMicrosecondArray::from(vec![received_us; count]).with_timezone("UTC")),
        Arc::new(Int64Array::from(vec![1; count])),
        null("source"),
    ];
    let raw = RecordBatch::try_new(schema, columns).unwrap();
    let (good, dead) = data_processor_core::process::process(plan, &raw).unwrap();
    let until = good.schema().index_of("event_hour").unwrap();
    let rows = (0..good.num_rows())
        .map(|row| good.columns()[..=until].iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect();
    (rows, (0..dead.num_rows()).map(|row| violations(&dead, row)).collect())
}

fn violations(dead: &RecordBatch, row: usize) -> (u64, Vec<Violation>) {
    let offset = dead.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().value(row);
    let items = dead.column_by_name("violations").unwrap().as_list::<i32>().value(row);
    let items = items.as_struct();
    let text = |name: &str, at: usize| items.column_by_name(name).unwrap().as_string::<i32>().value(at).to_string();
    let violation = |at: usize| Violation {
        code: String::leak(text("code", at)),
        path: text("path", at),
        message: text("message", at),
        hint: text("hint", at),
        value: items.column_by_name("value").filter(|column| column.is_valid(at)).map(|_| text("value", at)),
    };
    (offset as u64, (0..items.len()).map(violation).collect())
}
