"""A lake on disk with its log, and everything that may happen to it: what the laws of landing are checked in.

Operations run the real code, as actors of `tests/actors.py` where they are to be stopped, killed or overtaken.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from frazil import flow
from frazil.batch import Batch, Place
from frazil.contract import Contract, Field
from frazil.errors import CommitConflict, FrazilError, Unavailable
from frazil.log import Record
from frazil.log.memory import MemoryLog
from frazil.process.python import PythonProcessor
from frazil.settings import Settings
from frazil.sink import Commit, Head
from frazil.sink import repair as repairs
from frazil.sink.dead_letters import IcebergDeadLetters
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from frazil.sink.mend import with_values
from frazil.table import maintenance, retention
from frazil.table import rewind as rewinds
from frazil.table.catalog import Lake
from frazil.table.snapshots import Markers, markers_of, sequence_of
from tests.actors import TouchedLog, Weather

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
CACHE_BYTES = 1 << 24


def contract(limit: int) -> Contract:
    """Things with a key and a content up to a limit: another limit is another contract."""
    fields = (
        Field("k", "/k", "string", required=True),
        Field("n", "/n", "integer", required=True, maximum=str(limit)),
    )
    return Contract("things", "1", fields, key=("/k",))


CONTRACTS = {contract(limit).hash: contract(limit) for limit in range(5)}
THINGS = contract(0)
"""The contract by name: which limit is in force does not matter to a table."""


def thing(key: str, content: int) -> bytes:
    return json.dumps({"k": key, "n": content}).encode()


# ---------------------------------------------------------------- the world


@dataclass(frozen=True)
class Version:
    """A committed version of the raw table, kept by the test whatever expires."""

    table: Table
    snapshot: Snapshot
    parent: int | None
    markers: Markers

    @property
    def seq(self) -> int:
        return sequence_of(self.snapshot)


class Mart:
    """A follower by `_commit`; rebuilt in full when the epoch moved, because then rows were removed."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.seen = 0
        self.epoch = 0

    def refresh(self, rows: list[dict[str, Any]], epoch: int) -> None:
        if self.epoch != epoch:
            self.rows, self.seen, self.epoch = [], 0, epoch
        new = [row for row in rows if row["_commit"] > self.seen]
        self.rows += [(row["_commit"], row["_partition"], row["_offset"], row["k"], row["n"]) for row in new]
        self.seen = max([self.seen, *(row["_commit"] for row in new)])


class World:
    """One contract's log, table and dead letters, and what was sent."""

    def __init__(self, root: Path, *, partitions: int = 2, lag: int = 2, log: Any = None) -> None:
        self.raw = f"raw_{THINGS.name}"
        self.settings = Settings(root=root, name="test")
        self.lake = Lake.open(self.settings)
        self.weather = Weather(self.lake.catalog, self.raw, self._committed)
        self.lake.catalog = self.weather  # type: ignore[assignment]
        self.log = log or MemoryLog(partitions=partitions)
        self.reader = TouchedLog(self.log, self.weather)
        self.sink = IcebergSink(self.lake, THINGS)
        self.letters = IcebergDeadLetters(self.lake, lag=lag)
        self.caches: dict[tuple[int, int], TableKeys] = {}
        self.limit = 2  # the contract in force
        self.sent: dict[Place, tuple[bytes | None, int]] = {}
        self.archive: dict[int, Version] = {}
        self.mart = Mart()
        self.requests = 0

    def close(self) -> None:
        self.log.close()
        self.lake.close()

    def keys(self, number: int = 0) -> TableKeys:
        """A key cache of the contract in force; a pump and a replay may share one."""
        at = number, self.limit
        if at not in self.caches:
            self.caches[at] = TableKeys(self.lake, contract(self.limit), max_bytes=CACHE_BYTES)
        return self.caches[at]

    def restart(self) -> None:
        """A new process: no caches."""
        self.caches = {}
        self.letters = IcebergDeadLetters(self.lake, lag=self.letters.lag)
        self.sink = IcebergSink(self.lake, THINGS)

    def _committed(self, before: Table, answer: Any) -> None:
        table = Table(before.name(), answer.metadata, answer.metadata_location, before.io, self.weather.inner, before.config)
        for snapshot in answer.metadata.snapshots:
            if snapshot.snapshot_id not in self.archive:
                markers = markers_of(snapshot)
                assert markers is not None
                self.archive[snapshot.snapshot_id] = Version(table, snapshot, snapshot.parent_snapshot_id, markers)

    @property
    def processor(self) -> PythonProcessor:
        return PythonProcessor(contract(self.limit))

    # ------------------------------------------------------------ what may happen

    def send(self, *values: bytes | None, partition: int | None = None) -> None:
        """One request; its records go to the partition of their number, or to the one that is named."""
        self.requests += 1
        received = BEGIN + timedelta(hours=5 * self.requests)
        key = None if partition is None else key_to(partition)
        appended = self.log.append([Record(value, key) for value in values], request=self.requests, received_at=received)
        for span in appended.spans:
            for offset, value in zip(range(span.first, span.last + 1), values, strict=True):
                self.sent[Place(span.log, span.partition, offset)] = (value, self.requests)

    def pump(self, keys: int = 0, limit: int = 100) -> Commit | None:
        before = self.sink.head()
        try:
            return flow.pump(self.reader, self.processor, self.keys(keys), self.sink, limit=limit)  # type: ignore[arg-type]
        except FrazilError as stop:
            if isinstance(stop, CommitConflict | Unavailable) or self.sink.head().version == before.version:
                raise
            raise CommitConflict("others moved on and the log was unlinked behind them") from stop

    def drain(self, limit: int = 100) -> int:
        commits = 0
        while self.pump(limit=limit) is not None:
            commits += 1
        return commits

    def replay(
        self, ids: frozenset[Place] | None = None, mend: Callable[[Batch], Batch] = lambda batch: batch, id: str = "r", keys: int = 0
    ) -> Commit:
        return flow.replay(ids, mend, self.processor, self.keys(keys), self.letters, self.sink, id=id)

    def undo(self, id: str = "r") -> repairs.Undone:
        return repairs._undo(self.lake, self.sink.head(), self.letters, id)

    def discard(self, ids: frozenset[Place]) -> repairs.Discarded:
        return repairs._discard(self.lake, self.sink.head(), self.letters, ids, "not worth it")

    def adopt(self) -> int:
        return self.letters.adopt(self.sink)

    def rewind(self, back: int) -> object:
        """To a version some commits back, if there is one to go to."""
        found = rewinds.targets(self.lake, self.raw)
        return rewinds.rewind(self.lake, self.raw, found[-min(back, len(found))]) if found else None

    def compact(self) -> object:
        return maintenance.compact(self.lake, self.raw, least_files=2)

    def compact_letters(self) -> object:
        return maintenance.compact(self.lake, "dead_letters", least_files=2)

    def expire(self, keep: int = 1) -> maintenance.Expired:
        return maintenance.expire(self.lake, self.raw, keep=keep, hourly_for=timedelta())

    def expire_letters(self) -> maintenance.Expired:
        return maintenance.expire(self.lake, "dead_letters", keep=1, hourly_for=timedelta())

    def retain(self, requests: int = 0) -> retention.Retained:
        """Delete what was received with or before the last but so many requests."""
        now = BEGIN + timedelta(hours=5 * (self.requests - requests), seconds=1)
        self.log.roll()
        settled = now - datetime.now(UTC) - timedelta(days=1)  # every commit is old enough
        ages = retention.Ages(timedelta(), settled, now)
        return retention.retain(self.lake, self.raw, self.log, self.log, ages=ages)

    def open(self) -> list[Place]:
        head = self.sink.head()
        return sorted(_places(self.letters.at(head).open()))

    def head(self) -> Head:
        return self.sink.head()


def key_to(partition: int, partitions: int = 2) -> bytes:
    """An ordering key that goes to a partition of the memory log."""
    return next(key for n in range(1000) if zlib.crc32(key := str(n).encode()) % partitions == partition)


def _places(rows: Any) -> list[Place]:
    columns = (rows.column(name).to_pylist() for name in ("_log", "_partition", "_offset"))
    return [Place(*place) for place in zip(*columns, strict=True)]


def mended(key: str | None, content: int) -> Callable[[Batch], Batch]:
    """Gives letters a content, and a key where they have none or another is wanted."""

    def mend(batch: Batch) -> Batch:
        values: list[bytes | None] = []
        offsets = batch.rows.column("offset").to_pylist()
        for value, offset in zip(batch.rows.column("value").to_pylist(), offsets, strict=True):
            own = f"null{offset}" if value is None else json.loads(value)["k"]
            values.append(thing(key or own, content))
        return with_values(batch, values)

    return mend


@contextmanager
def world(root: Path, **options: Any) -> Iterator[World]:
    made = World(root, **options)
    try:
        yield made
    finally:
        made.close()
