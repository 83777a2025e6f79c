"""What a snapshot's summary says about the flow, and how a new one follows from its parent: pure, no I/O.

The spelling is RELIABILITY 2.1. `frazil.set-aside` is a JSON list, one object per file, since the letters of one batch may
have been received on several days.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, cast, get_args

from pyiceberg.table.metadata import TableMetadata, TableMetadataV1
from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Kind, Position, Totals
from frazil.errors import Corrupt

PREFIX = "frazil."
OWNER = "frazil.owner"
KEY, EVENT_TIME = "frazil.key", "frazil.event-time"
"""The table property that says a table is ours; its value is the project's name, and never changes."""

MART = "frazil.mart"
"""The table property that says that a table is built from others: no letters follow it, and nothing is lost with it."""

State = str  # landed, dead or duplicates: a field of `Totals`


@dataclass(frozen=True, slots=True)
class SetAside:
    """One durable Parquet file with letters of one commit, in the layout of `dead_letters`.

    `path` is its location (`file://…`), `day` the partition in `dead_letters`: days since 1970 of `_received_at`.
    """

    path: str
    day: int
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Markers:
    """What the summary of a commit of ours says.

    `position`, `totals`, `floor` and `epoch` are carried on by every commit; the rest is one commit's own. `epoch` and
    the sequence number of a rewind are Iceberg sequence numbers, 0: no commit has removed rows yet. `adopted` stands in
    `dead_letters` only, and is carried on there: by UUID of a raw table, the sequence number it was followed to. `built`
    stands in marts only, and is carried on there: what the mart was built from (`frazil.warehouse.built`).
    """

    kind: Kind
    position: Position = field(default_factory=Position.empty)
    totals: Mapping[str, Totals] = field(default_factory=dict)
    floor: Position = field(default_factory=Position.empty)
    epoch: int = 0
    commit_id: str = ""
    writer: str = ""
    contract: str | None = None
    set_aside: tuple[SetAside, ...] = ()
    replay: str | None = None
    rewind: int | None = None
    adopted: Mapping[str, int] = field(default_factory=dict)
    built: Mapping[str, Any] = field(default_factory=dict)

    def carried(self, kind: Kind) -> Markers:
        """What a commit of `kind` on top of this one takes over: position, totals, floor, epoch; never a commit's own."""
        return Markers(kind, self.position, self.totals, self.floor, self.epoch, adopted=self.adopted, built=self.built)

    def to_summary(self) -> dict[str, str]:
        """The markers as snapshot properties; absent ones are left out."""
        spelled: dict[str, str | None] = {
            "kind": self.kind,
            "position": self.position.to_json(),
            "totals": _json({log: asdict(totals) for log, totals in self.totals.items()}),
            "floor": _json({log: {p: last for p, (last, _) in parts.items()} for log, parts in self.floor.logs.items()}),
            "epoch": str(self.epoch),
            "commit-id": self.commit_id or None,
            "writer": self.writer or None,
            "contract": self.contract,
            "set-aside": _json([asdict(file) for file in self.set_aside]) if self.set_aside else None,
            "replay": self.replay,
            "rewind": None if self.rewind is None else str(self.rewind),
            "adopted": _json(dict(self.adopted)) if self.adopted else None,
            "built": _json(dict(self.built)) if self.built else None,
        }
        return {PREFIX + name: value for name, value in spelled.items() if value is not None}

    @classmethod
    def from_summary(cls, summary: Mapping[str, str]) -> Markers | None:
        """The markers of a summary; None when the commit is not one of ours.

        Raises:
            Corrupt: `table.markers_unreadable`: there are markers, but not as we spell them.
        """
        if PREFIX + "kind" not in summary:
            return None
        try:
            return _read({name.removeprefix(PREFIX): value for name, value in summary.items() if name.startswith(PREFIX)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(
                f"a snapshot's markers cannot be read: {error}",
                code="table.markers_unreadable",
                hint="was the table written by a newer Frazil, or by another tool? `frazil tables history` shows its snapshots",
            ) from error


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _read(named: Mapping[str, str]) -> Markers:
    kind = named["kind"]
    if kind not in get_args(Kind):
        raise ValueError(f"unknown kind {kind!r}")
    floor = json.loads(named["floor"])
    return Markers(
        kind=cast("Kind", kind),
        position=Position.from_json(named["position"]),
        totals={log: Totals(**counts) for log, counts in json.loads(named["totals"]).items()},
        floor=Position({log: {p: (str(last), None) for p, last in parts.items()} for log, parts in floor.items()}),
        epoch=int(named["epoch"]),
        commit_id=named.get("commit-id", ""),
        writer=named.get("writer", ""),
        contract=named.get("contract"),
        set_aside=tuple(SetAside(**file) for file in json.loads(named.get("set-aside", "[]"))),
        replay=named.get("replay"),
        rewind=int(named["rewind"]) if "rewind" in named else None,
        adopted=json.loads(named.get("adopted", "{}")),
        built=json.loads(named.get("built", "{}")),
    )


def markers_of(snapshot: Snapshot) -> Markers | None:
    """The markers of one snapshot; None when the commit is not one of ours (or carries none)."""
    return None if snapshot.summary is None else Markers.from_summary(snapshot.summary.additional_properties)


def sequence_of(snapshot: Snapshot) -> int:
    """A snapshot's sequence number: grows with every commit, never reused, even after a rewind."""
    return snapshot.sequence_number or 0


def planned_sequence(metadata: TableMetadata) -> int:
    """The sequence number a commit on this version will have, unless maintenance comes in between: its `_commit`."""
    return last_sequence(metadata) + 1


def last_sequence(metadata: TableMetadata) -> int:
    """The highest sequence number any commit of the table ever had; 0: none yet."""
    return 0 if isinstance(metadata, TableMetadataV1) else int(metadata.last_sequence_number)


def ancestry(metadata: TableMetadata, *, after: int = -1) -> list[Snapshot]:
    """Retained ancestors of the head and the head itself with a sequence number above `after`, oldest first.

    The chain is broken where expiry removed a parent: then the first one's `parent_snapshot_id` names a snapshot that is
    not there. Snapshots that a rewind left behind are not in it.
    """
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    chain: list[Snapshot] = []
    at = metadata.current_snapshot()
    while at is not None and sequence_of(at) > after:
        chain.append(at)
        at = None if at.parent_snapshot_id is None else by_id.get(at.parent_snapshot_id)
    return chain[::-1]


def standing(metadata: TableMetadata) -> Markers:
    """Where the flow stands in this version: the markers of the head, or of its nearest ancestor that has some.

    A foreign commit without markers (another engine's compaction) is passed by: it cannot move our position.

    Raises:
        Corrupt: `table.markers_missing`: there are snapshots, and none in the head's ancestry is ours. The caller reloads
            first, and stops only if the head is the same (RELIABILITY 2.2, step 2).
    """
    if metadata.current_snapshot() is None and last_sequence(metadata) == 0:
        return Markers("pump")
    for snapshot in reversed(ancestry(metadata)):
        found = markers_of(snapshot)
        if found is not None:
            return found
    raise Corrupt(
        "the table is ours, but no snapshot in its ancestry says how far the log was read",
        code="table.markers_missing",
        hint="another tool rewrote the table or expired its snapshots; `frazil doctor` proposes the position from rows and log",
        head=metadata.current_snapshot_id,
        table=str(metadata.location),
    )


def only_maintenance(snapshots: Iterable[Snapshot]) -> bool:
    """Whether none of these commits added or removed a row, set a letter aside or moved the position.

    A commit without our markers is never maintenance: nothing says what it did.
    """
    return all((found := markers_of(snapshot)) is not None and found.kind == "maintenance" for snapshot in snapshots)


class Move(NamedTuple):
    """`number` records of a log that stood at `before` (None: pending) and now stand at `after`."""

    log: str
    before: State | None
    after: State
    number: int


def booked(totals: Mapping[str, Totals], moves: Iterable[Move]) -> dict[str, Totals]:
    """The running totals after these moves; a record counts once."""
    new = dict(totals)
    for log, before, after, number in moves:
        was = new.get(log, Totals())
        was = replace(was, records=was.records + number) if before is None else replace(was, **{before: getattr(was, before) - number})
        new[log] = replace(was, **{after: getattr(was, after) + number})
    return new
