"""What every sink writes beside the rows of a decision: pure."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from frazil.sink import Decision
from frazil.table.snapshots import Move


def stamped(rows: pa.RecordBatch, planned: int, replay: str | None) -> pa.RecordBatch:
    """Rows or letters with `_commit`, and with `_replay` where a replay brought them.

    `planned` is the sequence number planned for the commit; it stays when the commit is built again over maintenance.
    """
    if "_replay" not in rows.schema.names:
        rows = rows.append_column("_replay", pa.nulls(rows.num_rows, pa.string()))
    if replay is not None:
        at = rows.schema.get_field_index("_replay")
        rows = rows.set_column(at, pa.field("_replay", pa.string()), pa.repeat(pa.scalar(replay, pa.string()), rows.num_rows))
    return rows.append_column(pa.field("_commit", pa.int64(), nullable=False), pa.repeat(pa.scalar(planned, pa.int64()), rows.num_rows))


def moves(decision: Decision) -> list[Move]:
    """How a decision's records move in the books: from pending, or from `dead` when it is a replay."""
    before = None if decision.replay is None else "dead"
    counted = (("landed", decision.rows), ("dead", decision.dead), ("duplicates", decision.duplicates))
    return [Move(log, before, after, number) for after, rows in counted for log, number in _by_log(rows)]


def _by_log(rows: pa.RecordBatch) -> Iterable[tuple[str, int]]:
    counts = pc.value_counts(rows.column("_log"))
    return zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
