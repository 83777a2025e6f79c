"""Dead letters as work: what a replay would do, a replay that settles beside the pump, its undo, and a discard.

The replay itself is `frazil.flow.replay`. Undo and discard are commits of the raw table, too: the follower follows them,
a rewind takes them back. Laws 1, 2 and 5 of the model.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from frazil.batch import OPEN_STAGES, VIOLATIONS, Batch, Place, Processed
from frazil.errors import CommitConflict, ConfigError
from frazil.sink import Commit, DeadLetters, Head, KeyIndex, Sink
from frazil.sink.dead_letters import IcebergDeadLetters, raw_table
from frazil.sink.iceberg import write_set_aside
from frazil.sink.letters import COMMIT, SCHEMA, Cause, Letters, causes, places
from frazil.table import files
from frazil.table.catalog import Lake, answering
from frazil.table.commit import Change, Landed, swap
from frazil.table.snapshots import Markers, Move, SetAside, booked

ATTEMPTS = 10
FIRST_WAIT_S = 0.02

Process = Callable[[Batch], Processed]
Mend = Callable[[Batch], Batch]
T = TypeVar("T")


class Replay(Protocol):
    """`frazil.flow.replay`."""

    def __call__(
        self,
        ids: frozenset[Place] | None,
        mend: Mend,
        process: Process,
        keys: KeyIndex,
        letters: DeadLetters,
        sink: Sink,
        *,
        id: str,
    ) -> Commit: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay would do now: `lands` and `duplicates` of `selected` open letters; the others by cause in `still`.

    `not_open`: places that were asked for and have no open letter.
    """

    selected: int
    lands: int
    duplicates: int
    still: tuple[Cause, ...]
    not_open: tuple[Place, ...] = ()

    @property
    def still_bad(self) -> int:
        return sum(cause.count for cause in self.still)

    def as_dict(self) -> dict[str, object]:
        return {
            "selected": self.selected,
            "lands": self.lands,
            "duplicates": self.duplicates,
            "still_bad": self.still_bad,
            "still": [cause.as_dict() for cause in self.still],
            "not_open": [str(place) for place in self.not_open],
        }


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: `landed` and closed as `duplicates` under its id; what is still bad stays open and is named."""

    id: str
    landed: int
    duplicates: int
    still: tuple[Cause, ...]
    snapshot_id: int | None

    @property
    def still_bad(self) -> int:
        return sum(cause.count for cause in self.still)

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "landed": self.landed,
            "duplicates": self.duplicates,
            "still_bad": self.still_bad,
            "still": [cause.as_dict() for cause in self.still],
            "snapshot_id": self.snapshot_id,
        }


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo took back: rows, and duplicates that are open letters again.

    `kept`: rows of the replay that stay, since a later record was found equal to them. `snapshot_id` None: nothing to do.
    """

    id: str
    rows: int
    reopened: int
    kept: tuple[Place, ...]
    snapshot_id: int | None

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "rows": self.rows,
            "reopened": self.reopened,
            "kept": [str(place) for place in self.kept],
            "snapshot_id": self.snapshot_id,
        }


@dataclass(frozen=True, slots=True)
class Discarded:
    """Letters that an operator closed. `snapshot_id` None: none of them was open."""

    letters: int
    reason: str
    snapshot_id: int | None

    def as_dict(self) -> dict[str, object]:
        return {"letters": self.letters, "reason": self.reason, "snapshot_id": self.snapshot_id}


def settled(attempt: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Do something that reads a head and commits on it, again when somebody else committed first.

    Raises:
        CommitConflict: It lost `attempts` times in a row; nothing is half done, try again.
    """
    for turn in range(attempts):
        try:
            return attempt()
        except CommitConflict:
            if turn + 1 == attempts:
                raise
            time.sleep(random.uniform(0, FIRST_WAIT_S * 2 ** min(turn, 5)))
    raise AssertionError("unreachable")


def plan(ids: frozenset[Place] | None, mend: Mend, process: Process, keys: KeyIndex, letters: DeadLetters, sink: Sink) -> Plan:
    """What `replay` would do with these letters (None: all open ones) at the current head, without committing.

    Raises:
        CommitConflict: The table kept changing.
        ConfigError: The mend does not fit the selection.
        Unavailable: A system did not answer.
    """

    def once() -> Plan:
        head = sink.head()
        found = letters.open(ids, at=head)
        decision = keys.decide(process(mend(found)), head)
        still = causes(pa.Table.from_batches([decision.dead]))
        missing = () if ids is None else tuple(sorted(ids - _places(found)))
        return Plan(len(found), decision.rows.num_rows, decision.duplicates.num_rows, tuple(still), missing)

    return settled(once)


def replay(
    page: Replay,
    ids: frozenset[Place] | None,
    mend: Mend,
    *parts: *tuple[Process, KeyIndex, DeadLetters, Sink],
    id: str,
) -> Replayed:
    """Land mended letters beside a running pump: `page` (`frazil.flow.replay`), decided again after a lost race.

    Args:
        page: `frazil.flow.replay`.
        ids: Which letters; None: all that are open. Letters that are not open are left alone.
        mend: Repairs their bytes.
        parts: The contract's process, keys, letters and sink, as `page` takes them.
        id: Names the replay; the same id twice is one replay done in two steps, undone together.

    Raises:
        CommitConflict: It lost too many races; nothing is half done.
        Unavailable: A system did not answer.
    """
    commit = settled(lambda: page(ids, mend, *parts, id=id))
    still = plan(ids, mend, *parts).still
    return Replayed(id, commit.landed, commit.duplicates, still, commit.version if commit.landed or commit.duplicates else None)


def undo(lake: Lake, sink: Sink, letters: IcebergDeadLetters, id: str) -> Undone:
    """Take back one replay, by a new commit: its rows become open letters again, and its duplicates, too.

    Rows that a later record was found equal to stay and are listed: without them that record would be lost.

    Raises:
        CommitConflict: It lost too many races; nothing is half done.
        Unavailable: A system did not answer.
    """
    return settled(lambda: _undo(lake, sink.head(), letters, id))


def discard(lake: Lake, sink: Sink, letters: IcebergDeadLetters, ids: frozenset[Place], reason: str) -> Discarded:
    """Close open letters for good, by a commit of the raw table that says why; a rewind takes it back.

    Raises:
        ConfigError: `discard.no_reason`: `reason` is empty.
        CommitConflict: It lost too many races; nothing is half done.
        Unavailable: A system did not answer.
    """
    if not reason.strip():
        raise ConfigError("a discard needs a reason", hint="say why with --reason", code="discard.no_reason")
    return settled(lambda: _discard(lake, sink.head(), letters, ids, reason.strip()))


# ---------------------------------------------------------------- one attempt


@dataclass(frozen=True, slots=True)
class _Back:
    """What an undo changes: rows by place that go, those that stay, and the duplicates of the replay."""

    gone: frozenset[Place]
    kept: tuple[Place, ...]
    duplicates: frozenset[Place]


def _undo(lake: Lake, head: Head, letters: IcebergDeadLetters, id: str) -> Undone:
    raw, known = raw_table(head), letters.at(head)
    back = _back(raw, known, id)
    if not back.gone and not back.duplicates:
        return Undone(id, 0, 0, back.kept, None)
    planned = head.sequence + 1
    removed, added = _rewritten(raw, id, back.gone)
    set_aside = _set_aside(lake, _originals(known, back.duplicates), planned)
    moves = [Move(log, "landed", "dead", n) for log, n in Counter(place.log for place in back.gone).items()]
    moves += [Move(log, "duplicates", "dead", n) for log, n in Counter(place.log for place in back.duplicates).items()]

    def mark(carried: Markers) -> Markers:
        return replace(carried, totals=booked(carried.totals, moves), epoch=planned, set_aside=set_aside, replay=id)

    landed = swap(lake, raw, Change("undo", mark, added=added, removed=removed))
    return Undone(id, len(back.gone), len(back.duplicates), back.kept, landed.snapshot.snapshot_id)


def _back(raw: Table, known: Letters, id: str) -> _Back:
    newest = known.newest()
    closed = newest.filter(pc.equal(newest.column("stage"), "dedupe"))
    own = pc.fill_null(pc.equal(closed.column("_replay"), id), False)
    needed = frozenset(_first(closed.filter(pc.invert(own))))
    rows = frozenset(places(files.found(raw, ["_log", "_partition", "_offset"], files.equal("_replay", id))))
    return _Back(rows - needed, tuple(sorted(rows & needed)), frozenset(places(closed.filter(own))))


def _rewritten(raw: Table, id: str, gone: frozenset[Place]) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
    """Files that hold rows to be taken out, and new ones with what else they hold."""
    removed: list[DataFile] = []
    added: list[DataFile] = []
    for task in files.planned(raw, files.equal("_replay", id)):
        rows = files.rows_of(raw, [task])
        stays = [place not in gone for place in places(rows)]
        if not all(stays):
            removed.append(task.file)
            added += files.write(raw, rows.filter(pa.array(stays, pa.bool_())))
    return tuple(removed), tuple(added)


def _originals(known: Letters, wanted: frozenset[Place]) -> pa.Table:
    """The newest open letter of each place: what it was before the replay closed it."""
    was_open = Letters(known.rows.filter(pc.is_in(known.rows.column("stage"), value_set=pa.array(OPEN_STAGES))))
    return was_open.open(wanted)


def _discard(lake: Lake, head: Head, letters: IcebergDeadLetters, ids: frozenset[Place], reason: str) -> Discarded:
    closing = letters.at(head).open(ids)
    if not closing.num_rows:
        return Discarded(0, reason, None)
    why = {"index": None, "path": "", "code": "dead.discarded", "message": reason, "hint": "", "value": None}
    violations = pa.array([[why, *(listed or [])] for listed in closing.column("violations").to_pylist()], VIOLATIONS)
    closing = closing.set_column(SCHEMA.get_field_index("violations"), SCHEMA.field("violations"), violations)
    stages = pa.array(["discard"] * closing.num_rows, pa.string())
    closing = closing.set_column(SCHEMA.get_field_index("stage"), SCHEMA.field("stage"), stages)
    set_aside = _set_aside(lake, closing, head.sequence + 1)

    def mark(carried: Markers) -> Markers:
        return replace(carried, set_aside=set_aside)

    landed: Landed = swap(lake, raw_table(head), Change("discard", mark))
    return Discarded(closing.num_rows, reason, landed.snapshot.snapshot_id)


def _set_aside(lake: Lake, letters: pa.Table, planned: int) -> tuple[SetAside, ...]:
    """Write letters under the number planned for their commit."""
    if not letters.num_rows:
        return ()
    at = letters.schema.get_field_index(COMMIT)
    stamped = letters.set_column(at, SCHEMA.field(COMMIT), pa.array([planned] * letters.num_rows, pa.int64()))
    with answering("files cannot be written", table="dead_letters"):
        return write_set_aside(lake, stamped.combine_chunks().to_batches()[0])


def _first(closed: pa.Table) -> Iterable[Place]:
    return (Place(one["log"], one["partition"], one["offset"]) for one in closed.column("first").to_pylist() if one is not None)


def _places(batch: Batch) -> frozenset[Place]:
    rows = batch.rows.select(["log", "partition", "offset"]).to_pylist()
    return frozenset(Place(row["log"], row["partition"], row["offset"]) for row in rows)
