//! Laws of judging: the two roads agree, nothing panics, JSON values keep their bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, BinaryArray, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use data_processor_core::batch::raw_schema;
use data_processor_core::contract::Plan;
use data_processor_core::process::admit::{Format, admit};
use data_processor_core::process::events::{generic, parse, transform, validate};
use data_processor_core::process::process;
use proptest::prelude::*;

const RECEIVED: i64 = 1_795_000_000_000_000;

/// Every kind, nested, with rules; `unknown` is filled in.
const PLAN: &str = r#"{"contract":"all","version":"1","hash":"","key":[],"event_time":"/at","unknown":"UNKNOWN","earliest_us":946684800000000,
"ahead_us":86400000000,"max_depth":8,"max_members":60,"max_bytes":4096,"fields":[
{"name":"id","path":"/id","kind":"uuid","required":true},
{"name":"name","path":"/name","kind":"string","required":true,"min_length":1,"max_length":12},
{"name":"type","path":"/type","kind":"string","enum":["a","b","click"]},
{"name":"at","path":"/at","kind":"timestamp","required":true,"unit":"ms","zone":"Europe/Berlin"},
{"name":"count","path":"/count","kind":"integer","minimum":"-5","maximum":"1000"},
{"name":"size","path":"/size","kind":"number","minimum":"0","maximum":"0.3","exclusive_maximum":true},
{"name":"price","path":"/price","kind":"decimal","precision":10,"scale":2,"minimum":"0.01"},
{"name":"ok","path":"/ok","kind":"boolean"},
{"name":"day","path":"/day","kind":"date"},
{"name":"payload","path":"/payload","kind":"json"},
{"name":"tags","path":"/tags","kind":"array","max_items":4,"items":{"name":"element","path":"/tags/*","kind":"string","required":true,"max_length":5}},
{"name":"lines","path":"/lines","kind":"array","items":{"name":"element","path":"/lines/*","kind":"object","fields":[
  {"name":"sku","path":"/lines/*/sku","kind":"string","required":true,"pattern":"^[A-Z]+$"},
  {"name":"n","path":"/lines/*/n","kind":"integer"}]}},
{"name":"context","path":"/context","kind":"object","fields":[
  {"name":"ip","path":"/context/ip","kind":"string","format":"ipv4"},
  {"name":"deep","path":"/context/deep","kind":"object","required":true,"fields":[
    {"name":"email","path":"/context/deep/email","kind":"string","format":"email"}]}]}]}"#;

const RECORDS: [&str; 6] = [
    r#"{"id":"01934b6e-7c0a-7def-8123-456789abcdef","name":"Ann","type":"click","at":"2026-11-18T12:34:56.789Z","count":7,"size":0.25,"price":12.5,"ok":true,"day":"2026-11-18","payload":{"a":[1,{"b":"\n"}]},"tags":["x","yy"],"lines":[{"sku":"AB","n":1},{"sku":"C"}],"context":{"ip":"10.0.0.1","deep":{"email":"a@b.de"}}}"#,
    r#"{"id":"01934b6e-7c0a-7def-8123-456789abcdef","name":"Ann","at":1794900000000,"new":{"x":1},"context":{"deep":{"more":[1]},"other":"é"}}"#,
    r#"{ "id" : "01934B6E-7C0A-7DEF-8123-456789ABCDEF" , "name" : "\u0041\ud83d\ude00" , "at" : "2026-11-18T12:34:56" , "count" : 1e2 , "price":0.01, "size":0 }"#,
    r#"{"at":"2026-11-18 12:34:56+01:00","name":"Bo","id":"01934b6e-7c0a-7def-8123-456789abcdef","type":null,"tags":[],"lines":[],"payload":null,"ok":false,"price":1.10,"count":-5}"#,
    r#"{"id":"01934b6e-7c0a-7def-8123-456789abcdef","name":"Ann","at":"2026-11-18T12:34:56.789Z","size":0.29999999999999999,"lines":[{"sku":"AB","n":1,"x":2}],"z/~":1}"#,
    r#"{"id":"x","name":"","type":"zzz","at":"yesterday","count":1001,"size":-1,"price":1.005,"ok":"yes","day":"2026-02-30","tags":["toolong",null,1,2,3],"lines":[{"n":"x"},7],"context":{"ip":"300.1.1.1"},"id":1}"#,
];

fn plan(unknown: &str, fast: bool) -> Plan {
    let mut plan = Plan::compile(&PLAN.replace("UNKNOWN", unknown)).unwrap();
    assert!(plan.fast);
    plan.fast = fast;
    plan
}

fn raw(records: &[Option<&[u8]>]) -> RecordBatch {
    let count = records.len();
    let code = || -> Arc<dyn Array> { Arc::new(vec!["log"; count].into_iter().collect::<DictionaryArray<Int32Type>>()) };
    let schema = raw_schema();
    let null = |name: &str| new_null_array(schema.field_with_name(name).unwrap().data_type(), count);
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(BinaryArray::from(records.to_vec())),
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

fn judge(plan: &Plan, records: &[Option<&[u8]>]) -> (RecordBatch, RecordBatch) {
    let (good, dead) = process(plan, &raw(records)).unwrap();
    assert_eq!(good.num_rows() + dead.num_rows(), records.len(), "good + dead == raw");
    (good, dead)
}

/// One byte replaced, removed or inserted, once or a few times.
fn edited(record: &[u8], edits: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut edited = record.to_vec();
    for (place, what, byte) in edits {
        let at = place % (edited.len() + 1);
        match what % 3 {
            0 if at < edited.len() => edited[at] = *byte,
            1 if at < edited.len() => drop(edited.remove(at)),
            _ => edited.insert(at, *byte),
        }
    }
    edited
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    // Bytes that mean something in JSON come more often than others.
    let byte = prop_oneof![4 => prop::sample::select(b"\"\\{}[],:0123456789-.eE ntfu\n\t\0".to_vec()), 1 => any::<u8>()];
    prop::collection::vec((any::<usize>(), any::<u8>(), byte), 0..4)
}

#[test]
fn the_fast_road_takes_plain_records_and_the_slow_one_all() {
    let plan = plan("keep", true);
    let records: Vec<_> = RECORDS.iter().map(|record| Some(record.as_bytes())).collect();
    let (good, dead) = judge(&plan, &records);
    assert_eq!((good.num_rows(), dead.num_rows()), (5, 1));
    let extra = good.column_by_name("_extra").unwrap().as_string::<i32>().iter().collect::<Vec<_>>();
    assert_eq!(extra[0], None);
    assert_eq!(extra[1], Some(r#"{"/new":{"x":1},"/context/deep/more":[1],"/context/other":"é"}"#));
    assert_eq!(extra[4], Some(r#"{"/lines/0/x":2,"/z~1~0":1}"#));
}

/// A field that stands first in the contract is expected behind a bracket: a bracket is no comma all the same.
#[test]
fn a_bracket_never_separates_members() {
    let whole = RECORDS[0];
    let outer = whole.replacen('{', "{\"new\":true{", 1);
    let inner = whole.replacen("{\"ip\"", "{\"new\":1{\"ip\"", 1);
    let twice = whole.replacen('{', "{{", 1);
    for record in [&outer, &inner, &twice] {
        assert_ne!(record, whole);
        for fast in [true, false] {
            let (good, dead) = judge(&plan("keep", fast), &[Some(record.as_bytes())]);
            assert_eq!((good.num_rows(), dead.num_rows()), (0, 1), "{record}");
        }
        let body = [record.as_bytes(), &[b'\n'; 80]].concat();
        let door = admit(&plan("keep", true), body.into(), Format::Ndjson, RECEIVED, usize::MAX).unwrap();
        assert_eq!((door.len(), door.accepted), (1, 0), "{record}");
    }
}

/// Lines are read where they lie as long as some bytes follow them: what follows changes nothing.
#[test]
fn a_line_has_its_verdict_whatever_surrounds_it() {
    let plan = plan("keep", true);
    let mut lines: Vec<Vec<u8>> = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    lines.iter_mut().for_each(|line| line.retain(|byte| *byte != b'\n'));
    let mut carriage = lines[0].clone();
    carriage.extend(b" \r\r");
    let open: [&[u8]; 9] =
        [b"", b" \t\r", b"{\"new\":[1 ,", b"{\"new\": {\"x\" ", b"{\"id\":\"", b"{\"z", b"{\"new\":\"\\", b"12", b"\xff{}"];
    lines.extend(open.map(<[u8]>::to_vec));
    lines.push(carriage);
    for first in 0..lines.len() {
        lines.rotate_left(1);
        for end in [&b""[..], b"\n", b"\n \r\n\n"] {
            let body = [lines.join(&b'\n').as_slice(), end].concat();
            let door = admit(&plan, body.into(), Format::Ndjson, RECEIVED, usize::MAX).unwrap();
            let (mut records, mut accepted, mut errors) = (0, 0, door.errors.iter());
            for (number, line) in lines.iter().enumerate() {
                let Ok(alone) = admit(&plan, line.clone().into(), Format::Ndjson, RECEIVED, usize::MAX) else { continue };
                assert_eq!((door.record(records), door.line(records)), (alone.record(0), Some(number as u64 + 1)), "{first}");
                for error in &alone.errors {
                    assert_eq!(errors.next().map(|one| (one.index, &one.violation)), Some((records, &error.violation)));
                }
                (records, accepted) = (records + 1, accepted + alone.accepted);
            }
            assert_eq!((door.len(), door.accepted, errors.next()), (records, accepted, None), "{first}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the fast road accepts, the slow road accepts with the same values; what it does not, the slow road decides.
    #[test]
    fn both_roads_give_the_same_rows_and_letters(
        records in prop::collection::vec((0..RECORDS.len(), edits()), 1..8),
        unknown in prop::sample::select(vec!["keep", "drop", "refuse"]),
    ) {
        let edited: Vec<_> = records.iter().map(|(which, edits)| edited(RECORDS[*which].as_bytes(), edits)).collect();
        let records: Vec<_> = edited.iter().map(|record| Some(record.as_slice())).collect();
        let both = judge(&plan(unknown, true), &records);
        let slow = judge(&plan(unknown, false), &records);
        prop_assert_eq!(both, slow);
    }

    #[test]
    fn no_bytes_make_it_panic(records in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..80)), 0..20)) {
        let records: Vec<_> = records.iter().map(|record| record.as_deref()).collect();
        judge(&plan("keep", true), &records);
    }

    /// The door gives each record the verdict that processing gives, and keeps its bytes.
    #[test]
    fn the_door_agrees_with_processing(records in prop::collection::vec((0..RECORDS.len(), edits()), 1..8)) {
        let plan = plan("keep", true);
        let mut lines: Vec<_> = records.iter().map(|(which, edits)| edited(RECORDS[*which].as_bytes(), edits)).collect();
        lines.iter_mut().for_each(|line| line.retain(|byte| !matches!(byte, b'\n' | b'\r')));
        lines.retain(|line| !line.iter().all(|byte| matches!(byte, b' ' | b'\t')));
        prop_assume!(!lines.is_empty());
        let door = admit(&plan, lines.join(&b'\n').into(), Format::Ndjson, RECEIVED, usize::MAX).unwrap();
        let kept: Vec<_> = (0..door.len()).map(|at| door.record(at)).collect();
        prop_assert_eq!(&kept, &lines);
        let (good, dead) = judge(&plan, &kept.into_iter().map(Some).collect::<Vec<_>>());
        prop_assert_eq!(door.accepted, good.num_rows());
        let violations = dead.column_by_name("violations").unwrap().as_list::<i32>().values().len();
        prop_assert_eq!(door.errors_total, violations);
    }

    /// Parsing, validating and transforming one after the other say what processing says at once.
    #[test]
    fn the_steps_agree_with_processing(records in prop::collection::vec((0..RECORDS.len(), edits()), 1..8)) {
        let plan = Arc::new(plan("keep", true));
        let mut lines: Vec<_> = records.iter().map(|(which, edits)| edited(RECORDS[*which].as_bytes(), edits)).collect();
        lines.iter_mut().for_each(|line| line.retain(|byte| !matches!(byte, b'\n' | b'\r')));
        lines.retain(|line| !line.iter().all(|byte| matches!(byte, b' ' | b'\t')));
        prop_assume!(!lines.is_empty());
        let events = parse(Arc::clone(&plan), lines.join(&b'\n').into(), Some(Format::Ndjson), RECEIVED).unwrap();
        let door = admit(&plan, lines.join(&b'\n').into(), Format::Ndjson, RECEIVED, usize::MAX).unwrap();
        prop_assert_eq!(validate(&events, &plan).unwrap(), door.errors);
        let (good, _) = judge(&plan, &lines.iter().map(|line| Some(line.as_slice())).collect::<Vec<_>>());
        let transformed = transform(&events, &plan).unwrap();
        prop_assert_eq!(transformed.num_rows(), good.num_rows());
        for name in ["id", "at", "count", "size", "price", "_extra", "event_date", "event_hour"] {
            prop_assert_eq!(transformed.column_by_name(name), good.column_by_name(name), "{}", name);
        }
    }

    /// An array body is cut into its elements, byte for byte, whatever they are.
    #[test]
    fn an_array_is_its_elements(values in prop::collection::vec(json(), 1..10), space in "[ \t\r\n]{0,3}", cut in any::<usize>()) {
        let body = format!("{space}[{space}{}{space}]{space}", values.join(&format!("{space},{space}")));
        let door = admit(&generic(), body.clone().into_bytes().into(), Format::Json, RECEIVED, 0).unwrap();
        let kept: Vec<_> = (0..door.len()).map(|at| std::str::from_utf8(door.record(at)).unwrap()).collect();
        prop_assert_eq!(kept, values);
        let cut = space.len() + 1 + cut % (body.trim_end().len() - space.len() - 1);
        if body.is_char_boundary(cut) {
            let refused = admit(&generic(), body.as_bytes()[..cut].to_vec().into(), Format::Json, RECEIVED, 0);
            prop_assert_eq!(refused.map_err(|error| error.code).err(), Some("body.invalid_json"));
        }
    }

    /// A value of kind `json` keeps its own bytes on both roads.
    #[test]
    fn a_json_value_keeps_its_bytes(value in json(), fast in any::<bool>()) {
        let mut plan = Plan::generic();
        plan.fast = fast;
        let record = format!(r#"{{"event_id":"01934b6e-7c0a-7def-8123-456789abcdef","event_type":"x","timestamp":"2026-11-18T00:00:00Z","properties": {value} }}"#);
        let (good, _) = judge(&plan, &[Some(record.as_bytes())]);
        let expected = if value == "null" { None } else { Some(value.as_str()) };
        let kept = good.column_by_name("properties").unwrap().as_string::<i32>().iter().next().flatten();
        prop_assert_eq!(kept, expected);
    }
}

/// Text of a JSON value, with white space and every spelling of strings and numbers.
fn json() -> impl Strategy<Value = String> {
    let string = prop::collection::vec(
        prop::sample::select(vec!["a", "é", "😀", "\\n", "\\u0000", "\\ud83d\\ude00", "\\\"", "\\\\", "/", " ", "{", "]"]),
        0..6,
    );
    let string = string.prop_map(|parts| format!("\"{}\"", parts.concat())).boxed();
    let number =
        prop::sample::select(vec!["0", "-0", "1.50", "1e400", "-1E-7", "123456789012345678901234567890"]).prop_map(String::from);
    let word = prop::sample::select(vec!["null", "true", "false", "{}", "[ ]"]).prop_map(String::from);
    let leaf = prop_oneof![string.clone(), number, word];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec((string.clone(), inner), 1..5).prop_map(|members| format!(
                "{{{}}}",
                members.iter().map(|(name, value)| format!("{name} :{value}")).collect::<Vec<_>>().join(",")
            )),
        ]
    })
}

#[test]
fn columns_become_plain_when_nearly_all_texts_are_distinct() {
    let record = |n: usize| {
        format!(
            r#"{{"event_id":"01934b6e-7c0a-7def-8123-456789abcdef","event_type":"x","user_id":"u{n}","timestamp":"2026-11-18T00:00:00Z"}}"#
        )
    };
    let records: Vec<_> = (0..20_000).map(record).collect();
    let (good, _) = judge(&Plan::generic(), &records.iter().map(|record| Some(record.as_bytes())).collect::<Vec<_>>());
    let users: &StringArray = good.column_by_name("user_id").unwrap().as_string();
    assert!((0..20_000).all(|n| users.value(n) == format!("u{n}")));
    let types = good.column_by_name("event_type").unwrap().as_dictionary::<Int32Type>();
    assert_eq!(types.values().len(), 1);
}

#[test]
fn a_record_ends_where_its_bytes_end() {
    // Cut records that the next one would complete, white space at both ends, an empty one between.
    let whole = r#" {"event_id":"01934b6e-7c0a-7def-8123-456789abcdef","event_type":"x","timestamp":"2026-11-18T00:00:00Z"} "#;
    for cut in 2..whole.len() - 2 {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let (good, dead) = judge(&Plan::generic(), &[Some(head), Some(tail), Some(b""), Some(whole.as_bytes())]);
        assert_eq!((good.num_rows(), dead.num_rows()), (1, 3), "cut at {cut}");
    }
}

/// A record of the plan with more members.
fn with(name: &str, members: &str) -> String {
    format!(r#"{{"id":"01934b6e-7c0a-7def-8123-456789abcdef","name":"{name}","at":1794900000000{members}}}"#)
}

#[test]
fn repeated_names_and_integers_past_64_bit_are_refused() {
    for members in [
        r#","count":7,"count":7"#,
        r#","new":1,"new":1"#,
        r#","context":{"deep":{"email":"a@b.de","email":"a@b.de"}}"#,
        r#","count":9223372036854775808"#,
        r#","count":18446744073709551617"#, // 2^64 + 1: a sum that wraps is 1
        r#","count":-18446744073709551617"#,
    ] {
        let (good, dead) = judge(&plan("keep", true), &[Some(with("a", members).as_bytes())]);
        assert_eq!((good.num_rows(), dead.num_rows()), (0, 1), "{members}");
    }
}

#[test]
fn texts_that_differ_only_in_zeros_at_their_end_stay_apart() {
    let records = [with("a", ""), with(r"a\u0000", ""), with(r"a\u0000\u0000", ""), with("a", "")];
    let (good, _) = judge(&plan("keep", true), &records.each_ref().map(|record| Some(record.as_bytes())));
    let names = good.column_by_name("name").unwrap().as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
    assert_eq!(names.into_iter().flatten().collect::<Vec<_>>(), ["a", "a\0", "a\0\0", "a"]);
}
