"""❶ Contracts: one ODCS YAML file per event type, compiled once to what every other part uses.

`load` reads and checks a file, `derive` gives Arrow, Iceberg and JSON schemas and the kernel's plan. The types here
are the compiled form; the plan (`Contract.plan`) is its JSON spelling, read by the Rust kernel and by the readable
reference in `frazil.process.python`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal["uuid", "string", "integer", "number", "decimal", "boolean", "timestamp", "date", "json", "object", "array"]
"""uuid: 16 bytes · integer: 64 bit · number: finite double · decimal: exact, precision <= 38 · timestamp: UTC µs ·
json: any JSON value kept as its own text · object, array: nested."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a contract with its rules; absent rules are None.

    `path` is its JSON pointer (`/properties/price`; an array's items have `/tags/*`). `required`: missing and null are
    violations. Bounds are decimal text, so they are exact in every language. Lengths count Unicode code points.
    `unit` (s, ms, us) lets a timestamp be an epoch number; `zone` (IANA name or fixed offset) says where a text
    without a zone belongs: without `zone` such a text is `time.no_zone`.
    """

    name: str
    path: str
    kind: Kind
    required: bool = False
    enum: tuple[str, ...] | None = None  # of `string`: exact text; of numbers: decimal text
    pattern: str | None = None  # searched as ECMA-262 without look-around; `^…$` anchors it
    format: Literal["email", "ipv4", "ipv6", "uri"] | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    precision: int | None = None  # of `decimal`
    scale: int | None = None
    unit: Literal["s", "ms", "us"] | None = None
    zone: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    fields: tuple[Field, ...] = ()  # of `object`
    items: Field | None = None  # of `array`
    pii: str | None = None  # drop, mask, hash: what the contract asks for; None: not personal
    description: str = ""
    examples: tuple[object, ...] = ()
    sample: Mapping[str, object] = field(default_factory=dict)  # hints for the generator

    def walk(self) -> Iterator[Field]:
        """This field and all below it, depth first, in contract order."""
        yield self
        for child in self.fields:
            yield from child.walk()
        if self.items is not None:
            yield from self.items.walk()


# What does not change a verdict or a stored value is left out of the plan and of its hash.
_TALK = ("description", "examples", "pii", "sample")


@dataclass(frozen=True)
class Contract:
    """A compiled contract.

    `key`: JSON pointers of the fields that identify an event; empty: only positions protect it. `event_time`: pointer of
    the event time, a timestamp or a date; None: the time of receipt. `unknown`: what happens to members the contract
    does not name: `keep` (in the column `_extra`: a JSON object from pointer to the member's own text), `drop`, `refuse`.
    Event time must lie in [`earliest_us`, received + `ahead_us`], µs.
    """

    name: str
    version: str
    fields: tuple[Field, ...]
    key: tuple[str, ...] = ()
    event_time: str | None = None
    unknown: Literal["keep", "drop", "refuse"] = "keep"
    earliest_us: int = 946_684_800_000_000  # 2000-01-01
    ahead_us: int = 86_400_000_000
    max_depth: int = 64
    max_members: int = 10_000  # members and items of one record, all levels
    max_bytes: int = 1_048_576
    compatibility: str = "backward"
    description: str = ""
    topic_options: dict[str, str] = field(default_factory=dict)  # partitions, retention: for logs that have them
    path: str | None = None  # the file it came from

    def walk(self) -> Iterator[Field]:
        """All fields, depth first, in contract order."""
        for child in self.fields:
            yield from child.walk()

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that decides a verdict or a stored value."""
        return hashlib.sha256(json.dumps(self._rules(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def plan(self) -> str:
        """The kernel's plan as JSON: `_rules()` plus `hash`. Absent rules are left out."""
        return json.dumps({**self._rules(), "hash": self.hash}, separators=(",", ":"))

    def _rules(self) -> dict[str, object]:
        return {
            "contract": self.name,
            "version": self.version,
            "key": list(self.key),
            "event_time": self.event_time,
            "unknown": self.unknown,
            "earliest_us": self.earliest_us,
            "ahead_us": self.ahead_us,
            "max_depth": self.max_depth,
            "max_members": self.max_members,
            "max_bytes": self.max_bytes,
            "fields": [_rules_of(asdict(child)) for child in self.fields],
        }


def _rules_of(one: dict[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in one.items():
        if name in _TALK or value is None or value is False or (value == () and name == "fields"):
            continue
        if name == "fields":
            kept[name] = [_rules_of(child) for child in value]  # type: ignore[attr-defined]
        elif name == "items":
            kept[name] = _rules_of(value)  # type: ignore[arg-type]
        else:
            kept[name] = list(value) if isinstance(value, tuple) else value
    return kept
