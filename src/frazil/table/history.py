"""The audit log of commits: what live snapshots say, and what expired ones said (`commit_history`).

A snapshot's summary goes to `commit_history` before the snapshot is expired, keyed by its id: written twice, it counts
once. So every commit of every table can be listed, for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Position, Totals
from frazil.table import files
from frazil.table.catalog import COMMIT_HISTORY, Lake
from frazil.table.commit import Change, swap
from frazil.table.snapshots import Markers, ancestry, markers_of, sequence_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit of a table, in the words of its snapshot.

    `moved` is what it changed in the running totals of all logs (None where the commit before is unknown or the table
    has no totals); `current` says whether it is in the ancestry of the head (a rewind leaves commits behind);
    `expired` that only `commit_history` still knows it.
    """

    table: str
    snapshot_id: int
    parent_id: int | None
    sequence: int
    committed_at: datetime
    operation: str
    kind: str | None
    summary: Mapping[str, str]
    current: bool = True
    expired: bool = False
    moved: Totals | None = None

    @property
    def markers(self) -> Markers | None:
        return Markers.from_summary(self.summary)

    @property
    def position(self) -> Position | None:
        found = self.markers
        return None if found is None else found.position

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: what `frazil tables history --json` prints per line."""
        found = self.markers
        return {
            "table": self.table,
            "snapshot_id": self.snapshot_id,
            "sequence": self.sequence,
            "kind": self.kind,
            "operation": self.operation,
            "committed_at": self.committed_at.isoformat(),
            "files_added": int(self.summary.get("added-data-files", 0)),
            "files_removed": int(self.summary.get("deleted-data-files", 0)),
            "rows_added": int(self.summary.get("added-records", 0)),
            "rows_removed": int(self.summary.get("deleted-records", 0)),
            "records": None if self.moved is None else self.moved.records,
            "landed": None if self.moved is None else self.moved.landed,
            "dead": None if self.moved is None else self.moved.dead,
            "duplicates": None if self.moved is None else self.moved.duplicates,
            "position": None if found is None else json.loads(found.position.to_json()),
            "contract": None if found is None else found.contract,
            "writer": None if found is None else found.writer,
            "replay": None if found is None else found.replay,
            "rewind": None if found is None else found.rewind,
            "current": self.current,
            "expired": self.expired,
        }


def history(lake: Lake, name: str) -> list[Entry]:
    """Every commit of a table by its name, oldest first, live snapshots and expired ones; empty when there is no table.

    Raises:
        Unavailable: Catalog or storage do not answer.
    """
    table = lake.find(name)
    if table is None:
        return []
    live = entries_of(table)
    known = {entry.snapshot_id for entry in live}
    expired = [entry for entry in recorded(lake, name) if entry.snapshot_id not in known]
    return _counted(_followed([*expired, *live]))


def entries_of(table: Table, snapshots: Iterable[Snapshot] | None = None) -> list[Entry]:
    """Snapshots (all live ones by default) as entries, oldest first."""
    current = {snapshot.snapshot_id for snapshot in ancestry(table.metadata)}
    chosen = table.metadata.snapshots if snapshots is None else snapshots
    return sorted(
        (_entry(table.name()[-1], snapshot, snapshot.snapshot_id in current) for snapshot in chosen), key=lambda entry: entry.sequence
    )


def recorded(lake: Lake, name: str) -> list[Entry]:
    """What `commit_history` holds of a table, oldest first, each snapshot once."""
    table = lake.find(COMMIT_HISTORY)
    rows = [] if table is None else files.found(table, row_filter=files.equal("table", name)).to_pylist()
    once = {row["snapshot_id"]: row for row in rows}
    return [
        Entry(
            table=row["table"],
            snapshot_id=row["snapshot_id"],
            parent_id=row["parent_id"],
            sequence=row["sequence_number"],
            committed_at=row["committed_at"],
            operation=row["operation"],
            kind=row["kind"],
            summary=json.loads(row["summary"]),
            expired=True,
        )
        for row in sorted(once.values(), key=lambda row: int(row["sequence_number"]))
    ]


def record(lake: Lake, table: Table, snapshots: Sequence[Snapshot]) -> int:
    """Write what these snapshots say to `commit_history`, those it does not hold yet; returns how many were new.

    Raises:
        Unavailable: Catalog or storage do not answer; nothing may be expired then.
    """
    known = {entry.snapshot_id for entry in recorded(lake, table.name()[-1])}
    new = entries_of(table, [snapshot for snapshot in snapshots if snapshot.snapshot_id not in known])
    if not new:
        return 0
    target = lake.commit_history()
    rows = pa.Table.from_pylist([_row(entry) for entry in new], schema=files.arrow_schema(target))
    swap(lake, target, Change("maintenance", added=files.write(target, rows)))
    return len(new)


def commit_for(entries: Sequence[Entry], planned: int) -> Entry | None:
    """The commit whose rows and letters carry `planned` as `_commit`; it is later where maintenance came in between."""
    later = (one for one in entries if one.sequence >= planned and one.kind != "maintenance" and one.current)
    return min(later, key=lambda entry: entry.sequence, default=None)


def adopted_to(letters: Table, raw: Table, snapshot: Snapshot | None = None) -> int:
    """Sequence number up to which `dead_letters` (at `snapshot`, default its head) follows a raw table; 0: not at all."""
    chain = ancestry(letters.metadata)
    if snapshot is not None:
        chain = [one for one in chain if sequence_of(one) <= sequence_of(snapshot)]
    for one in reversed(chain):
        found = markers_of(one)
        if found is not None:
            return int(found.adopted.get(str(raw.metadata.table_uuid), 0))
    return 0


def settled(entries: Sequence[Entry], sequence: int) -> int:
    """The sequence number of the last commit up to `sequence` that was not maintenance: what a rewind writes down.

    Letters carry the number planned for their commit, which is smaller than its own where maintenance came in between;
    compared with this number the two say the same.
    """
    kinds = {entry.sequence: entry.kind for entry in entries}
    while kinds.get(sequence) == "maintenance":
        sequence -= 1  # maintenance always stands on the commit before it
    return sequence


def _entry(name: str, snapshot: Snapshot, current: bool) -> Entry:
    summary = {} if snapshot.summary is None else dict(snapshot.summary.additional_properties)
    return Entry(
        table=name,
        snapshot_id=snapshot.snapshot_id,
        parent_id=snapshot.parent_snapshot_id,
        sequence=sequence_of(snapshot),
        committed_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        operation="" if snapshot.summary is None else snapshot.summary.operation.value,
        kind=summary.get("frazil.kind"),
        summary=summary,
        current=current,
    )


def _row(entry: Entry) -> dict[str, object]:
    return {
        "table": entry.table,
        "snapshot_id": entry.snapshot_id,
        "parent_id": entry.parent_id,
        "sequence_number": entry.sequence,
        "committed_at": entry.committed_at,
        "operation": entry.operation,
        "kind": entry.kind,
        "summary": json.dumps(entry.summary, sort_keys=True, separators=(",", ":")),
    }


def _followed(entries: list[Entry]) -> list[Entry]:
    """In order, with `current` carried from the live ancestry on to the expired ones below it."""
    by_id = {entry.snapshot_id: entry for entry in entries}
    by_sequence = {entry.sequence: entry for entry in entries}
    current: set[int] = set()
    at = max((entry for entry in entries if entry.current and not entry.expired), key=lambda entry: entry.sequence, default=None)
    while at is not None and at.snapshot_id not in current:
        current.add(at.snapshot_id)
        above = at.sequence - 1 if "frazil.rewind" not in at.summary else int(at.summary["frazil.rewind"])
        # expiry takes the parent's name from a snapshot, the numbers still tell it
        at = by_id.get(at.parent_id or 0) or by_sequence.get(above)
    return [replace(entry, current=entry.snapshot_id in current) for entry in sorted(entries, key=lambda entry: entry.sequence)]


def _counted(entries: list[Entry]) -> list[Entry]:
    counted = []
    before: Totals | None = Totals()
    last = 0
    for entry in entries:
        found = entry.markers
        totals = None if found is None or not found.totals else _summed(found.totals.values())
        moved = None
        if totals is not None and before is not None and entry.sequence == last + 1:
            moved = Totals(
                totals.records - before.records,
                totals.landed - before.landed,
                totals.dead - before.dead,
                totals.duplicates - before.duplicates,
            )
        counted.append(replace(entry, moved=moved))
        before, last = totals if found is None or found.totals else before, entry.sequence
    return counted


def _summed(several: Iterable[Totals]) -> Totals:
    listed = list(several)
    return Totals(*(sum(getattr(one, name) for one in listed) for name in ("records", "landed", "dead", "duplicates")))
