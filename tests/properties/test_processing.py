"""Laws of judging records: nothing is lost, everything broken is named, kernel and reference are one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import data_processor_rs as kernel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.contract.generate import Generator
from frazil.contract.load import load_directory
from frazil.errors import ContractError
from frazil.process import Processor
from frazil.process.python import PythonProcessor
from frazil.process.reference_json import Node, NotJson, TooDeep, read
from frazil.process.rust import RustProcessor
from tests.shared import ROOT
from tests.strategies import RECEIVED, RECEIVED_US, any_json, batches, contracts, plain, raw_batch

SHOP = load_directory(ROOT / "shop" / "contracts")
PROCESSORS: list[Callable[[Contract], Processor]] = [PythonProcessor, RustProcessor]
every_processor = pytest.mark.parametrize("implementation", PROCESSORS, ids=lambda one: one.__name__)
WIDE = Contract(
    "wide",
    "1",
    (
        Field("id", "/id", "integer", required=True),
        Field("at", "/at", "timestamp", required=True),
        Field("n", "/n", "number", minimum="0", maximum="9"),
        Field("d", "/d", "decimal", precision=9, scale=2),
        Field("s", "/s", "string", max_length=3, pattern="^[a-z]*$", enum=("a", "abc")),
        Field("o", "/o", "object", required=True, fields=(Field("u", "/o/u", "uuid", required=True), Field("b", "/o/b", "boolean"))),
        Field("l", "/l", "array", max_items=2, items=Field("element", "/l/*", "integer", minimum="0")),
    ),
    key=("/id",),
    event_time="/at",
)
GOOD: dict[str, Any] = {"id": 1, "at": "2026-11-20T11:00:00Z", "n": 1, "d": 1.25, "s": "abc", "o": {"u": str(UUID(int=7))}, "l": [1]}
# Each breaks exactly one rule of WIDE, whatever the others do: place, broken value (None: left out), path and code of the violation.
BREAKS: list[tuple[tuple[str, ...], Any, str, str]] = [
    (("id",), None, "/id", "required.missing"),
    (("at",), "2026-11-20T11:00:00", "/at", "time.no_zone"),
    (("n",), 10, "/n", "range.above_maximum"),
    (("d",), 0.125, "/d", "type.too_many_digits"),
    (("s",), 7, "/s", "type.mismatch"),
    (("o", "u"), "7", "/o/u", "format.invalid_uuid"),
    (("o", "b"), "yes", "/o/b", "type.mismatch"),
    (("l",), [1, -1], "/l/1", "range.below_minimum"),
]


def dead(process: Processor, record: bytes | None) -> list[dict[str, Any]]:
    return [broken for row in process(raw_batch([record])).dead.rows.to_pylist() for broken in row["violations"]]


@every_processor
@given(st.sets(st.sampled_from(range(len(BREAKS))), min_size=1))
@pytest.mark.prop(5)
def test_every_broken_rule_is_reported_and_no_other(implementation: Callable[[Contract], Processor], chosen: set[int]) -> None:
    record = json.loads(json.dumps(GOOD))
    for (*above, name), value, _, _ in (BREAKS[index] for index in chosen):
        holder = record[above[0]] if above else record
        holder.pop(name, None) if value is None else holder.update({name: value})
    found = [(broken["path"], broken["code"]) for broken in dead(implementation(WIDE), json.dumps(record).encode())]
    assert found == [(path, code) for index, (_, _, path, code) in enumerate(BREAKS) if index in chosen]


@every_processor
@given(st.data())
@pytest.mark.prop(8)
def test_a_violation_points_at_the_value_it_shows(implementation: Callable[[Contract], Processor], data: st.DataObject) -> None:
    contract = data.draw(contracts())
    for row in implementation(contract)(raw_batch(data.draw(batches(contract)))).dead.rows.to_pylist():
        for broken in row["violations"]:
            assert all((broken["code"], broken["message"], broken["hint"]))
            if row["stage"] == "parse":
                assert (broken["path"], broken["value"]) == ("", None)
            elif broken["code"] != "json.duplicate_key":
                assert _shown(row["value"], broken["path"]) == broken["value"]


def _shown(record: bytes, pointer: str) -> str | None:
    """The text of the value a pointer names, as a violation shows it; None where there is none."""
    node: Node | None = read(record.decode(), 1_000)[0]
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        assert node is not None
        found = [value for own, value in node.members if own == name] if node.kind == "object" else [node.items[int(name)]]
        node = found[0] if found else None
    return None if node is None else node.raw[:200] + ("…" if len(node.raw) > 200 else "")


@every_processor
@given(st.data())
@pytest.mark.prop(4)
def test_a_malformed_record_gives_its_reason_and_no_row(implementation: Callable[[Contract], Processor], data: st.DataObject) -> None:
    whole = json.dumps(GOOD).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    wrong = data.draw(
        st.sampled_from([whole[:cut], whole[:cut] + b"\x00" + whole[cut:], whole + b"}", b"\xef\xbb\xbf" + whole, b"\xff" + whole])
    )
    out = implementation(WIDE)(raw_batch([wrong]))
    assert len(out.good) == 0
    (letter,) = out.dead.rows.to_pylist()
    assert letter["stage"] == "parse"
    assert [broken["code"] for broken in letter["violations"]] in (["json.invalid"], ["encoding.invalid_utf8"])
    assert letter["value"] == wrong


@every_processor
@given(st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 20)), st.integers(-14 * 60, 14 * 60))
@pytest.mark.prop(6)
def test_every_good_event_is_transformed(implementation: Callable[[Contract], Processor], local: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{local.isoformat()}{sign}{hours:02d}:{rest:02d}"
    instant = datetime.fromisoformat(text).astimezone(UTC)
    rows = implementation(WIDE)(raw_batch([json.dumps({**GOOD, "at": text}).encode()] * 2)).good.rows.to_pylist()
    expected = [(instant, instant.date(), instant.hour)] * 2 if instant >= datetime(2000, 1, 1, tzinfo=UTC) else []
    assert [(row["at"], row["event_date"], row["event_hour"]) for row in rows] == expected


@every_processor
@given(st.lists(st.one_of(st.binary(max_size=30), st.none(), any_json.map(str.encode), st.just(json.dumps(GOOD).encode())), max_size=30))
@pytest.mark.prop(39)
def test_a_record_that_cannot_be_parsed_does_not_stop_the_rest(
    implementation: Callable[[Contract], Processor], values: Sequence[bytes | None]
) -> None:
    out = implementation(WIDE)(raw_batch(values))
    assert out.good.rows.num_rows + out.dead.rows.num_rows == len(values)
    good = [index for index, value in enumerate(values) if value == json.dumps(GOOD).encode()]
    assert set(good) <= set(out.good.rows["_offset"].to_pylist())


# ---------------------------------------------------------------- kernel and reference


def both(data: st.DataObject) -> tuple[Any, Any]:
    contract = data.draw(contracts())
    raw = raw_batch(data.draw(batches(contract)))
    return PythonProcessor(contract)(raw), RustProcessor(contract)(raw)


@given(st.data())
@pytest.mark.prop(9)
def test_parsing_in_the_kernel_is_parsing_in_the_reference(data: st.DataObject) -> None:
    reference, rust = ([row for row in out.dead.rows.to_pylist() if row["stage"] == "parse"] for out in both(data))
    assert rust == reference


@given(st.data())
@pytest.mark.prop(10)
def test_validation_in_the_kernel_is_validation_in_the_reference(data: st.DataObject) -> None:
    reference, rust = ([(row["_offset"], row["violations"]) for row in out.dead.rows.to_pylist()] for out in both(data))
    assert rust == reference


@given(st.data())
@pytest.mark.prop(11)
def test_transformation_in_the_kernel_is_transformation_in_the_reference(data: st.DataObject) -> None:
    reference, rust = (plain(out.good.rows) for out in both(data))
    assert rust.schema == reference.schema
    assert rust == reference


@pytest.mark.parametrize("contract", SHOP.values(), ids=SHOP)
@pytest.mark.prop(9)
@pytest.mark.prop(10)
@pytest.mark.prop(11)
def test_both_agree_on_generated_events(contract: Contract) -> None:
    made: list[bytes | None] = [line[:-1] for line in Generator(contract, seed=1, invalid=0.3, late=0.1).events(1_000, now=RECEIVED)]
    reference, rust = (implementation(contract)(raw_batch(made)) for implementation in PROCESSORS)
    assert rust.dead.rows.to_pylist() == reference.dead.rows.to_pylist()
    assert plain(rust.good.rows) == plain(reference.good.rows)
    assert len(reference.dead) == 300


# ---------------------------------------------------------------- errors of the kernel

_plans = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["{}", "[]", "null"]),
    st.sampled_from(
        [
            {"pattern": "("},
            {"kind": "object"},
            {"kind": "text"},
            {"zone": "Mars/Base", "kind": "timestamp"},
            {"unit": "ns", "kind": "timestamp"},
            {"kind": "decimal", "precision": 99, "scale": 0},
            {"minimum": "one", "kind": "integer"},
            {"surprise": 1},
        ]
    ).map(lambda rule: json.dumps({**json.loads(WIDE.plan), "fields": [{"name": "a", "path": "/a", "kind": "string", **rule}]})),
)


@given(_plans)
@pytest.mark.prop(12)
def test_a_plan_that_cannot_be_compiled_is_a_typed_error_with_facts(plan: str) -> None:
    with pytest.raises(kernel.PlanError) as caught:
        kernel.Plan(plan)
    _check_error(caught.value)


@given(st.binary(max_size=60), st.sampled_from(["json", "ndjson", "xml", ""]))
@pytest.mark.prop(12)
def test_a_body_is_admitted_or_refused_with_a_typed_error(body: bytes, format: str) -> None:
    plan = kernel.Plan(WIDE.plan)
    try:
        admitted = kernel.admit(plan, body, format=format, received_at_us=RECEIVED_US)
    except kernel.KernelError as error:
        refused = error
    else:
        assert admitted.accepted + admitted.rejected == len(admitted) > 0
        return
    _check_error(refused)
    assert isinstance(refused, kernel.FormatError if format in ("xml", "") else kernel.BodyError)
    assert "ndjson" in refused.hint or format in ("json", "ndjson")


def _check_error(error: kernel.KernelError) -> None:
    stage, _, what = error.code.partition(".")
    assert stage
    assert what
    assert error.retry in ("never", "backoff", "reload")
    assert isinstance(error.hint, str)
    assert str(error)
    assert all(isinstance(name, str) and isinstance(fact, int | str) for name, fact in error.context.items())


@pytest.mark.prop(12)
def test_a_plan_the_kernel_refuses_is_a_contract_error_with_its_facts() -> None:
    with pytest.raises(ContractError) as caught:
        RustProcessor(Contract("c", "1", (Field("a", "/a", "string", pattern="("),)))
    assert caught.value.context["contract"] == "c"
    assert isinstance(caught.value.__cause__, kernel.PlanError)
    assert caught.value.code == caught.value.__cause__.code


# ---------------------------------------------------------------- parse, serialise, parse


@given(any_json)
@pytest.mark.prop(44)
def test_reading_what_was_written_from_what_was_read_is_the_identity(text: str) -> None:
    node, members = read(text, 1_000)
    again, same = read(_written(node), 1_000)
    assert (_content(again), same) == (_content(node), members)


def _written(node: Node) -> str:
    if node.kind == "object":
        return "{" + ",".join(f"{json.dumps(name)}:{_written(value)}" for name, value in node.members) + "}"
    if node.kind == "array":
        return "[" + ",".join(map(_written, node.items)) + "]"
    return json.dumps(node.text) if node.kind == "string" else node.raw


def _content(node: Node) -> object:
    """What a value means, without its spelling."""
    if node.kind == "string":
        return node.text
    return node.kind, node.raw if node.kind in ("number", "boolean") else [(n, _content(v)) for n, v in node.members] + list(
        map(_content, node.items)
    )


@every_processor
@given(st.data())
@pytest.mark.prop(44)
def test_a_good_row_written_as_json_is_the_same_row_again(implementation: Callable[[Contract], Processor], data: st.DataObject) -> None:
    contract = data.draw(contracts())
    process = implementation(contract)
    names = [one.name for one in contract.fields]
    rows = process(raw_batch(data.draw(batches(contract)))).good.rows.to_pylist()
    written = [("{" + ",".join(_member(one, row[one.name]) for one in contract.fields) + "}").encode() for row in rows]
    loose = RustProcessor if implementation is RustProcessor else PythonProcessor
    again = loose(_without_limits(contract))(raw_batch(written))
    assert again.dead.rows.to_pylist() == []
    assert [[row[name] for name in names] for row in again.good.rows.to_pylist()] == [[row[name] for name in names] for row in rows]


def _without_limits(contract: Contract) -> Contract:
    """The same fields: writing changes how many bytes a record has."""
    return Contract(
        contract.name, contract.version, contract.fields, event_time=contract.event_time, ahead_us=contract.ahead_us, max_depth=1_000
    )


def _member(one: Field, value: Any) -> str:
    return f"{json.dumps(one.name)}: {_text(one, value)}"


def _text(one: Field, value: Any) -> str:
    """A typed value as JSON, by its field's kind."""
    if value is None:
        return "null"
    match one.kind:
        case "object":
            return "{" + ",".join(_member(child, value[child.name]) for child in one.fields) + "}"
        case "array":
            assert one.items is not None
            return "[" + ",".join(_text(one.items, item) for item in value) + "]"
        case "uuid":
            return json.dumps(str(UUID(bytes=value)))
        case "decimal":
            return format(value, "f")
        case "json":
            return str(value)
        case "timestamp":
            return json.dumps(_rfc3339(value))
        case "date":
            return json.dumps(f"{value:%Y-%m-%d}".rjust(10, "0") if isinstance(value, date) else value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _rfc3339(at: datetime) -> str:
    rest = at - datetime(1, 1, 1, tzinfo=UTC)
    day = (date(1, 1, 1) + timedelta(days=rest.days)).isoformat()
    return f"{day}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}.{at.microsecond:06d}Z"


# ---------------------------------------------------------------- corpora


@every_processor
@pytest.mark.prop(44)
def test_json_test_suite(implementation: Callable[[Contract], Processor], shared: Path) -> None:
    """y_ is JSON, n_ is not; each file as a record of its own and as a value of one."""
    process = implementation(Contract("suite", "1", (Field("a", "/a", "json"),), max_depth=120))
    files = sorted((shared / "corpora" / "JSONTestSuite" / "test_parsing").glob("*.json"))
    assert len(files) > 300
    for file in files:
        content = file.read_bytes()
        codes = {broken["code"] for record in (content, b'{"a":' + content + b"}") for broken in dead(process, record)}
        if file.name.startswith("y_"):
            assert codes <= {"json.not_object", "json.duplicate_key"}, file.name
        elif file.name.startswith("n_"):
            own = {broken["code"] for broken in dead(process, content)}
            assert own & {"json.invalid", "json.too_deep", "encoding.invalid_utf8"}, file.name


@pytest.mark.prop(9)
def test_both_agree_on_the_json_test_suite(shared: Path) -> None:
    contract = Contract("suite", "1", (Field("a", "/a", "json"),), max_depth=120)
    contents = [file.read_bytes() for file in sorted((shared / "corpora" / "JSONTestSuite" / "test_parsing").glob("*.json"))]
    raw = raw_batch([record for content in contents for record in (content, b'{"a":' + content + b"}")])
    reference, rust = PythonProcessor(contract)(raw), RustProcessor(contract)(raw)
    assert rust.dead.rows.to_pylist() == reference.dead.rows.to_pylist()
    assert plain(rust.good.rows) == plain(reference.good.rows)


@every_processor
@pytest.mark.prop(44)
def test_naughty_strings_arrive_as_they_are(implementation: Callable[[Contract], Processor], shared: Path) -> None:
    texts: list[str] = json.loads((shared / "corpora" / "blns" / "blns.json").read_text())
    process = implementation(Contract("naughty", "1", (Field("a", "/a", "string"),)))
    for escaped in (True, False):
        rows = process(raw_batch([json.dumps({"a": text}, ensure_ascii=escaped).encode() for text in texts])).good.rows
        assert rows["a"].to_pylist() == texts


@pytest.mark.prop(9)
def test_real_github_events_are_good_and_equal_in_both(shared: Path) -> None:
    contract = load_directory(ROOT / "examples" / "github" / "contracts")["github_events"]
    raw = raw_batch((shared / "data" / "github-events" / "2021-07-21.ndjson").read_bytes().splitlines())
    reference, rust = PythonProcessor(contract)(raw), RustProcessor(contract)(raw)
    assert (len(reference.good), len(reference.dead)) == (800, 0)
    assert plain(rust.good.rows) == plain(reference.good.rows)


def test_everything_unsafe_is_a_record_not_an_exception() -> None:
    """The reader's own exceptions never leave the processor."""
    process = PythonProcessor(WIDE)
    for text in ("[" * 5_000, '{"a":' * 5_000, '"\\', "1e"):
        assert len(process(raw_batch([text.encode()])).dead) == 1
        with pytest.raises((NotJson, TooDeep)):
            read(text, 64)
