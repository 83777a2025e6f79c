"""The kernel through its Python API, piece by piece."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa

from frazil.batch import RECORD, SOURCE, TIMESTAMP
from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import key
from frazil.bench.parity import Found
from frazil.bench.pieces import REFERENCE_RECORDS, pieces

pa.array([0])  # at its first array pyarrow imports pandas where there is one: an import, no part of the first call


def raw_rows(body: bytes, received_us: int) -> pa.RecordBatch:
    """The lines of a body as records of a log."""
    lines = body.removesuffix(b"\n").split(b"\n")
    value, count = pa.array(lines, pa.binary()), len(lines)
    one = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array(["0"]))
    zeros, received = pa.repeat(pa.scalar(0, pa.int64()), count), pa.repeat(pa.scalar(received_us, TIMESTAMP), count)
    columns = [value, pa.nulls(count, pa.binary()), one, one, zeros, received, zeros, pa.nulls(count, SOURCE)]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD)


def columns_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The contract's columns with date and hour: what every engine writes; the lineage stays out."""
    return rows.select([name for name in rows.schema.names if not name.startswith("_")])


def table(rows: Any) -> pa.Table:
    """A batch of the kernel's as what DuckDB reads."""
    return pa.Table.from_batches([pa.record_batch(rows)])


def schema_json(rows: pa.Schema) -> str:
    """An Iceberg schema for rows, ids in order."""
    ids = iter(range(1, 10_000))

    def kind(arrow: pa.DataType) -> Any:
        if pa.types.is_struct(arrow):
            return {"type": "struct", "fields": [field(part) for part in arrow]}
        if pa.types.is_list(arrow):
            element = arrow.value_field
            return {"type": "list", "element-id": next(ids), "element": kind(element.type), "element-required": not element.nullable}
        if pa.types.is_decimal(arrow):
            return f"decimal({arrow.precision}, {arrow.scale})"
        names = {pa.int64(): "long", pa.int32(): "int", pa.float64(): "double", pa.date32(): "date", pa.binary(16): "uuid",
                 pa.bool_(): "boolean"}  # fmt: skip
        return "timestamptz" if pa.types.is_timestamp(arrow) else names.get(arrow, "string")

    def field(one: pa.Field) -> dict[str, Any]:
        return {"id": next(ids), "name": one.name, "required": not one.nullable, "type": kind(one.type)}

    return json.dumps({"type": "struct", "fields": [field(one) for one in rows]})


def write(batches: Iterator[pa.RecordBatch], place: Path, day: str, level: int = 1) -> list[dict[str, Any]]:
    """Day-partitioned zstd Parquet with field ids and metrics."""
    head = next(batches)
    return kernel.write_iceberg_parquet(
        itertools.chain([head], batches),
        str(place),
        schema_json=schema_json(head.schema),
        partition_field=day,
        compression_level=level,
        durable=False,
    )


def run(job: Job, laps: Laps, found: Found, place: Path) -> None:
    """Every stage by itself, all pieces."""
    contract = job.contract
    plan, names, cache, landing = kernel.Plan(contract.plan), key(contract), kernel.KeyCache(), []
    for number, body in enumerate(pieces(job.whole)):
        with laps("parse"):
            events = kernel.parse_events(body, plan, format="ndjson")
        with laps("validate"):
            violations = kernel.validate_schema(events)
        found.count("bad", len({one.index for one in violations}))
        with laps("handover"):
            pa.record_batch(events)
        with laps("transform"):
            rows: kernel.Rows | kernel.DistinctRows = kernel.transform_batch(events)
        found.count("valid", len(rows))
        found.table("transform", partial(table, rows))
        if names:
            with laps("dedupe"):
                rows = cache.fresh(rows, names, number)
        landing.append(columns_of(pa.record_batch(rows)))
    with laps("write"):
        files = write(iter(landing), place, job.day)
    found.count("good", sum(file["record_count"] for file in files))
    found.files("write", place)


def judge(job: Job, path: str, laps: Laps, found: Found) -> None:
    """Parsing and validation of a file alone, every violation named."""
    plan = kernel.Plan(job.contract.plan)
    for body in pieces(path):
        with laps("judge"):
            events = kernel.parse_events(body, plan, format="ndjson")
            violations = kernel.validate_schema(events)
        found.count("valid", body.count(b"\n") - len({one.index for one in violations}))


def reads(format: str) -> bool:
    """Whether this kernel reads a format."""
    try:
        kernel.parse_events(b"", format=format)
    except kernel.FormatError as error:
        return error.code != "format.unknown"
    except kernel.KernelError:
        return True
    return True


def judge_format(job: Job, format: str, laps: Laps, found: Found) -> None:
    """A file of another format to a validated batch."""
    plan, body = kernel.Plan(job.contract.plan), Path(job.formats[format]).read_bytes()
    with laps("judge"):
        events = kernel.parse_events(body, plan, format=format)
        kernel.validate_schema(events)
        rows = pa.record_batch(events)
    found.count("valid", rows.num_rows)
    found.table("valid", partial(table, rows))


def process(job: Job, laps: Laps, found: Found) -> None:
    """The pump's call: records of a log to rows with their lineage, and dead letters. The first are compared."""
    plan = kernel.Plan(job.contract.plan)
    for body in pieces(job.whole):
        lines = body.splitlines(keepends=True)[:REFERENCE_RECORDS] if found.digesting else None
        raw = raw_rows(body if lines is None else b"".join(lines), job.received_us)
        with laps("process"):
            good, _ = kernel.process(plan, raw)
        found.count("processed", raw.num_rows)
        if found.digesting:
            found.table("process", partial(table, good))
            return
