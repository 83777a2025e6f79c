"""OpenLineage as receivers see it: a schema for every event, a file to read, an HTTP receiver that can be away.

The official client's classes are generated from the spec's JSON Schemas; `schema_of` turns them back, stricter than the spec in
one point: members that it does not know are not allowed. Nothing of the spec is fetched.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import threading
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import generated
from openlineage.client.generated import base

Event = dict[str, Any]
_FORMATS = {"runId": "uuid", "eventTime": "date-time", "producer": "uri", "schemaURL": "uri", "_producer": "uri", "_schemaURL": "uri"}
_ALWAYS = {"_producer", "_schemaURL", "producer", "schemaURL", "eventType"}
_SLOTS = {
    "run": base.RunFacet,
    "job": base.JobFacet,
    "facets": base.DatasetFacet,
    "inputFacets": base.InputDatasetFacet,
    "outputFacets": base.OutputDatasetFacet,
}


def check(event: Event) -> None:
    """Fail unless the event and each of its facets is as the spec says, and stands where the spec has it."""
    _valid(event, base.RunEvent)
    for where in ("run", "job"):
        _check_facets(event[where].get("facets", {}), _SLOTS[where])
    for dataset in (*event.get("inputs", []), *event.get("outputs", [])):
        for slot in ("facets", "inputFacets", "outputFacets"):
            _check_facets(dataset.get(slot, {}), _SLOTS[slot])


def _check_facets(found: dict[str, Any], kind: type) -> None:
    for name, facet in found.items():
        cls = _facets()[facet["_schemaURL"]]
        assert issubclass(cls, kind), f"{name} is no {kind.__name__}"
        wanted = cls.__name__.removesuffix(kind.__name__).removesuffix("DatasetFacet")
        assert name.replace("_", "").lower() in (wanted.lower(), wanted.lower().replace("datasetversion", "version")), (name, cls)
        _valid(facet, cls)


def _valid(value: Any, cls: type) -> None:
    faults = sorted(Draft202012Validator(schema_of(cls), format_checker=FormatChecker()).iter_errors(value), key=str)
    assert not faults, f"{faults[0].json_path}: {faults[0].message}"


@cache
def _facets() -> dict[str, type]:
    """Facet classes by the URL of their schema."""
    found = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for one in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values():
            if isinstance(one, type) and issubclass(one, base.BaseFacet):
                found[one._get_schema()] = one
    return found


@cache
def schema_of(cls: type) -> dict[str, Any]:
    """A generated class as a JSON Schema."""
    hints = typing.get_type_hints(cls)
    members = {one.name: _typed(hints[one.name], one.name) for one in attr.fields(cls)}
    required = [one.name for one in attr.fields(cls) if one.default is attr.NOTHING or one.name in _ALWAYS]
    facets = {name: {"type": "object"} for name in members if name.lower().endswith("facets")}
    return {"type": "object", "properties": members | facets, "required": required, "additionalProperties": False}


def _typed(hint: Any, name: str) -> dict[str, Any]:
    plain = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if hint in plain:
        return {"type": plain[hint]} | ({"format": _FORMATS[name]} if name in _FORMATS else {})
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_typed(one, name) for one in inner if one is not types.NoneType]}
    if origin is list:
        return {"type": "array", "items": _typed(inner[0], "")}
    if origin is dict:
        return {"type": "object", "additionalProperties": _typed(inner[1], "")}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [one.value for one in hint]}
    if attr.has(hint):
        recursive = hint.__name__ in ("SchemaDatasetFacetFields",)
        return {"type": "object", "required": ["name"]} if recursive else schema_of(hint)
    return {}


def read(file: Path) -> list[Event]:
    """The events of a file, every one of them checked."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    for event in events:
        check(event)
    return events


def of(events: Sequence[Event], job: str, state: str | None = None) -> list[Event]:
    """The events of a job, in order."""
    return [one for one in events if one["job"]["name"] == job and state in (None, one["eventType"])]


def name(dataset: dict[str, Any]) -> tuple[str, str]:
    return dataset["namespace"], dataset["name"]


@dataclass
class Receiver:
    """An HTTP receiver on a port of its own. `answers`: what it says to the next requests, 201 when it is empty."""

    url: str = ""
    taken: list[Event] = field(default_factory=list)
    seen: list[tuple[str, str | None, Event]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hold: threading.Event | None = None


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver for the time of the block."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if found.hold is not None:
                found.hold.wait(30)
            status = found.answers.pop(0) if found.answers else 201
            found.seen.append((self.path, self.headers["Authorization"], event))
            if status < 300:
                found.taken.append(event)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
