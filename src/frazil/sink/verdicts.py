"""What became of one request: the answer of `GET /status/{job_id}`, from the tables alone.

Every landed row and every letter keeps the request that brought it, so a job needs no database: its spans say when it is
complete, files are pruned by the bounds of `_request` (request ids are ordered by time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from frazil.batch import Place, Position, Span
from frazil.errors import CommitConflict, Unavailable
from frazil.sink import Head, Sink
from frazil.sink.dead_letters import IcebergDeadLetters, raw_table
from frazil.sink.letters import COMMIT, PLACE_COLUMNS, places
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.history import Entry, commit_for, entries_of, history

ATTEMPTS = 8
MOST_ERRORS = 100

State = Literal["queued", "processing", "completed", "failed", "rewound"]


@dataclass(frozen=True, slots=True)
class Landing:
    """A commit that landed records of the request."""

    table: str
    snapshot_id: int
    committed_at: datetime

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "committed_at": self.committed_at.isoformat()}


@dataclass(frozen=True)
class Verdicts:
    """Where a request's records stand: `received` = `landed` + `dead` + `duplicates` + `pending`.

    State: `queued` (none decided yet), `processing` (some), `completed` (all), `failed` (all, and an open letter of stage
    `process` among them), `rewound` (records that had been decided are pending again). `pending` only falls, but at a
    rewind. `errors`: violations of its letters that are not duplicates, at most 100 in order of records; `index` counts
    the request's records from 0. `open`: letters that can be replayed.
    """

    state: State
    received: int
    landed: int
    dead: int
    duplicates: int
    pending: int
    open: int
    snapshots: tuple[Landing, ...] = ()
    errors: tuple[dict[str, object], ...] = ()
    errors_total: int = 0

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: the answer of `GET /status/{job_id}` but for the job's id."""
        return {
            "state": self.state,
            "received": self.received,
            "landed": self.landed,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "pending": self.pending,
            "open": self.open,
            "snapshots": [one.as_dict() for one in self.snapshots],
            "errors": list(self.errors),
            "errors_total": self.errors_total,
        }


def verdicts(
    lake: Lake, sink: Sink, letters: IcebergDeadLetters, request: int, spans: Sequence[Span], received: int | None = None
) -> Verdicts:
    """What became of a request's records, at the current head.

    Args:
        lake: Where the tables are.
        sink: The contract's Iceberg sink.
        letters: The project's dead letters.
        request: The request's id.
        spans: Where its records lie; offsets in between may be others' (Kafka).
        received: How many records it brought; by default as many as the spans are long.

    Raises:
        Unavailable: Catalog or storage did not answer, or the table kept changing while it was read.
    """
    for _ in range(ATTEMPTS):
        try:
            return _at(lake, sink.head(), letters, request, spans, received)
        except CommitConflict:
            continue
    raise Unavailable("the table kept changing while it was read", code="books.moving", hint="ask again", request=request)


def _at(lake: Lake, head: Head, letters: IcebergDeadLetters, request: int, spans: Sequence[Span], received: int | None) -> Verdicts:
    mine = files.equal("_request", request)
    raw = raw_table(head)
    rows = files.found(raw, [*PLACE_COLUMNS, COMMIT], mine)
    known = letters.at(head, mine, columns=["violations"])
    landed = frozenset(places(rows))
    others = known.newest()
    others = others.filter(pa.array([place not in landed for place in places(others)], pa.bool_()))
    closed = pc.equal(others.column("stage"), "dedupe")
    duplicates, dead = others.filter(closed), others.filter(pc.invert(closed))
    total = sum(span.last - span.first + 1 for span in spans) if received is None else received
    decided = len(landed) + others.num_rows
    pending = 0 if all(map(head.position.covers, spans)) else max(0, total - decided)
    errors = _errors(dead, spans)
    still_open = known.open()
    return Verdicts(
        state=_state(lake, head, spans, pending, decided, _failed(still_open)),
        received=total,
        landed=len(landed),
        dead=dead.num_rows,
        duplicates=duplicates.num_rows,
        pending=pending,
        open=still_open.num_rows,
        snapshots=_landings(lake, raw, sorted(set(rows.column(COMMIT).to_pylist()))),
        errors=tuple(errors[:MOST_ERRORS]),
        errors_total=len(errors),
    )


def _state(lake: Lake, head: Head, spans: Sequence[Span], pending: int, decided: int, failed: bool) -> State:
    if not pending:
        return "failed" if failed else "completed"
    if _was_further(lake, head, spans):
        return "rewound"
    return "processing" if decided else "queued"


def _failed(still_open: pa.Table) -> bool:
    return bool(pc.any(pc.equal(still_open.column("stage"), "process")).as_py())


def _was_further(lake: Lake, head: Head, spans: Sequence[Span]) -> bool:
    """Whether a rewind took the position back over records of these spans that are pending now."""
    if not head.epoch:  # no commit ever removed rows
        return False
    said = history(lake, raw_table(head).name()[-1])
    reached = {entry.sequence: entry.position for entry in said}
    left = [reached.get(entry.sequence - 1) for entry in said if entry.kind == "rewind"]
    return any(_reaches(further, head.position, span) for further in left if further is not None for span in spans)


def _reaches(further: Position, now: Position, span: Span) -> bool:
    """Whether `further` had decided a record of the span that `now` has not."""
    then = further.last(span.log, span.partition)
    at = now.last(span.log, span.partition)
    return then is not None and then >= span.first and (at is None or (at < span.last and then > at))


def _landings(lake: Lake, raw: Table, commits: Sequence[int]) -> tuple[Landing, ...]:
    """The commits behind the `_commit` values of rows; those that were expired are looked up in the history."""
    said: Sequence[Entry] = entries_of(raw)
    if commits and (not said or said[0].sequence > commits[0]):
        said = history(lake, raw.name()[-1])
    found = (commit_for(said, planned) for planned in commits)
    return tuple(Landing(raw.name()[-1], entry.snapshot_id, entry.committed_at) for entry in found if entry is not None)


def _errors(dead: pa.Table, spans: Sequence[Span]) -> list[dict[str, object]]:
    listed = zip(places(dead), dead.column("violations").to_pylist(), strict=True)
    found = [(_index(place, spans), place, violation) for place, violations in listed for violation in violations or []]
    found.sort(key=lambda one: (one[0] is None, one[0], one[1]))
    return [{**violation, "index": index} for index, _, violation in found]


def _index(place: Place, spans: Sequence[Span]) -> int | None:
    """The record's number in its request, where its spans hold nothing else's."""
    before = 0
    for span in spans:
        if (span.log, span.partition) == (place.log, place.partition) and span.first <= place.offset <= span.last:
            return before + place.offset - span.first
        before += span.last - span.first + 1
    return None
