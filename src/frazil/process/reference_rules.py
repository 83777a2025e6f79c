"""The field rules of docs/reference/verdicts.md, each written once, in the order of the specification."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple
from uuid import UUID

from frazil.contract import Contract, Field
from frazil.contract.pattern import compiled
from frazil.process.reference_json import Node
from frazil.process.reference_values import (
    DAY_US,
    FORMATS,
    Exact,
    NoZone,
    day_of,
    instant_of,
    instant_of_epoch,
    is_uuid,
    rfc3339_seconds,
    zone,
)

FOUND = {"string": "a string", "number": "a number", "boolean": "a boolean", "null": "null", "object": "an object", "array": "an array"}
_EXPECTED = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "decimal": "a number",
    "boolean": "a boolean",
    "object": "an object",
    "array": "an array",
    "timestamp": "an RFC 3339 time",
    "date": "a date",
    "uuid": "a UUID",
}
_JSON_KIND = {"integer": "number", "decimal": "number", "timestamp": "string", "date": "string", "uuid": "string"}
_VALUE_CHARACTERS = 200
_EXACT_CONTEXT = Context(prec=60)
_INT64 = range(-(2**63), 2**63)


class Broken(NamedTuple):
    """One broken rule of one record; `value` is JSON text as it stood there."""

    path: str
    code: str
    message: str
    hint: str
    value: str | None = None


def shortened(text: str) -> str:
    """At most 200 characters, `…` after a cut."""
    return text if len(text) <= _VALUE_CHARACTERS else text[:_VALUE_CHARACTERS] + "…"


def pointer(path: str, name: str) -> str:
    """A member's JSON pointer (RFC 6901)."""
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"


class Rules:
    """One record under its contract: `object` gives the values, what is broken is noted."""

    def __init__(self, contract: Contract, received_us: int) -> None:
        self.contract = contract
        self.received_us = received_us
        self.event_us = received_us
        self.broken: list[Broken] = []
        self.late: list[tuple[int, Broken]] = []  # repeated and unknown members with their places: told after all fields
        self.unnamed: list[tuple[int, str, str]] = []  # place, pointer and text of members to keep

    def all_broken(self) -> list[Broken]:
        return self.broken + [broken for _, broken in sorted(self.late)]

    def extra(self) -> str | None:
        """The kept members as the text of a JSON object, None when there are none."""
        members = [f"{json.dumps(path, ensure_ascii=False)}:{raw}" for _, path, raw in sorted(self.unnamed)]
        return "{" + ",".join(members) + "}" if members else None

    def note(self, path: str, node: Node | None, code: str, message: str, hint: str) -> None:
        self.broken.append(Broken(path, code, message, hint, None if node is None else shortened(node.raw)))

    def object(self, fields: Sequence[Field], node: Node, path: str) -> dict[str, Any]:
        """Values of an object's fields by name."""
        members: dict[str, Node] = {}
        known = {one.name for one in fields}
        for name, value in node.members:
            here = pointer(path, name)
            if name in members:
                told = Broken(here, "json.duplicate_key", f"{name} stands more than once", "send each name once", shortened(value.raw))
                self.late.append((value.at, told))
                continue
            members[name] = value
            if name not in known:
                self.unknown(name, value, here)
        return {one.name: self.field(one, members.get(one.name), f"{path}/{one.name}") for one in fields}

    def unknown(self, name: str, node: Node, path: str) -> None:
        if self.contract.unknown == "keep":
            self.unnamed.append((node.at, path, node.raw))
        elif self.contract.unknown == "refuse":
            hint = "remove it, or add it to the contract"
            self.late.append((node.at, Broken(path, "unknown.field", f"{name} is not in the contract", hint, shortened(node.raw))))

    def field(self, one: Field, node: Node | None, path: str) -> Any:
        """The value of a field for its column; None when it is missing or broken."""
        if node is None or node.kind == "null":
            if one.required:
                name = path.rpartition("/")[2]  # an item's is its index
                self.note(path, node, "required.missing", f"{name} is required", f"add {path}")
            return None
        if one.kind == "json":
            return node.raw
        if node.kind != _JSON_KIND.get(one.kind, one.kind) and not (one.unit is not None and node.kind == "number"):
            self.mismatch(one, node, path)
            return None
        match one.kind:
            case "object":
                return self.object(one.fields, node, path)
            case "array":
                return self.array(one, node, path)
            case "string":
                return self.string(one, node, path)
            case "boolean":
                return node.raw == "true"
            case "uuid":
                return self.uuid(node, path)
            case "timestamp" | "date":
                return self.time(one, node, path)
            case _:
                return self.number(one, node, path)

    def mismatch(self, one: Field, node: Node, path: str) -> None:
        expected = _EXPECTED[one.kind] + (" or an epoch number" if one.unit is not None else "")
        self.note(path, node, "type.mismatch", f"expected {expected}, found {FOUND[node.kind]}", f"send {expected}")

    def array(self, one: Field, node: Node, path: str) -> list[Any]:
        count = len(node.items)
        if one.min_items is not None and count < one.min_items:
            self.note(path, node, "items.too_few", f"{count} items, at least {one.min_items}", f"send at least {one.min_items} items")
        if one.max_items is not None and count > one.max_items:
            self.note(path, node, "items.too_many", f"{count} items, at most {one.max_items}", f"send at most {one.max_items} items")
        item = one.items
        return [] if item is None else [self.field(item, child, f"{path}/{index}") for index, child in enumerate(node.items)]

    def string(self, one: Field, node: Node, path: str) -> str:
        text = node.text
        if one.format is not None and not FORMATS[one.format](text):
            self.note(path, node, f"format.invalid_{one.format}", f"not a valid {one.format}", f"send a {one.format}")
        if one.enum is not None and text not in one.enum:
            self.outside_enum(one.enum, node, path)
        if one.min_length is not None and len(text) < one.min_length:
            hint = f"send at least {one.min_length} characters"
            self.note(path, node, "length.too_short", f"{len(text)} characters, at least {one.min_length}", hint)
        if one.max_length is not None and len(text) > one.max_length:
            hint = f"send at most {one.max_length} characters"
            self.note(path, node, "length.too_long", f"{len(text)} characters, at most {one.max_length}", hint)
        if one.pattern is not None and compiled(one.pattern).search(text) is None:
            self.note(path, node, "pattern.no_match", f"does not match {one.pattern}", f"send text that matches {one.pattern}")
        return text

    def outside_enum(self, enum: Sequence[str], node: Node, path: str) -> None:
        hint = f"use one of: {', '.join(enum[:5])}" + (", …" if len(enum) > 5 else "")
        self.note(path, node, "enum.unknown_value", f"not one of {len(enum)} allowed values", hint)

    def uuid(self, node: Node, path: str) -> bytes | None:
        if not is_uuid(node.text):
            self.note(path, node, "format.invalid_uuid", "not a valid uuid", "send a uuid")
            return None
        return UUID(node.text).bytes

    def number(self, one: Field, node: Node, path: str) -> int | float | Decimal | None:
        exact = Exact.parse(node.raw)
        if one.kind == "integer" and exact.fraction_digits:
            self.mismatch(one, node, path)
            return None
        value = self.value_of(one, exact, node, path)
        if one.enum is not None and exact not in [Exact.parse(allowed) for allowed in one.enum]:
            self.outside_enum(one.enum, node, path)
        self.range(one, exact, node, path)
        return value

    def value_of(self, one: Field, exact: Exact, node: Node, path: str) -> int | float | Decimal | None:
        """The number in its column's type; noted when it does not fit."""
        if one.kind == "number":
            double = float(node.raw)
            if not math.isfinite(double):
                self.does_not_fit("number", node, path)
            return double
        if one.kind == "integer":
            whole = exact.floor_scaled(0)
            if whole is None or whole not in _INT64:
                self.does_not_fit("integer", node, path)
            return whole
        precision, scale = one.precision or 38, one.scale or 0
        if exact.whole_digits > precision - scale:
            self.does_not_fit(f"decimal({precision},{scale})", node, path)
        if exact.fraction_digits > scale:
            self.note(path, node, "type.too_many_digits", f"more than {scale} digits after the point", f"round to {scale} digits")
        return Decimal(exact.floor_scaled(scale) or 0).scaleb(-scale, _EXACT_CONTEXT)

    def does_not_fit(self, kind: str, node: Node, path: str) -> None:
        self.note(path, node, "type.out_of_range", f"{shortened(node.raw)} does not fit {kind}", "send a smaller number")

    def range(self, one: Field, exact: Exact, node: Node, path: str) -> None:
        if one.minimum is not None:
            low = Exact.parse(one.minimum)
            if exact.below(low) or (one.exclusive_minimum and exact == low):
                words = ("not above", "above") if one.exclusive_minimum else ("below the minimum", "of at least")
                self.note(path, node, "range.below_minimum", f"{words[0]} {one.minimum}", f"send a value {words[1]} {one.minimum}")
        if one.maximum is not None:
            high = Exact.parse(one.maximum)
            if high.below(exact) or (one.exclusive_maximum and exact == high):
                words = ("not below", "below") if one.exclusive_maximum else ("above the maximum", "of at most")
                self.note(path, node, "range.above_maximum", f"{words[0]} {one.maximum}", f"send a value {words[1]} {one.maximum}")

    def time(self, one: Field, node: Node, path: str) -> int | None:
        """Days since 1970 of a date, µs since 1970 UTC of a timestamp."""
        value = self.time_value(one, node, path)
        if value is not None and path == self.contract.event_time:
            at = value
            if one.kind == "date":
                at = value * DAY_US if one.zone is None else zone(one.zone).first_instant(value)
            self.event_us = at
            latest = self.received_us + self.contract.ahead_us
            if not self.contract.earliest_us <= at <= latest:
                message = f"outside {rfc3339_seconds(self.contract.earliest_us)} to {rfc3339_seconds(latest)}"
                self.note(path, node, "time.out_of_range", message, "check the clock and the unit")
        return value

    def time_value(self, one: Field, node: Node, path: str) -> int | None:
        if one.kind == "date":
            day = day_of(node.text)
            if day is None:
                self.note(path, node, "time.invalid", "not a date", "write it like 2026-11-20")
            return day
        try:
            at = instant_of_epoch(Exact.parse(node.raw), one.unit or "us") if node.kind == "number" else instant_of(node.text, one.zone)
        except NoZone:
            self.note(path, node, "time.no_zone", "the time has no zone", "add Z or an offset, or name the zone in the contract")
            return None
        if at is None:
            self.note(path, node, "time.invalid", "not an RFC 3339 time", "write it like 2026-11-20T12:34:56Z")
        return at
