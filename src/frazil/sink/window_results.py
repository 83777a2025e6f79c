"""`live_windows`: final results of the live windows in the lake. A follower of the windows' own file: it may lag, never disagree.

How far it came stands in its own snapshot's summary (`frazil.adopted`), in the same swap as the rows: a result is in the
table once, whatever is killed when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

from frazil.contract.windows import WindowSpec
from frazil.errors import CommitConflict
from frazil.sink.windows import kernel_errors
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap
from frazil.table.snapshots import Markers, ancestry, markers_of

TABLE = "live_windows"
ATTEMPTS = 5
_AT_ONCE = 50_000
_FINAL = 1
_LAYOUT = Schema(
    NestedField(1, "contract", StringType(), required=True),
    NestedField(2, "window", StringType(), required=True),
    NestedField(3, "window_start", TimestamptzType(), required=True),
    NestedField(4, "window_end", TimestamptzType(), required=True),
    NestedField(5, "key", StringType(), required=True),  # JSON object of texts
    NestedField(6, "values", StringType(), required=True),  # JSON object, numbers with all their digits
    NestedField(7, "revision", LongType(), required=True),
    NestedField(8, "emitted_at", TimestamptzType(), required=True),
)
_SPEC = PartitionSpec(PartitionField(source_id=4, field_id=1000, transform=DayTransform(), name="window_end_day"))


class WindowResults:
    """Adds what is final to the lake.

    Args:
        lake: Where the table is.
        file: The state of one contract's windows.
        contract: Its name.
        specs: Its windows by name.
    """

    def __init__(self, lake: Lake, file: Path, contract: str, specs: Mapping[str, WindowSpec]) -> None:
        self._lake, self._file, self._contract, self._specs = lake, file, contract, specs

    def adopt(self) -> int:
        """Add final results that are not in the table yet, in the order they came; returns how many.

        Raises:
            Unavailable: Catalog, storage or the windows' file do not answer; adopt again later.
        """
        added = 0
        for _ in range(ATTEMPTS):
            table = self._lake.find(TABLE) or self._lake.create(TABLE, _LAYOUT, _SPEC)
            name, reached = f"windows/{self._contract}", _adopted(table)
            start = reached.get(name, 0)
            with kernel_errors():
                reader = kernel.WindowReader(str(self._file))
                found = reader.changes(start if start <= reader.last() else 0, limit=_AT_ONCE)
            rows = [self._row(outcome) for outcome in found if outcome[6] == _FINAL]
            if not rows:
                return added
            added_files = files.write(table, pa.Table.from_pylist(rows, schema=files.arrow_schema(table)))
            change = Change("adopt", _reaching({**reached, name: int(found[-1][0])}), added=added_files)
            try:
                swap(self._lake, table, change)
            except CommitConflict:
                continue
            added += len(rows)
            if len(found) < _AT_ONCE:
                return added
        return added

    def _row(self, outcome: tuple[Any, ...]) -> dict[str, Any]:
        _, window, start, end, key, revision, _, values, at = outcome
        names = self._specs[window].key if window in self._specs else ()
        facts = {"contract": self._contract, "window": window, "window_start": _moment(start), "window_end": _moment(end)}
        spelled = json.dumps(dict(zip(names, json.loads(key), strict=False)))
        return {**facts, "key": spelled, "values": values, "revision": revision, "emitted_at": _moment(at)}


def _reaching(last: Mapping[str, int]) -> Callable[[Markers], Markers]:
    return lambda carried: replace(carried, adopted=last)


def _adopted(table: Any) -> Mapping[str, int]:
    for snapshot in reversed(ancestry(table.metadata)):
        if (found := markers_of(snapshot)) is not None:
            return found.adopted
    return {}


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
