"""`tables rewind`: the table shows an older version again, in one swap that also moves the position back.

Never a moved reference: a new snapshot with a new number, on top of the target, with its rows, position and totals. So a
commit that was decided against the target's time, or against the head's, cannot land any more, and the follower meets
the rewind in order and takes back the letters set aside since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Position, Totals
from frazil.errors import CommitConflict, ConfigError
from frazil.table.catalog import Lake
from frazil.table.commit import Change, Landed, swap
from frazil.table.history import history, settled
from frazil.table.snapshots import Markers, ancestry, planned_sequence, sequence_of, standing


@dataclass(frozen=True, slots=True)
class Rewind:
    """A rewind that may be done: from where to where, and what lands again.

    `again`: by log, how the running totals change; the records between are read from the log once more.
    """

    table: str
    head: int
    target: int
    sequence: int
    settled: int
    position: Position
    again: dict[str, Totals]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "table": self.table,
            "head": self.head,
            "target": self.target,
            "sequence": self.sequence,
            "records_again": sum(totals.records for totals in self.again.values()),
            "landed": sum(totals.landed for totals in self.again.values()),
            "dead": sum(totals.dead for totals in self.again.values()),
            "duplicates": sum(totals.duplicates for totals in self.again.values()),
        }


def plan(lake: Lake, name: str, snapshot_id: int) -> Rewind:
    """What a rewind to a snapshot would do.

    Raises:
        ConfigError: `rewind.unknown_table`; `rewind.not_an_ancestor`: the head does not stand on that snapshot, or it is
            the head; `rewind.below_floor`: retention has deleted records after the target's position from the log;
            `rewind.across_switch`: another log was adopted since.
        Unavailable: Catalog or storage do not answer.
    """
    table = lake.find(name)
    if table is None:
        raise ConfigError(f"no table {name}", hint="`frazil tables list` shows the tables", code="rewind.unknown_table", table=name)
    return _planned(lake, table, snapshot_id)[0]


def rewind(lake: Lake, name: str, snapshot_id: int, *, head: int | None = None) -> Landed:
    """Show the rows, position and totals of a snapshot in the head's ancestry again.

    Args:
        lake: Where the table is.
        name: A raw table.
        snapshot_id: The target.
        head: The head the operator saw (`Rewind.head`); another one refuses the rewind.

    Raises:
        CommitConflict: The head moved; look again. Nothing was done.
        ConfigError, Unavailable: As `plan`.
    """
    table = lake.find(name)
    if table is None:
        raise ConfigError(f"no table {name}", hint="`frazil tables list` shows the tables", code="rewind.unknown_table", table=name)
    planned, target = _planned(lake, table, snapshot_id)
    if head is not None and head != planned.head:
        raise CommitConflict("the table changed since the rewind was planned", hint="look at the plan again", head=planned.head)
    then, epoch = standing_of(table, target), planned_sequence(table.metadata)

    def mark(carried: Markers) -> Markers:
        return replace(carried, position=then.position, totals=then.totals, epoch=epoch, rewind=planned.settled)

    return swap(lake, table, Change("rewind", mark, target=target, rebuild=False))


def standing_of(table: Table, target: Snapshot) -> Markers:
    """Where the flow stood at a snapshot in the head's ancestry: its markers, or those of its nearest marked ancestor."""
    return standing(table.metadata.model_copy(update={"current_snapshot_id": target.snapshot_id}))


def _planned(lake: Lake, table: Table, snapshot_id: int) -> tuple[Rewind, Snapshot]:
    name = table.name()[-1]
    chain = ancestry(table.metadata)
    target = next((one for one in chain[:-1] if one.snapshot_id == snapshot_id), None)
    if target is None:
        raise ConfigError(
            f"snapshot {snapshot_id} is not a version that table {name} can go back to",
            hint=f"`frazil tables history {name}` shows them; expired ones and those a rewind left behind are gone",
            code="rewind.not_an_ancestor",
            table=name,
            targets=[one.snapshot_id for one in chain[:-1]][-10:],
        )
    now, then = standing(table.metadata), standing_of(table, target)
    switched = then.position.logs or len(now.position.logs) > 1  # nothing read yet is not another log
    if switched and now.position.logs.keys() != then.position.logs.keys():
        raise ConfigError(
            f"snapshot {snapshot_id} lies before a log switch",
            hint="choose a snapshot after the switch: the old log is sealed",
            code="rewind.across_switch",
            table=name,
            snapshot=snapshot_id,
        )
    _above_floor(name, snapshot_id, now.floor, then.position)
    again = {log: _less(totals, then.totals.get(log, Totals())) for log, totals in now.totals.items()}
    done = settled(history(lake, name), sequence_of(target))
    head = table.metadata.current_snapshot_id or 0
    return Rewind(name, head, snapshot_id, sequence_of(target), done, then.position, again), target


def _above_floor(name: str, snapshot_id: int, floor: Position, then: Position) -> None:
    for log, parts in floor.logs.items():
        for partition, (last, _) in parts.items():
            reached = then.last(log, partition)
            if int(last) > (-1 if reached is None else reached):
                raise ConfigError(
                    f"snapshot {snapshot_id} lies below what retention deleted: the log starts after {last}",
                    hint="choose a later snapshot; rows of that time can be read with time travel",
                    code="rewind.below_floor",
                    table=name,
                    partition=f"{log}/{partition}",
                    floor=int(last),
                    position=reached,
                )


def _less(now: Totals, then: Totals) -> Totals:
    return Totals(now.records - then.records, now.landed - then.landed, now.dead - then.dead, now.duplicates - then.duplicates)


def targets(lake: Lake, name: str) -> Sequence[int]:
    """Snapshots a rewind may go to, oldest first."""
    table = lake.find(name)
    return [] if table is None else [one.snapshot_id for one in ancestry(table.metadata)[:-1] if _is_target(lake, table, one)]


def _is_target(lake: Lake, table: Table, snapshot: Snapshot) -> bool:
    try:
        _planned(lake, table, snapshot.snapshot_id)
    except ConfigError:
        return False
    return True
