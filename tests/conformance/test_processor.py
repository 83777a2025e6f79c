"""Every processor gives the verdicts of docs/reference/verdicts.md. One suite, all implementations."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import LETTERS
from frazil.contract import Contract, Field
from frazil.contract.derive import arrow_schema
from frazil.process import Processor
from frazil.process.python import PythonProcessor
from frazil.process.rust import RustProcessor
from tests.conformance.processor_cases import FIELD_CASES, RECORD_CASES, TIME_CASES, VALUE_CASES, contract_of, one
from tests.strategies import RECEIVED, RECEIVED_US, batches, contracts, plain, raw_batch

IMPLEMENTATIONS: list[Callable[[Contract], Processor]] = [PythonProcessor, RustProcessor]
every_processor = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda one: one.__name__)


def violations(process: Processor, record: bytes | None) -> list[tuple[str, str, str, str, str | None]]:
    """What is wrong with a record: path, code, message, hint, value; empty when it is good."""
    dead = process(raw_batch([record])).dead.rows.to_pylist()
    return [tuple(broken[name] for name in ("path", "code", "message", "hint", "value")) for row in dead for broken in row["violations"]]  # type: ignore[misc]


def good_row(process: Processor, record: bytes) -> dict[str, Any]:
    out = process(raw_batch([record]))
    assert out.dead.rows.num_rows == 0, out.dead.rows.to_pylist()[0]["violations"]
    return dict(out.good.rows.to_pylist()[0])


# ---------------------------------------------------------------- record rules


@every_processor
@pytest.mark.parametrize(("record", "code", "message", "hint"), RECORD_CASES)
def test_the_first_broken_record_rule_is_the_only_violation(
    implementation: Callable[[Contract], Processor], record: bytes | None, code: str, message: str, hint: str
) -> None:
    process = implementation(contract_of(one("json"), one("string", "b", required=True), max_bytes=100, max_depth=4, max_members=7))
    assert violations(process, record) == [("", code, message, hint, None)]
    assert process(raw_batch([record])).dead.rows["stage"].to_pylist() == ["parse"]


# ---------------------------------------------------------------- field rules


@every_processor
@pytest.mark.parametrize(("field", "value", "code", "message", "hint"), FIELD_CASES, ids=[f"{case[2]} {case[1]}" for case in FIELD_CASES])
@pytest.mark.prop(8)
def test_a_violation_says_where_which_rule_and_which_value(
    implementation: Callable[[Contract], Processor], field: Field, value: str, code: str, message: str, hint: str
) -> None:
    process = implementation(contract_of(field, event_time="/at" if field.name == "at" else None))
    record = f'{{ "{field.name}" : {value} }}'.encode()
    assert violations(process, record) == [(f"/{field.name}", code, message, hint, value)]
    assert process(raw_batch([record])).dead.rows["stage"].to_pylist() == ["validate"]


@every_processor
@pytest.mark.prop(5)
def test_every_violation_is_reported_in_the_contracts_order(implementation: Callable[[Contract], Processor]) -> None:
    contract = contract_of(
        one("decimal", "z", precision=4, scale=1, maximum="10", enum=("1", "2")),
        one("object", "o", required=True, fields=(Field("b", "/o/b", "string", required=True), Field("c", "/o/c", "integer"))),
        one("array", "l", max_items=1, items=Field("element", "/l/*", "string", required=True, min_length=2)),
        one("string", "a", required=True, min_length=3, pattern="^x", format="email"),
        unknown="refuse",
    )
    record = b'{"new/":1,"a":"y","l":["ok",null,"x",3],"o":{"c":"7","c":{"d":1},"e":[2]},"z":5555.55,"new/":2}'
    found = [(path, code, value) for path, code, _, _, value in violations(implementation(contract), record)]
    assert found == [
        ("/z", "type.out_of_range", "5555.55"),
        ("/z", "type.too_many_digits", "5555.55"),
        ("/z", "enum.unknown_value", "5555.55"),
        ("/z", "range.above_maximum", "5555.55"),
        ("/o/b", "required.missing", None),
        ("/o/c", "type.mismatch", '"7"'),
        ("/l", "items.too_many", '["ok",null,"x",3]'),
        ("/l/1", "required.missing", "null"),
        ("/l/2", "length.too_short", '"x"'),
        ("/l/3", "type.mismatch", "3"),
        ("/a", "format.invalid_email", '"y"'),
        ("/a", "length.too_short", '"y"'),
        ("/a", "pattern.no_match", '"y"'),
        ("/new~1", "unknown.field", "1"),
        ("/o/c", "json.duplicate_key", '{"d":1}'),
        ("/o/e", "unknown.field", "[2]"),
        ("/new~1", "json.duplicate_key", "2"),
    ]


@every_processor
def test_a_long_value_is_cut_to_200_characters(implementation: Callable[[Contract], Processor]) -> None:
    text = '"' + "ä" * 300 + '"'
    assert violations(implementation(contract_of(one("integer"))), f'{{"a":{text}}}'.encode())[0][4] == text[:200] + "…"


@every_processor
def test_null_is_missing_and_tells_nothing_below_it(implementation: Callable[[Contract], Processor]) -> None:
    inner = (Field("b", "/a/b", "string", required=True),)
    assert good_row(implementation(contract_of(one("object", fields=inner))), b'{"a":null}')["a"] is None
    required = implementation(contract_of(one("object", fields=inner, required=True)))
    assert violations(required, b'{"a":null}') == [("/a", "required.missing", "a is required", "add /a", "null")]
    assert violations(required, b"{}") == [("/a", "required.missing", "a is required", "add /a", None)]


# ---------------------------------------------------------------- values


@every_processor
@pytest.mark.parametrize(("field", "text", "value"), VALUE_CASES)
def test_values_are_exact(implementation: Callable[[Contract], Processor], field: Field, text: str, value: object) -> None:
    assert good_row(implementation(contract_of(field)), f'{{"a":{text}}}'.encode())["a"] == value


@every_processor
@pytest.mark.parametrize(("field", "text", "instant"), TIME_CASES)
def test_times_become_utc_microseconds(implementation: Callable[[Contract], Processor], field: Field, text: str, instant: str) -> None:
    assert good_row(implementation(contract_of(field)), f'{{"a":{text}}}'.encode())["a"] == datetime.fromisoformat(instant).replace(
        tzinfo=UTC
    )


@every_processor
@pytest.mark.prop(6)
@pytest.mark.parametrize(
    ("field", "text", "day", "hour"),
    [
        (one("timestamp"), '"2026-11-20T23:30:00-02:00"', date(2026, 11, 21), 1),
        (one("timestamp"), '"2026-11-19T00:59:59.999999+01:00"', date(2026, 11, 18), 23),
        (one("date"), '"2026-11-20"', date(2026, 11, 20), 0),
        (one("date", zone="Europe/Berlin"), '"2026-11-20"', date(2026, 11, 19), 23),
        (one("date", zone="Asia/Beirut"), '"2022-03-27"', date(2022, 3, 26), 22),
        (one("timestamp"), "null", RECEIVED.date(), RECEIVED.hour),
    ],
)
def test_event_date_and_hour_are_those_of_the_event_time_in_utc(
    implementation: Callable[[Contract], Processor], field: Field, text: str, day: date, hour: int
) -> None:
    row = good_row(implementation(contract_of(field, event_time="/a")), f'{{"a":{text}}}'.encode())
    assert (row["event_date"], row["event_hour"]) == (day, hour)


@every_processor
def test_bounds_of_the_event_time_are_closed(implementation: Callable[[Contract], Processor]) -> None:
    process = implementation(contract_of(one("timestamp"), event_time="/a"))
    latest = RECEIVED + timedelta(days=1)
    for at in ("2000-01-01T00:00:00Z", latest.isoformat()):
        assert violations(process, f'{{"a":"{at}"}}'.encode()) == []
    for at in ("1999-12-31T23:59:59.999999Z", (latest + timedelta(microseconds=1)).isoformat()):
        assert [found[1] for found in violations(process, f'{{"a":"{at}"}}'.encode())] == ["time.out_of_range"]


@every_processor
def test_unknown_members_are_kept_dropped_or_refused(implementation: Callable[[Contract], Processor]) -> None:
    fields = (one("object", fields=(Field("b", "/a/b", "integer"),)), one("json", "j"))
    record = b'{"x/~":1.50,"a":{"c": { "d":"\\u00e4"},"b":1},"j":{"free":1},"\\u0079\\n":null}'
    kept = good_row(implementation(contract_of(*fields)), record)
    assert kept["_extra"] == '{"/x~1~0":1.50,"/a/c":{ "d":"\\u00e4"},"/y\\n":null}'
    assert kept["a"] == {"b": 1}
    assert kept["j"] == '{"free":1}'
    assert good_row(implementation(contract_of(*fields)), b'{"a":{"b":1}}')["_extra"] is None
    assert "_extra" not in good_row(implementation(contract_of(*fields, unknown="drop")), record)
    refused = violations(implementation(contract_of(*fields, unknown="refuse")), record)
    assert [(path, code, message) for path, code, message, _, _ in refused] == [
        ("/x~1~0", "unknown.field", "x/~ is not in the contract"),
        ("/a/c", "unknown.field", "c is not in the contract"),
        ("/y\n", "unknown.field", "y\n is not in the contract"),
    ]


# ---------------------------------------------------------------- laws


@every_processor
@given(st.data())
@pytest.mark.prop(39)
def test_each_record_is_good_or_dead_once_and_in_order(implementation: Callable[[Contract], Processor], data: st.DataObject) -> None:
    contract = data.draw(contracts())
    values = data.draw(batches(contract))
    raw = raw_batch(values, first=5)
    out = implementation(contract)(raw)
    good, dead = out.good.rows["_offset"].to_pylist(), out.dead.rows["_offset"].to_pylist()
    assert good == sorted(good)
    assert dead == sorted(dead)
    assert sorted(good + dead) == raw.rows["offset"].to_pylist()
    assert [values[offset - 5] for offset in dead] == out.dead.rows["value"].to_pylist()
    assert all(out.dead.rows["violations"].to_pylist())
    assert out.good.spans == out.dead.spans == raw.spans
    assert out.raw is raw
    assert plain(out.good.rows).schema == arrow_schema(contract)
    assert out.dead.rows.schema == LETTERS
    out.good.rows.validate(full=True)
    out.dead.rows.validate(full=True)


@every_processor
@given(st.data())
def test_the_cut_of_batches_changes_nothing(implementation: Callable[[Contract], Processor], data: st.DataObject) -> None:
    contract = data.draw(contracts())
    values = data.draw(batches(contract))
    cut = data.draw(st.integers(0, len(values)))
    process = implementation(contract)
    whole, parts = process(raw_batch(values)), [process(raw_batch(values[:cut])), process(raw_batch(values[cut:], first=cut))]
    assert plain(whole.good.rows).drop(["_request"]) == pa.concat_tables([plain(part.good.rows).drop(["_request"]) for part in parts])
    said = [row["violations"] for row in whole.dead.rows.to_pylist()]
    assert said == [row["violations"] for part in parts for row in part.dead.rows.to_pylist()]


@every_processor
def test_one_bad_record_among_many_is_one_dead_letter(implementation: Callable[[Contract], Processor]) -> None:
    values: list[bytes | None] = [b'{"a":%d}' % index for index in range(5_000)]
    values[2_500] = b'{"a":'
    out = implementation(contract_of(one("integer")))(raw_batch(values))
    assert out.good.rows["a"].to_pylist() == [index for index in range(5_000) if index != 2_500]
    assert out.dead.rows["_offset"].to_pylist() == [2_500]


@every_processor
def test_lineage_and_letters_carry_where_the_record_lay(implementation: Callable[[Contract], Processor]) -> None:
    raw = raw_batch([b'{"a":1}', b'{"a":"1"}'], first=40)
    out = implementation(contract_of(one("integer")))(raw)
    given_rows = raw.rows.to_pylist()
    good, dead = out.good.rows.to_pylist()[0], out.dead.rows.to_pylist()[0]
    for name in ("log", "partition", "offset", "request", "received_at"):
        assert (good[f"_{name}"], dead[f"_{name}"]) == (given_rows[0][name], given_rows[1][name])
    assert (good["_contract_version"], dead["contract_version"], dead["contract"]) == ("1.0.0", "1.0.0", "case")
    assert (dead["key"], dead["source"], dead["first"], dead["_replay"]) == (given_rows[1]["key"], given_rows[1]["source"], None, None)


@every_processor
def test_an_empty_batch_still_carries_spans(implementation: Callable[[Contract], Processor]) -> None:
    raw = raw_batch([b"{}"])
    out = implementation(contract_of(one("integer")))(type(raw)(raw.rows.slice(0, 0), raw.spans))
    assert (len(out.good), len(out.dead), out.good.spans) == (0, 0, raw.spans)
    assert plain(out.good.rows).schema == arrow_schema(contract_of(one("integer")))


@every_processor
def test_100_000_levels_cost_a_verdict_not_a_stack(implementation: Callable[[Contract], Processor]) -> None:
    process = implementation(contract_of(one("json")))
    for record in (b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        assert [found[1] for found in violations(process, record)] == ["json.too_deep"]


# ---------------------------------------------------------------- one meaning


@given(st.data())
@pytest.mark.prop(9)
@pytest.mark.prop(10)
@pytest.mark.prop(11)
def test_kernel_and_reference_agree_exactly(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    raw = raw_batch(data.draw(batches(contract)))
    assert_same(contract, raw)


def assert_same(contract: Contract, raw: Any) -> None:
    reference, kernel = PythonProcessor(contract)(raw), RustProcessor(contract)(raw)
    assert kernel.dead.rows.to_pylist() == reference.dead.rows.to_pylist(), json.loads(contract.plan)
    left, right = plain(kernel.good.rows), plain(reference.good.rows)
    assert left.schema == right.schema
    assert left.to_pylist() == right.to_pylist(), json.loads(contract.plan)
    assert left == right


@given(st.lists(st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: json.dumps({"a": text}).encode())), max_size=8))
def test_kernel_and_reference_agree_on_any_bytes(values: list[bytes | None]) -> None:
    assert_same(contract_of(one("json"), one("string", "b")), raw_batch(values))


def test_received_at_is_the_only_clock() -> None:
    contract = contract_of(one("timestamp"), event_time="/a")
    record: list[bytes | None] = [b'{"a":"2026-11-22T00:00:00Z"}']
    for implementation in IMPLEMENTATIONS:
        process = implementation(contract)
        assert len(process(raw_batch(record)).good) == 0
        assert len(process(raw_batch(record, received_us=RECEIVED_US + 86_400_000_000)).good) == 1
