"""Small ground for tests of landing: contracts, a processor, a log of several partitions, and what a lake says back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from frazil.batch import LETTERS, RAW, Batch, Place, Position, Processed, Span
from frazil.contract import Contract, Field
from frazil.contract.derive import arrow_schema
from frazil.settings import Settings
from frazil.sink import Head
from frazil.sink.iceberg import IcebergSink, local_path
from frazil.sink.keys import TableKeys
from frazil.table.catalog import Lake
from frazil.table.snapshots import ancestry, markers_of

LOG = "01920000-0000-7000-8000-000000000001"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIELDS = (
    Field("event_id", "/event_id", "uuid", required=True),
    Field("at", "/at", "timestamp", required=True),
    Field("amount", "/amount", "integer"),
    Field("note", "/note", "string"),
)
ORDERS = Contract("orders", "1", FIELDS, key=("/event_id",), event_time="/at", unknown="drop")
KEYLESS = Contract("clicks", "1", FIELDS, event_time="/at", unknown="drop")


def event(number: int, amount: int | None = 1, *, day: int = 0, note: str | None = None) -> bytes:
    """An order as a client sends it; `number` is its key, `day` its distance from the day of receipt."""
    at = NOON + timedelta(days=day, seconds=number)
    return json.dumps({"event_id": str(UUID(int=number)), "at": at.isoformat(), "amount": amount, "note": note}).encode()


def raw_batch(values: Iterable[bytes | None], *, first: int = 0, log: str = LOG, partition: str = "0", request: int = 1) -> Batch:
    """Records at consecutive offsets of one partition, with the span they fill."""
    rows = [
        {
            "value": value,
            "key": b"k" if value else None,
            "log": log,
            "partition": partition,
            "offset": first + n,
            "received_at": NOON,
            "request": request,
            "source": {"format": "ndjson", "line": n + 1},
        }
        for n, value in enumerate(values)
    ]
    spans = (Span(log, partition, first, first + len(rows) - 1, f"c{first + len(rows) - 1}"),) if rows else ()
    return Batch(pa.RecordBatch.from_pylist(rows, schema=RAW), spans)


@dataclass
class Judge:
    """A processor by hand: what is no JSON object is a `parse` letter, an amount above `limit` a `validate` letter."""

    contract: Contract = ORDERS
    limit: int = 1_000

    def __call__(self, raw: Batch) -> Processed:
        good: list[dict[str, Any]] = []
        dead: list[dict[str, Any]] = []
        for row in raw.rows.to_pylist():
            self._judge(row, good, dead)
        rows = pa.RecordBatch.from_pylist(good, schema=arrow_schema(self.contract))
        return Processed(Batch(rows, raw.spans), Batch(pa.RecordBatch.from_pylist(dead, schema=LETTERS), raw.spans), raw)

    def _judge(self, row: dict[str, Any], good: list[dict[str, Any]], dead: list[dict[str, Any]]) -> None:
        try:
            value = json.loads(row["value"] or b"")
            at = datetime.fromisoformat(value["at"]).astimezone(UTC)
            wrong = "range.above_maximum" if (value["amount"] or 0) > self.limit else None
        except (ValueError, KeyError, TypeError):
            wrong = "json.invalid"
        place = {"_log": row["log"], "_partition": row["partition"], "_offset": row["offset"]}
        place |= {"_request": row["request"], "_received_at": row["received_at"]}
        if wrong is not None:
            violation = {"index": None, "path": "", "code": wrong, "message": wrong, "hint": "mend it", "value": None}
            letter = {"contract": self.contract.name, "contract_version": self.contract.version, "violations": [violation]}
            stage = "parse" if wrong == "json.invalid" else "validate"
            dead.append({**letter, **place, "stage": stage, **{name: row[name] for name in ("value", "key", "source")}})
            return
        mine = {name: value.get(name) for name in ("amount", "note", *(f.name for f in self.contract.fields[4:]))}
        own = {"event_id": UUID(value["event_id"]).bytes, "at": at, "event_date": at.date(), "event_hour": at.hour}
        good.append({**mine, **own, **place, "_contract_version": self.contract.version})


@dataclass
class ListLog:
    """A log of several partitions held in lists."""

    partitions: dict[str, list[bytes | None]] = field(default_factory=lambda: {"0": []})
    log_id: str = LOG

    def append(self, *values: bytes | None, partition: str = "0") -> None:
        self.partitions.setdefault(partition, []).extend(values)

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        parts = []
        for partition, values in self.partitions.items():
            last = after.last(self.log_id, partition)
            first = 0 if last is None else last + 1
            if values[first:]:
                parts.append(raw_batch(values[first : first + limit], first=first, log=self.log_id, partition=partition))
        if not parts:
            return None
        rows = pa.Table.from_batches([part.rows for part in parts]).combine_chunks().to_batches()[0]
        return Batch(rows, tuple(span for part in parts for span in part.spans))

    def lag(self, position: Position) -> int:
        return sum(
            len(values) - 1 - (-1 if (last := position.last(self.log_id, p)) is None else last) for p, values in self.partitions.items()
        )

    def oldest(self) -> dict[str, int]:
        return dict.fromkeys(self.partitions, 0)

    def ends(self) -> dict[str, int]:
        return {partition: len(values) - 1 for partition, values in self.partitions.items()}

    def close(self) -> None: ...


@contextmanager
def scratch() -> Iterator[Path]:
    """A fresh directory; in memory where the machine has such a place, for tests about order and not about disks."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        yield Path(root)


def open_lake(root: Path) -> Lake:
    return Lake.open(Settings(root=root, name="shop"))


def sink_and_keys(root: Path, contract: Contract = ORDERS, *, max_bytes: int = 1 << 28) -> tuple[IcebergSink, TableKeys]:
    lake = open_lake(root)
    return IcebergSink(lake, contract), TableKeys(lake, contract, max_bytes=max_bytes)


def landed(lake: Lake, contract: Contract = ORDERS) -> list[dict[str, Any]]:
    """Rows of the raw table as PyIceberg reads them, by place."""
    rows: list[dict[str, Any]] = lake.raw(contract).scan().to_arrow().to_pylist()
    return sorted(rows, key=place_of)


def set_aside(lake: Lake, contract: Contract = ORDERS) -> list[dict[str, Any]]:
    """Letters that the history of the head set aside, in order of its commits."""
    import pyarrow.parquet as pq

    letters: list[dict[str, Any]] = []
    for snapshot in ancestry(lake.raw(contract).metadata):
        markers = markers_of(snapshot)
        for file in markers.set_aside if markers else ():
            letters += pq.ParquetFile(local_path(file.path)).read().to_pylist()
    return letters


def place_of(row: dict[str, Any]) -> Place:
    return Place(row["_log"], row["_partition"], row["_offset"])


def totals_of(head: Head) -> tuple[int, int, int, int]:
    """records, landed, dead, duplicates over all logs."""
    counts = [(t.records, t.landed, t.dead, t.duplicates) for t in head.totals.values()]
    return tuple(map(sum, zip(*counts, strict=True))) if counts else (0, 0, 0, 0)  # type: ignore[return-value]
