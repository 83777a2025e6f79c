"""The one swap: a single compare-and-swap of the table's metadata, whose outcome is looked up after any error.

PyIceberg's own `append` re-bases and retries by itself, which lands a batch twice when two processes raced; with its
retries off it can delete the manifests of a commit that did land. So the updates of a transaction are staged here and
handed to `catalog.commit_table` once per attempt. Nothing here deletes a file: what did not land is an orphan until the
sweep. Rules and reasons: RELIABILITY 2.2 and 2.3.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyiceberg.exceptions import CommitFailedException, RESTError, ValidationException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from sqlalchemy.exc import SQLAlchemyError

from frazil.batch import Kind
from frazil.errors import CommitConflict, FrazilError, Unavailable
from frazil.table.catalog import Lake, answering
from frazil.table.snapshots import Markers, ancestry, markers_of, only_maintenance, planned_sequence, sequence_of, standing
from frazil.telemetry import logger

ATTEMPTS = 5
FIRST_WAIT_S = 0.05

_log = logger("commit")
_UNCERTAIN = (CommitFailedException, OSError, SQLAlchemyError, RESTError)
"""What a catalog raises when it refused, or did not answer. Anything else is a bug and comes out, after a look."""

_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns() // 1_000_000}"


def fresh_id() -> str:
    """A UUIDv7 as text: time-ordered (RFC 9562)."""
    bits = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to a table; the same files on whatever head it is built.

    Args:
        kind: Spelled into the markers.
        mark: Given what the head carries on (`Markers.carried(kind)`), the markers of this commit. Called for every
            head the change is built on, so it adds to them instead of replacing them.
        added: Data files to add, durable before the swap.
        removed: Data files to take out; all must be live in the head.
        target: Rewind: the new snapshot shows the rows of this one. Then nothing is added or removed.
        rebuild: Whether it may be built again on a head that differs by maintenance only.
        reshape: Changes columns or partitions in the same swap; called for every head the change is built on.
    """

    kind: Kind
    mark: Callable[[Markers], Markers] = lambda carried: carried
    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()
    target: Snapshot | None = None
    rebuild: bool = True
    reshape: Callable[[Transaction], None] | None = None


@dataclass(frozen=True, slots=True)
class Landed:
    """A commit that is in the table: the version that holds it, its snapshot and its markers."""

    table: Table
    snapshot: Snapshot
    markers: Markers


def swap(lake: Lake, table: Table, change: Change) -> Landed:
    """Commit a change on top of the head of `table`, or find out that it did not happen.

    Args:
        table: One metadata version: the change was decided against it.
        change: What to do.

    Returns:
        The commit. Also when its answer was lost and it was found in the ancestry afterwards.

    Raises:
        CommitConflict: Something else was committed since (`commit.conflict`): nothing is half done, the files are
            orphans, decide again on the new head.
        Unavailable: Catalog or storage did not answer in several attempts. Whether the change landed, or still will, is
            then unknown; read the head and go on from it: a late commit is refused once the head has moved.

    Source: RELIABILITY 2.2, steps 5 to 8.
    """
    mine, name, base = fresh_id(), table.name()[-1], table
    for attempt in range(ATTEMPTS):
        with answering("the commit cannot be prepared", table=name):
            requirements, updates = _staged(base, change, mine)
        try:
            answer = lake.catalog.commit_table(base, requirements, updates)
        except Exception as error:
            base = _after(error, lake, name, change, mine, since=table)
            landed = _found(base, mine)
            if landed is not None:
                _log.info("commit landed, its answer was lost", table=name, commit_id=mine, error=repr(error))
                return landed
            if not isinstance(error, _UNCERTAIN):
                raise
            failed: Exception = error
        else:
            done = Table(table.name(), answer.metadata, answer.metadata_location, table.io, lake.catalog, table.config)
            landed = _found(done, mine)
            if landed is None:
                raise AssertionError("a catalog answered for a commit that is not in the answer")
            return landed
        _log.warning("commit attempt failed", table=name, attempt=attempt + 1, error=repr(failed))
        _wait(attempt)
    raise Unavailable(
        f"{ATTEMPTS} attempts to commit failed, the last with {type(failed).__name__}: {failed}",
        code="commit.unavailable",
        hint="nothing is lost; check the catalog, Frazil tries again",
        table=name,
        commit_id=mine,
    ) from failed


def _staged(base: Table, change: Change, id: str) -> tuple[tuple[TableRequirement, ...], tuple[TableUpdate, ...]]:
    """The updates of the change on this head, manifests written. Requirements: same table, same head."""
    same = AssertTableUUID(uuid=base.metadata.table_uuid)
    markers = change.mark(standing(base.metadata).carried(change.kind))
    properties = replace(markers, commit_id=id, writer=_PROCESS).to_summary()
    if change.target is not None:
        return _rewound(base, change.target, properties, same)
    transaction = _Staging(base)
    if change.reshape is not None:
        change.reshape(transaction)
    update = transaction.update_snapshot(snapshot_properties=properties)
    producer = update.overwrite() if change.removed else update.merge_append()
    for file in change.removed:
        producer.delete_data_file(file)
    for file in change.added:
        producer.append_data_file(file)
    try:
        producer.commit()
    except ValidationException as error:  # a file to remove is not live in the head any more
        raise _conflict(base, base, str(error)) from error
    updates = transaction._updates
    if change.kind == "maintenance" and change.removed:
        updates = tuple(map(_as_replace, updates))
    return (*transaction._requirements, same), updates


class _Staging(Transaction):
    """A transaction that shares the version it stands on until it has changes of its own.

    PyIceberg copies the metadata at every look, some fifteen times a commit: a cost that grows with the snapshots kept.
    """

    @property
    def table_metadata(self) -> TableMetadata:
        return super().table_metadata if self._updates else self._table.metadata


def _as_replace(update: TableUpdate) -> TableUpdate:
    """Compaction changes files, not rows: an incremental reader must not take it for new or removed data."""
    if not isinstance(update, AddSnapshotUpdate) or update.snapshot.summary is None:
        return update
    said = Summary(Operation.REPLACE, **update.snapshot.summary.additional_properties)
    return update.model_copy(update={"snapshot": update.snapshot.model_copy(update={"summary": said})})


def _rewound(
    base: Table, target: Snapshot, properties: dict[str, str], same: AssertTableUUID
) -> tuple[tuple[TableRequirement, ...], tuple[TableUpdate, ...]]:
    """A new snapshot on top of the target, with its manifest list: a commit of the target's time cannot land on it."""
    counts = {} if target.summary is None else target.summary.additional_properties
    totals = {name: value for name, value in counts.items() if name.startswith("total-")}
    new = Snapshot.model_validate(
        {
            "snapshot-id": base.metadata.new_snapshot_id(),
            "parent-snapshot-id": target.snapshot_id,
            "sequence-number": planned_sequence(base.metadata),
            "timestamp-ms": time.time_ns() // 1_000_000,
            "manifest-list": target.manifest_list,
            "schema-id": target.schema_id,
            "summary": Summary(Operation.DELETE, **totals, **properties),
        }
    )
    head = AssertRefSnapshotId.model_validate({"ref": MAIN_BRANCH, "snapshot-id": base.metadata.current_snapshot_id})
    branch = SetSnapshotRefUpdate.model_validate({"ref-name": MAIN_BRANCH, "type": "branch", "snapshot-id": new.snapshot_id})
    return (head, same), (AddSnapshotUpdate(snapshot=new), branch)


def _found(table: Table, id: str) -> Landed | None:
    """Our own commit, if it is in the ancestry of this version's head."""
    for snapshot in reversed(ancestry(table.metadata)):
        markers = markers_of(snapshot)
        if markers is not None and markers.commit_id == id:
            return Landed(table, snapshot, markers)
    return None


def _after(error: Exception, lake: Lake, name: str, change: Change, id: str, *, since: Table) -> Table:
    """Look at the table after an error: the version to go on from (with our commit in it, or only maintenance since).

    Raises:
        CommitConflict: Anything but maintenance came in between, or the change may not be rebuilt.
        Unavailable: The table cannot be read.
    """
    now = _reloaded(lake, name)
    if _found(now, id) is not None:
        return now
    old = since.metadata.current_snapshot()
    chain = ancestry(now.metadata)
    if now.metadata.table_uuid != since.metadata.table_uuid:
        raise _conflict(since, now, "the table was dropped and made again") from error
    if old is not None and all(snapshot.snapshot_id != old.snapshot_id for snapshot in chain):
        raise _conflict(since, now, "the head it was decided against is not in the ancestry any more") from error
    new = [snapshot for snapshot in chain if old is None or sequence_of(snapshot) > sequence_of(old)]
    if new and not (change.rebuild and only_maintenance(new)):
        raise _conflict(since, now, f"{len(new)} commit(s) came in between") from error
    return now


def _reloaded(lake: Lake, name: str) -> Table:
    for attempt in range(ATTEMPTS):
        try:
            found = lake.find(name)
        except Unavailable:
            if attempt + 1 == ATTEMPTS:
                raise
            _wait(attempt)
        else:
            if found is None:
                raise CommitConflict(f"table {name} is gone", hint="was it dropped? `frazil tables list`", table=name)
            return found
    raise AssertionError("unreachable")


def _conflict(since: Table, now: Table, why: str) -> FrazilError:
    return CommitConflict(
        f"the table changed since its head was read: {why}",
        hint="nothing is half done: read the head and decide again",
        table=since.name()[-1],
        decided_on=since.metadata.current_snapshot_id,
        head=now.metadata.current_snapshot_id,
    )


def _wait(attempt: int) -> None:
    """Exponential back-off with full jitter, 50 ms to 0.8 s."""
    time.sleep(random.uniform(0.5, 1.0) * FIRST_WAIT_S * 2**attempt)
