"""Plain Python, made from the contract: what a careful programmer writes without a kernel. Only the Parquet file comes from a library."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial, reduce
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import Leaf, event_time, key, leaves
from frazil.bench.parity import Found
from frazil.bench.pieces import REFERENCE_RECORDS, lines_of, pieces
from frazil.contract import Contract, Field
from frazil.contract.derive import columns
from frazil.contract.pattern import compiled

pa.Table.from_pylist([{"x": 0}])  # with its first Python object pyarrow imports pandas where there is one: no part of a measurement
Event = dict[str, Any]
Violations = list[tuple[int, str, str]]
Check = Callable[[Violations, int, Event], None]
STAMP = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
DAY = re.compile(r"^\d{4}-\d\d-\d\d$")


def decoder(contract: Contract) -> Callable[[bytes], Any]:
    """`json.loads`; numbers stay exact where the contract has decimals."""
    exact = any(one.field.kind == "decimal" for one in leaves(contract))
    return partial(json.loads, parse_float=Decimal) if exact else json.loads


def parse(lines: Iterable[bytes], loads: Callable[[bytes], Any]) -> tuple[list[Event], int]:
    """Events, and how many lines were none."""
    events, broken = [], 0
    for line in lines:
        try:
            event = loads(line)
        except ValueError:
            broken += 1
            continue
        if isinstance(event, dict):
            events.append(event)
        else:
            broken += 1
    return events, broken


def checks(fields: Iterable[Field]) -> list[Check]:
    """One check per field of an object, each with its rules bound."""
    return [_check(one) for one in fields]


def validate(events: Iterable[Event], of_fields: list[Check]) -> Violations:
    """Every violation as (index, path, code)."""
    found: Violations = []
    for index, event in enumerate(events):
        for check in of_fields:
            check(found, index, event)
    return found


def _check(one: Field) -> Check:
    match one.kind:
        case "object":
            return _object(one, checks(one.fields))
        case "integer" | "number" | "decimal":
            return _number(one)
        case "boolean":
            return _boolean(one)
    return _text(one)


def _object(one: Field, below: list[Check]) -> Check:
    name, path, required = one.name, one.path, one.required

    def check(found: Violations, index: int, event: Event) -> None:
        value = event.get(name)
        if isinstance(value, dict):
            for part in below:
                part(found, index, value)
        elif value is not None:
            found.append((index, path, "type.mismatch"))
        elif required:
            found.append((index, path, "required.missing"))

    return check


def _text(one: Field) -> Check:
    name, path, required = one.name, one.path, one.required
    shapes = {"timestamp": STAMP, "date": DAY}
    rule = Leaf((), one).pattern
    search = shapes[one.kind].search if one.kind in shapes else compiled(rule).search if rule is not None else None
    among = None if one.enum is None else frozenset(one.enum)
    sized = one.min_length is not None or one.max_length is not None
    shortest, longest = one.min_length or 0, one.max_length or 1 << 30

    def check(found: Violations, index: int, event: Event) -> None:
        value = event.get(name)
        if value is None:
            if required:
                found.append((index, path, "required.missing"))
        elif not isinstance(value, str):
            found.append((index, path, "type.mismatch"))
        else:
            if among is not None and value not in among:
                found.append((index, path, "enum.unknown_value"))
            if search is not None and not search(value):
                found.append((index, path, "pattern.no_match"))
            if sized and not shortest <= len(value) <= longest:
                found.append((index, path, "length"))

    return check


def _number(one: Field) -> Check:
    name, path, required = one.name, one.path, one.required
    exact: type[int | float | Decimal] = int if one.kind == "integer" else Decimal if one.kind == "decimal" else float
    types: tuple[type, ...] = (int,) if one.kind == "integer" else (int, float, Decimal)
    least, most = (None if bound is None else exact(bound) for bound in (one.minimum, one.maximum))
    open_below, open_above = one.exclusive_minimum, one.exclusive_maximum

    def check(found: Violations, index: int, event: Event) -> None:
        value = event.get(name)
        if value is None:
            if required:
                found.append((index, path, "required.missing"))
        elif isinstance(value, bool) or not isinstance(value, types):
            found.append((index, path, "type.mismatch"))
        elif least is not None and (value <= least if open_below else value < least):
            found.append((index, path, "range.below_minimum"))
        elif most is not None and (value >= most if open_above else value > most):
            found.append((index, path, "range.above_maximum"))

    return check


def _boolean(one: Field) -> Check:
    name, path, required = one.name, one.path, one.required

    def check(found: Violations, index: int, event: Event) -> None:
        value = event.get(name)
        if value is None:
            if required:
                found.append((index, path, "required.missing"))
        elif not isinstance(value, bool):
            found.append((index, path, "type.mismatch"))

    return check


def _uuid_bytes(text: str) -> bytes:
    return UUID(text).bytes


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


TYPED: dict[str, Callable[[Any], Any]] = {
    "uuid": _uuid_bytes,
    "timestamp": _instant,
    "date": date.fromisoformat,
    "number": float,
    "decimal": Decimal,
}


def transform(events: Iterable[Event], contract: Contract) -> list[Event]:
    """Typed values, `event_date`, `event_hour`."""
    own = [(one.name, TYPED[one.kind]) for one in contract.fields if one.kind in TYPED]
    nested = [(one.name, [(part.name, TYPED[part.kind]) for part in one.fields if part.kind in ("uuid", "timestamp", "date", "decimal")])
              for one in contract.fields if one.kind == "object"]  # fmt: skip
    nested = [(name, parts) for name, parts in nested if parts]
    leaf = event_time(contract)
    assert leaf is not None
    path = leaf.path
    rows = []
    for event in events:
        row = {**event, **{name: typed(value) for name, typed in own if (value := event.get(name)) is not None}}
        for name, parts in nested:
            inner = event.get(name)
            if inner is not None:
                row[name] = {**inner, **{part: typed(value) for part, typed in parts if (value := inner.get(part)) is not None}}
        at = row
        for name in path:
            at = at[name]
        row["event_date"], row["event_hour"] = at.date(), at.hour  # type: ignore[attr-defined]
        rows.append(row)
    return rows


def deduplicate(rows: Iterable[Event], names: list[str], seen: set[Any]) -> list[Event]:
    """The first row of each key."""
    kept = []
    single = names[0] if len(names) == 1 and "." not in names[0] else None
    paths = [name.split(".") for name in names]
    for row in rows:
        one = row[single] if single else tuple(reduce(lambda at, name: at[name], path, row) for path in paths)
        if one not in seen:
            seen.add(one)
            kept.append(row)
    return kept


def schema_of(contract: Contract) -> pa.Schema:
    """What is written: the contract's columns, date and hour."""
    return pa.schema([*columns(contract), pa.field("event_date", pa.date32()), pa.field("event_hour", pa.int32())])


class DayFiles:
    """Day-partitioned zstd Parquet: one file per day, open until the end."""

    def __init__(self, place: Path, schema: pa.Schema) -> None:
        self.place, self.schema = place, schema
        self.open: dict[Any, pq.ParquetWriter] = {}
        self.stack = ExitStack()

    def write(self, rows: Iterable[Event]) -> None:
        days: dict[Any, list[Event]] = {}
        for row in rows:
            days.setdefault(row["event_date"], []).append(row)
        for day, of_day in days.items():
            if day not in self.open:
                path = self.place / f"event_date={day}" / "0.parquet"
                path.parent.mkdir(parents=True)
                writer = pq.ParquetWriter(path, self.schema, compression="zstd", compression_level=1)
                self.open[day] = self.stack.enter_context(writer)
            self.open[day].write_table(pa.Table.from_pylist(of_day, schema=self.schema))

    def close(self) -> None:
        self.stack.close()


def run(job: Job, laps: Laps, found: Found, place: Path) -> None:
    """Every stage, in pieces of the input, so that it never lies in memory whole."""
    contract, path = job.contract, job.broken_allowed
    loads, of_fields, names, schema = decoder(contract), checks(contract.fields), key(contract), schema_of(contract)
    seen: set[Any] = set()
    files = DayFiles(place, schema)
    for body in pieces(path):
        lines = lines_of(body)
        with laps("parse"):
            events, cut = parse(lines, loads)
        with laps("validate"):
            violations = validate(events, of_fields)
        bad = {index for index, _, _ in violations}
        sound = [event for index, event in enumerate(events) if index not in bad]
        with laps("transform"):
            rows = transform(sound, contract)
        found.count("valid", len(sound))
        found.count("bad", cut + len(bad))
        found.table("transform", partial(pa.Table.from_pylist, rows, schema=schema))
        if names:
            with laps("dedupe"):
                rows = deduplicate(rows, names, seen)
        found.count("good", len(rows))
        with laps("write"):
            files.write(rows)
    with laps("write"):
        files.close()
    found.files("write", place)


def judge(job: Job, path: str, laps: Laps, found: Found) -> None:
    """Parsing and validation of a file alone."""
    loads, of_fields = decoder(job.contract), checks(job.contract.fields)
    for body in pieces(path):
        lines = lines_of(body)
        with laps("judge"):
            events, _ = parse(lines, loads)
            violations = validate(events, of_fields)
        found.count("valid", len(events) - len({index for index, _, _ in violations}))


def judge_csv(job: Job, laps: Laps, found: Found) -> None:
    """`csv` of the standard library, cells typed by the contract, then the rules."""
    contract = job.contract
    of_fields, flat = checks(contract.fields), leaves(contract)
    typed: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "decimal": Decimal, "boolean": lambda text: text == "true"}
    plan = [(one.dotted, one.path, typed.get(one.field.kind, str)) for one in flat]
    with laps("judge"), Path(job.formats["csv"]).open(newline="", encoding="utf-8") as file:
        events = []
        for row in csv.DictReader(file):
            event: Event = {}
            for dotted, path, cell in plan:
                if row[dotted] != "":
                    at = event
                    for name in path[:-1]:
                        at = at.setdefault(name, {})
                    at[path[-1]] = cell(row[dotted])
            events.append(event)
        violations = validate(events, of_fields)
        good = _without(events, violations)
    found.count("valid", len(good))
    found.table("valid", lambda: pa.Table.from_pylist(transform(good, contract), schema=columns(contract)))


def _without(events: list[Event], violations: Violations) -> list[Event]:
    bad = {index for index, _, _ in violations}
    return [event for index, event in enumerate(events) if index not in bad]


def plain_ids(event: Event, contract: Contract) -> Event:
    """Top-level UUIDs as bytes."""
    ids = {one.name for one in contract.fields if one.kind == "uuid" and event.get(one.name) is not None}
    return {**event, **{name: _uuid_bytes(event[name]) for name in ids}}


def process(job: Job, laps: Laps, found: Found) -> None:
    """The readable reference on the first records: the oracle of the tests, which finds every violation and is slow on purpose."""
    from itertools import islice

    from frazil.batch import RAW, Batch
    from frazil.bench.candidates.kernel import raw_rows
    from frazil.process.python import PythonProcessor

    with open(job.whole, "rb") as file:
        records = raw_rows(b"".join(islice(file, REFERENCE_RECORDS)), job.received_us)
    raw = pa.RecordBatch.from_arrays([*records.columns, pa.nulls(records.num_rows, pa.string())], schema=RAW)
    processor = PythonProcessor(job.contract)
    with laps("process"):
        processed = processor(Batch(raw))
    found.count("processed", raw.num_rows)
    found.table("process", lambda: pa.Table.from_batches([processed.good.rows]))
