"""Every violation the kernel can name, with its exact words, and the laws of judging."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import LETTERS, LINEAGE, RAW, TEXT_CODE, Batch
from frazil.contract import Contract, Field
from frazil.errors import ContractError, FrazilError
from frazil.process.rust import RustProcessor

RECEIVED = datetime(2026, 11, 20, 12, tzinfo=UTC)
RECEIVED_US = int(RECEIVED.timestamp()) * 1_000_000
GOOD = {"id": "01934b6e-7c0a-7def-8123-456789abcdef", "at": "2026-11-20T11:59:00Z"}


def field(name: str, kind: str, **rules: Any) -> Field:
    return Field(name, f"/{name}", kind, **rules)  # type: ignore[arg-type]


FIELDS = (
    field("id", "uuid", required=True),
    field("at", "timestamp", required=True),
    field("name", "string", min_length=2, max_length=4),
    field("code", "string", pattern="^[A-Z]{3}$"),
    field("color", "string", enum=("red", "green", "blue", "cyan", "pink", "grey")),
    field("email", "string", format="email"),
    field("ipv4", "string", format="ipv4"),
    field("ipv6", "string", format="ipv6"),
    field("uri", "string", format="uri"),
    field("count", "integer", minimum="1", maximum="10"),
    field("level", "integer", enum=("1", "2.0")),
    field("ratio", "number", minimum="0", maximum="1", exclusive_minimum=True, exclusive_maximum=True),
    field("price", "decimal", precision=6, scale=2),
    field("ok", "boolean"),
    field("epoch", "timestamp", unit="s"),
    field("local", "timestamp", zone="Europe/Berlin"),
    field("day", "date"),
    field("any", "json"),
    field("tags", "array", min_items=1, max_items=2, items=Field("element", "/tags/*", "string", required=True)),
    field("inner", "object", fields=(Field("a/b", "/inner/a~1b", "integer", required=True),)),
)


def contract(**changes: Any) -> Contract:
    settings: dict[str, Any] = {"event_time": "/at", "unknown": "refuse", "max_depth": 8, "max_members": 40, "max_bytes": 2000}
    return Contract("things", "1.2.0", FIELDS, **{**settings, **changes})


def raw(values: list[bytes | None], received: datetime = RECEIVED) -> Batch:
    count = len(values)
    code = pa.array(["log"] * count, pa.string()).dictionary_encode().cast(TEXT_CODE)
    columns = [
        pa.array(values, pa.binary()),
        pa.array([b"key"] * count, pa.binary()),
        code,
        code,
        pa.array(range(count), pa.int64()),
        pa.array([received] * count, RAW.field("received_at").type),
        pa.array([7] * count, pa.int64()),
        pa.array([{"format": "ndjson", "line": n + 1} for n in range(count)], RAW.field("source").type),
        pa.array([f'[["n","{n}"]]' for n in range(count)], pa.string()),
    ]
    return Batch(pa.record_batch(columns, schema=RAW))


def event(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}, ensure_ascii=False).encode()


PROCESS = RustProcessor(contract())


def violations(record: bytes | None, process: RustProcessor = PROCESS) -> list[tuple[str, str, str, str, str | None]]:
    (letter,) = process(raw([record])).dead.rows.to_pylist()
    return [(v["path"], v["code"], v["message"], v["hint"], v["value"]) for v in letter["violations"]]


ONE_OBJECT = "send one JSON object per record"
RECORD_RULES = [
    (None, "record.null", "the record has no value", "send the event as a JSON object"),
    (b" " * 2001, "record.too_large", "2001 bytes, at most 2000", "split the event or raise maxBytes in the contract"),
    (b'{"a":"\xc3\x28"}', "encoding.invalid_utf8", "not UTF-8 at byte 6", "encode the record as UTF-8"),
    (b'{"a":' + b"[" * 8, "json.too_deep", "nested deeper than 8", "flatten the event"),
    (b"", "json.invalid", "not JSON at byte 0", "send one JSON object per record, RFC 8259"),
    (b"\xef\xbb\xbf{}", "json.invalid", "not JSON at byte 0", "send one JSON object per record, RFC 8259"),
    (b'{"a":1}}', "json.invalid", "not JSON at byte 7", "send one JSON object per record, RFC 8259"),
    (b'{"a":"\\ud800"}', "json.invalid", "not JSON at byte 6", "send one JSON object per record, RFC 8259"),
    (b'{"a":[' + b"1," * 40 + b"1]}", "json.too_many_members", "more than 40 members", "split the event"),
    (b"[1]", "json.not_object", "expected an object, found an array", ONE_OBJECT),
    (b"null", "json.not_object", "expected an object, found null", ONE_OBJECT),
    (b' "x"', "json.not_object", "expected an object, found a string", ONE_OBJECT),
]


@pytest.mark.prop(8)
@pytest.mark.parametrize(("record", "code", "message", "hint"), RECORD_RULES)
def test_a_record_rule_is_the_only_violation(record: bytes | None, code: str, message: str, hint: str) -> None:
    assert violations(record) == [("", code, message, hint, None)]
    (letter,) = PROCESS(raw([record])).dead.rows.to_pylist()
    assert (letter["stage"], letter["value"], letter["key"], letter["source"]) == ("parse", record, b"key", {"format": "ndjson", "line": 1})


RFC3339 = "write it like 2026-11-20T12:34:56Z"
FIELD_RULES = [
    ("id", None, "required.missing", "id is required", "add /id"),
    ("id", 7, "type.mismatch", "expected a UUID, found a number", "send a UUID"),
    ("name", True, "type.mismatch", "expected a string, found a boolean", "send a string"),
    ("count", "1", "type.mismatch", "expected an integer, found a string", "send an integer"),
    ("count", 1.5, "type.mismatch", "expected an integer, found a number", "send an integer"),
    ("ratio", [], "type.mismatch", "expected a number, found an array", "send a number"),
    ("ok", {}, "type.mismatch", "expected a boolean, found an object", "send a boolean"),
    ("inner", 1, "type.mismatch", "expected an object, found a number", "send an object"),
    ("tags", "a", "type.mismatch", "expected an array, found a string", "send an array"),
    ("at", 1, "type.mismatch", "expected an RFC 3339 time, found a number", "send an RFC 3339 time"),
    (
        "epoch",
        True,
        "type.mismatch",
        "expected an RFC 3339 time or an epoch number, found a boolean",
        "send an RFC 3339 time or an epoch number",
    ),
    ("day", 1, "type.mismatch", "expected a date, found a number", "send a date"),
    ("price", 12345, "type.out_of_range", "12345 does not fit decimal(6,2)", "send a smaller number"),
    ("price", 1.005, "type.too_many_digits", "more than 2 digits after the point", "round to 2 digits"),
    ("id", "x", "format.invalid_uuid", "not a valid uuid", "send a uuid"),
    ("email", "a@b", "format.invalid_email", "not a valid email", "send a email"),
    ("ipv4", "1.2.3", "format.invalid_ipv4", "not a valid ipv4", "send a ipv4"),
    ("ipv6", "::g", "format.invalid_ipv6", "not a valid ipv6", "send a ipv6"),
    ("uri", "no", "format.invalid_uri", "not a valid uri", "send a uri"),
    ("at", "2026-02-30T00:00:00Z", "time.invalid", "not an RFC 3339 time", RFC3339),
    ("local", "2026-03-29T02:30:00", "time.invalid", "not an RFC 3339 time", RFC3339),
    ("epoch", 1e18, "time.invalid", "not an RFC 3339 time", RFC3339),
    ("day", "2026-13-01", "time.invalid", "not a date", "write it like 2026-11-20"),
    ("at", "2026-11-20T11:59:00", "time.no_zone", "the time has no zone", "add Z or an offset, or name the zone in the contract"),
    (
        "at",
        "2026-11-21T12:00:01Z",
        "time.out_of_range",
        "outside 2000-01-01T00:00:00Z to 2026-11-21T12:00:00Z",
        "check the clock and the unit",
    ),
    ("color", "mauve", "enum.unknown_value", "not one of 6 allowed values", "use one of: red, green, blue, cyan, pink, …"),
    ("level", 3, "enum.unknown_value", "not one of 2 allowed values", "use one of: 1, 2.0"),
    ("name", "é", "length.too_short", "1 characters, at least 2", "send at least 2 characters"),
    ("name", "ééééé", "length.too_long", "5 characters, at most 4", "send at most 4 characters"),
    ("code", "EURO", "pattern.no_match", "does not match ^[A-Z]{3}$", "send text that matches ^[A-Z]{3}$"),
    ("count", 0, "range.below_minimum", "below the minimum 1", "send a value of at least 1"),
    ("count", 11, "range.above_maximum", "above the maximum 10", "send a value of at most 10"),
    ("ratio", 0, "range.below_minimum", "not above 0", "send a value above 0"),
    ("ratio", 1, "range.above_maximum", "not below 1", "send a value below 1"),
    ("tags", [], "items.too_few", "0 items, at least 1", "send at least 1 items"),
    ("tags", ["a", "b", "c"], "items.too_many", "3 items, at most 2", "send at most 2 items"),
    ("new", 1, "unknown.field", "new is not in the contract", "remove it, or add it to the contract"),
]


@pytest.mark.prop(8)
@pytest.mark.parametrize(("name", "value", "code", "message", "hint"), FIELD_RULES)
def test_a_broken_rule_says_which_field_which_rule_which_value(name: str, value: object, code: str, message: str, hint: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert violations(event(**{name: value})) == [(f"/{name}", code, message, hint, text)]


def test_paths_are_json_pointers_and_items_have_their_index() -> None:
    assert violations(event(inner={"a/b": "x"}))[0][0] == "/inner/a~1b"
    assert violations(event(inner={}))[0] == ("/inner/a~1b", "required.missing", "a/b is required", "add /inner/a~1b", None)
    assert violations(event(tags=["a", None]))[0] == ("/tags/1", "required.missing", "1 is required", "add /tags/1", "null")


def test_numbers_keep_rules_that_need_no_type() -> None:
    record = event().replace(b"}", b', "count": 1e400, "ratio": 1e999}')
    assert [(v[0], v[1], v[2]) for v in violations(record)] == [
        ("/count", "type.out_of_range", "1e400 does not fit integer"),
        ("/count", "range.above_maximum", "above the maximum 10"),
        ("/ratio", "type.out_of_range", "1e999 does not fit number"),
        ("/ratio", "range.above_maximum", "not below 1"),
    ]


def test_repeated_names_are_reported_after_the_fields_in_document_order() -> None:
    record = (
        event(zip=1, inner={"a/b": 1})
        .replace(b'"a/b": 1', b'"a/b": 1, "a/b": "2"')
        .replace(b"}}", b'}, "i\\u0064": [3], "zip": 2, "count": 0}')
    )
    assert [(v[0], v[1], v[2], v[4]) for v in violations(record)] == [
        ("/count", "range.below_minimum", "below the minimum 1", "0"),
        ("/zip", "unknown.field", "zip is not in the contract", "1"),
        ("/inner/a~1b", "json.duplicate_key", "a/b stands more than once", '"2"'),
        ("/id", "json.duplicate_key", "id stands more than once", "[3]"),
        ("/zip", "json.duplicate_key", "zip stands more than once", "2"),
    ]


def test_long_values_are_cut_to_200_characters() -> None:
    assert violations(event(name="é" * 300))[0][4] == '"' + "é" * 199 + "…"


@pytest.mark.prop(5)
@given(st.sets(st.sampled_from(range(len(FIELD_RULES)))))
def test_every_broken_rule_of_a_record_is_reported(chosen: set[int]) -> None:
    broken = {FIELD_RULES[n][0]: FIELD_RULES[n] for n in chosen}
    out = PROCESS(raw([event(**{name: rule[1] for name, rule in broken.items()})]))
    expected = {(f"/{name}", rule[2]) for name, rule in broken.items()}
    found = {(v["path"], v["code"]) for letter in out.dead.rows.to_pylist() for v in letter["violations"]}
    assert found == expected
    assert len(out.good) == (not expected)


def test_good_rows_have_the_contracts_columns_and_where_they_came_from() -> None:
    record = event(
        name="Ann", code="EUR", count=1e0, ratio=0.5, price=12.5, ok=True, epoch=1699999999.25,
        local="2026-11-20T12:00:00", day="2026-11-20", any={"x": [1, "é"]}, tags=["a"], inner={"a/b": 2}, level=2,
    )  # fmt: skip
    out = PROCESS(raw([record])).good.rows
    out.validate(full=True)
    assert out.schema.names == [one.name for one in FIELDS] + LINEAGE.names
    assert [out.schema.field(n) for n in LINEAGE.names] == list(LINEAGE)
    (row,) = out.to_pylist()
    assert row["id"].hex() == "01934b6e7c0a7def8123456789abcdef"
    assert (row["name"], row["count"], row["ratio"], row["price"], row["ok"]) == ("Ann", 1, 0.5, Decimal("12.50"), True)
    assert row["epoch"] == datetime(2023, 11, 14, 22, 13, 19, 250_000, tzinfo=UTC)
    assert row["local"] == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert (row["day"], row["any"], row["tags"], row["inner"]) == (date(2026, 11, 20), '{"x": [1, "é"]}', ["a"], {"a/b": 2})
    assert (row["event_date"], row["event_hour"], row["_offset"], row["_request"], row["_contract_version"]) == (
        date(2026, 11, 20),
        11,
        0,
        7,
        "1.2.0",
    )


def test_unknown_members_are_kept_with_their_own_bytes() -> None:
    keep = RustProcessor(contract(unknown="keep"))
    record = event().replace(b"}", b', "n\\"w": {"a" : 1.50}, "inner": {"a/b": 1, "x/y~": "\\u00e9"}, "z": null}')
    (row,) = keep(raw([record])).good.rows.to_pylist()
    assert row["_extra"] == '{"/n\\"w":{"a" : 1.50},"/inner/x~1y~0":"\\u00e9","/z":null}'
    drop = RustProcessor(contract(unknown="drop"))
    assert "_extra" not in drop(raw([record])).good.rows.schema.names


def test_the_time_of_receipt_stands_in_where_the_event_has_none() -> None:
    process = RustProcessor(Contract("plain", "1", (field("n", "integer"),)))
    (row,) = process(raw([b'{"n": 1}'])).good.rows.to_pylist()
    assert (row["event_date"], row["event_hour"]) == (date(2026, 11, 20), 12)


records = st.one_of(
    st.none(), st.binary(max_size=30), st.sampled_from([event(), event(count=0), event(tags=["a", "b"], name="Ann"), event(any=[1])])
)


@pytest.mark.prop(39)
@given(st.lists(records, max_size=30), st.integers(0, 30))
def test_good_and_dead_are_raw_and_the_cut_changes_nothing(values: list[bytes | None], cut: int) -> None:
    batch = raw(values)
    whole = PROCESS(batch)
    parts = [PROCESS(Batch(batch.rows.slice(0, cut))), PROCESS(Batch(batch.rows.slice(cut)))]
    assert len(whole.good) + len(whole.dead) == len(values)
    assert whole.dead.rows.schema.equals(LETTERS)
    for side in ("good", "dead"):
        rows = [row for part in parts for row in getattr(part, side).rows.to_pylist()]
        assert getattr(whole, side).rows.to_pylist() == rows
        assert [row["_offset"] for row in rows] == sorted(row["_offset"] for row in rows)


@pytest.mark.prop(12)
def test_a_plan_that_does_not_compile_and_other_columns_are_typed_errors() -> None:
    with pytest.raises(ContractError) as refused:
        RustProcessor(Contract("bad", "1", (field("s", "string", pattern="("),)))
    assert (refused.value.code, refused.value.context["path"]) == ("plan.invalid", "/s")
    with pytest.raises(kernel.PlanError, match="not a plan"):
        kernel.Plan("{}")
    with pytest.raises(kernel.KernelError) as layout:
        kernel.process(PROCESS.plan, pa.record_batch({"value": pa.array([b"{}"])}))
    assert (layout.value.code, layout.value.retry, layout.value.context) == ("process.layout", "never", {"column": "key"})
    assert not isinstance(layout.value, FrazilError)


def test_an_event_100_000_levels_deep_is_one_dead_letter() -> None:
    process = RustProcessor(contract(max_bytes=1_000_000))
    deep = b'{"any":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    out = process(raw([event(), deep, event()]))
    assert (len(out.good), len(out.dead)) == (2, 1)
    assert violations(deep, process)[0][1] == "json.too_deep"
    roomy = RustProcessor(contract(max_bytes=1_000_000, max_depth=200_000, max_members=200_000))
    assert [v[1] for v in violations(deep, roomy)] == ["required.missing", "required.missing"]


@pytest.mark.parametrize("offered", [pa.array([{"value": b"x"}, None]), pa.array([1, 2])])
def test_what_is_no_record_batch_is_refused_by_name(offered: pa.Array) -> None:
    plan = Contract("events", "1.0.0", FIELDS, key=("/id",), event_time="/at").plan
    with pytest.raises((TypeError, ValueError), match="expected an Arrow record batch"):
        kernel.process(kernel.Plan(plan), offered)


@pytest.mark.parametrize("size", [2_001, 300_000, 1_100_000])
def test_a_record_over_the_limit_is_one_letter_wherever_it_lies_and_whatever_its_size(size: int) -> None:
    """One that is larger than what is judged at a time is not even read."""
    good, large = json.dumps(GOOD).encode(), b'{"name": "' + b"x" * size + b'"}'
    for values in ([large], [good, large], [large, good], [good, large, good, large, large, good]):
        judged = RustProcessor(contract())(raw(list(values)))
        assert judged.good.rows.num_rows == values.count(good)
        letters = judged.dead.rows.to_pylist()
        assert [letter["violations"][0]["code"] for letter in letters] == ["record.too_large"] * values.count(large)
        assert [letter["value"] for letter in letters] == [large] * values.count(large)
        admission = kernel.admit(kernel.Plan(contract().plan), b"\n".join(values), format="ndjson", received_at_us=RECEIVED_US)
        assert (len(admission), admission.accepted) == (len(values), values.count(good))
