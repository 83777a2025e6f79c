"""Avro and Parquet: the kernel and the readable reference make the same records of a file, and judge them alike."""

from __future__ import annotations

import io
import json
import time
import zlib
from decimal import Decimal
from typing import Any

import data_processor_rs as kernel
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.contract import Contract
from frazil.process import reference_avro, reference_parquet
from frazil.process.python import PythonProcessor
from tests.conformance.processor_cases import contract_of, one
from tests.strategies import RECEIVED_US, raw_batch

FIELDS = [
    one("uuid", "id", required=True),
    one("string", "name", max_length=8),
    one("integer", "count", minimum="0"),
    one("number", "size", minimum="0", maximum="10"),
    one("decimal", "price", precision=9, scale=2),
    one("boolean", "ok"),
    one("timestamp", "at", zone="Europe/Berlin"),
    one("date", "day"),
    one("json", "payload"),
]


def _contract(unknown: str) -> Contract:
    return contract_of(*FIELDS, unknown=unknown)


INNER = {"type": "record", "name": "inner", "fields": [{"name": "next", "type": ["null", "inner"]}]}
TYPES: dict[str, list[Any]] = {
    "id": ["string", {"type": "fixed", "name": "raw_id", "size": 16}],
    "name": ["null", "string", "bytes", {"type": "enum", "name": "named", "symbols": ["Ann", "Bo"]}],
    "count": ["null", "int", "long", "double"],
    "size": ["null", "double", "float", "long"],
    "price": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}, "double"],
    "ok": ["null", "boolean", "string"],
    "at": ["null", {"type": "long", "logicalType": "timestamp-micros"}, "string"],
    "day": ["null", {"type": "int", "logicalType": "date"}, "string"],
    "payload": ["null", "string", {"type": "array", "items": ["null", "long", "string"]}, {"type": "map", "values": "double"}],
    "more": ["null", "bytes", INNER],
}
AVRO = {"type": "record", "name": "event", "namespace": "shop", "fields": [{"name": name, "type": of} for name, of in TYPES.items()]}

POLICIES = st.sampled_from(["keep", "drop", "refuse"])
IDS = st.sampled_from(["01934b6e-7c0a-7def-8123-456789abcdef", "01934B6E-7C0A-7DEF-8123-456789ABCDEF", "x", ""])
TEXTS = st.sampled_from(["Ann", "", "null", '{"a": [1, "é"]}', "longer than eight", 'quote " \\ \n \x01 \x7f', "\U0001f600", "a\0b"])
DOUBLES = st.sampled_from([0.0, -0.0, 1.0, 0.1, 9.99, 10.0, 12.5, 1e300, 1e-9, 3e16]) | st.floats()
FLOATS = DOUBLES.filter(lambda n: n != n or abs(n) < 1e38)
LONGS = st.sampled_from([0, 1, -1, 7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
MICROS = st.sampled_from([1_790_000_000_000_000, 0, -1, 1_794_400_000_123_456, -62135596800000001, 253402300800000000, 2**63 - 1])
DAYS = st.sampled_from([20_000, 0, -1, -719162, -719163, 2932896, 2932897, 2**31 - 1])


def _decimals(scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**9), 10**9).map(lambda unscaled: Decimal(unscaled).scaleb(-scale))


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


EVENTS = st.fixed_dictionaries(
    {
        "id": IDS | st.binary(min_size=16, max_size=16).map(lambda raw: ("shop.raw_id", raw)),
        "name": _maybe(TEXTS | st.binary(max_size=9) | st.just(("shop.named", "Bo"))),
        "count": _maybe(LONGS.map(lambda n: ("long", n)) | st.integers(0, 9) | DOUBLES),
        "size": _maybe(DOUBLES | FLOATS.map(lambda n: ("float", n)) | LONGS.map(lambda n: ("long", n))),
        "price": _maybe(_decimals(3) | DOUBLES),
        "ok": _maybe(st.booleans() | TEXTS),
        "at": _maybe(MICROS.map(lambda n: ("long", n)) | st.sampled_from([("string", "2026-11-18T12:34:56.5"), ("string", "yesterday")])),
        "day": _maybe(DAYS.map(lambda n: ("int", n)) | st.sampled_from([("string", "2026-11-18"), ("string", "2026-02-30")])),
        "payload": _maybe(TEXTS | st.lists(_maybe(st.integers(0, 3) | TEXTS), max_size=3) | st.dictionaries(TEXTS, DOUBLES, max_size=2)),
        "more": _maybe(st.binary(max_size=5) | st.just({"next": {"next": None}})),
    }
)


def _avro(records: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(AVRO), records, sync_interval=200)
    return out.getvalue()


def _length(count: int) -> bytes:
    return bytes([*((count << 1 >> at & 0x7F) | 0x80 for at in range(0, 28, 7)), count << 1 >> 28])


CODECS = {
    "null": bytes,
    "deflate": lambda block: zlib.compress(block, wbits=-15),
    "zstandard": lambda block: pa.compress(block, "zstd", asbytes=True),
    "snappy": lambda block: pa.compress(block, "snappy", asbytes=True) + zlib.crc32(block).to_bytes(4, "big"),
}


def _packed(file: bytes, codec: str) -> bytes:
    """The same file with its blocks behind another codec, of which fastavro needs packages of its own to write some."""
    mark, out = file[-16:], io.BytesIO()
    header, *blocks = file.split(mark)[:-1]
    out.write(header.replace(b"\x08null", _length(len(codec)) + codec.encode()) + mark)
    for block in blocks:
        given = io.BytesIO(block)
        count = fastavro.schemaless_reader(given, "long")
        fastavro.schemaless_reader(given, "long")
        packed = CODECS[codec](given.read())
        out.write(_length(count) + _length(len(packed)) + packed + mark)
    return out.getvalue()


def _outcome(batches: list[kernel.FileBatch]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    rows = [row for batch in batches for row in pa.record_batch(batch.rows).to_pylist()]
    found = [v for batch in batches for v in batch.violations]
    return rows, [(v.index, v.path, v.code, v.message, v.hint) for v in found]


def _reference(contract: Contract, records: list[bytes]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    out = PythonProcessor(contract)(raw_batch(list(records)))
    rows = [
        {name: value for name, value in row.items() if not name.startswith("_") or name == "_extra"} for row in out.good.rows.to_pylist()
    ]
    dead = out.dead.rows.to_pylist()
    found = [(row["_offset"], *(v[name] for name in ("path", "code", "message", "hint"))) for row in dead for v in row["violations"]]
    return rows, found


def _agree(contract: Contract, file: bytes, format: str) -> None:
    plan = kernel.Plan(contract.plan)
    expected = {"avro": reference_avro, "parquet": reference_parquet}[format].records(contract, file)
    assert kernel.canonical(plan, file, format=format) == expected
    batches = list(kernel.FileReader(plan, file, format=format, received_at_us=RECEIVED_US, batch_size=5))
    assert repr(_outcome(batches)) == repr(_reference(contract, expected))
    if expected and not any(b"\n" in record for record in expected):
        of_file = kernel.parse_events(file, plan, format=format)
        of_lines = kernel.parse_events(b"\n".join(expected), plan, format="ndjson")
        assert repr(_steps(of_file)) == repr(_steps(of_lines))


def _steps(events: kernel.Events) -> tuple[Any, ...]:
    """What parsing, validating and transforming say, each for itself."""
    told = [
        [(v.index, v.path, v.code, v.message, v.hint, v.value) for v in found]
        for found in (events.violations, kernel.validate_schema(events))
    ]
    rows = [pa.record_batch(made).to_pylist() for made in (events, kernel.transform_batch(events))]
    other = kernel.validate_schema(events, kernel.Plan(_contract("refuse").plan))
    return len(events), [events.line(at) for at in range(len(events))], told, rows, [(v.index, v.code) for v in other]


@pytest.mark.prop(9)
@pytest.mark.prop(10)
@pytest.mark.prop(11)
@given(
    st.lists(EVENTS, max_size=12), st.sampled_from(["null", "deflate", "zstandard", "snappy"]), st.sampled_from(["keep", "drop", "refuse"])
)
def test_an_avro_file_has_the_rows_and_violations_of_the_reference(records: list[dict[str, Any]], codec: str, unknown: str) -> None:
    _agree(_contract(unknown), _packed(_avro(records), codec), "avro")


@st.composite
def _tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 12))

    def column(values: st.SearchStrategy[Any], *types: pa.DataType) -> pa.Array:
        kind = draw(st.sampled_from(types))
        return pa.array(draw(st.lists(_maybe(values), min_size=rows, max_size=rows)), kind)

    times = [pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC")]
    choices = {
        "id": lambda: column(IDS, pa.string()) if draw(st.booleans()) else column(st.binary(min_size=16, max_size=16), pa.binary(16)),
        "name": lambda: column(TEXTS, pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.large_string()),
        "count": lambda: column(st.integers(0, 100), pa.int64(), pa.int8(), pa.uint16(), pa.float64()),
        "size": lambda: column(FLOATS, pa.float64(), pa.float32()),
        "price": lambda: column(_decimals(3), pa.decimal128(12, 3), pa.decimal256(40, 5)),
        "ok": lambda: column(st.booleans(), pa.bool_()),
        "at": lambda: column(st.integers(1_700_000_000, 1_794_400_000_123), *times),
        "day": lambda: column(st.sampled_from([20_000, 0, -719162]), pa.date32()),
        "payload": lambda: column(TEXTS, pa.string()),
        "more": lambda: column(st.lists(_maybe(st.integers(0, 3)), max_size=3), pa.list_(pa.int16())),
        "inner": lambda: column(st.fixed_dictionaries({"t": st.integers(0, 86_399_999)}), pa.struct([("t", pa.time32("ms"))])),
        "map": lambda: column(st.lists(st.tuples(TEXTS, _maybe(DOUBLES)), max_size=2), pa.map_(pa.string(), pa.float64())),
    }
    names = draw(st.lists(st.sampled_from(list(choices)), unique=True, min_size=1))
    return pa.table({name: choices[name]() for name in names})


@pytest.mark.prop(9)
@pytest.mark.prop(10)
@pytest.mark.prop(11)
@given(
    _tables(),
    st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"]),
    st.sampled_from(["1.0", "2.0"]),
    st.sampled_from(["keep", "drop", "refuse"]),
)
def test_a_parquet_file_has_the_rows_and_violations_of_the_reference(table: pa.Table, compression: str, page: str, unknown: str) -> None:
    out = io.BytesIO()
    pq.write_table(table, out, compression=compression, data_page_version=page, row_group_size=7, store_schema=False)
    _agree(_contract(unknown), out.getvalue(), "parquet")


GOOD_ID = "01934b6e-7c0a-7def-8123-456789abcdef"
INSTANTS = st.sampled_from([1_790_000_000_000_000, 1_794_400_000_123_456])
FITTING: dict[str, tuple[st.SearchStrategy[Any], list[pa.DataType]]] = {
    "id": (st.sampled_from([GOOD_ID, GOOD_ID.upper(), *[GOOD_ID] * 9, "x", GOOD_ID[:-1] + "g"]), [pa.string()]),
    "name": (_maybe(TEXTS), [pa.string(), pa.dictionary(pa.int32(), pa.string())]),
    "count": (_maybe(st.integers(0, 9) | st.just(-1)), [pa.int64(), pa.int16()]),
    "size": (_maybe(st.sampled_from([0.0, 1.5, 10.0, 10.5, float("nan")])), [pa.float64(), pa.float32()]),
    "price": (_maybe(_decimals(2)), [pa.decimal128(12, 2)]),
    "ok": (_maybe(st.booleans()), [pa.bool_()]),
    "at": (_maybe(INSTANTS), [pa.timestamp("us", "UTC"), pa.timestamp("us")]),
    "day": (_maybe(st.sampled_from([20_000, 0, -719162, -719163])), [pa.date32()]),
}


@pytest.mark.prop(9)
@pytest.mark.prop(10)
@given(st.data(), st.sampled_from(["keep", "drop", "refuse"]), st.booleans())
def test_columns_that_are_taken_whole_have_the_rows_and_violations_of_the_reference(data: Any, unknown: str, in_codes: bool) -> None:
    """Columns of types that fit, a bad value here and there: what the direct road takes, with texts as codes or plain."""
    rows = data.draw(st.integers(1, 12))
    names = ["id", *data.draw(st.lists(st.sampled_from([name for name in FITTING if name != "id"]), unique=True))]
    columns = {name: data.draw(st.lists(FITTING[name][0], min_size=rows, max_size=rows)) for name in names}
    table = pa.table({name: pa.array(values, data.draw(st.sampled_from(FITTING[name][1]))) for name, values in columns.items()})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=7, store_schema=False, use_dictionary=in_codes)
    _agree(_contract(unknown), out.getvalue(), "parquet")


def test_times_of_twelve_bytes_are_instants() -> None:
    out = io.BytesIO()
    table = pa.table({"id": ["01934b6e-7c0a-7def-8123-456789abcdef"], "at": pa.array([1_790_000_000_123_456], pa.timestamp("us"))})
    pq.write_table(table, out, use_deprecated_int96_timestamps=True)
    (batch,) = kernel.FileReader(kernel.Plan(_contract("keep").plan), out.getvalue(), format="parquet", received_at_us=RECEIVED_US)
    assert pa.record_batch(batch.rows)["at"].cast(pa.int64()).to_pylist() == [1_790_000_000_123_456]


def test_single_values_are_read_by_the_schema_they_were_written_with() -> None:
    out = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "name", "type": "string"}]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"name": "Ann"})
    plan = kernel.Plan(_contract("keep").plan)
    reader = kernel.AvroSchema(plan, json.dumps(schema))
    whole, cut, longer = reader.canonical([out.getvalue(), out.getvalue()[:-1], out.getvalue() + b"\0"])
    assert whole == b'{"name":"Ann"}'
    assert isinstance(cut, str)
    assert isinstance(longer, str)
    assert reader.canonical([]) == []
    with pytest.raises(kernel.BodyError) as bad:
        kernel.AvroSchema(plan, '{"type": "recrd"}')
    assert bad.value.code == "avro.bad_schema"


@pytest.mark.prop(48)
@pytest.mark.parametrize("format", ["orc", "Avro", "", "parquet "])
def test_an_unknown_file_format_is_an_error_that_names_the_known_ones(format: str) -> None:
    with pytest.raises(kernel.FormatError) as refused:
        kernel.FileReader(kernel.Plan(_contract("keep").plan), b"", format=format, received_at_us=0)
    assert refused.value.context == {"format": format, "known": "avro, parquet"}


@pytest.mark.parametrize("name", ["nothing", "PAR1PAR1", "Obj\x01", "Obj\x01\x00"])
@pytest.mark.parametrize("format", ["avro", "parquet"])
def test_a_file_that_is_none_is_an_error_with_a_hint(name: str, format: str) -> None:
    with pytest.raises(kernel.BodyError) as refused:
        kernel.canonical(kernel.Plan(_contract("keep").plan), name.encode(), format=format)
    assert refused.value.code == f"body.invalid_{format}"
    assert refused.value.hint


def test_damaged_parquet_files_end_soon_in_clear_errors(shared: Any) -> None:
    plan = kernel.Plan(_contract("keep").plan)
    files = sorted((shared / "corpora" / "parquet-testing" / "bad_data").glob("*.parquet"))
    assert len(files) >= 8
    for file in files:
        started = time.monotonic()
        outcome = _code_or_records(plan, file.read_bytes())
        # Some files' damage lies where nobody looks.
        assert outcome == "body.invalid_parquet" or (isinstance(outcome, int) and outcome < 100_000), (file.name, outcome)
        assert time.monotonic() - started < 1, file.name


@pytest.mark.parametrize("logical", ["string", "json"])
@pytest.mark.parametrize("in_codes", [True, False])
def test_parquet_text_that_is_not_utf8_refuses_the_file(logical: str, in_codes: bool) -> None:
    plan, out = kernel.Plan(_contract("keep").plan), io.BytesIO()
    offsets, invalid = pa.py_buffer(b"".join(at.to_bytes(4, "little") for at in range(0, 10, 2))), pa.py_buffer(b"\xff\xfe" * 4)
    name: Any = pa.StringArray.from_buffers(4, offsets, invalid)
    if logical == "json":
        name = pa.ExtensionArray.from_storage(pa.json_(), name)
    table = pa.table({"id": ["01934b6e-7c0a-7def-8123-456789abcdef"] * 4, "name": name})
    pq.write_table(table, out, store_schema=False, use_dictionary=in_codes, write_statistics=False)
    assert _code_or_records(plan, out.getvalue()) == _code_or_rows(plan, out.getvalue()) == "body.invalid_parquet"


@pytest.mark.parametrize("in_codes", [True, False])
def test_parquet_columns_of_json_are_text(in_codes: bool) -> None:
    texts = pa.array(["Ann", None, "longer than eight", "null"] * 3)
    named: dict[str, Any] = {"name": texts, "payload": pa.array(['{"a": [1]}', None, '"x"', "é"] * 3), "more": texts}
    for unknown in ("keep", "drop"):
        records = []
        for kind in (pa.string(), pa.json_()):
            columns: dict[str, Any] = {name: column.cast(kind) for name, column in named.items()}
            columns["within"] = pa.StructArray.from_arrays([texts.cast(kind)], ["deep"])
            out = io.BytesIO()
            pq.write_table(pa.table({"id": ["01934b6e-7c0a-7def-8123-456789abcdef"] * 12, **columns}), out, use_dictionary=in_codes)
            plan, file = kernel.Plan(_contract(unknown).plan), out.getvalue()
            batches = list(kernel.FileReader(plan, file, format="parquet", received_at_us=RECEIVED_US, batch_size=5))
            records.append((kernel.canonical(plan, file, format="parquet"), repr(_outcome(batches))))
        assert records[0] == records[1]


def test_a_parquet_footer_with_one_bit_flipped_ends_in_rows_or_a_clear_error() -> None:
    plan, out = kernel.Plan(_contract("keep").plan), io.BytesIO()
    table = pa.table({"id": ["01934b6e-7c0a-7def-8123-456789abcdef"] * 20, "name": ["a", "b"] * 10, "size": [0.5] * 20})
    pq.write_table(table, out, store_schema=False)
    whole = out.getvalue()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    outcomes = set()
    for at in range(footer, len(whole) - 8):
        for bit in (0, 3, 6):
            file = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            outcomes |= {_code_or_records(plan, file), _code_or_rows(plan, file)}
    assert 20 in outcomes
    assert {one for one in outcomes if isinstance(one, str)} == {"body.invalid_parquet"}


def _code_or_rows(plan: kernel.Plan, file: bytes) -> str | int:
    try:
        return sum(len(batch.rows) for batch in kernel.FileReader(plan, file, format="parquet", received_at_us=RECEIVED_US))
    except kernel.KernelError as error:
        return error.code


def _code_or_records(plan: kernel.Plan, file: bytes) -> str | int:
    try:
        return len(kernel.canonical(plan, file, format="parquet"))
    except kernel.KernelError as error:
        return error.code
