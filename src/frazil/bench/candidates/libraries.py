"""Fast libraries for JSON and for models, types and rules from the contract: each parses, or parses and validates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import orjson
import pydantic

from frazil.bench.candidates import python
from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import Leaf
from frazil.bench.parity import Found
from frazil.bench.pieces import lines_of, pieces
from frazil.contract import Field
from frazil.contract.derive import columns

Decoder = Callable[[bytes], Any]
SCALARS: dict[str, Any] = {"uuid": UUID, "string": str, "integer": int, "number": float, "decimal": Decimal, "boolean": bool, "date": date}


def _bounds(one: Field) -> dict[str, Any]:
    """Bounds by the names that msgspec and pydantic share."""
    exact = int if one.kind == "integer" else float
    found: dict[str, Any] = {}
    if one.kind in ("integer", "number"):
        if one.minimum is not None:
            found["gt" if one.exclusive_minimum else "ge"] = exact(one.minimum)
        if one.maximum is not None:
            found["lt" if one.exclusive_maximum else "le"] = exact(one.maximum)
    if one.kind == "string":
        sizes = {"min_length": one.min_length, "max_length": one.max_length, "pattern": Leaf((), one).pattern}
        found |= {name: rule for name, rule in sizes.items() if rule is not None}
    return found


def msgspec_type(name: str, fields: Iterable[Field]) -> type[msgspec.Struct]:
    """A struct with the contract's types and rules; bounds of decimals, of which msgspec knows none, stay out."""
    members: list[Any] = []
    for one in fields:
        kind: Any
        if one.kind == "object":
            kind = msgspec_type(one.name, one.fields)
        elif one.kind == "string" and one.enum is not None:
            kind = Literal[one.enum]
        elif one.kind == "timestamp":
            kind = Annotated[datetime, msgspec.Meta(tz=True)]
        else:
            rules = _bounds(one)
            kind = Annotated[SCALARS[one.kind], msgspec.Meta(**rules)] if rules else SCALARS[one.kind]
        members.append((one.name, kind) if one.required else (one.name, kind | None, None))
    return msgspec.defstruct(name, members, kw_only=True)


def pydantic_type(name: str, fields: Iterable[Field]) -> type[pydantic.BaseModel]:
    """A strict model with the contract's types and rules."""
    members: dict[str, Any] = {}
    for one in fields:
        kind: Any
        if one.kind == "object":
            kind = pydantic_type(one.name, one.fields)
        elif one.kind == "string" and one.enum is not None:
            kind = Literal[one.enum]
        elif one.kind == "timestamp":
            kind = pydantic.AwareDatetime
        else:
            rules = _bounds(one)
            kind = Annotated[SCALARS[one.kind], pydantic.Field(**rules)] if rules else SCALARS[one.kind]
        members[one.name] = (kind, ...) if one.required else (kind | None, None)
    return pydantic.create_model(name, __config__=pydantic.ConfigDict(strict=True), **members)


def typed(lines: Iterable[bytes], decode: Decoder, refusal: type[Exception]) -> tuple[list[Any], int]:
    """Models of good lines, and how many were none."""
    good, bad = [], 0
    for line in lines:
        try:
            good.append(decode(line))
        except refusal:
            bad += 1
    return good, bad


def decoders(job: Job, what: str) -> tuple[Decoder | None, Decoder | None, type[Exception]]:
    """How a library parses, how it parses and validates, and what it raises."""
    fields = job.contract.fields
    match what:
        case "orjson":
            return orjson.loads, None, ValueError
        case "msgspec":
            struct = msgspec.json.Decoder(msgspec_type("Event", fields))
            return msgspec.json.Decoder().decode, struct.decode, msgspec.MsgspecError
    model = pydantic_type("Event", fields)
    return None, pydantic.TypeAdapter(model).validate_json, pydantic.ValidationError


def run(what: str, job: Job, laps: Laps, found: Found, place: Path) -> None:
    """What the library does of parsing and validation."""
    del place
    plain, model, refusal = decoders(job, what)
    of_fields = python.checks(job.contract.fields)
    for body in pieces(job.broken_allowed):
        lines = lines_of(body)
        if plain is not None:
            with laps("parse"):
                events, cut = typed(lines, plain, refusal)
        if model is not None:
            with laps("judge"):
                good, bad = typed(lines, model, refusal)
            found.count("valid", len(good))
            found.count("bad", bad)
        else:
            with laps("validate"):
                violations = python.validate(events, of_fields)
            broken = len({index for index, _, _ in violations})
            found.count("valid", len(events) - broken)
            found.count("bad", cut + broken)


def judge(what: str, job: Job, path: str, laps: Laps, found: Found) -> None:
    """Parsing and validation of a file alone."""
    _, model, refusal = decoders(job, what)
    if model is None:
        raise ValueError(f"{what} does not validate")
    for body in pieces(path):
        lines = lines_of(body)
        with laps("judge"):
            good, _ = typed(lines, model, refusal)
        found.count("valid", len(good))


def judge_avro(job: Job, laps: Laps, found: Found) -> None:
    """fastavro reads, plain Python checks; times come typed out of the file and are not checked again."""
    import fastavro
    import pyarrow as pa

    contract = job.contract
    of_fields = python.checks(_without_times(contract.fields))
    with laps("judge"), Path(job.formats["avro"]).open("rb") as file:
        events: list[Any] = list(fastavro.reader(file))
        violations = python.validate(events, of_fields)
        bad = {index for index, _, _ in violations}
        good = [event for index, event in enumerate(events) if index not in bad]
    found.count("valid", len(good))
    plain = [python.plain_ids(event, contract) for event in good] if found.digesting else []
    found.table("valid", lambda: pa.Table.from_pylist(plain, schema=columns(contract)))


def _without_times(fields: Iterable[Field]) -> list[Field]:
    kept = [one for one in fields if one.kind not in ("timestamp", "date")]
    return [dataclasses.replace(one, fields=tuple(_without_times(one.fields))) if one.kind == "object" else one for one in kept]
