"""CloudEvents 1.0 over HTTP: the record is the event's `data`, byte for byte; the envelope only fills what data lacks.

Three members are filled, each only when it is absent from data (null is there): the contract's key from `id` when the key is one
top-level text or UUID field, the event time from `time` when it is a top-level timestamp, and a top-level text field named
`type` or `event_type` from `type`. They are put after data's own last member. An event without data is `{}` with these members.

Source: CloudEvents 1.0.2, its JSON format and its HTTP protocol binding.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from frazil.api.problems import Refused
from frazil.contract import Contract

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^ \t\r\n,\[\]{}\":]++")
_MARK: Final = re.compile(rb'[\[\]{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_REQUIRED: Final = ("specversion", "id", "source", "type")


@dataclass(frozen=True, slots=True)
class Filling:
    """Which top-level member takes which attribute of the envelope."""

    members: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, contract: Contract) -> Filling:
        kinds = {field.path: field for field in contract.fields}
        members = []
        key = kinds.get(contract.key[0]) if len(contract.key) == 1 else None
        if key is not None and key.kind in ("uuid", "string"):
            members.append((key.name, "id"))
        time = kinds.get(contract.event_time or "")
        if time is not None and time.kind == "timestamp":
            members.append((time.name, "time"))
        members += [(name, "type") for name in ("type", "event_type") if f"/{name}" in kinds and kinds[f"/{name}"].kind == "string"]
        return cls(tuple(members))


def structured(body: bytes, filling: Filling, *, batch: bool) -> list[bytes]:
    """The records of a structured body: one event, or an array of them.

    Raises:
        Refused: `body.empty`, `body.invalid_json`, `cloudevents.invalid`: nothing of it may be stored.
    """
    if not body.strip():
        raise Refused("the body is empty", code="body.empty", hint="send at least one event")
    if not batch:
        start = _skip(body, 0)
        end = _end(body, start)
        _finished(body, end)
        return [_record(body, start, filling, 0)]
    start = _skip(body, 0)
    if body[start : start + 1] != b"[":
        raise _invalid("a batch is an array of events", 0)
    records = [_record(body, at, filling, index) for index, (at, _) in enumerate(_items(body, start))]
    if not records:
        raise Refused("the batch is empty", code="body.empty", hint="send at least one event")
    return records


def binary(body: bytes, headers: Mapping[str, str], filling: Filling) -> list[bytes]:
    """The record of a binary-mode request: the body is data, the attributes are `ce-` headers."""
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    _check(attributes, 0)
    return [_filled(body.strip() or b"{}", attributes, filling)]


def joined(records: list[bytes]) -> bytes:
    """Records as one JSON array, which the kernel splits again."""
    return b"[" + b",".join(records) + b"]"


def _record(body: bytes, start: int, filling: Filling, index: int) -> bytes:
    if body[start : start + 1] != b"{":
        raise _invalid("an event is an object", index)
    attributes: dict[str, object] = {}
    content = b"{}"
    for name, at, end in _members(body, start):
        raw = body[at:end]
        if name == "data":
            content = raw
        elif name == "data_base64":
            content = _unwrapped(raw, index)
        elif raw[:1] not in (b"{", b"["):
            attributes[name] = _scalar(raw, at)
    _check(attributes, index)
    if not _is_json(attributes.get("datacontenttype")):
        raise _invalid(f"its data is {attributes['datacontenttype']!r}, not JSON", index)
    return _filled(content, attributes, filling)


def _check(attributes: Mapping[str, object], index: int) -> None:
    for name in _REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            raise _invalid(f"the attribute {name} is missing", index)
    if attributes["specversion"] != "1.0":
        raise _invalid(f"specversion {attributes['specversion']!r} is not 1.0", index)


def _filled(content: bytes, attributes: Mapping[str, object], filling: Filling) -> bytes:
    content = content.strip(b" \t\r\n")
    if not content.startswith(b"{") or not filling.members:
        return content
    present = {name for name, _, _ in _members(content, 0)}
    added = [
        f"{json.dumps(member)}:{json.dumps(attributes[attribute])}"
        for member, attribute in filling.members
        if member not in present and isinstance(attributes.get(attribute), str)
    ]
    if not added:
        return content
    comma = "," if present else ""
    return content[:-1] + f"{comma}{','.join(added)}}}".encode()


def _is_json(media: object) -> bool:
    if media is None:
        return True
    kind = str(media).partition(";")[0].strip().lower()
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def _unwrapped(raw: bytes, index: int) -> bytes:
    try:
        text = json.loads(raw)
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _invalid("data_base64 is not base64", index) from None


def _invalid(what: str, index: int) -> Refused:
    return Refused(
        f"event {index} is not a CloudEvent: {what}",
        code="cloudevents.invalid",
        hint="send CloudEvents 1.0 with specversion, id, source, type and JSON data",
        index=index,
    )


# ---------------------------------------------------------------- finding values in JSON text, without reading what is inside them


def _broken(at: int) -> Refused:
    return Refused(f"the body is not JSON at byte {at}", code="body.invalid_json", hint="send RFC 8259 JSON in UTF-8", at=at)


def _skip(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at


def _end(body: bytes, at: int) -> int:
    """Where the value that starts at `at` ends. What is inside arrays and objects is the kernel's to judge."""
    first = body[at : at + 1]
    if first not in (b"{", b"["):
        found = (_STRING if first == b'"' else _SCALAR).match(body, at)
        if found is None:
            raise _broken(at)
        return found.end()
    depth = 0
    for mark in _MARK.finditer(body, at):
        kind = mark.group()[:1]
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return mark.end()
    raise _broken(len(body))


def _items(body: bytes, start: int) -> Iterator[tuple[int, int]]:
    at = _skip(body, start + 1)
    if body[at : at + 1] == b"]":
        _finished(body, at + 1)
        return
    while True:
        end = _end(body, at)
        yield at, end
        after = _skip(body, end)
        mark = body[after : after + 1]
        if mark == b"]":
            _finished(body, after + 1)
            return
        if mark != b",":
            raise _broken(after)
        at = _skip(body, after + 1)


def _members(body: bytes, start: int) -> Iterator[tuple[str, int, int]]:
    at = _skip(body, start + 1)
    if body[at : at + 1] == b"}":
        return
    while True:
        name = _STRING.match(body, at)
        if name is None:
            raise _broken(at)
        colon = _skip(body, name.end())
        if body[colon : colon + 1] != b":":
            raise _broken(colon)
        value = _skip(body, colon + 1)
        end = _end(body, value)
        yield str(_scalar(name.group(), at)), value, end
        after = _skip(body, end)
        mark = body[after : after + 1]
        if mark == b"}":
            return
        if mark != b",":
            raise _broken(after)
        at = _skip(body, after + 1)


def _scalar(raw: bytes, at: int) -> object:
    try:
        return json.loads(raw)
    except (ValueError, UnicodeDecodeError):
        raise _broken(at) from None


def _finished(body: bytes, end: int) -> None:
    if _skip(body, end) != len(body):
        raise _broken(end)
