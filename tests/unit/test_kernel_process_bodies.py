"""Bodies at the door: split byte for byte, decompressed within bounds, judged as processing judges."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_kernel_process import PROCESS, RECEIVED_US, event, raw

PLAN = PROCESS.plan


def decoded(decoder: kernel.BodyDecoder, body: bytes) -> bytes:
    decoder.feed(body)
    return decoder.finish()


def admit(body: bytes, format: str = "json", **more: Any) -> kernel.Admission:
    return kernel.admit(PLAN, body, format=format, received_at_us=RECEIVED_US, **more)


leaves = st.none() | st.booleans() | st.text(max_size=5) | st.integers()
json_values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))


@pytest.mark.prop(2)
@given(st.lists(json_values, min_size=1, max_size=8))
def test_an_array_is_split_into_its_elements_byte_for_byte(values: list[object]) -> None:
    texts = [json.dumps(value, ensure_ascii=n % 2 == 0).encode() for n, value in enumerate(values)]
    assert admit(b"\n [" + b" ,\t".join(texts) + b"] ").records() == texts
    lines = [text for text in texts if b"\n" not in text]
    if lines:
        assert admit(b"\n".join(lines) + b"\n", "ndjson").records() == lines


@pytest.mark.prop(4)
@pytest.mark.parametrize(
    ("body", "format", "code", "at"),
    [
        (b"", "json", "body.empty", None),
        (b" \n", "json", "body.empty", None),
        (b"[ ]", "json", "body.empty", None),
        (b"\n \r\n", "ndjson", "body.empty", None),
        (b'[{"a":1}', "json", "body.invalid_json", 8),
        (b'[{"a":1},]', "json", "body.invalid_json", 9),
        (b'{"a":1} {"a":2}', "json", "body.invalid_json", 8),
        (b'{"a":', "json", "body.invalid_json", 5),
        (b'\xef\xbb\xbf{"a":1}', "json", "body.invalid_json", 0),
        (b'[{"a":"\xff"}]', "json", "body.invalid_encoding", 7),
        ("[1]".encode("utf-16"), "json", "body.invalid_encoding", 0),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes, format: str, code: str, at: int | None) -> None:
    with pytest.raises(kernel.BodyError) as refused:
        admit(body, format)
    assert (refused.value.code, refused.value.context.get("at")) == (code, at)


@pytest.mark.prop(12)
def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(kernel.FormatError, match="ndjson, json, csv, avro, parquet") as refused:
        admit(b"{}", "xml")
    assert refused.value.context == {"format": "xml", "known": "ndjson, json, csv, avro, parquet"}
    with pytest.raises(kernel.FormatError, match="gzip, identity, zstd"):
        kernel.BodyDecoder("br", max_bytes=10)


def test_the_door_says_what_processing_will_say() -> None:
    records = [event(), event(count=0, name="x"), b"[1]", event(any="1e400"), b'{"id":', event(ratio=7)]
    door = admit(b"\r\n".join(records), "ndjson", max_errors=3)
    assert (len(door), door.accepted, door.rejected, door.errors_total) == (6, 2, 4, 5)
    letters = PROCESS(raw(list(records))).dead.rows.to_pylist()
    expected = [
        {**v, "index": letter["_offset"], "value": v["value"] and json.loads(v["value"])}
        for letter in letters
        for v in letter["violations"]
    ]
    assert door.errors == expected[:3]
    assert admit(b"\r\n".join(records), "ndjson").errors == expected
    assert admit(b'\xef\xbb\xbf{"a":1}\n' + event(), "ndjson").errors[0]["code"] == "json.invalid"


def test_a_value_that_json_cannot_carry_stays_text() -> None:
    record = event().replace(b"}", b', "ratio": 1e400}')
    assert {error["value"] for error in admit(record).errors} == {"1e400"}


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_within_bounded_memory(encoding: str) -> None:
    # A zstd frame of 1,500 blocks of 128 KiB that repeat one byte (type 1), then a last one: size << 3 | type << 1 | last.
    block = ((131_072 << 3) | 2).to_bytes(3, "little") + b"\0"
    frame = bytes.fromhex("28b52ffd0058") + block * 1500 + ((1 << 3) | 3).to_bytes(3, "little") + b"\0"
    body = gzip.compress(bytes(200 << 20), 1) if encoding == "gzip" else frame
    decoder = kernel.BodyDecoder(encoding, max_bytes=64 << 20)
    with pytest.raises(kernel.BodyError) as refused:
        decoder.feed(body)
    assert refused.value.code == "body.ratio_exceeded"
    large = kernel.BodyDecoder(encoding, max_bytes=64 << 20, max_ratio=10**9)
    with pytest.raises(kernel.BodyError) as refused:
        decoded(large, body)
    assert (refused.value.code, refused.value.context) == ("body.too_large", {"max_bytes": 64 << 20})


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_gzip_members_decode_however_they_are_cut(text: bytes, step: int) -> None:
    body = gzip.compress(text) + gzip.compress(text[::-1])
    decoder = kernel.BodyDecoder("gzip", max_bytes=4000)
    for at in range(0, len(body), step):
        decoder.feed(body[at : at + step])
    assert decoder.finish() == text + text[::-1]
    cut = kernel.BodyDecoder("gzip", max_bytes=4000)
    with pytest.raises(kernel.BodyError, match="not whole gzip"):
        decoded(cut, body[:-1])


def test_the_golden_zstd_files_decode_and_the_broken_ones_do_not(shared: Path) -> None:
    golden = shared / "corpora/zstd-golden/tests"
    sizes = {"block-128k": 131_068, "empty-block": 0, "rle-first-block": 1 << 20, "zeroSeq_2B": 13}
    for name, size in sizes.items():
        decoder = kernel.BodyDecoder("zstd", max_bytes=1 << 20, max_ratio=10**6)
        assert len(decoded(decoder, (golden / f"golden-decompression/{name}.zst").read_bytes())) == size
    broken = sorted((golden / "golden-decompression-errors").glob("*.zst"))
    assert broken
    for bad in broken:
        with pytest.raises(kernel.BodyError, match="not whole zstd"):
            decoded(kernel.BodyDecoder("zstd", max_bytes=1 << 20, max_ratio=10**6), bad.read_bytes())


def test_the_founding_names_work_as_first_written() -> None:
    good = {"event_id": "01934b6e-7c0a-7def-8123-456789abcdef", "event_type": "click", "timestamp": "2026-11-20T11:59:00Z", "value": 2}
    body = json.dumps([good, {**good, "event_type": ""}, {**good, "event_id": 7}, 5]).encode()
    events = kernel.parse_events(body)
    assert (len(events), events.plan.name) == (4, "event")
    assert [(one.index, one.code) for one in events.violations] == [(2, "type.mismatch"), (3, "json.not_object")]
    found = kernel.validate_schema(events)
    assert [(one.index, one.path, one.code) for one in found] == [
        (1, "/event_type", "length.too_short"),
        (2, "/event_id", "type.mismatch"),
        (3, "", "json.not_object"),
    ]
    assert found[1].as_dict() | {"hint": ""} == {
        "index": 2, "path": "/event_id", "code": "type.mismatch", "message": "expected a UUID, found a number", "hint": "", "value": 7,
    }  # fmt: skip
    assert "length.too_short" in repr(found[0])
    (row,) = pa.record_batch(kernel.transform_batch(events)).to_pylist()
    assert (row["event_type"], str(row["event_date"]), row["event_hour"]) == ("click", "2026-11-20", 11)
    assert len(pa.record_batch(events)) == 2
    assert kernel.Event is kernel.Events
    assert len(kernel.parse_json(body)) == len(kernel.parse_json(b"\n".join(json.dumps(one).encode() for one in json.loads(body)))) == 4
    with pytest.raises(kernel.FormatError, match="ndjson, json, csv, avro, parquet"):
        kernel.parse_events(body, format="yaml")
