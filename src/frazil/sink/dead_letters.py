"""`dead_letters`: a follower of what the raw tables' committed history set aside. It may lag, never disagree.

A raw table's swap decides a record; the letters of that commit lie in durable files the commit names. The follower adds
those very files to `dead_letters`, in the order of the raw table's sequence numbers, once: how far it came stands in its
own snapshot's summary (`frazil.adopted`), in the same swap. Readers that must be exact count the files that are not
adopted yet. RELIABILITY 2.2; law 4 of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Batch, Place
from frazil.errors import CommitConflict, Corrupt
from frazil.sink import Head, Sink
from frazil.sink.letters import COMMIT, PLACE_COLUMNS, SPINE, Letters, after_rewind, as_raw, in_layout, places
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap
from frazil.table.history import adopted_to
from frazil.table.snapshots import Markers, SetAside, ancestry, markers_of, sequence_of

ATTEMPTS = 5
LAG = 16
"""Commits without letters that may wait before the follower records that it passed them."""


class IcebergDeadLetters:
    """The project's dead letters: one table for all contracts.

    Args:
        lake: Where the tables are.
        lag: Commits that set nothing aside are passed without a commit of the follower's own, up to this many.
    """

    def __init__(self, lake: Lake, *, lag: int = LAG) -> None:
        self.lake, self.lag = lake, lag

    def adopt(self, sink: Sink) -> int:
        """Add what each committed snapshot set aside, in order of sequence numbers, once; returns how many letters.

        A rewind met in order takes back the letters that snapshots after its target set aside. Another adopter that
        commits first is no error: this one looks again, and leaves the rest to the next call after a few attempts.

        Raises:
            Unavailable: Catalog or storage do not answer; adopt again later.
            Corrupt: `letters.history_broken`: another tool expired commits that were not adopted.
        """
        broken = False
        for _ in range(ATTEMPTS):
            letters, raw = self.lake.dead_letters(), raw_table(sink.head())
            adopted = adopted_to(letters, raw)
            if broken := _is_broken(raw, adopted):
                continue  # another adopter went on and history was expired behind it
            commits = ancestry(raw.metadata, after=adopted)
            kept, cut = _followed(commits)
            last = sequence_of(commits[-1]) if commits else adopted
            if not kept and cut is None and last - adopted < self.lag:
                return 0
            try:
                swap(self.lake, letters, _adoption(letters, raw, kept, cut, last))
            except CommitConflict:
                continue
            return sum(file.records for _, file in kept)
        if broken:
            raise Corrupt(
                "commits were expired before their dead letters were adopted",
                code="letters.history_broken",
                hint="another tool expired snapshots; `frazil doctor` shows what is missing, the records are still in the log",
                table=raw.name()[-1],
                adopted=adopted,
            )
        return 0

    def open(self, ids: frozenset[Place] | None, at: Head) -> Batch:
        """Open letters at `at` in `RAW` layout, unadopted files included; None means all. Ordered by place.

        Raises:
            CommitConflict: The follower is ahead of `at`: read the head again.
        """
        return as_raw(self.at(at).open(ids))

    def at(self, head: Head, row_filter: BooleanExpression | None = None, columns: Sequence[str] | None = None) -> Letters:
        """All letters of the head's contract as of `head`, unadopted files included.

        Args:
            head: A head of an Iceberg sink.
            row_filter: Only letters that match; must not tell letters of one place apart (by `_request`, by place).
            columns: Columns besides `letters.SPINE`; all by default.

        Raises:
            CommitConflict: The follower is ahead of `head`: read the head again.
        """
        raw = raw_table(head)
        table = self.lake.dead_letters()
        snapshot, adopted = _version_for(table, raw, head)
        wanted = None if columns is None else [*SPINE, *columns]
        rows = in_layout(_of_contract(table, snapshot, contract_of(raw), row_filter, wanted))
        for commit in ancestry(raw.metadata, after=adopted):
            markers = _markers(commit)
            if markers.rewind is not None:
                rows = after_rewind(rows, markers.rewind)
            more = [files.read_file(table, file.path, row_filter, wanted) for file in markers.set_aside]
            rows = pa.concat_tables([rows, *map(in_layout, more)])
        return Letters(rows, landed_by_replay(raw, row_filter))


def raw_table(head: Head) -> Table:
    """The loaded raw table behind a head of an Iceberg sink. Raises TypeError for a head of another sink."""
    if not isinstance(head.handle, Table):
        raise TypeError("dead letters follow an Iceberg sink")
    return head.handle


def contract_of(raw: Table) -> str:
    """The contract a raw table holds."""
    return str(raw.name()[-1]).removeprefix("raw_")


def landed_by_replay(raw: Table, row_filter: BooleanExpression | None = None) -> frozenset[Place]:
    """Places that landed although they have a letter: only a replay lands those."""
    wanted: BooleanExpression = files.present("_replay")
    if row_filter is not None:
        wanted = And(wanted, row_filter)
    return frozenset(places(files.found(raw, PLACE_COLUMNS, wanted)))


def _followed(commits: Sequence[Snapshot]) -> tuple[list[tuple[int, SetAside]], int | None]:
    """Files to add and the lowest rewind target met, if any."""
    kept: list[tuple[int, SetAside]] = []
    cut: int | None = None
    for commit in commits:
        markers = _markers(commit)
        if markers.rewind is not None:
            target = markers.rewind
            kept = [(sequence, file) for sequence, file in kept if sequence <= target]
            cut = target if cut is None else min(cut, target)
        kept += [(sequence_of(commit), file) for file in markers.set_aside]
    return kept, cut


def _adoption(letters: Table, raw: Table, kept: Iterable[tuple[int, SetAside]], cut: int | None, last: int) -> Change:
    uuid = str(raw.metadata.table_uuid)
    added = [files.described(letters, file.path) for _, file in kept]
    removed: list[DataFile] = []
    if cut is not None:
        removed, rewritten = _taken_back(letters, contract_of(raw), cut)
        added += rewritten

    def mark(carried: Markers) -> Markers:
        return replace(carried, adopted={**carried.adopted, uuid: last})

    return Change("adopt", mark, added=tuple(added), removed=tuple(removed))


def _taken_back(letters: Table, contract: str, cut: int) -> tuple[list[DataFile], list[DataFile]]:
    """Files to remove, and what of them stays, when the letters of a contract above `cut` are taken back."""
    removed: list[DataFile] = []
    rewritten: list[DataFile] = []
    for task in files.planned(letters, And(files.equal("contract", contract), files.above(COMMIT, cut))):
        rows = files.rows_of(letters, [task])
        stays = [one != contract or commit <= cut for one, commit in _pairs(rows)]
        if not all(stays):
            removed.append(task.file)
            rewritten += files.write(letters, rows.filter(pa.array(stays, pa.bool_())))
    return removed, rewritten


def _pairs(rows: pa.Table) -> Iterable[tuple[str, int]]:
    return zip(rows.column("contract").to_pylist(), rows.column(COMMIT).to_pylist(), strict=True)


def _version_for(table: Table, raw: Table, head: Head) -> tuple[Snapshot | None, int]:
    """The newest version of `dead_letters` that is not ahead of `head`, and how far it follows.

    Read after the head, the newest version is complete together with the head's own snapshots: expiry keeps what was
    not adopted when it ran, and that was before the head was read. An older version must show an unbroken chain.
    """
    newest = True
    for snapshot in (*reversed(ancestry(table.metadata)), None):
        adopted = 0 if snapshot is None else adopted_to(table, raw, snapshot)
        if adopted <= head.sequence and (newest or not _is_broken(raw, adopted, strict=True)):
            return snapshot, adopted
        newest = False
    raise CommitConflict(
        "dead letters were adopted beyond this head", hint="read the head again", table=raw.name()[-1], sequence=head.sequence
    )


def _is_broken(raw: Table, adopted: int, *, strict: bool = False) -> bool:
    """Whether snapshots of the head's history above `adopted` were expired; `strict`: or may have been, below a rewind.

    Expiry takes the name of its parent from a snapshot, but a commit's number is its parent's plus one, but for a rewind.
    """
    chain = ancestry(raw.metadata, after=adopted)
    parent = chain[0].parent_snapshot_id if chain else None
    if not chain or (parent is not None and raw.snapshot_by_id(parent) is not None):
        return False
    return strict if _markers(chain[0]).rewind is not None else sequence_of(chain[0]) - 1 > adopted


def _of_contract(
    table: Table, snapshot: Snapshot | None, contract: str, row_filter: BooleanExpression | None, columns: Sequence[str] | None
) -> pa.Table:
    wanted = files.equal("contract", contract)
    if row_filter is not None:
        wanted = And(wanted, row_filter)
    tasks = [] if snapshot is None else list(table.scan(row_filter=wanted, snapshot_id=snapshot.snapshot_id).plan_files())
    return files.rows_of(table, tasks, columns, wanted)


def _markers(commit: Snapshot) -> Markers:
    """A commit's markers; one that is not ours sets nothing aside."""
    return markers_of(commit) or Markers("maintenance")
