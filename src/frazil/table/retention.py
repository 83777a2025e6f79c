"""Retention of the log: the table commits what may be gone, then the log unlinks it.

A rewind and a retention cannot both win: the floor is a commit of the raw table, and a rewind below it is refused. Only
what every sink has passed, what is older than the replay floor, and what a commit at least ten minutes old covers is
ever unlinked. RELIABILITY 3.3; law 7 of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Batch, Position
from frazil.errors import CommitConflict, OffsetExpired
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap
from frazil.table.snapshots import ancestry, markers_of, standing

SETTLED_AFTER = timedelta(minutes=10)


class LogReader(Protocol):
    """What retention asks of a log (`frazil.log.LogReader`)."""

    @property
    def log_id(self) -> str: ...

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None: ...

    def oldest(self) -> dict[str, int]: ...

    def ends(self) -> dict[str, int]: ...


class Retention(Protocol):
    """Deletes whole segments (`frazil.log.Retention`)."""

    def unlink(self, floor: Position) -> int: ...


@dataclass(frozen=True, slots=True)
class Ages:
    """What counts as old: records received longer ago than `keep` may go, when a commit older than `settled` covers them.

    `now` is the present, UTC; the clock by default.
    """

    keep: timedelta
    settled: timedelta = SETTLED_AFTER
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retained:
    """What retention did, or would do: the floor per partition, and how many segments were deleted."""

    floor: Position
    segments: int = 0
    committed: bool = False


def retain(
    lake: Lake,
    name: str,
    reader: LogReader,
    log: Retention,
    *,
    others: Sequence[Position] = (),
    ages: Ages | None = None,
    dry_run: bool = False,
) -> Retained:
    """Commit the floor, then delete the log's segments behind it.

    Args:
        lake: Where the table is.
        name: The raw table that lands this log.
        reader: The log.
        log: The same log's retention.
        others: Positions of further sinks of the log (live windows): nothing they have not passed is deleted.
        ages: What counts as old; the project's replay floor by default.
        dry_run: Only say what would be done.

    Returns:
        The floor that is committed. Nothing is deleted when another commit came in between: the next run looks again.

    Raises:
        Unavailable: Catalog, storage or log did not answer.
    """
    ages = ages or Ages(lake.settings.log.retention)
    now = ages.now or datetime.now(UTC)
    table = lake.find(name)
    if table is None:
        return Retained(Position.empty())
    head = standing(table.metadata)
    covered = _older(ancestry(table.metadata), now - ages.settled)
    if covered is None:
        return Retained(head.floor)
    wanted = _floor(reader, [covered, head.position, *others], now - ages.keep)
    floor = head.floor.merged(_raised(head.floor, wanted))
    if dry_run:
        return Retained(floor)
    if floor != head.floor:
        try:
            swap(lake, table, Change("maintenance", lambda carried: replace(carried, floor=floor), rebuild=False))
        except CommitConflict:
            return Retained(head.floor)
        table = lake.find(name)
        if table is None:
            return Retained(Position.empty())
    committed = standing(table.metadata).floor  # of the head as it is now: nothing below it can be rewound to
    return Retained(committed, log.unlink(committed), floor != head.floor)


def _older(chain: Sequence[Snapshot], than: datetime) -> Position | None:
    """The position of the newest commit that is old enough."""
    found = (markers_of(one) for one in reversed(chain) if one.timestamp_ms <= than.timestamp() * 1000)
    return next((markers.position for markers in found if markers is not None), None)


def _floor(reader: LogReader, passed: Sequence[Position], before: datetime) -> Position:
    """Per partition the last offset that every position has passed and that was received before."""
    floor: dict[str, tuple[str, str | None]] = {}
    for partition, oldest in reader.oldest().items():
        lasts = [position.last(reader.log_id, partition) for position in passed]
        if any(last is None for last in lasts):
            continue
        last = _received_before(reader, partition, oldest, min(last for last in lasts if last is not None), before)
        if last is not None:
            floor[partition] = (str(last), None)
    return Position({reader.log_id: floor} if floor else {})


def _received_before(reader: LogReader, partition: str, low: int, high: int, before: datetime) -> int | None:
    """The last offset in [low, high] received before, found by halving; records are received in order, but for the clock."""
    found = None
    while low <= high:
        middle = (low + high) // 2
        received = _received_at(reader, partition, middle)
        if received is not None and received < before:
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def _received_at(reader: LogReader, partition: str, offset: int) -> datetime | None:
    """When the first record at or after an offset was received; None when it cannot be read."""
    ends: dict[str, tuple[str, str | None]] = {name: (str(last), None) for name, last in reader.ends().items() if last >= 0}
    try:
        batch = reader.read(after=Position({reader.log_id: {**ends, partition: (str(offset - 1), None)}}), limit=1)
    except OffsetExpired:
        return None
    if batch is None or not len(batch) or batch.rows.column("partition")[0].as_py() != partition:
        return None
    received: datetime = batch.rows.column("received_at")[0].as_py()
    return received


def _raised(floor: Position, wanted: Position) -> Position:
    """Only what lies above the floor there is: a floor never goes back."""
    logs: dict[str, Mapping[str, tuple[str, str | None]]] = {}
    for log, parts in wanted.logs.items():
        logs[log] = {p: at for p, at in parts.items() if int(at[0]) > (-1 if (last := floor.last(log, p)) is None else last)}
    return Position({log: parts for log, parts in logs.items() if parts})
