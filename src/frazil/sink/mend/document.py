"""Edits of a JSON text in place: only the named member changes, every other byte stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda name: _refuse(name))


class NotMendable(Exception):  # never leaves a mend: the record stays as it was
    """This statement does not apply to this record."""


class Missing:
    """No such member."""


MISSING: Final = Missing()


class Number(str):
    """A JSON number as its own text: 12.50 stays 12.50."""


class Raw(str):
    """An object or array as its own text."""


Value = str | Number | Raw | bool | None


def decode(raw: str) -> Value:
    """A value from its JSON text; numbers and containers keep it."""
    match raw[0]:
        case '"':
            return str(json.loads(raw))
        case "{" | "[":
            return Raw(raw)
        case "t" | "f":
            return raw == "true"
        case "n":
            return None
        case _:
            return Number(raw)


def encode(value: Value) -> str:
    if isinstance(value, Number | Raw):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if any("\ud800" <= c <= "\udfff" for c in text) else text


def get(record: str, path: tuple[str, ...]) -> str | Missing:
    """The JSON text at `path`. Raises NotMendable when the record is not JSON."""
    start, end = _value_at(record, 0)
    for part in path:
        found = next((span for name, _, span in _members(record, start) if name == part), None)
        if found is None:
            return MISSING
        start, end = found
    return record[start:end]


def put(record: str, path: tuple[str, ...], raw: str) -> str:
    """Set the value at `path`; objects on the way are made.

    Raises:
        NotMendable: The record is not a JSON object, the way leads through a scalar or past the end of an array.
    """
    start, end = _value_at(record, 0)
    for depth, part in enumerate(path):
        members = list(_members(record, start))
        if not members and record[start] not in "{[":
            raise NotMendable(f"{part} of a scalar")
        found = next((span for name, _, span in members if name == part), None)
        if found is None:
            return _added(record, start, end, part, _nested(path[depth + 1 :], raw), bool(members))
        start, end = found
    return record[:start] + raw + record[end:]


def remove(record: str, path: tuple[str, ...]) -> str:
    """Take a member or item out; the record itself when there is none. Every repetition of a name goes."""
    if not path:
        raise NotMendable("the whole record cannot be deleted")
    while True:
        start, _ = _value_at(record, 0)
        for part in path[:-1]:
            found = next((span for name, _, span in _members(record, start) if name == part), None)
            if found is None:
                return record
            start = found[0]
        in_object = record[start] == "{"
        members = list(_members(record, start))
        at = next((i for i, (name, _, _) in enumerate(members) if name == path[-1]), None)
        if at is None:
            return record
        if at + 1 < len(members):
            record = record[: members[at][1]] + record[members[at + 1][1] :]
        elif at:
            record = record[: members[at - 1][2][1]] + record[members[at][2][1] :]
        else:
            record = record[: members[at][1]] + record[members[at][2][1] :]
        if not in_object:  # the next item now has this index
            return record


def expand(record: str, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each path that `*` stands for, with the indexes it took; the path itself where there is no `*`."""
    if "*" not in path:
        yield path, ()
        return
    at = path.index("*")
    items = get(record, path[:at])
    if isinstance(items, Missing) or items[0] not in "[":
        return
    for name, _, _ in _members(items, 0):
        for rest, deeper in expand(record, (*path[:at], name, *path[at + 1 :])):
            yield rest, (name, *deeper)


def _nested(path: tuple[str, ...], raw: str) -> str:
    for part in reversed(path):
        raw = "{" + json.dumps(part, ensure_ascii=False) + ":" + raw + "}"
    return raw


def _added(record: str, start: int, end: int, name: str, raw: str, more: bool) -> str:
    if record[start] != "{":
        raise NotMendable("an array grows by no patch")
    close = end - 1
    while record[close - 1] in " \t\n\r":
        close -= 1
    return record[:close] + ("," if more else "") + json.dumps(name, ensure_ascii=False) + ":" + raw + record[close:]


def _members(record: str, start: int) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Name, start of the member and span of its value, for each member or item of the container at `start`."""
    opening = record[start]
    if opening not in "{[":
        return
    at, index = _skip(record, start + 1), 0
    if record[at] in "}]":
        return
    while True:
        member = at
        if opening == "{":
            name, at = _raw(record, at)
            at = _skip(record, _skip(record, at) + 1)  # over the colon
            name = json.loads(name)
        else:
            name = str(index)
        value, end = at, _raw(record, at)[1]
        yield name, member, (value, end)
        at = _skip(record, end)
        if record[at] in "}]":
            return
        at, index = _skip(record, at + 1), index + 1


def _value_at(record: str, start: int) -> tuple[int, int]:
    start = _skip(record, start)
    end = _raw(record, start)[1]
    if _skip(record, end) != len(record):
        raise NotMendable("bytes after the value")
    return start, end


def _raw(record: str, start: int) -> tuple[str, int]:
    try:
        _, end = _DECODER.raw_decode(record, start)
    except ValueError as error:
        raise NotMendable(str(error)) from error
    return record[start:end], end


def _skip(record: str, at: int) -> int:
    found = _SPACE.match(record, at)
    return found.end() if found else at


def _refuse(name: str) -> object:
    raise NotMendable(f"{name} is not JSON")
