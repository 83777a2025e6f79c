"""Dead letters as values: which letter speaks for a place, which are open, what they have in common. Pure, no I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from frazil.batch import LETTERS, OPEN_STAGES, RAW, Batch, Place

COMMIT = "_commit"
PLACE_COLUMNS = ("_log", "_partition", "_offset")
SPINE = (*PLACE_COLUMNS, COMMIT, "stage")
"""What it takes to know which letter speaks and whether it is open."""
SCHEMA = pa.schema([*LETTERS, pa.field(COMMIT, pa.int64(), nullable=False)])
"""Letters as they are read: `LETTERS` and the sequence number planned for the commit that set them aside."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Open letters with the same first violation: how many, and one of them.

    `example` is the first of them in order of places, `value` its bytes as text, cut to 200 characters.
    """

    stage: str
    code: str
    path: str
    count: int
    message: str
    hint: str
    example: Place
    value: str | None

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "example": str(self.example)}


@dataclass(frozen=True)
class Letters:
    """Letters of one contract at one head, 0..n rows in `SCHEMA`, and the places that landed although they have one."""

    rows: pa.Table
    landed: frozenset[Place] = frozenset()

    def newest(self) -> pa.Table:
        """The letter that speaks for each place, ordered by place (log, partition, offset)."""
        return self.rows.take(_newest(self.rows))

    def open(self, ids: frozenset[Place] | None = None) -> pa.Table:
        """Letters that can be replayed: the newest of their place, of an open stage, and no row has landed there."""
        newest = self.newest()
        newest = newest.filter(pc.is_in(newest.column("stage"), pa.array(OPEN_STAGES)))
        if ids is None and not self.landed:
            return newest
        keep = [place not in self.landed and (ids is None or place in ids) for place in places(newest)]
        return newest.filter(pa.array(keep, pa.bool_()))

    def causes(self) -> list[Cause]:
        """Open letters by stage, code and path of their first violation, the most frequent first."""
        return causes(self.open())


def places(rows: pa.Table) -> list[Place]:
    """The places of letters or of table rows."""
    logs, partitions, offsets = (rows.column(name).to_pylist() for name in PLACE_COLUMNS)
    return [Place(*place) for place in zip(logs, partitions, offsets, strict=True)]


def causes(rows: pa.Table) -> list[Cause]:
    """Letters by stage, code and path of their first violation, the most frequent first."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    stages, violations = rows.column("stage").to_pylist(), rows.column("violations").to_pylist()
    for at, (stage, listed) in enumerate(zip(stages, violations, strict=True)):
        first = listed[0] if listed else {"code": stage, "path": ""}
        groups.setdefault((stage, first["code"] or "", first["path"] or ""), []).append(at)
    found = []
    for (stage, code, path), members in groups.items():
        one = rows.slice(members[0], 1)
        said = (violations[members[0]] or [{}])[0]
        content = one.column("value")[0].as_py()
        text = None if content is None else _shortened(content.decode(errors="replace"))
        message, hint = said.get("message") or "", said.get("hint") or ""
        found.append(Cause(stage, code, path, len(members), message, hint, places(one)[0], text))
    return sorted(found, key=lambda cause: (-cause.count, cause.stage, cause.code, cause.path))


def as_raw(letters: pa.Table) -> Batch:
    """Letters as the raw records they were (`RAW`), ordered as given; spans are empty: a replay moves no position."""
    columns: Mapping[str, str] = {
        "value": "value", "key": "key", "log": "_log", "partition": "_partition", "offset": "_offset",
        "received_at": "_received_at", "request": "_request", "source": "source", "headers": "headers",
    }  # fmt: skip
    arrays = [letters.column(columns[field.name]).cast(field.type) for field in RAW]
    table = pa.table(arrays, schema=RAW).combine_chunks()
    batches = table.to_batches()
    return Batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=RAW))


def in_layout(rows: pa.Table) -> pa.Table:
    """Rows of the `dead_letters` table or of a set-aside file in the order and types of `SCHEMA`; columns not read are left out."""
    schema = pa.schema([field for field in SCHEMA if field.name in rows.schema.names])
    return pa.table([rows.column(field.name).cast(field.type) for field in schema], schema=schema)


def after_rewind(rows: pa.Table, target: int) -> pa.Table:
    """Letters that a rewind to sequence number `target` leaves: those set aside up to it."""
    return rows.filter(pc.less_equal(rows.column(COMMIT), target))


def _newest(rows: pa.Table) -> pa.Array:
    """Indexes of the last letter of each place, ordered by place."""
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in (*PLACE_COLUMNS, COMMIT)])
    if rows.num_rows < 2:
        return order
    sorted_places = rows.select(list(PLACE_COLUMNS)).take(order)
    same: pa.ChunkedArray | pa.Scalar = pa.scalar(True)
    for column in sorted_places.columns:
        same = pc.and_(same, pc.equal(column.slice(0, len(order) - 1), column.slice(1)))
    last = pa.concat_arrays([pc.invert(same).combine_chunks(), pa.array([True])])
    return order.filter(last)


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most] + "…"


def shown(violation: Mapping[str, Any]) -> dict[str, Any]:
    """A stored violation as people and programs are shown it: its value as JSON, or as text where it was cut or is no finite number."""
    text = violation["value"]
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        value = text
    finite = not isinstance(value, float) or math.isfinite(value)
    return {**violation, "value": value if finite else text}
