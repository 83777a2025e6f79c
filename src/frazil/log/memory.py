"""A log in memory: writer, reader and retention in one, with the laws of a real one and the accidents tests need."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import pyarrow as pa

from frazil.batch import RAW, Batch, Position, Span
from frazil.errors import Corrupt, OffsetExpired, Unavailable
from frazil.log import Appended, IdempotencyKey, IdempotencyMismatch, Record, Records, check_logs

_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Held:
    offset: int
    record: Record
    request: int
    received_at: datetime
    format: str

    @property
    def check(self) -> str:
        facts = (self.offset, self.request, self.received_at.isoformat(), self.record.value, self.record.key, self.record.line)
        return f"{zlib.crc32(repr(facts).encode()):08x}"


@dataclass(slots=True)
class _Partition:
    name: str
    base: int = 0  # first offset not yet deleted
    next: int = 0
    held: list[_Held] = field(default_factory=list)
    segments: list[int] = field(default_factory=lambda: [0])  # first offset of each; the last one is live

    def after(self, last: int) -> list[_Held]:
        return self.held[bisect_right(self.held, last, key=lambda held: held.offset) :]

    def check(self, last: int) -> str | None:
        """Check of the last record at or before an offset, None when it is not held."""
        index = bisect_right(self.held, last, key=lambda held: held.offset)
        return self.held[index - 1].check if index else None


class MemoryLog:
    """One topic in memory. Records with a key keep their order in one partition; a request's others go to one partition.

    Args:
        partitions: How many, at least 1, named "0", "1", …
    """

    def __init__(self, *, partitions: int = 1) -> None:
        self._names = [str(number) for number in range(partitions)]
        self._changed = threading.Condition()
        self.recreate()

    @property
    def log_id(self) -> str:
        return self._log_id

    def append(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        with self._changed:
            if self._sealed:
                raise Unavailable(
                    "the log takes no more records", code="log.sealed", hint="append to the log that follows it", log=self._log_id
                )
            known = self._known(idempotency, received_at)
            if known is not None:
                return known
            spans = self._place(list(_each(records)), request, received_at, format)
            appended = Appended(spans=spans, request=request, receipt=idempotency.receipt if idempotency else b"")
            if idempotency is not None:
                self._keys[idempotency.key] = (idempotency.body, appended, received_at)
            self._changed.notify_all()
            return appended

    def append_soon(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        try:
            appended = self.append(records, request=request, received_at=received_at, format=format, idempotency=idempotency)
        except (Unavailable, IdempotencyMismatch) as error:
            future.set_exception(error)
        else:
            future.set_result(appended)
        return future

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        until = time.monotonic() + wait.total_seconds()
        with self._changed:
            while True:
                found = self._read(after, limit)
                left = until - time.monotonic()
                if found is not None or left <= 0:
                    return found
                self._changed.wait(left)

    def lag(self, position: Position) -> int:
        with self._changed:
            return sum(len(partition.after(self._last(position, partition))) for partition in self._partitions)

    def oldest(self) -> dict[str, int]:
        with self._changed:
            return {partition.name: partition.base for partition in self._partitions}

    def ends(self) -> dict[str, int]:
        with self._changed:
            return {partition.name: partition.next - 1 for partition in self._partitions}

    def unlink(self, floor: Position) -> int:
        gone = 0
        with self._changed:
            for partition in self._partitions:
                last = floor.last(self._log_id, partition.name)
                while last is not None and len(partition.segments) > 1 and partition.segments[1] - 1 <= last:
                    partition.segments.pop(0)
                    partition.base = partition.segments[0]
                    partition.held = partition.after(partition.base - 1)
                    gone += 1
        return gone

    def close(self) -> None:
        """Nothing to release: the log lives as long as the object."""

    # ------------------------------------------------------------ what tests do to it

    def roll(self) -> None:
        """Start a new segment in every partition whose live one is not empty."""
        with self._changed:
            for partition in self._partitions:
                if partition.next > partition.segments[-1]:
                    partition.segments.append(partition.next)

    def skip(self, count: int, *, partition: str = "0") -> None:
        """Leave a gap of `count` offsets, as transaction markers and compaction do."""
        with self._changed:
            self._partitions[self._names.index(partition)].next += count
            self._changed.notify_all()

    def seal(self) -> None:
        """Take no more records."""
        self._sealed = True

    def truncate(self, last: int, *, partition: str = "0") -> None:
        """Lose every record after an offset, as a restore from a backup does."""
        with self._changed:
            cut = self._partitions[self._names.index(partition)]
            cut.held = [held for held in cut.held if held.offset <= last]
            cut.next = last + 1
            cut.segments = [base for base in cut.segments if base <= cut.next]

    def recreate(self) -> None:
        """Begin anew: another identity, no records."""
        with self._changed:
            self._log_id = str(uuid4())
            self._sealed = False
            self._partitions = [_Partition(name) for name in self._names]
            self._keys: dict[str, tuple[bytes, Appended, datetime]] = {}

    # ------------------------------------------------------------ inside

    def _known(self, idempotency: IdempotencyKey | None, now: datetime) -> Appended | None:
        body, first, at = self._keys.get(idempotency.key, (b"", None, now)) if idempotency else (b"", None, now)
        if idempotency is None or first is None or at <= now - _DAY:
            return None
        if body != idempotency.body:
            raise IdempotencyMismatch(
                "the idempotency key was used with another body", hint="send the same body again, or take a new key", key=idempotency.key
            )
        return Appended(first.spans, first.request, first.receipt, repeated=True)

    def _place(self, records: list[Record], request: int, received_at: datetime, format: str) -> tuple[Span, ...]:
        first: dict[str, int] = {}
        for record in records:
            number = zlib.crc32(record.key) if record.key is not None else request
            partition = self._partitions[number % len(self._partitions)]
            first.setdefault(partition.name, partition.next)
            partition.held.append(_Held(partition.next, record, request, received_at, format))
            partition.next += 1
        touched = [partition for partition in self._partitions if partition.name in first]
        return tuple(Span(self._log_id, at.name, first[at.name], at.next - 1, at.held[-1].check) for at in touched)

    def _last(self, position: Position, partition: _Partition) -> int:
        """The offset to read after. Raises what a reader stops for."""
        check_logs(position, self._log_id)
        last = position.last(self._log_id, partition.name)
        if last is None:
            return partition.base - 1
        if last >= partition.next:
            raise Corrupt(
                f"the log ends at offset {partition.next - 1}, but offset {last} was in it",
                code="log.truncated",
                hint="restore the log from a backup",
                partition=partition.name,
                end=partition.next - 1,
                offset=last,
            )
        expected, found = position.check(self._log_id, partition.name), partition.check(last)
        if expected is not None and found is not None and expected != found:
            raise Corrupt(
                f"the record at offset {last} is not the one that was read",
                code="log.record_changed",
                hint="put the right log back",
                partition=partition.name,
                offset=last,
                expected=expected,
                found=found,
            )
        return last

    def _read(self, after: Position, limit: int) -> Batch | None:
        rows: list[_Held] = []
        names: list[str] = []
        spans: list[Span] = []
        for partition in self._partitions:
            last = self._last(after, partition)
            if last + 1 < partition.base:
                raise OffsetExpired(
                    f"{partition.base - last - 1:,} records were deleted before they were read",
                    hint="restore the older segments from a backup, and raise the log's retention",
                    partition=partition.name,
                    wanted=last + 1,
                    oldest=partition.base,
                )
            waiting = partition.after(last)
            taken = waiting[: limit - len(rows)]
            end = partition.next - 1 if len(taken) == len(waiting) else taken[-1].offset if taken else last
            if end > last:
                spans.append(Span(self._log_id, partition.name, last + 1, end, partition.check(end)))
            rows += taken
            names += [partition.name] * len(taken)
        return Batch(self._rows(rows, names), tuple(spans)) if spans else None

    def _rows(self, held: list[_Held], names: list[str]) -> pa.RecordBatch:
        columns = {
            "value": [row.record.value for row in held],
            "key": [row.record.key for row in held],
            "log": [self._log_id] * len(held),
            "partition": names,
            "offset": [row.offset for row in held],
            "received_at": [row.received_at for row in held],
            "request": [row.request for row in held],
            "source": [{"format": row.format, "line": row.record.line} for row in held],
            "headers": [None] * len(held),
        }
        return pa.RecordBatch.from_arrays([pa.array(columns[at.name], at.type) for at in RAW], schema=RAW)


def _each(records: Records | Sequence[Record]) -> Iterator[Record]:
    if isinstance(records, Sequence):
        yield from records
        return
    for index, value in enumerate(records.records()):
        yield Record(value, None, records.line(index))
