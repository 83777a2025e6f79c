"""A table takes up another log: one swap that adds the log to its position, from its beginning."""

from __future__ import annotations

from dataclasses import replace

from frazil.batch import Position
from frazil.errors import CommitConflict
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap
from frazil.table.snapshots import Markers, standing


def adopt_log(lake: Lake, name: str, *, log_id: str, drained: Position) -> bool:
    """Add a log to a raw table's position; False when it is there already.

    Args:
        lake: Where the table is.
        name: A raw table.
        log_id: Identity of the new log; it is read from its first record on.
        drained: The position at which the caller found the old log read to its end.

    Raises:
        CommitConflict: The position moved since; look again whether the old log is drained. Nothing was done.
        Unavailable: Catalog or storage do not answer.
    """
    table = lake.find(name)
    if table is None:
        raise CommitConflict(f"table {name} is gone", hint="look again", table=name)
    position = standing(table.metadata).position
    if log_id in position.logs:
        return False
    if position != drained:
        raise CommitConflict("the table moved on", hint="look again whether the old log is drained", table=name)

    def mark(carried: Markers) -> Markers:
        return replace(carried, position=carried.position.merged(Position({log_id: {}})))

    swap(lake, table, Change("switch", mark))
    return True
