"""Read contracts: ODCS v3.1 or later, one `<name>.odcs.yaml` per event type, checked by the standard's own JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft201909Validator, ValidationError
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

from frazil.contract import Contract, Field
from frazil.contract.fields import FieldReader, custom_properties
from frazil.contract.source import At, Problem, Source
from frazil.errors import ContractError
from frazil.settings import duration

SUFFIX = ".odcs.yaml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSIONS = ("v3.1.0", "v3.2.0")
_KEY_KINDS = ("uuid", "string", "integer", "decimal", "boolean", "timestamp", "date")
_DURATION = re.compile(r"(\d+)\s*([smhd])", re.ASCII)
_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LIMITS = {"maxBytes": ("max_bytes", 2, 16_777_216), "maxDepth": ("max_depth", 1, 128), "maxMembers": ("max_members", 1, 1_000_000)}
_CHOICES = {
    "unknownFields": ("keep", "drop", "refuse"),
    "compatibility": ("backward", "forward", "full", "none"),
    "icebergPartition": ("day",),
}
_CUSTOM = ("eventTime", "eventKey", "earliest", "ahead", "topicOptions", *_CHOICES, *_LIMITS)

_Custom = Mapping[str, tuple[Any, At]]


def load_file(path: Path | str) -> Contract:
    """Read one contract; the file's name is the contract's: `events.odcs.yaml` is `events`.

    Raises:
        ContractError: The first problem is the message; `context` holds its `file` and `line`, and all in `problems`.
    """
    contract, problems = _read(Path(path))
    if contract is None or problems:
        raise _refused(problems)
    return contract


def load_directory(directory: Path | str) -> dict[str, Contract]:
    """All contracts of a directory by name, sorted; other files are left alone.

    Raises:
        ContractError: There is no such directory, or any file has a problem; all problems of all files are listed.
    """
    place = Path(directory)
    if not place.is_dir():
        raise ContractError(
            f"no directory {place}",
            code="contract.no_directory",
            hint="run `frazil init DIR`, or create it with one *.odcs.yaml per event type",
        )
    loaded: dict[str, Contract] = {}
    problems: list[Problem] = []
    for file in sorted(place.glob(f"*{SUFFIX}")):
        contract, found = _read(file)
        problems += found
        if contract is not None:
            loaded[contract.name] = contract
    if problems:
        raise _refused(problems)
    return loaded


def check_file(path: Path | str) -> list[Problem]:
    """Every problem of a file in order of lines; empty when it is good."""
    return _read(Path(path))[1]


def _refused(problems: Sequence[Problem]) -> ContractError:
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ContractError(
        f"{first.file}:{first.line}: {first.message}{more}",
        hint=first.hint or "run `frazil contracts check`",
        file=first.file,
        line=first.line,
        problems=[str(one) for one in problems],
    )


def _read(path: Path) -> tuple[Contract | None, list[Problem]]:
    source = Source.read(path)
    contract = None
    if source.data is not None and _meets_standard(source):
        document = OpenDataContractStandard.model_validate(source.data)
        contract = _ContractReader(source, path.name.removesuffix(SUFFIX)).contract(document)
    return (None if source.problems else contract), sorted(set(source.problems))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000


def _is_duration(text: str) -> bool:
    try:
        return duration(text) > timedelta()
    except ValueError:
        return False


_TOPIC_OPTIONS = {"partitions": _is_count, "replication": _is_count, "retention": _is_duration}


@lru_cache(maxsize=1)
def _standard() -> Draft201909Validator:
    """The official JSON Schema of ODCS, as the standard's package carries it."""
    return Draft201909Validator(json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")))


@lru_cache(maxsize=1)
def _names_of_standard() -> tuple[str, ...]:
    """Every property that the standard names anywhere, for a hint at a misspelt one."""
    found: set[str] = set()
    waiting: list[object] = [_standard().schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("properties"), dict):
                found.update(part["properties"])
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return tuple(sorted(found))


def _meets_standard(source: Source) -> bool:
    """Report what the official schema finds; whether the document can be read on."""
    errors = [leaf for error in _standard().iter_errors(source.data) for leaf in _leaves(error)]
    for error in errors:
        place: At = tuple(error.absolute_path)
        if _lacks_type(place, error.instance):  # then every branch of the standard's schema complains
            source.report(place, "logicalType is missing", "use one of: string, integer, number, boolean, date, timestamp, object, array")
            continue
        unexpected = re.findall(r"'([^']*)'", error.message) if error.validator in ("additionalProperties", "unevaluatedProperties") else []
        for name in unexpected:
            close = get_close_matches(name, _names_of_standard(), 1)
            hint = f"did you mean `{close[0]}`?" if close else "correct the name, or use `customProperties`"
            source.report((*place, name), f"`{name}` is not part of ODCS here", hint)
        if not unexpected:
            message = error.message if len(error.message) <= 200 else error.message[:200] + "…"
            source.report(place, message, "the Open Data Contract Standard asks for this")
    return not errors


def _lacks_type(place: At, instance: object) -> bool:
    """Whether this is a property without a logical type."""
    is_property = place[-1:] == ("items",) or place[-2:-1] == ("properties",)
    return is_property and isinstance(instance, dict) and "logicalType" not in instance


def _leaves(error: ValidationError) -> list[ValidationError]:
    """The errors that name the cause: those below a combinator where there are any."""
    if not error.context:
        return [error]
    deepest = max(len(one.absolute_path) for one in error.context)
    return [leaf for one in error.context if len(one.absolute_path) == deepest for leaf in _leaves(one)][:1]


class _ContractReader:
    """Turns a valid ODCS document into a contract; problems go to the source."""

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self.name = name
        self.fields: tuple[Field, ...] = ()

    def contract(self, document: OpenDataContractStandard) -> Contract | None:
        """The contract, or None when it has no schema; whole only if the source has no problems."""
        self._check_head(document)
        if not document.schema_:
            self.source.report((), "the contract has no `schema`", "list the event's fields below `schema`")
            return None
        if len(document.schema_) > 1:
            self.source.report(("schema", 1), "more than one schema", "write one file per event type")
        schema = document.schema_[0]
        at: At = ("schema", 0)
        if schema.name != self.name:
            self.source.report(
                (*at, "name"), f"the schema is called {schema.name}, the file {self.name}", f"call it {self.name}, or rename the file"
            )
        if not schema.properties:
            self.source.report(at, "the schema has no `properties`", "list at least one field")
        self.fields = FieldReader(self.source).fields(schema.properties or (), (*at, "properties"))
        custom = self._custom(document, schema, at)
        description = document.description.purpose if document.description else None
        return Contract(
            name=self.name,
            version=document.version or "",
            fields=self.fields,
            key=self._key(schema, custom, at),
            event_time=self._event_time(custom),
            description=(description or schema.description or "").strip(),
            topic_options=self._topic_options(custom),
            path=self.source.file,
            **self._times(custom),
            **self._choices(custom),
            **self._limits(custom),
        )

    def _check_head(self, document: OpenDataContractStandard) -> None:
        if not _NAME.fullmatch(self.name):
            self.source.report(
                (), f"`{self.name}` is not a contract name", "name the file like web_events.odcs.yaml: a-z, 0-9, _, at most 63"
            )
        if document.apiVersion not in _VERSIONS:
            self.source.report(("apiVersion",), f"apiVersion {document.apiVersion}", f"use one of: {', '.join(_VERSIONS)}")
        if not document.version:
            self.source.report(("version",), "the contract has no version", "write `version: 1.0.0`")

    def _custom(self, document: OpenDataContractStandard, schema: SchemaObject, at: At) -> _Custom:
        top = custom_properties(self.source, document.customProperties, (), _CUSTOM)
        inner = custom_properties(self.source, schema.customProperties, at, _CUSTOM)
        for name in top.keys() & inner.keys():
            self.source.report(inner[name][1], f"`{name}` stands at the top of the file, too", "keep one of them")
        return {**top, **inner}

    def _key(self, schema: SchemaObject, custom: _Custom, at: At) -> tuple[str, ...]:
        if "eventKey" in custom:
            value, place = custom["eventKey"]
            names = value if isinstance(value, list) else [value]
            found = [(pointer_of(str(name)), place) for name in names]
        else:
            keyed = list(_primary(schema.properties or (), (*at, "properties"), ""))
            keyed.sort(key=lambda one: one[2])  # stable: declaration order where no position is given
            found = [(pointer, place) for pointer, place, _ in keyed]
        return tuple(pointer for pointer, place in found if self._is_key(pointer, place))

    def _is_key(self, pointer: str, place: At) -> bool:
        line = self._line_of(pointer)
        if not line:
            self.source.report(
                place, f"the key names {pointer}, which is not a field", "name a field of this contract, below an object like actor.id"
            )
        elif any(one.kind == "array" for one in line):
            self.source.report(place, f"the key field {pointer} is inside an array", "a key has one value per event")
        elif line[-1].kind not in _KEY_KINDS:
            self.source.report(place, f"the key field {pointer} is of type {line[-1].kind}", f"use one of: {', '.join(_KEY_KINDS)}")
        elif missing := [one.path for one in line if not one.required]:
            self.source.report(place, f"the key field {pointer} may be missing", f"set `required: true` on {', '.join(missing)}")
        else:
            return True
        return False

    def _line_of(self, pointer: str) -> tuple[Field, ...]:
        """The fields from the top down to a pointer; empty when there is no such field."""
        line: list[Field] = []
        fields = self.fields
        for name in pointer.split("/")[1:]:
            found = next((one for one in fields if one.name == name), None)
            if found is None:
                return ()
            line.append(found)
            fields = found.items.fields if found.items else found.fields
        return tuple(line)

    def _event_time(self, custom: _Custom) -> str | None:
        if "eventTime" not in custom:
            return None
        value, place = custom["eventTime"]
        pointer = pointer_of(str(value))
        line = self._line_of(pointer)
        if not line:
            self.source.report(place, f"eventTime names {value}, which is not a field", "name a timestamp or date of this contract")
        elif line[-1].kind not in ("timestamp", "date"):
            self.source.report(place, f"the event time {value} is of type {line[-1].kind}", "use `logicalType: timestamp` or `date`")
        elif any(one.kind == "array" for one in line):
            self.source.report(place, f"the event time {value} is inside an array", "an event has one time")
        return pointer

    def _times(self, custom: _Custom) -> dict[str, Any]:
        times: dict[str, Any] = {}
        for name, key, read, example in (
            ("earliest", "earliest_us", _instant_us, "2000-01-01 or 2000-01-01T00:00:00Z"),
            ("ahead", "ahead_us", _duration_us, "1d, 36h, 90m or 30s"),
        ):
            if name not in custom:
                continue
            value, place = custom[name]
            parsed = cast("Callable[[str], int | None]", read)(str(value))
            if parsed is None:
                self.source.report(place, f"{name} is {value}", f"write it like {example}")
            elif "eventTime" not in custom:
                self.source.report(place, f"`{name}` without an event time", "name the `eventTime`, or leave it out")
            else:
                times[key] = parsed
        return times

    def _choices(self, custom: _Custom) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for name, allowed in _CHOICES.items():
            if name in custom:
                value, place = custom[name]
                if value not in allowed:
                    self.source.report(place, f"`{name}` is {value}", f"use one of: {', '.join(allowed)}")
                elif name == "unknownFields":
                    chosen["unknown"] = value
                elif name == "compatibility":
                    chosen["compatibility"] = value
        return chosen

    def _limits(self, custom: _Custom) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        for name, (key, least, most) in _LIMITS.items():
            if name in custom:
                value, place = custom[name]
                if type(value) is not int or not least <= value <= most:
                    self.source.report(place, f"`{name}` is {value}", f"a whole number from {least} to {most}")
                else:
                    limits[key] = value
        return limits

    def _topic_options(self, custom: _Custom) -> dict[str, str]:
        if "topicOptions" not in custom:
            return {}
        value, place = custom["topicOptions"]
        if not isinstance(value, dict):
            self.source.report(place, "`topicOptions` is a map", "write `value: {partitions: 6}`")
            return {}
        for name, one in value.items():
            if name not in _TOPIC_OPTIONS:
                self.source.report(place, f"unknown topic option `{name}`", f"known: {', '.join(_TOPIC_OPTIONS)}")
            elif not _TOPIC_OPTIONS[name](str(one)):
                self.source.report(
                    place, f"`{name}` is {one!r}", "partitions and replication are whole numbers from 1, retention is like 7d"
                )
        return {str(name): str(one) for name, one in value.items()}


def _primary(properties: Sequence[SchemaProperty], at: At, pointer: str) -> list[tuple[str, At, int]]:
    """Primary-key properties at any depth: pointer, place, position (large when none is given)."""
    found: list[tuple[str, At, int]] = []
    for index, one in enumerate(properties):
        here, place = f"{pointer}/{one.name}", (*at, index)
        if one.primaryKey:
            position = one.primaryKeyPosition
            found.append((here, (*place, "primaryKey"), position if position is not None and position > 0 else 1 << 30))
        found += _primary(one.properties or (), (*place, "properties"), here)
        if one.items:
            found += _primary(one.items.properties or (), (*place, "items", "properties"), here)
    return found


def pointer_of(name: str) -> str:
    """The JSON pointer of a dotted name; a pointer stays as it is."""
    return name if name.startswith("/") else "/" + name.replace(".", "/")


def _instant_us(text: str) -> int | None:
    """µs since 1970 of a date or an RFC 3339 time; None when it is neither."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        if len(text) != len("2000-01-01"):
            return None
        at = at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _duration_us(text: str) -> int | None:
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) > 100_000_000:
        return None
    return timedelta(**{_DURATION_UNITS[found[2]]: int(found[1])}) // timedelta(microseconds=1)
