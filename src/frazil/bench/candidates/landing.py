"""The kernel's whole chain in a process of its own: it needs the kernel and nothing else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data_processor_rs as kernel

from frazil.bench.job import Job
from frazil.bench.leaves import key, with_text_ids
from frazil.bench.parity import Found
from frazil.contract import Contract, Field

_TYPES = {"uuid": "uuid", "integer": "long", "number": "double", "boolean": "boolean", "timestamp": "timestamptz", "date": "date"}
"""By the contract's kind; what is not here is text."""


def _member(one: Field, ids: Iterator[int], above: bool) -> dict[str, Any]:
    always = one.required and above
    return {"id": next(ids), "name": one.name, "required": always, "type": _type(one, ids, always)}


def _type(one: Field, ids: Iterator[int], always: bool) -> Any:
    if one.kind == "object":
        return {"type": "struct", "fields": [_member(part, ids, always) for part in one.fields]}
    if one.kind == "array" and one.items is not None:
        # an item is there or null for itself, whatever its list is
        return {"type": "list", "element-id": next(ids), "element": _type(one.items, ids, True), "element-required": one.items.required}
    return f"decimal({one.precision}, {one.scale})" if one.kind == "decimal" else _TYPES.get(one.kind, "string")


def schema_json(contract: Contract) -> str:
    """An Iceberg schema for what lands: the contract's columns, `_extra` where unknown members are kept, date and hour."""
    ids = itertools.count(1)
    columns = [_member(one, ids, True) for one in contract.fields]
    if contract.unknown == "keep":
        columns.append({"id": next(ids), "name": "_extra", "required": False, "type": "string"})
    for name, kind in (("event_date", "date"), ("event_hour", "int")):
        columns.append({"id": next(ids), "name": name, "required": True, "type": kind})
    return json.dumps({"type": "struct", "fields": columns})


def chain(job: Job, place: Path, threads: int, found: Found, *, peers_encoding: bool = False) -> None:
    """NDJSON → judged → deduplicated → partitioned zstd Parquet; dead letters kept with every violation."""
    contract = with_text_ids(job.contract) if peers_encoding else job.contract
    landing = kernel.Landing(
        job.whole,
        kernel.Plan(contract.plan),
        place,
        schema_json=schema_json(contract),
        received_at_us=job.received_us,
        key=key(contract),
        partition_field=job.day,
        threads=threads,
        compression_level=3 if peers_encoding else 1,
        durable=False,
    )
    letters = [batch.letters for batch in landing]
    files = landing.finish()
    found.count("good", sum(file["record_count"] for file in files))
    found.count("bad", sum(map(len, letters)))
