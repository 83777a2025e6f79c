"""The books: records in the log = landed + dead + duplicates + pending, and every position that breaks it by name.

Record by record while the log holds them, by the running totals before that. What is missing is named, never inferred.
A position counts once, landed first. DESIGN "What hangs on the history"; law 1 of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import BooleanExpression

from frazil.batch import Batch, Position, Totals
from frazil.contract import Contract
from frazil.errors import CommitConflict, OffsetExpired, Unavailable
from frazil.sink import Head, Sink
from frazil.sink.dead_letters import IcebergDeadLetters, raw_table
from frazil.sink.letters import PLACE_COLUMNS
from frazil.sink.ranges import Ranges, between, both, count, joined, ranges_of, repeated, without
from frazil.sink.verdicts import Verdicts, verdicts
from frazil.table import files

ATTEMPTS = 8
READ_RECORDS = 100_000


class LogReader(Protocol):
    """What books ask of a log (`frazil.log.LogReader`)."""

    @property
    def log_id(self) -> str: ...

    def read(self, *, after: Position, limit: int) -> Batch | None: ...

    def oldest(self) -> dict[str, int]: ...

    def ends(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Positions first..last of one partition that are not where they should be, ends included.

    `fault`: `missing` (in the log, nowhere in the tables), `doubled` (more than one row, or a row and a letter that no
    replay landed), `invented` (in the tables, not in the log), `orphaned` (a duplicate of a row that is not there).
    """

    fault: str
    log: str
    partition: str
    first: int
    last: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """The running totals of a log say something else than the tables: `name` is a field of `Totals`."""

    log: str
    name: str
    told: int
    counted: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Books:
    """The balance of one contract at one head.

    `records` = `landed` + `dead` + `duplicates` + `pending` when the books balance; records without one are findings.
    `open`: dead letters that can be replayed. `before`: records that only the running totals still know. With `since`,
    only records received from then on are counted, and totals are not compared.
    """

    contract: str
    log: str
    records: int
    landed: int
    dead: int
    duplicates: int
    pending: int
    open: int
    before: int = 0
    since: datetime | None = None
    snapshot_id: int = 0
    position: Position = field(default_factory=Position.empty)
    findings: tuple[Finding, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether no record is missing, doubled or invented, and the totals say the same; records may be pending."""
        return not self.findings and not self.differences

    def positions(self, fault: str) -> int:
        """How many positions have this fault."""
        return sum(one.last - one.first + 1 for one in self.findings if one.fault == fault)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: what `frazil verify --json` prints per contract."""
        return {
            "contract": self.contract,
            "balanced": self.balanced,
            "log": self.log,
            "records": self.records,
            "landed": self.landed,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "pending": self.pending,
            "open": self.open,
            "before": self.before,
            "missing": self.positions("missing"),
            "doubled": self.positions("doubled"),
            "invented": self.positions("invented"),
            "orphaned": self.positions("orphaned"),
            "since": None if self.since is None else self.since.isoformat(),
            "snapshot_id": self.snapshot_id,
            "findings": [one.as_dict() for one in self.findings],
            "differences": [one.as_dict() for one in self.differences],
        }


@dataclass(frozen=True)
class _Standing:
    """Where the positions of one partition stand in the tables; landed first, so the four do not overlap."""

    landed: Ranges = ()
    dead: Ranges = ()
    duplicates: Ranges = ()
    doubled: Ranges = ()

    @property
    def all(self) -> Ranges:
        return joined(self.landed, self.dead, self.duplicates)


@dataclass(frozen=True)
class _Tables:
    """What the tables hold at one head."""

    head: Head
    partitions: dict[tuple[str, str], _Standing]
    open: int
    orphaned: tuple[Finding, ...]


def verify(contract: Contract, reader: LogReader, sink: Sink, letters: IcebergDeadLetters, since: datetime | None = None) -> Books:
    """Balance the books of one contract.

    Args:
        contract: The contract.
        reader: Its log.
        sink: Its Iceberg sink.
        letters: The project's dead letters.
        since: Only records received from then on (UTC).

    Raises:
        Unavailable: A system did not answer, or the table kept changing while it was read.
        Corrupt: The log's bytes do not match their checksums.
    """
    tables = _read_tables(sink, letters, since)
    held, oldest = _read_log(reader, since)
    position = tables.head.position
    findings, landed, dead, duplicates, pending, decided = list(tables.orphaned), 0, 0, 0, 0, 0
    for (log, partition), standing in tables.partitions.items():
        findings += _named("doubled", log, partition, standing.doubled)
        landed, dead, duplicates = landed + count(standing.landed), dead + count(standing.dead), duplicates + count(standing.duplicates)
        if log != reader.log_id:
            continue
        here = held.get(partition, ())
        first, last = oldest.get(partition, 0), position.last(log, partition)
        done = between(here, first, -1 if last is None else last)
        seen = without(standing.all, ((-1, first - 1),))
        findings += _named("invented", log, partition, without(seen, done))
    for partition, here in held.items():
        last = position.last(reader.log_id, partition)
        done = between(here, 0, -1 if last is None else last)
        found = tables.partitions.get((reader.log_id, partition), _Standing())
        findings += _named("missing", reader.log_id, partition, without(done, found.all))
        pending += count(here) - count(done)
        decided += count(done)
    told = _summed(tables.head.totals.values())
    before = 0 if since is not None else max(0, told.records - decided)
    return Books(
        contract=contract.name,
        log=reader.log_id,
        records=before + decided + pending,
        landed=landed,
        dead=dead,
        duplicates=duplicates,
        pending=pending,
        open=tables.open,
        before=before,
        since=since,
        snapshot_id=tables.head.version,
        position=position,
        findings=tuple(sorted(findings, key=lambda one: (one.log, one.partition, one.first, one.fault))),
        differences=() if since is not None else _differences(tables),
    )


def _read_tables(sink: Sink, letters: IcebergDeadLetters, since: datetime | None) -> _Tables:
    wanted = None if since is None else files.at_least("_received_at", since.isoformat())
    for _ in range(ATTEMPTS):
        head = sink.head()
        try:
            return _tables(head, letters, wanted)
        except CommitConflict:
            continue
    raise Unavailable("the table kept changing while it was read", code="books.moving", hint="verify again")


def _tables(head: Head, letters: IcebergDeadLetters, wanted: BooleanExpression | None) -> _Tables:
    known = letters.at(head, wanted, columns=["first"])
    rows = files.found(raw_table(head), [*PLACE_COLUMNS, "_replay"], wanted)
    newest = known.newest()
    partitions = {}
    for log, partition in sorted({*_partitions(rows), *_partitions(newest)}):
        mine, theirs = _of(rows, log, partition), _of(newest, log, partition)
        landed = ranges_of(mine.column("_offset"))
        closed = pc.equal(theirs.column("stage"), "dedupe")
        pumped = ranges_of(mine.filter(pc.is_null(mine.column("_replay"))).column("_offset"))
        partitions[log, partition] = _Standing(
            landed=landed,
            dead=without(ranges_of(theirs.filter(pc.invert(closed)).column("_offset")), landed),
            duplicates=without(ranges_of(theirs.filter(closed).column("_offset")), landed),
            doubled=joined(repeated(mine.column("_offset")), both(pumped, ranges_of(theirs.column("_offset")))),
        )
    orphaned = () if wanted is not None else _orphaned(newest, partitions)
    return _Tables(head, partitions, known.open().num_rows, orphaned)


def _orphaned(newest: pa.Table, partitions: dict[tuple[str, str], _Standing]) -> tuple[Finding, ...]:
    """Duplicates whose first row is not there: such a record is lost."""
    found = []
    duplicates = newest.filter(pc.equal(newest.column("stage"), "dedupe"))
    first = duplicates.column("first").combine_chunks()
    named = pa.table({name: pc.struct_field(first, part) for name, part in zip(PLACE_COLUMNS, ("log", "partition", "offset"), strict=True)})
    for log, partition in sorted(_partitions(named)):
        landed = partitions.get((log, partition), _Standing()).landed
        lost = without(ranges_of(_of(named, log, partition).column("_offset")), landed)
        if not lost:
            continue
        for place, row in zip(duplicates.select(list(PLACE_COLUMNS)).to_pylist(), named.to_pylist(), strict=True):
            if (row["_log"], row["_partition"]) == (log, partition) and any(a <= row["_offset"] <= b for a, b in lost):
                found.append(Finding("orphaned", place["_log"], place["_partition"], place["_offset"], place["_offset"]))
    return tuple(found)


def _read_log(reader: LogReader, since: datetime | None) -> tuple[dict[str, Ranges], dict[str, int]]:
    """The offsets the log holds per partition, up to where it ended when the reading began, and its oldest offsets."""
    while True:
        ends, oldest = reader.ends(), reader.oldest()
        parts: dict[str, list[Ranges]] = {partition: [] for partition in ends}
        position = Position.empty()
        try:
            while any(last > _reached(position, reader.log_id, partition, oldest) for partition, last in ends.items()):
                batch = reader.read(after=position, limit=READ_RECORDS)
                if batch is None:
                    break
                rows = batch.rows
                if since is not None:
                    rows = rows.filter(pc.greater_equal(rows.column("received_at"), pa.scalar(since, pa.timestamp("us", tz="UTC"))))
                for partition in pc.unique(rows.column("partition")).to_pylist():
                    offsets = rows.column("offset").filter(pc.equal(rows.column("partition").cast(pa.string()), partition))
                    parts.setdefault(partition, []).append(ranges_of(offsets))
                position = position.after(batch.spans)
        except OffsetExpired:
            continue  # retention was faster: what is left starts later
        held = {partition: between(joined(*some), 0, ends.get(partition, -1)) for partition, some in parts.items()}
        return held, oldest


def _reached(position: Position, log: str, partition: str, oldest: dict[str, int]) -> int:
    last = position.last(log, partition)
    return oldest.get(partition, 0) - 1 if last is None else last


def _differences(tables: _Tables) -> tuple[Difference, ...]:
    """What the running totals say and the tables do not, per log."""
    found = []
    told = tables.head.totals
    for log in sorted({*told, *(log for log, _ in tables.partitions)}):
        mine = [standing for (of, _), standing in tables.partitions.items() if of == log]
        counted = Totals(
            records=sum(count(one.all) for one in mine),
            landed=sum(count(one.landed) for one in mine),
            dead=sum(count(one.dead) for one in mine),
            duplicates=sum(count(one.duplicates) for one in mine),
        )
        for name, value in asdict(told.get(log, Totals())).items():
            if value != getattr(counted, name):
                found.append(Difference(log, name, value, getattr(counted, name)))
    return tuple(found)


def _named(fault: str, log: str, partition: str, ranges: Ranges) -> list[Finding]:
    return [Finding(fault, log, partition, first, last) for first, last in ranges]


def _partitions(rows: pa.Table) -> set[tuple[str, str]]:
    if not rows.num_rows:
        return set()
    pairs = rows.select(["_log", "_partition"]).group_by(["_log", "_partition"]).aggregate([]).to_pylist()
    return {(pair["_log"], pair["_partition"]) for pair in pairs}


def _of(rows: pa.Table, log: str, partition: str) -> pa.Table:
    return rows.filter(pc.and_(pc.equal(rows.column("_log"), log), pc.equal(rows.column("_partition"), partition)))


def _summed(several: Iterable[Totals]) -> Totals:
    listed: Sequence[Totals] = list(several)
    return Totals(*(sum(getattr(one, name) for one in listed) for name in ("records", "landed", "dead", "duplicates")))


__all__ = ["Books", "Difference", "Finding", "Verdicts", "verdicts", "verify"]
