//! Seeds made from what the project's own tests and examples use: whole, valid inputs of every target.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use data_processor_core::log::{Encoder, RecordRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::avro_files::{Codec, Dice, SCHEMA, container, encode};

/// Names of the targets.
pub const TARGETS: [&str; 10] = [
    "json_roads",
    "ndjson_body",
    "json_body",
    "csv_body",
    "csv_roads",
    "avro_file",
    "avro_value",
    "parquet_file",
    "log_rows",
    "compressed_body",
];

const RECORDS: [&str; 3] = [
    r#"{"id":"01934b6e-7c0a-7def-8123-456789abcdef","name":"Ann","at":"2026-11-18T12:34:56.789Z","count":7,"size":0.25,"price":12.5,"ok":true,"day":"2026-11-18","payload":{"a":[1,{"b":"\n"}]},"tags":["x","yy"],"context":{"ip":"10.0.0.1"}}"#,
    r#"{ "id" : "01934B6E-7C0A-7DEF-8123-456789ABCDEF" , "name" : "\u0041\ud83d\ude00" , "at" : 1794900000000 , "count" : 1e2 , "price":0.01, "size":0, "new~/": [null] }"#,
    r#"{"id":"x","name":"","at":"yesterday","count":1001,"size":-1,"price":1.005,"ok":"yes","tags":[1,null],"context":{"ip":"300.1.1.1"},"id":1}"#,
];

const CSV: &str = concat!(
    "id,name,at,count,size,price,ok,day,payload,tags,context.ip,more\n",
    "01934b6e-7c0a-7def-8123-456789abcdef,Ann,2026-11-18T12:34:56.789Z,7,0.25,12.5,true,2026-11-18,\"{\"\"a\"\":[1]}\",\"[\"\"x\"\"]\",10.0.0.1,\n",
    "x,\"a \"\"quoted\"\"\nname\",1794900000000,1e2,,-0,FALSE,,null,,300.1.1.1,\u{e9}\n",
    "too,few\n",
);

/// Rows that mostly fit.
const CELLS: &str = concat!(
    "id,name,at,count,size,price,ok,day,context.ip\n",
    "01934b6e-7c0a-7def-8123-456789abcdef,Ann,2026-11-18T12:34:56.789Z,7,0.25,12.5,true,2026-11-18,10.0.0.1\n",
    "01934B6E-7C0A-7DEF-8123-456789ABCDEF,\"B, o\",1794900000000,-5,0.1234567890123456,-1.00,False,,\n",
    "01934b6e-7c0a-7def-8123-456789abcdef,\u{e9},2026-11-18T12:34:56,1001,0.3,1e2,,2026-02-29,300.1.1.1\n",
);

/// Seeds of a target; none for a name that is no target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let lines = || RECORDS.join("\n").into_bytes();
    match target {
        "json_roads" => RECORDS.map(|record| record.as_bytes().to_vec()).to_vec(),
        "ndjson_body" => vec![lines(), RECORDS.join("\r\n\n").into_bytes()],
        "json_body" => vec![format!("[{}]", RECORDS.join(" , ")).into_bytes(), RECORDS[1].into()],
        "csv_body" => vec![CSV.into(), CSV.replace('\n', "\r\n").into()],
        "csv_roads" => {
            let rows = CELLS.split_once('\n').unwrap().1;
            let texts = [("\x08", CELLS), ("\x0d", &CELLS.replace(',', ";")), ("\x02", CELLS), ("\x0f", rows), ("\x0c", CSV)];
            texts.map(|(dialect, text)| [dialect, text].concat().into_bytes()).to_vec()
        }
        "avro_file" => avro(),
        "avro_value" => vec![value()],
        "parquet_file" => vec![parquet(Compression::UNCOMPRESSED), parquet(Compression::SNAPPY), nullable_parquet()],
        "log_rows" => vec![log()],
        "compressed_body" => {
            vec![[b"\0".to_vec(), lines()].concat(), [b"\x05".to_vec(), zstd::encode_all(&lines()[..], 1).unwrap()].concat()]
        }
        _ => Vec::new(),
    }
}

fn avro() -> Vec<Vec<u8>> {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let mut dice = Dice::new(11);
    let codecs = [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard];
    codecs.map(|codec| container(SCHEMA, &(0..6).map(|_| encode(&schema, &mut dice)).collect::<Vec<_>>(), codec)).to_vec()
}

fn value() -> Vec<u8> {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    [SCHEMA.replace('\n', " ").as_bytes(), b"\n", &encode(&schema, &mut Dice::new(3))].concat()
}

fn parquet(compression: Compression) -> Vec<u8> {
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(StringArray::from(vec!["01934b6e-7c0a-7def-8123-456789abcdef"; 20]))),
        ("name", Arc::new(StringArray::from_iter((0..20).map(|n| (n % 7 > 0).then(|| format!("n{}", n % 3)))))),
        ("count", Arc::new(Int64Array::from_iter_values(0..20))),
        ("size", Arc::new(Float64Array::from_iter((0..20).map(|n| (n % 5 > 0).then_some(f64::from(n) / 50.0))))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_794_900_000_000_000; 20]).with_timezone("UTC"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    written(&batch, WriterProperties::builder().set_compression(compression))
}

/// Columns of other types, each with nulls, in pages of the second version.
fn nullable_parquet() -> Vec<u8> {
    let maybe = |n: i32| (n % 4 != 1).then_some(n);
    let ids = (0..20).map(|n| maybe(n).map(|n| [n as u8; 16]));
    let ips: ArrayRef = Arc::new(StringArray::from_iter((0..20).map(|n| maybe(n + 1).map(|n| format!("10.0.0.{}", n % 3)))));
    let context = StructArray::try_from(vec![("ip", ips)]).unwrap();
    let around = (0..20).map(|n| n % 9 > 0).collect::<Vec<_>>().into();
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16).unwrap())),
        ("name", Arc::new(StringArray::from_iter((0..20).map(|n| maybe(n).map(|n| format!("n\u{e9}{n}")))))),
        ("ok", Arc::new(BooleanArray::from_iter((0..20).map(|n| maybe(n).map(|n| n % 2 == 0))))),
        ("day", Arc::new(Date32Array::from_iter((0..20).map(|n| maybe(n).map(|n| 20_000 + n % 3))))),
        ("context", Arc::new(StructArray::new(context.fields().clone(), context.columns().to_vec(), Some(around)))),
    ];
    let columns = columns.map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let plain = |name: &str| ColumnPath::from(name);
    written(
        &batch,
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_column_dictionary_enabled(plain("name"), false)
            .set_column_encoding(plain("name"), Encoding::PLAIN)
            .set_column_dictionary_enabled(plain("id"), false)
            .set_column_encoding(plain("id"), Encoding::PLAIN),
    )
}

fn written(batch: &RecordBatch, layout: WriterPropertiesBuilder) -> Vec<u8> {
    let layout = layout.set_max_row_group_row_count(Some(12)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(layout)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// A row of the log, written by hand: its layout is the codec's.
fn log() -> Vec<u8> {
    let mut row = Vec::new();
    row.extend_from_slice(&1u32.to_le_bytes());
    row.extend_from_slice(&[1; 16]);
    row.extend_from_slice(b"\x04json\x01\x02{}");
    let mut encoder = Encoder::new(1, 2, "json");
    encoder.push(RecordRef { value: Some(b"{}"), key: None, line: None });
    debug_assert_eq!(encoder.finish().size(), row.len() + 4);
    [(row.len() as u32).to_le_bytes().to_vec(), row].concat()
}
