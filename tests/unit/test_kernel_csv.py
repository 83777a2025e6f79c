"""CSV in the kernel: rows as canonical JSON, the reference's as the oracle, and what is no CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.process.python import PythonProcessor
from frazil.process.reference_csv import BadCsv, Dialect, canonical
from frazil.process.rust import RustProcessor
from tests.strategies import plain
from tests.unit.test_kernel_process import RECEIVED_US, field, raw

INNER = (field("n", "integer", required=True), field("t", "string"), Field("deep", "/o/deep", "object", fields=(field("x", "boolean"),)))
FIELDS = (
    field("id", "string", required=True),
    field("i", "integer", minimum="0"),
    field("f", "number"),
    field("d", "decimal", precision=6, scale=2),
    field("b", "boolean"),
    field("u", "uuid"),
    field("at", "timestamp"),
    field("epoch", "timestamp", unit="s"),
    field("day", "date"),
    field("any", "json"),
    field("tags", "array", items=Field("element", "/tags/*", "string")),
    Field("o", "/o", "object", fields=INNER),
    Field("must", "/must", "object", required=True, fields=(field("y", "string"),)),
    field("dotted.name", "string"),
)
CONTRACT = Contract("cells", "1.0.0", FIELDS, unknown="keep")
PLAN = RustProcessor(CONTRACT).plan
NAMES = [
    "id",
    "i",
    "f",
    "d",
    "b",
    "u",
    "at",
    "epoch",
    "day",
    "any",
    "tags",
    "o.n",
    "o.t",
    "o.deep.x",
    "must.y",
    "dotted.name",
    "o.more",
    "x.y",
    "",
]
CELLS = [
    "", "1", "-1", "1.50", "1e3", "01", "+1", "1 ", "NaN", "true", "FALSE", "null", "NULL", "2026-11-20", "2026-11-20T12:00:00Z",
    "01934b6e-7c0a-7def-8123-456789abcdef", "[]", '["a"]', '{"k":[1]}', "{", 'a"b', "ä", "\0\x1f\x7f", "\\", "a\nb", "a\r\nb", "'", ";",
]  # fmt: skip


def admit(body: bytes, dialect: Dialect | None = None) -> kernel.Admission:
    given = dialect and kernel.CsvDialect(
        delimiter=dialect.delimiter, quote=dialect.quote, header=dialect.header, columns=dialect.columns, nulls=dialect.nulls
    )
    return kernel.admit(PLAN, body, format="csv", received_at_us=RECEIVED_US, dialect=given)


def records(body: bytes, dialect: Dialect | None = None) -> list[tuple[int | None, bytes]] | str:
    """Lines and records of the kernel, or the code of its refusal."""
    try:
        admission = admit(body, dialect)
    except kernel.BodyError as error:
        return error.code
    return [(admission.line(at), record) for at, record in enumerate(admission.records())]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, Dialect]:
    """Rows in some dialect, with mistakes: cells too many, quotes where they do not belong, bytes that are not UTF-8."""
    delimiter, quote = draw(st.sampled_from([(",", '"'), (";", "'"), ("\t", ""), ("|", '"')]))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=draw(st.integers(0, 9)) > 0))
    header, given = draw(st.sampled_from([(True, False), (True, True), (False, True)]))
    dialect = Dialect(delimiter, quote, header, names if given else None, draw(st.sampled_from([(), ("NULL",)])))
    lines = [delimiter.join(names)] if header else []
    for _ in range(draw(st.integers(0, 5))):
        count = len(names) if draw(st.integers(0, 5)) else draw(st.integers(0, 9))
        cells = [draw(st.sampled_from(CELLS) | st.text(max_size=6)) for _ in range(count)]
        quotes = [quote and (draw(st.booleans()) or any(c in cell for c in "\r\n" + delimiter + quote)) for cell in cells]
        lines.append(
            delimiter.join(quote + cell.replace(quote, quote * 2) + quote if q else cell for cell, q in zip(cells, quotes, strict=True))
        )
    body = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines).encode()
    if draw(st.integers(0, 4)) == 0 and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.sampled_from([b"", b'"', b"\xff", b"\n", b","])) + body[at + 1 :]
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + body, dialect


@pytest.mark.prop(9)
@given(bodies())
def test_rows_become_the_records_of_the_reference(given: tuple[bytes, Dialect]) -> None:
    body, dialect = given
    try:
        expected = canonical(CONTRACT, body, dialect)
    except BadCsv:
        assert records(body, dialect) in ("body.invalid_csv", "body.empty", "body.invalid_encoding")
        return
    assert records(body, dialect) == (expected or "body.empty")


@pytest.mark.prop(10)
@given(bodies())
def test_the_door_processing_and_the_reference_give_rows_of_cells_the_same_verdict(given: tuple[bytes, Dialect]) -> None:
    body, dialect = given
    try:
        door = admit(body, dialect)
    except kernel.BodyError:
        return
    batch = raw(list(door.records()))
    source = pa.array([{"format": "csv", "line": door.line(at)} for at in range(len(door))], batch.rows.schema.field("source").type)
    rows = batch.rows.set_column(batch.rows.schema.get_field_index("source"), batch.rows.schema.field("source"), source)
    batch = type(batch)(rows, batch.spans)
    ours, reference = RustProcessor(CONTRACT)(batch), PythonProcessor(CONTRACT)(batch)
    letters, expected = ours.dead.rows.to_pylist(), reference.dead.rows.to_pylist()
    assert letters == expected
    assert plain(ours.good.rows) == plain(reference.good.rows)
    assert (door.accepted, door.rejected) == (ours.good.rows.num_rows, len(letters))
    told = [(error["path"], error["code"], error["message"], error["hint"]) for error in door.errors]
    assert told == [(v["path"], v["code"], v["message"], v["hint"]) for letter in letters for v in letter["violations"]][: len(told)]
    assert all(error["line"] == door.line(error["index"]) for error in door.errors)


FITTING = {
    "id": ["a", "", "ä", "null"],
    "i": ["0", "7", "-1", "9007199254740993", "1.0"],
    "f": ["0", "-0.5", "1e3", "0.30000000000000004", "1234567890.1234567"],
    "d": ["1.50", "9999.99", "10000", "1.005"],
    "b": ["true", "FALSE", "True", "1"],
    "u": ["01934b6e-7c0a-7def-8123-456789abcdef", "01934B6E-7C0A-7DEF-8123-456789ABCDEF", "01934b6e7c0a7def8123456789abcdef"],
    "at": ["2026-11-20T12:00:00Z", "2026-11-20T12:00:00.123456+01:00", "2026-11-20T12:00:00", "1"],
    "epoch": ["1790000000", "1790000000.5", "1.79e9", "2026-11-20T12:00:00Z", "-1"],
    "day": ["2026-11-20", "2026-02-30"],
    "o.n": ["1", "x"],
    "o.t": ["t"],
    "o.deep.x": ["true"],
    "must.y": ["y"],
    "x.y": ["more"],
    "any": ["[1]"],
}


@st.composite
def fitting(draw: st.DrawFn) -> bytes:
    """Rows most of whose cells fit, with what a contract requires; some are missing, some are quoted, some are anything."""
    more = st.lists(st.sampled_from([name for name in FITTING if name not in ("id", "must.y")]), max_size=7, unique=True)
    names = draw(st.permutations(["id", "must.y", *draw(more)]))
    head, text = io.StringIO(), io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(names)
    for _ in range(draw(st.integers(1, 4))):
        odd = draw(st.integers(0, 4)) == 0
        cells = [draw(st.sampled_from(CELLS if odd else [*FITTING[name], FITTING[name][0], ""])) for name in names]
        csv.writer(text, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])), lineterminator="\n").writerow(cells)
    # Rows are taken 64 at a time, those near the end of the body one by one.
    repeated, blank_lines = draw(st.sampled_from([1, 1, 20, 70])), draw(st.sampled_from([0, 80]))
    return (head.getvalue() + text.getvalue() * repeated + "\n" * blank_lines).encode()


def steps(events: kernel.Events, plan: kernel.Plan) -> tuple[Any, ...]:
    """What parsing, validating and transforming say, each for itself."""
    told = [events.violations, kernel.validate_schema(events), kernel.validate_schema(events, plan)]
    rows = [pa.record_batch(made).to_pylist() for made in (events, kernel.transform_batch(events))]
    return len(events), [[(v.index, v.path, v.code, v.message, v.hint, v.value) for v in found] for found in told], rows


@pytest.mark.prop(10)
@pytest.mark.parametrize("unknown", ["keep", "drop", "refuse"])
@given(body=fitting())
def test_cells_that_go_straight_into_columns_are_what_their_records_say(unknown: str, body: bytes) -> None:
    plan = RustProcessor(Contract("cells", "1.0.0", FIELDS, unknown=unknown)).plan
    admitted = kernel.admit(plan, body, format="csv", received_at_us=RECEIVED_US)
    of_cells = kernel.parse_csv(body, plan)
    assert [of_cells.line(at) for at in range(len(of_cells))] == [admitted.line(at) for at in range(len(admitted))]
    if not any(b"\n" in record for record in admitted.records()):
        of_records = kernel.parse_events(b"\n".join(admitted.records()), plan, format="ndjson")
        assert repr(steps(of_cells, PLAN)) == repr(steps(of_records, PLAN))


@pytest.mark.parametrize(
    ("body", "code", "line", "column"),
    [
        (b'a,b\n1,"x', "body.invalid_csv", 2, 2),
        (b'a,b\n\n"1\n\n",2\n"x"y,1', "body.invalid_csv", 6, 1),
        (b"a,a\n1,2", "body.invalid_csv", None, None),
        (b"o,o.n\n1,2", "body.invalid_csv", None, None),
        (b"", "body.empty", None, None),
        (b"a\n\n\r\n", "body.empty", None, None),
        ("a\nb".encode("utf-16"), "body.invalid_encoding", None, None),
    ],
)
def test_a_body_that_is_no_csv_is_refused(body: bytes, code: str, line: int | None, column: int | None) -> None:
    with pytest.raises(kernel.BodyError) as refused:
        admit(body)
    assert (refused.value.code, refused.value.context.get("line"), refused.value.context.get("column")) == (code, line, column)


@pytest.mark.parametrize(
    "options",
    [{"delimiter": ""}, {"delimiter": "\n"}, {"delimiter": "ä"}, {"quote": ","}, {"quote": "''"}, {"header": False}, {"nulls": ["a,b"]}],
)
def test_a_dialect_that_cannot_be_read_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(kernel.FormatError) as refused:
        kernel.CsvDialect(**options)
    assert refused.value.code == "csv.bad_dialect"


def test_a_wrong_cell_says_line_and_column_and_shows_its_text() -> None:
    error = admit(b'id,o.n,must.y\n"a\nb",1,\nb,many,""\n').errors[0]
    assert (error["index"], error["line"], error["column"], error["path"], error["value"]) == (1, 4, "o.n", "/o/n", "many")
    assert (error["code"], error["message"]) == ("type.mismatch", "expected an integer, found a string")


def test_parsed_cells_are_typed_columns() -> None:
    events = kernel.parse_csv(b"id,i,must.y,d\nx,1,,2.50\ny,,z,\nz,q,,\n", PLAN)
    rows = pa.record_batch(kernel.transform_batch(events)).to_pylist()
    assert [(row["id"], row["i"], row["must"], row["d"] and str(row["d"])) for row in rows] == [
        ("x", 1, {"y": None}, "2.50"),
        ("y", None, {"y": "z"}, None),
    ]
    assert [(one.index, one.path, one.value) for one in kernel.validate_schema(events)] == [(2, "/i", "q")]
    assert [events.line(at) for at in range(len(events))] == [2, 3, 4]


TEXTS = Contract("texts", "1.0.0", (field("id", "string"),), unknown="keep", max_bytes=1 << 20)


def _unknown(body: bytes) -> list[dict[str, str]]:
    plan = RustProcessor(Contract("none", "1.0.0", (field("__", "string"),))).plan
    return [json.loads(record) for record in kernel.admit(plan, body, format="csv", received_at_us=0).records()]


@pytest.mark.prop(45)
def test_csv_spectrum(shared: Path) -> None:
    """All twelve: the same rows as the suite's JSON; a missing cell is the empty text that the suite names.

    One file of the suite disagrees with its own JSON: `location_coordinates` has another telephone number there.
    """
    cases = sorted((shared / "corpora/csv-spectrum/csvs").glob("*.csv"))
    assert len(cases) == 12
    for case in cases:
        expected = json.loads((shared / f"corpora/csv-spectrum/json/{case.stem}.json").read_bytes())
        expected = expected if isinstance(expected, list) else [expected]
        if case.stem == "location_coordinates":
            expected[0]["Contact Phone Number"] = "2095257564"
        body = case.read_bytes()
        rows = [{name: row.get(name, "") for name in expected[0]} for row in _unknown(body)]
        assert rows == expected, case.name


@pytest.mark.prop(45)
@pytest.mark.parametrize("format", ["csv", "json", "ndjson"])
def test_naughty_strings_are_the_same_in_the_table(shared: Path, format: str, tmp_path: Path) -> None:
    strings = json.loads((shared / "corpora/blns/blns.json").read_bytes())
    assert len(strings) > 400
    if format == "csv":
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["id"], *([one] for one in strings)])
        body = out.getvalue().encode()
    else:
        texts = [json.dumps({"id": one}, ensure_ascii=False) for one in strings]
        body = ("[" + ",".join(texts) + "]" if format == "json" else "\n".join(texts)).encode()
    events = kernel.parse_events(body, RustProcessor(TEXTS).plan, format=format)
    files = kernel.write_iceberg(events, str(tmp_path), plan=RustProcessor(TEXTS).plan)
    read = [row for one in files for row in pa.record_batch(kernel.read_iceberg_parquet(one["path"])).to_pylist()]
    assert [row["id"].encode() for row in read] == [one.encode() for one in strings]
