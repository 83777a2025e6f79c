"""Upkeep of a table: compaction of small files, fewer manifests, expiry of snapshots. Each is a swap of its own.

None of it adds or removes a row: a compaction is a commit of kind `maintenance` that carries the markers on, an expiry
commits no snapshot. Both may lose against a faster commit; then they look again, or leave it to the next run. Orphans
are `frazil.table.orphans`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, RemoveSnapshotsUpdate

from frazil.errors import CommitConflict
from frazil.table import files
from frazil.table.catalog import COMMIT_HISTORY, DEAD_LETTERS, Lake, answering
from frazil.table.commit import Change, swap
from frazil.table.history import adopted_to, record
from frazil.table.snapshots import MART, ancestry, sequence_of

ATTEMPTS = 5
KEEP = 20
HOURLY_FOR = timedelta(hours=24)
SMALL_BYTES = 32 * 1024 * 1024
TARGET_BYTES = 64 * 1024 * 1024
LEAST_FILES = 8


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did, or would do: files before and after, in how many commits."""

    files_before: int = 0
    files_after: int = 0
    commits: int = 0


@dataclass(frozen=True, slots=True)
class Expired:
    """What an expiry did, or would do: snapshots gone and left, how many of them are new in `commit_history`."""

    expired: int = 0
    kept: int = 0
    recorded: int = 0


def compact(lake: Lake, name: str, *, least_files: int = LEAST_FILES, small_bytes: int = SMALL_BYTES, dry_run: bool = False) -> Compacted:
    """Join small files of one day (of one partition) into larger ones; rows, `_commit` and markers stay as they are.

    Args:
        lake: Where the table is.
        name: Its name.
        least_files: Days with fewer small files are left alone.
        small_bytes: A file below this size is small. Outputs are about `TARGET_BYTES`.
        dry_run: Only count.

    Raises:
        Unavailable: Catalog or storage do not answer.
    """
    table = lake.find(name)
    done = Compacted()
    if table is None:
        return done
    for small_ones in _bins(files.planned(table), least_files, small_bytes):
        after = 1 if dry_run else _joined(lake, table, small_ones)
        if after:
            done = Compacted(done.files_before + len(small_ones), done.files_after + after, done.commits + 1)
    return done


def expire(
    lake: Lake,
    name: str,
    *,
    keep: int | None = None,
    hourly_for: timedelta = HOURLY_FOR,
    now: datetime | None = None,
    dry_run: bool = False,
) -> Expired:
    """Forget old snapshots: all but the newest `keep`, the last of each hour for a day, and what is not adopted yet.

    What they said goes to `commit_history` first. No file is deleted: see `frazil.table.orphans`.

    Args:
        lake: Where the table is.
        name: Its name.
        keep: Newest snapshots to keep, at least 1; the project's setting by default.
        hourly_for: How far back one snapshot per hour is kept.
        now: The present, UTC; the clock by default.
        dry_run: Only count.

    Returns:
        What was done; nothing when another commit came in between: the next run looks again.

    Raises:
        Unavailable: Catalog or storage do not answer.
    """
    letters = lake.dead_letters()  # read before the table: what was not adopted then is kept
    table = lake.find(name)
    if table is None:
        return Expired()
    followed = adopted_to(letters, table) if _sets_aside(table) else None
    wanted = _kept(table, keep or lake.settings.lake.keep_snapshots, hourly_for, now or datetime.now(UTC))
    old = [
        snapshot
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in wanted and (followed is None or sequence_of(snapshot) <= followed)
    ]
    kept = len(table.metadata.snapshots) - len(old)
    if dry_run or not old:
        return Expired(len(old), kept)
    new = record(lake, table, old)
    if name == COMMIT_HISTORY:  # recording was a commit to this very table
        table = lake.commit_history()
    return Expired(len(old), kept, new) if _removed(lake, table, old) else Expired(0, kept + len(old), new)


def _sets_aside(table: Table) -> bool:
    """Whether letters follow this table: neither the letters and the history themselves, nor a mart."""
    return table.name()[-1] not in (DEAD_LETTERS, COMMIT_HISTORY) and MART not in table.properties


def _kept(table: Table, keep: int, hourly_for: timedelta, now: datetime) -> set[int]:
    chain = ancestry(table.metadata)
    wanted = {snapshot.snapshot_id for snapshot in chain[-keep:]} | {ref.snapshot_id for ref in table.metadata.refs.values()}
    hours: dict[datetime, int] = {}
    for snapshot in chain:
        at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        if now - at <= hourly_for:
            hours[at.replace(minute=0, second=0, microsecond=0)] = snapshot.snapshot_id
    return wanted | set(hours.values())


def _removed(lake: Lake, table: Table, old: Sequence[Snapshot]) -> bool:
    head = AssertRefSnapshotId.model_validate({"ref": MAIN_BRANCH, "snapshot-id": table.metadata.current_snapshot_id})
    gone = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [snapshot.snapshot_id for snapshot in old]})
    with answering("snapshots cannot be expired", table=table.name()[-1]):
        try:
            lake.catalog.commit_table(table, (AssertTableUUID(uuid=table.metadata.table_uuid), head), (gone,))
        except (CommitFailedException, ValueError):  # another commit or another expiry was faster
            return False
    return True


def _bins(tasks: Sequence[FileScanTask], least_files: int, small_bytes: int) -> Iterator[list[DataFile]]:
    """Small files of one partition, about `TARGET_BYTES` together."""
    days: dict[str, list[DataFile]] = {}
    for task in tasks:
        if task.file.file_size_in_bytes < small_bytes:
            days.setdefault(f"{task.file.spec_id}:{task.file.partition}", []).append(task.file)
    for small in days.values():
        if len(small) < least_files:
            continue
        small_ones: list[DataFile] = []
        for file in sorted(small, key=lambda file: file.file_path):  # names are ordered by time
            small_ones.append(file)
            if sum(one.file_size_in_bytes for one in small_ones) >= TARGET_BYTES:
                yield small_ones
                small_ones = []
        if len(small_ones) > 1:
            yield small_ones


def _joined(lake: Lake, table: Table, small_ones: Sequence[DataFile]) -> int:
    """Rewrite these files as one; how many files it became, 0 when somebody else took one of them away first."""
    rows = files.rows_of(table, [FileScanTask(file) for file in small_ones])
    added = files.write(table, _in_landing_order(rows))
    change = Change("maintenance", added=added, removed=tuple(small_ones))
    for _ in range(ATTEMPTS):
        now = lake.find(table.name()[-1])
        head = None if now is None else now.metadata.current_snapshot()
        if now is None or head is None:
            return 0
        live = {file.file_path for file in files.entries(now, head)}
        if not all(file.file_path in live for file in small_ones):
            return 0
        try:  # rows came in between: the same files still hold the same rows
            swap(lake, now, change)
        except CommitConflict:
            continue
        return len(added)
    return 0


def _in_landing_order(rows: pa.Table) -> pa.Table:
    order = [(name, "ascending") for name in ("_commit", "_log", "_partition", "_offset") if name in rows.schema.names]
    return rows.sort_by(order) if order else rows
