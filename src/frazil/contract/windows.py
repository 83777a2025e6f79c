"""Live windows as `windows.yaml` asks for them: values, and the reader of the file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from frazil.contract import Contract
from frazil.contract.derive import arrow_schema
from frazil.contract.source import At, Problem, Source
from frazil.errors import ConfigError
from frazil.settings import duration

FILE = "windows.yaml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,99}")
_VALUE = re.compile(r"\s*([a-z]+)\s*(?:\(\s*([A-Za-z_][\w.]*)\s*(?:,\s*([0-9.]+)\s*)?\))?\s*")
_SHAPES = ("tumbling", "hopping", "session")
_KNOWN = ("description", "from", "where", "key", *_SHAPES, "allowed_lateness", "emit", "topic", "values")
_KINDS = ("count", "sum", "avg", "min", "max", "distinct", "quantile")
_PARTS_HINT = "like {size: 10m, every: 1m} or {gap: 30m}"
_SHAPE_HINT = "write one of: tumbling: 1m · hopping: {size: 10m, every: 1m} · session: {gap: 30m}"
_VALUE_HINT = "write count, sum(FIELD), avg, min, max, distinct(FIELD) or quantile(FIELD, 0.95)"
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Value:
    """One column of a result: what is added up, of which field (None: rows are counted), and of a quantile its share."""

    name: str
    kind: Literal["count", "sum", "avg", "min", "max", "distinct", "quantile"]
    field: str | None = None
    q: float = 0.0


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """One live window. Windows are half-open in event time, aligned to 1970 UTC.

    `hop` is the distance between starts (a tumbling window's is its `size`); a session has `gap` alone. `line` is where it
    stands in the file; it is no part of the `hash`, nor is what only describes it.
    """

    name: str
    contract: str
    values: tuple[Value, ...]
    size: timedelta = timedelta()
    hop: timedelta = timedelta()
    gap: timedelta = timedelta()
    lateness: timedelta = timedelta()
    emit: Literal["update", "final"] = "update"
    where: str | None = None
    key: tuple[str, ...] = ()
    topic: str | None = None
    description: str = ""
    line: int = 1

    @property
    def shape(self) -> str:
        return "session" if self.gap else "tumbling" if self.hop == self.size else "hopping"

    @property
    def hash(self) -> str:
        """Of all that changes its results."""
        times = [span // _MICROSECOND for span in (self.size, self.hop, self.gap, self.lateness)]
        values = [[one.name, one.kind, one.field, one.q] for one in self.values]
        return hashlib.sha256(json.dumps([self.contract, times, self.emit, self.where, self.key, values]).encode()).hexdigest()

    def fields(self) -> Iterator[str]:
        """Every field that it reads but those of its condition."""
        yield from self.key
        yield from (one.field for one in self.values if one.field is not None)

    def plan(self, contract: Contract) -> dict[str, Any]:
        """The window as the kernel reads it."""
        shape = {"kind": "hopping", "size_us": self.size // _MICROSECOND, "hop_us": self.hop // _MICROSECOND}
        if self.gap:
            shape = {"kind": "session", "gap_us": self.gap // _MICROSECOND}
        types = leaves(contract)
        aggregates = [
            {"name": one.name, "kind": one.kind, "q": one.q, **_values(one, None if one.field is None else types[one.field])}
            for one in self.values
        ]
        known = {"name": self.name, "hash": self.hash, "shape": shape, "emit": self.emit}
        return {**known, "lateness_us": self.lateness // _MICROSECOND, "keys": len(self.key), "aggregates": aggregates}


def leaves(contract: Contract) -> dict[str, pa.DataType]:
    """Type of every field that holds one value, by its dotted name."""

    def below(schema: Any, prefix: str) -> Iterator[tuple[str, pa.DataType]]:
        for one in schema:
            if pa.types.is_struct(one.type):
                yield from below(one.type, f"{prefix}{one.name}.")
            elif not pa.types.is_list(one.type):
                yield prefix + one.name, one.type

    return dict(below(arrow_schema(contract), ""))


def value_class(kind: pa.DataType) -> tuple[str, int]:
    """How the kernel takes values of a type, and the digits after their point."""
    if pa.types.is_decimal(kind):
        return "exact", int(kind.scale)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "exact", 0
    if pa.types.is_floating(kind):
        return "float", 0
    return ("time", 0) if pa.types.is_temporal(kind) else ("text", 0)


def _values(one: Value, kind: pa.DataType | None) -> dict[str, Any]:
    if kind is None:
        return {"values": "rows"}
    name, scale = value_class(kind)
    if one.kind in ("count", "distinct"):
        return {"values": "text"}
    return {"values": name, "scale": scale}


def load_windows(path: Path, contracts: Mapping[str, Contract]) -> dict[str, WindowSpec]:
    """All windows of a file by name, in its order; none when there is no file.

    Raises:
        ConfigError: `windows.invalid`: the first problem is the message, `context` holds `file`, `line` and all `problems`.
    """
    if not path.exists():
        return {}
    source = Source.read(path)
    specs = list(_Reader(source, contracts).windows()) if source.data is not None else []
    if source.problems:
        raise refused(sorted(set(source.problems)))
    return {spec.name: spec for spec in specs}


def refused(problems: Sequence[Problem]) -> ConfigError:
    """The error for problems of a file, of which there is at least one."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ConfigError(
        f"{first.file}:{first.line}: {first.message}{more}",
        hint=first.hint,
        code="windows.invalid",
        file=first.file,
        line=first.line,
        problems="; ".join(str(one) for one in problems),
    )


class _Reader:
    """From a parsed file to windows; every problem is reported to the source."""

    def __init__(self, source: Source, contracts: Mapping[str, Contract]) -> None:
        self._source = source
        self._contracts = contracts

    def windows(self) -> Iterator[WindowSpec]:
        top: Any = self._source.data
        named = top.get("windows") if isinstance(top, dict) and set(top) == {"windows"} else None
        if not isinstance(named, dict):
            self._source.report((), "the file must hold `windows:` alone", "windows: {sales: {from: events, tumbling: 1m, …}}")
            return
        for name, asked in named.items():
            at: At = ("windows", name)
            if not _NAME.fullmatch(name):
                self._source.report(at, f"{name!r} is no name", "use a-z, 0-9 and _, a letter first, at most 63")
            elif not isinstance(asked, dict):
                self._source.report(at, f"{name} is empty", "say at least `from`, a shape and `values`")
            elif (spec := self._window(name, asked, at)) is not None:
                yield spec

    def _window(self, name: str, asked: dict[str, Any], at: At) -> WindowSpec | None:
        before = len(self._source.problems)
        for key in asked:
            if key not in _KNOWN:
                near = get_close_matches(key, _KNOWN, n=1)
                self._source.report(
                    (*at, key), f"{key!r} says nothing", f"did you mean {near[0]}?" if near else f"known: {', '.join(_KNOWN)}"
                )
        contract = self._contracts.get(str(asked.get("from")))
        if contract is None:
            known = ", ".join(sorted(self._contracts)) or "none"
            self._source.report((*at, "from"), f"no contract {asked.get('from')!r}", f"from: one of {known}")
            return None
        types = leaves(contract)
        size, hop, gap = self._shape(asked, at)
        spec = WindowSpec(
            name=name,
            contract=contract.name,
            size=size,
            hop=hop,
            gap=gap,
            lateness=self._span(asked.get("allowed_lateness", 0), (*at, "allowed_lateness"), least=timedelta()),
            emit=self._choice(asked.get("emit", "update"), ("update", "final"), (*at, "emit")),
            where=self._text(asked.get("where"), (*at, "where")),
            key=tuple(self._fields(asked.get("key", []), types, (*at, "key"))),
            values=tuple(self._values(asked.get("values"), types, (*at, "values"))),
            topic=self._topic(asked.get("topic"), (*at, "topic")),
            description=self._text(asked.get("description"), (*at, "description")) or "",
            line=self._source.line(at),
        )
        return spec if len(self._source.problems) == before else None

    def _shape(self, asked: dict[str, Any], at: At) -> tuple[timedelta, timedelta, timedelta]:
        given = [one for one in _SHAPES if one in asked]
        none = timedelta()
        if len(given) != 1:
            self._source.report(at, "a window has one shape", _SHAPE_HINT)
            return none, none, none
        where = (*at, given[0])
        parts = asked[given[0]]
        if given[0] == "tumbling":
            size = self._span(parts, where)
            return size, size, none
        wanted = {"hopping": {"size", "every"}, "session": {"gap"}}[given[0]]
        if not isinstance(parts, dict) or set(parts) != wanted:
            self._source.report(where, f"{given[0]} needs {' and '.join(sorted(wanted, reverse=True))}", _PARTS_HINT)
            return none, none, none
        spans = {name: self._span(span, (*where, name)) for name, span in parts.items()}
        if "gap" in spans:
            return none, none, spans["gap"]
        if spans["every"] > spans["size"]:
            self._source.report((*where, "every"), "events between two windows would be in none", "make `every` at most `size`")
        elif spans["every"] and spans["size"] // spans["every"] > 1_000:
            self._source.report((*where, "every"), "an event would be in more than 1,000 windows", "make `every` longer")
        return spans["size"], spans["every"], none

    def _span(self, text: object, at: At, *, least: timedelta = timedelta(milliseconds=1)) -> timedelta:
        try:
            span = duration(text)
        except ValueError as error:
            self._source.report(at, str(error), "like 30s, 5m, 1h")
            return timedelta()
        if not least <= span <= 366 * _DAY:
            self._source.report(at, f"{text!r} is too short or too long", "from 1ms to 366d")
        return span

    def _choice(self, given: object, among: tuple[Any, ...], at: At) -> Any:
        if given not in among:
            self._source.report(at, f"{given!r} is none of {', '.join(among)}", f"write {among[0]}")
        return given

    def _text(self, given: object, at: At) -> str | None:
        if given is not None and not isinstance(given, str):
            self._source.report(at, f"{given!r} is no text", "quote it")
        return given if isinstance(given, str) else None

    def _topic(self, given: object, at: At) -> str | None:
        name = self._text(given, at)
        if name is not None and (name in self._contracts or not _TOPIC.fullmatch(name)):
            self._source.report(at, f"{name!r} is a contract's topic, or no name", "use a-z, 0-9, - and _, such as revenue-results")
        return name

    def _fields(self, given: object, types: Mapping[str, pa.DataType], at: At) -> Iterator[str]:
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list):
            self._source.report(at, "a key is a list of fields", "key: [user_id]")
            return
        for index, name in enumerate(names):
            if self._known(str(name), types, (*at, index)):
                yield str(name)

    def _known(self, name: str, types: Mapping[str, pa.DataType], at: At) -> bool:
        if name in types:
            return True
        near = get_close_matches(name, types, n=1)
        self._source.report(at, f"no field {name!r}", f"did you mean {near[0]}?" if near else f"known: {', '.join(types)}")
        return False

    def _values(self, given: object, types: Mapping[str, pa.DataType], at: At) -> Iterator[Value]:
        if not isinstance(given, dict) or not given:
            self._source.report(at, "a window adds something up", "values: {orders: count, revenue: sum(value)}")
            return
        for name, text in given.items():
            where = (*at, name)
            found = _VALUE.fullmatch(str(text))
            if not _NAME.fullmatch(name):
                self._source.report(where, f"{name!r} is no name", "use a-z, 0-9 and _, a letter first, at most 63")
            elif found is None or found[1] not in _KINDS:
                self._source.report(
                    where,
                    f"{text!r} is nothing to add up",
                    _VALUE_HINT,
                )
            elif (value := self._value(name, found, types, where)) is not None:
                yield value

    def _value(self, name: str, found: re.Match[str], types: Mapping[str, pa.DataType], at: At) -> Value | None:
        kind, field, share = found[1], found[2], found[3]
        if field is None and kind != "count":
            self._source.report(at, f"{kind} needs a field", f"write {kind}(FIELD)")
            return None
        if field is not None and not self._known(field, types, at):
            return None
        if (kind == "quantile") != (share is not None) or (share is not None and not 0 <= float(share) <= 1):
            self._source.report(at, "a quantile, and nothing else, has a share from 0 to 1", "write quantile(FIELD, 0.95)")
            return None
        numbers = field is None or value_class(types[field])[0] in ("exact", "float")
        if kind in ("sum", "avg", "quantile") and not numbers:
            self._source.report(at, f"{field} is no number", f"{kind} adds up numbers; count and distinct take any field")
            return None
        return Value(name, kind, field, float(share or 0))  # type: ignore[arg-type]  # one of _KINDS
