"""The kernel through its Python API, chunk by chunk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa

from benchmarks.events import RECEIVED_US, contract
from frazil.batch import RAW, SOURCE, TIMESTAMP

CHUNK_BYTES = 16 << 20
KEY = ["event_id"]
CONTRACT = contract()
PLAN = kernel.Plan(CONTRACT.plan)
pa.array([0])  # at its first array pyarrow imports pandas where there is one: an import, no part of the first call


def chunks(path: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """A file in pieces that end with a line."""
    rest = b""
    with open(path, "rb") as file:
        while piece := file.read(size):
            end = piece.rfind(b"\n") + 1
            if end == 0:
                rest += piece
                continue
            yield rest + piece[:end] if rest else piece[:end]
            rest = piece[end:]
    if rest:
        yield rest


def raw_rows(body: bytes) -> pa.RecordBatch:
    """The lines of a body as records of a log."""
    lines = body.split(b"\n")[:-1]
    value, count = pa.array(lines, pa.binary()), len(lines)
    one = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array(["0"]))
    zeros, received = pa.repeat(pa.scalar(0, pa.int64()), count), pa.repeat(pa.scalar(RECEIVED_US, TIMESTAMP), count)
    columns = [value, pa.nulls(count, pa.binary()), one, one, zeros, received, zeros, pa.nulls(count, SOURCE)]
    return pa.RecordBatch.from_arrays(columns, schema=RAW)


def columns_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The contract's columns with date and hour: what every engine writes; the lineage stays out."""
    return rows.select([name for name in rows.schema.names if not name.startswith("_")])


def schema_json(rows: pa.Schema) -> str:
    """An Iceberg schema for rows, ids in order."""
    ids = iter(range(1, 1000))

    def kind(arrow: pa.DataType) -> Any:
        if pa.types.is_struct(arrow):
            return {"type": "struct", "fields": [field(part) for part in arrow]}
        names = {pa.int64(): "long", pa.int32(): "int", pa.float64(): "double", pa.date32(): "date", pa.binary(16): "uuid"}
        return "timestamptz" if pa.types.is_timestamp(arrow) else names.get(arrow, "string")

    def field(one: pa.Field) -> dict[str, Any]:
        return {"id": next(ids), "name": one.name, "required": not one.nullable, "type": kind(one.type)}

    return json.dumps({"type": "struct", "fields": [field(one) for one in rows]})


def judged(body: bytes) -> tuple[kernel.Rows, kernel.Rows]:
    """Good rows and dead letters, each letter with every violation and the record's own bytes."""
    return kernel.process(PLAN, raw_rows(body))


def ahead(bodies: Iterator[bytes], threads: int) -> Iterator[tuple[kernel.Rows, kernel.Rows]]:
    """Judged chunks in order; with two threads one is judged while the one before it is written."""
    if threads == 1:
        yield from map(judged, bodies)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(judged, body) for body in itertools.islice(bodies, threads)]
        while waiting:
            yield waiting.pop(0).result()
            waiting.extend(pool.submit(judged, body) for body in itertools.islice(bodies, 1))


def write(batches: Iterator[pa.RecordBatch], place: Path) -> list[dict[str, Any]]:
    """Day-partitioned zstd Parquet with field ids and metrics."""
    head = next(batches)
    return kernel.write_iceberg_parquet(
        itertools.chain([head], batches),
        str(place),
        schema_json=schema_json(head.schema),
        partition_field="timestamp",
        durable=False,
    )


def chain(path: str, place: Path, threads: int = 1) -> dict[str, int]:
    """NDJSON → judged → deduplicated → partitioned zstd Parquet; dead letters kept with every violation."""
    letters: list[kernel.Rows] = []
    cache = kernel.KeyCache()
    duplicates = 0

    def landing() -> Iterator[pa.RecordBatch]:
        nonlocal duplicates
        for number, (good, dead) in enumerate(ahead(chunks(path), threads)):
            letters.append(dead)
            kept = cache.fresh(good, KEY, number)
            duplicates += len(good) - len(kept)
            yield columns_of(pa.record_batch(kept))

    files = write(landing(), place)
    return {
        "good": sum(file["record_count"] for file in files),
        "bytes": sum(file["file_size_in_bytes"] for file in files),
        "dead": sum(map(len, letters)),
        "duplicates": duplicates,
    }
