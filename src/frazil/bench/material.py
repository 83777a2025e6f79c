"""The input: events generated from a contract, or a user's own, and the same in other shapes."""

from __future__ import annotations

import csv
import json
import pickle
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import data_processor_rs as kernel

from frazil.bench.job import Job
from frazil.bench.leaves import Leaf, beyond_peers, leaves, measured
from frazil.bench.pieces import pieces
from frazil.contract import Contract
from frazil.contract.avro import avro_schema
from frazil.contract.derive import columns, partition_field
from frazil.contract.generate import Generator
from frazil.contract.load import load_file
from frazil.errors import ConfigError

MOST_FORMAT_EVENTS: Final = 200_000
"""Events of the rows on formats and on shuffled keys: enough to measure, and quick to write."""
SEED: Final = 20_261_120
_BAD, _REPEATED, _LATE = 0.01, 0.02, 0.5


def generated(contract_file: Path, count: int, place: Path) -> Job:
    """`count` events of a contract: 1 % broken in every way it can be, 2 % sent twice if it has a key, spread over four days."""
    contract = load_file(contract_file)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    late = _LATE if contract.event_time else 0.0
    maker = Generator(contract, seed=SEED, invalid=_BAD, late=late, duplicate=_REPEATED if contract.key else 0.0)
    whole = place / "events.ndjson"
    with whole.open("wb") as file:
        file.writelines(maker.events(count, now=now))
    return sample(contract_file, whole, place, int(now.timestamp() * 1_000_000))


def sample(contract_file: Path, whole: Path, place: Path, received_us: int | None = None) -> Job:
    """A user's own NDJSON: the kernel says which records are good; peers get these.

    Raises:
        ConfigError: `bench.nothing_good`: no record meets the contract.
    """
    received = int(datetime.now(UTC).timestamp() * 1_000_000) if received_us is None else received_us
    contract, clean = measured(load_file(contract_file)), place / "clean.ndjson"
    records = good = repeated = 0
    plan, cache = kernel.Plan(contract.plan), kernel.KeyCache()
    by_pointer = {one.field.path: one.dotted for one in leaves(contract)}
    names = [by_pointer[pointer] for pointer in contract.key]
    with clean.open("wb") as out:
        for number, body in enumerate(pieces(str(whole))):
            lines = [line for line in body.split(b"\n") if line.strip()]
            events = kernel.parse_events(b"\n".join(lines) + b"\n", plan, format="ndjson")
            bad = {one.index for one in kernel.validate_schema(events)}
            out.writelines(line + b"\n" for index, line in enumerate(lines) if index not in bad)
            records, good = records + len(lines), good + len(lines) - len(bad)
            if names:
                rows = kernel.transform_batch(events)
                repeated += len(rows) - len(cache.fresh(rows, names, number))
    if not good:
        raise ConfigError(
            f"none of {records:,} records meets the contract {contract.name}",
            code="bench.nothing_good",
            hint="give a sample of this contract's events, one JSON object per line, or leave `--sample` out",
            sample=str(whole),
        )
    job = Job(str(contract_file), str(whole), str(clean), "", records, records - good, repeated, whole.stat().st_size, False, 0, received)
    return completed(job, place)


def completed(job: Job, place: Path) -> Job:
    """The job with the files that follow from its good events: shuffled keys, CSV, Avro, Parquet; those of an earlier run are kept."""
    count = min(job.valid, MOST_FORMAT_EVENTS)
    files = {name: place / f"{Path(job.clean).stem}-{count}.{name}" for name in ("csv", "avro", "parquet")}
    shuffled = place / f"shuffled-{Path(job.clean).stem}-{count}.ndjson"
    contract, compiled, day = job.contract, place / "contract.pickle", partition_field(job.contract)
    compiled.write_bytes(pickle.dumps(contract))
    own = asdict(job) | {"shuffled": str(shuffled), "format_events": count, "compiled": str(compiled)}
    own["day"] = "event_date" if day.startswith("_") else day
    if not shuffled.exists():
        write_shuffled(_head(job.clean, count), shuffled)
    if beyond_peers(contract) is None:
        if not all(file.exists() for file in files.values()):
            write_formats(contract, job.clean, count, files)
        own["formats"] = {name: str(file) for name, file in files.items()}
    return Job(**own)


def _head(path: str, count: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from islice(file, count)


def write_shuffled(lines: Iterable[bytes], target: Path) -> None:
    """The same events, members of every object in another order each time."""
    rng = random.Random(SEED)

    def shuffled(members: list[tuple[str, Any]]) -> dict[str, Any]:
        rng.shuffle(members)
        return dict(members)

    made = target.with_suffix(".part")
    with made.open("w", encoding="utf-8") as out:
        for line in lines:
            # a number keeps its own spelling
            event = json.loads(line, object_pairs_hook=shuffled, parse_float=_Spelled)
            out.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")
    made.rename(target)


class _Spelled(float):
    """A float that is written as it was read."""

    def __new__(cls, text: str) -> _Spelled:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def write_formats(contract: Contract, clean: str, count: int, files: dict[str, Path]) -> None:
    """CSV with dotted columns; Avro without compression; Parquet as pyarrow writes it: ids as text, times as instants."""
    import fastavro
    import pyarrow as pa
    import pyarrow.parquet as pq

    from frazil.bench.candidates.python import TYPED, decoder

    loads, flat = decoder(contract), leaves(contract)
    events = [loads(line) for line in _head(clean, count)]
    with files["csv"].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([one.dotted for one in flat])
        writer.writerows([_cell(_at(event, one.path)) for one in flat] for event in events)
    for event in events:
        for leaf in flat:
            if leaf.field.kind in TYPED and leaf.field.kind != "uuid":
                _retype(event, leaf, TYPED[leaf.field.kind])
    with files["avro"].open("wb") as avro:
        fastavro.writer(avro, _plain_ids(avro_schema(contract)), events, codec="null")
    schema = pa.schema([pa.field(one.name, _text_ids(one.type), one.nullable) for one in columns(contract)])
    pq.write_table(pa.Table.from_pylist(events, schema=schema), files["parquet"], compression="zstd")


def _text_ids(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_text_ids(one.type)) for one in kind])
    return pa.string() if kind == pa.binary(16) else kind


def _plain_ids(schema: Any) -> Any:
    """The Avro schema with UUIDs as plain strings: fastavro makes objects of the others, which no reader here asks for."""
    if isinstance(schema, dict):
        if schema.get("logicalType") == "uuid":
            return "string"
        return {name: _plain_ids(part) for name, part in schema.items()}
    return [_plain_ids(part) for part in schema] if isinstance(schema, list) else schema


def _at(event: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        event = event.get(name) if event is not None else None
    return event


def _retype(event: dict[str, Any], leaf: Leaf, typed: Any) -> None:
    inner = _at(event, leaf.path[:-1])
    if inner is not None and inner.get(leaf.field.name) is not None:
        inner[leaf.field.name] = typed(inner[leaf.field.name])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
