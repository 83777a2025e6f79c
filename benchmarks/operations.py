"""Single operations: the kernel and plain Python on the same events, one after the other, on one core."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa

from benchmarks import kernel_way, python_way
from benchmarks.clock import timed
from benchmarks.events import Input
from frazil.batch import Batch
from frazil.process.python import PythonProcessor


def median(work: Callable[[], Any], rounds: int) -> float:
    """Median CPU seconds after one call for warming up (none when there is but one round)."""
    if rounds > 1:
        work()
    return statistics.median(timed(work)[0]["cpu"] for _ in range(rounds))


def in_new_place(write: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as place:
        return write(Path(place) / "out")


class Operations:
    """Both worlds' material for each stage, and the check that both see the same."""

    def __init__(self, given: Input) -> None:
        self.bodies = list(kernel_way.chunks(given.path))
        self.lines = [line for body in self.bodies for line in body.split(b"\n")[:-1]]
        self.events = self.parse()
        self.rows = self.transform()
        self.dicts, self.cut = python_way.parse(self.lines)
        self.violations = python_way.validate(self.dicts)
        broken = {index for index, _, _ in self.violations}
        self.sound = [event for index, event in enumerate(self.dicts) if index not in broken]
        self.python_rows = python_way.transform(self.sound)
        self.unique = self.deduplicated()
        self.python_unique = python_way.deduplicate(self.python_rows)
        bounds = [0, *itertools.accumulate(len(rows) for rows in self.rows)]
        self.python_batches = [self.python_rows[start:end] for start, end in itertools.pairwise(bounds)]
        self._check(given)

    def _check(self, given: Input) -> None:
        ours = sum(len(rows) for rows in self.rows), sum(rows.num_rows for rows in self.unique)
        python = len(self.python_rows), len(self.python_unique)
        assert ours == python == (given.good + given.duplicates, given.good), (ours, python, given)
        assert self.cut + len({index for index, _, _ in self.violations}) == given.bad
        theirs = [(row["event_id"], row["timestamp"], row["value"], row["event_hour"]) for row in self.python_unique]
        same = [rows.select(["event_id", "timestamp", "value", "event_hour"]) for rows in self.unique]
        assert [row for rows in same for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)] == theirs

    # ------------------------------------------------ the kernel

    def parse(self) -> list[kernel.Events]:
        return [kernel.parse_events(body, kernel_way.PLAN, format="ndjson") for body in self.bodies]

    def judge(self) -> int:
        return sum(len(kernel.validate_schema(events)) for events in self.parse())

    def transform(self) -> list[kernel.Rows]:
        return [kernel.transform_batch(events) for events in self.events]

    def deduplicated(self) -> list[pa.RecordBatch]:
        """Chunk by chunk against a cache."""
        cache, kept = kernel.KeyCache(), []
        for number, rows in enumerate(self.rows):
            kept.append(kernel_way.columns_of(pa.record_batch(cache.fresh(rows, kernel_way.KEY, number))))
        return kept

    def decided(self) -> None:
        """What the pump asks of its cache: which rows of a batch are new."""
        cache = kernel.KeyCache()
        for number, rows in enumerate(self.rows):
            cache.probe(rows, kernel_way.KEY)
            cache.add(rows, kernel_way.KEY, number)

    def process(self) -> None:
        for body in self.bodies:
            kernel_way.judged(body)

    def write(self, place: Path) -> None:
        kernel_way.write(iter(self.unique), place)

    # ------------------------------------------------ plain Python

    def reference_batch(self) -> int:
        """The readable reference on 5,000 records: oracle of the tests, slow on purpose."""
        raw = kernel_way.raw_rows(self.bodies[0]).slice(0, 5_000)
        return len(PythonProcessor(kernel_way.CONTRACT)(Batch(raw)).good)

    def measure(self, rounds: int) -> list[dict[str, Any]]:
        """ns per event of each operation in both worlds."""
        schema = pa.schema([field.with_type(python_way.plain(field.type)) for field in self.unique[0].schema])
        pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
            ("JSON parsing", self.parse, lambda: python_way.parse(self.lines)),
            ("schema validation, parsing included", self.judge, lambda: python_way.validate(python_way.parse(self.lines)[0])),
            ("transformation", self.transform, lambda: python_way.transform(self.sound)),
            ("deduplication, within batches of 16 MiB", lambda: [kernel.deduplicate(rows, kernel_way.KEY) for rows in self.rows],
             lambda: [python_way.deduplicate(rows) for rows in self.python_batches]),
            ("deduplication, against all earlier batches", self.decided, lambda: python_way.deduplicate(self.python_rows)),
            ("Iceberg Parquet writing", lambda: in_new_place(self.write),
             lambda: in_new_place(lambda place: python_way.write(self.python_unique, place, schema))),
        ]  # fmt: skip
        count = len(self.lines)
        rows = []
        for name, ours, python in pairs:
            rows.append({"operation": name, "kernel_ns": median(ours, rounds) / count * 1e9, "python_ns": median(python, 1) / count * 1e9})
        whole = median(self.process, rounds) / count * 1e9
        rows.append({"operation": "the pump's call, against the readable reference", "kernel_ns": whole,
                     "python_ns": median(self.reference_batch, 1) / 5_000 * 1e9})  # fmt: skip
        for row in rows:
            row["times"] = row["python_ns"] / row["kernel_ns"]
        return rows
