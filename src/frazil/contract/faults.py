"""Records that break a contract on purpose: for every kind of violation it can have, a way to make one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from frazil.contract import Contract, Field
from frazil.contract.pattern import compiled
from frazil.contract.sample import Draw, Maker, ObjectMaker, bounds, maker

Spoil = Callable[[Draw], bytes]
"""Makes one broken record."""

_WRONG_TYPE = {
    "string": "42",
    "uuid": "42",
    "integer": '"many"',
    "number": '"a lot"',
    "decimal": '"a lot"',
    "boolean": '"yes"',
    "timestamp": "true",
    "date": "true",
    "object": "[]",
    "array": "{}",
}
_WRONG_FORMAT = {"email": '"ada at example.com"', "ipv4": '"256.1.1.1"', "ipv6": '"1::2::3"', "uri": '"not a uri"'}
_LARGEST_SPOILED = 65_536  # records are not blown up beyond this


def kinds(contract: Contract, whole: ObjectMaker, rng: Random) -> dict[str, list[Spoil]]:
    """Ways to break the contract by the code of the violation they cause, in a stable order.

    Left out: `record.null` (a body cannot carry it) and what would take a record of over 64 KiB.
    """
    found: dict[str, list[Spoil]] = {}
    for code, spoil in _broken_records(contract, whole):
        found.setdefault(code, []).append(spoil)
    breaker = _Breaker(contract, rng)
    for code, make in breaker.broken_object(contract.fields, whole, top=True):
        found.setdefault(code, []).append(lambda draw, make=make: make(draw).encode())  # type: ignore[misc]
    return found


def _broken_records(contract: Contract, whole: ObjectMaker) -> Iterator[tuple[str, Spoil]]:
    yield "json.invalid", lambda draw: whole(draw).encode()[: -draw.rng.randint(1, 20)] or b"{"
    yield "json.not_object", lambda draw: draw.rng.choice((b"[]", b"42", b'"an event"', b"null", b"[" + whole(draw).encode() + b"]"))
    yield "encoding.invalid_utf8", lambda draw: whole(draw).encode()[:-1] + b',"note":"caf\xe9"}'
    yield "json.too_deep", lambda draw: b'{"deep":' + b"[" * contract.max_depth + b"]" * contract.max_depth + b"}"
    if 2 * contract.max_members + 20 <= min(contract.max_bytes, _LARGEST_SPOILED):
        yield "json.too_many_members", lambda draw: b'{"many":[' + b",".join([b"0"] * contract.max_members) + b"]}"
    if contract.max_bytes < _LARGEST_SPOILED:
        yield "record.too_large", lambda draw: b'{"large":"' + b"x" * contract.max_bytes + b'"}'


class _Breaker:
    """Makers of broken values, each with the code of what it breaks."""

    def __init__(self, contract: Contract, rng: Random) -> None:
        self.contract = contract
        self.rng = rng

    def broken_object(self, fields: tuple[Field, ...], whole: ObjectMaker, *, top: bool = False) -> Iterator[tuple[str, Maker]]:
        for one in fields:
            if one.required:
                yield "required.missing", lambda draw, name=one.name: whole.with_member(draw, name, None)  # type: ignore[misc]
                yield "required.missing", lambda draw, name=one.name: whole.with_member(draw, name, "null")  # type: ignore[misc]
            for code, make in self.broken(one):
                yield code, lambda draw, name=one.name, make=make: whole.with_member(draw, name, make(draw))  # type: ignore[misc]
        first = fields[0].name
        yield "json.duplicate_key", lambda draw: f'{whole.with_member(draw, "", None)[:-1]},"{first}":null}}'
        if self.contract.unknown == "refuse" and top:
            yield "unknown.field", lambda draw: whole.with_member(draw, "", None)[:-1] + ',"not_in_the_contract":1}'

    def broken(self, one: Field) -> Iterator[tuple[str, Maker]]:
        """Broken values of one field."""
        if one.kind == "json":
            return
        yield "type.mismatch", _always(_WRONG_TYPE[one.kind])
        if one.kind == "object":
            yield from self.broken_object(one.fields, ObjectMaker(one.fields, self.contract, None, self.rng))
        elif one.kind == "array":
            yield from self._array(one)
        elif one.kind == "string":
            yield from self._string(one)
        elif one.kind == "uuid":
            yield "format.invalid_uuid", lambda draw: f'"{draw.rng.getrandbits(64):016x}"'
        elif one.kind in ("timestamp", "date"):
            yield from self._time(one)
        elif one.kind != "boolean":
            yield from self._number(one)

    def _array(self, one: Field) -> Iterator[tuple[str, Maker]]:
        if one.items is None:
            return
        item = maker(one.items, self.contract, None, self.rng)
        if one.min_items:
            yield "items.too_few", lambda draw: "[" + ",".join([item(draw) for _ in range((one.min_items or 1) - 1)]) + "]"
        if one.max_items is not None and one.max_items < 1000:
            yield "items.too_many", lambda draw: "[" + ",".join([item(draw) for _ in range((one.max_items or 0) + 1)]) + "]"
        if one.max_items == 0:
            return
        if one.items.required:
            yield "required.missing", lambda draw: _listed(item, draw, one, "null")
        for code, make in self.broken(one.items):
            yield code, lambda draw, make=make: _listed(item, draw, one, make(draw))  # type: ignore[misc]

    def _string(self, one: Field) -> Iterator[tuple[str, Maker]]:
        if one.format is not None:
            yield f"format.invalid_{one.format}", _always(_WRONG_FORMAT[one.format])
        if one.enum is not None:
            yield "enum.unknown_value", _always(json.dumps(next(text for text in ("unknown", "none of these") if text not in one.enum)))
        if one.min_length:
            yield "length.too_short", _always(json.dumps("x" * (one.min_length - 1)))
        if one.max_length is not None and one.max_length < _LARGEST_SPOILED:
            yield "length.too_long", _always(json.dumps("x" * (one.max_length + 1)))
        if one.pattern is not None:
            wrong = [text for text in ("?", "no match", "", "0", "a", "Z", "\n") if compiled(one.pattern).search(text) is None]
            if wrong:
                yield "pattern.no_match", _always(json.dumps(wrong[0]))

    def _time(self, one: Field) -> Iterator[tuple[str, Maker]]:
        yield "time.invalid", _always('"2026-02-30"' if one.kind == "date" else '"20 Nov 2026, 12:34"')
        if one.kind == "timestamp" and one.zone is None:
            yield "time.no_zone", lambda draw: f'"{_moment(draw.at_us):%Y-%m-%dT%H:%M:%S}"'
        if one.path == self.contract.event_time:
            form = '"%Y-%m-%d"' if one.kind == "date" else '"%Y-%m-%dT%H:%M:%SZ"'
            # well beyond both bounds, so that the clock of whoever receives it does not matter
            early, ahead = _moment(self.contract.earliest_us - 10 * 86_400_000_000), self.contract.ahead_us + 30 * 86_400_000_000
            yield (
                "time.out_of_range",
                _always(early.strftime(form) if early.year >= 1000 else form.replace("%Y", "1000").replace("%m-%d", "01-01")),
            )
            yield "time.out_of_range", lambda draw: _moment(draw.at_us + ahead).strftime(form)

    def _number(self, one: Field) -> Iterator[tuple[str, Maker]]:
        precision, scale = one.precision or 38, one.scale or 0
        large = {"integer": "1" + "0" * 19, "number": "1e400"}.get(one.kind, "1" + "0" * (precision - scale))
        yield "type.out_of_range", _always(large)
        if one.kind == "decimal":
            low, _ = bounds(one)
            yield "type.too_many_digits", _always(f"{Decimal(low).scaleb(-scale) + Decimal(5).scaleb(-scale - 1):f}")
        if one.enum is not None:
            yield "enum.unknown_value", _always(format(max(map(Decimal, one.enum)) + 1, "f"))
        if one.minimum is not None:
            yield "range.below_minimum", _always(format(Decimal(one.minimum) - 1, "f"))
        if one.maximum is not None:
            yield "range.above_maximum", _always(format(Decimal(one.maximum) + 1, "f"))


def _always(text: str) -> Maker:
    return lambda draw: text


def _listed(item: Maker, draw: Draw, one: Field, last: str) -> str:
    """An array of good items with a broken one at its end, as long as the array must be."""
    return "[" + ",".join([*(item(draw) for _ in range(max((one.min_items or 1) - 1, 0))), last]) + "]"


def _moment(at_us: int) -> datetime:
    """The instant, cut to the years of the calendar."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if at_us > 0 else datetime.min.replace(tzinfo=UTC)
