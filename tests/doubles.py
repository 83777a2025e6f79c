"""Memory doubles of log, processor, sink and letters for tests of what stands above them. Small, lawful, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from frazil.batch import LETTERS, LINEAGE, RAW, Batch, Position, Processed, Span
from frazil.contract import Contract, Field
from frazil.errors import CommitConflict
from frazil.sink import Commit, Decision, Head

LOG = "11111111-1111-1111-1111-111111111111"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONTRACT = Contract(name="notes", version="1", fields=(Field("text", "/text", "string", required=True),))
GOOD = pa.schema([pa.field("text", pa.string()), *LINEAGE])


def raw(values: list[bytes | None], *, first: int = 0) -> Batch:
    """Records at consecutive offsets of one partition."""
    rows = [
        {"value": v, "key": None, "log": LOG, "partition": "0", "offset": first + i, "received_at": NOON, "request": 1, "source": None}
        for i, v in enumerate(values)
    ]
    return Batch(pa.RecordBatch.from_pylist(rows, schema=RAW), (Span(LOG, "0", first, first + len(values) - 1),) if values else ())


@dataclass
class Judge:
    """A processor: `bad…` is a dead letter, everything else a row. `fault` may raise on a batch, as broken code would."""

    fault: Callable[[list[bytes | None]], None] = lambda values: None
    calls: list[int] = field(default_factory=list)
    contract: Contract = CONTRACT

    def __call__(self, batch: Batch) -> Processed:
        records = batch.rows.to_pylist()
        self.calls.append(len(records))
        self.fault([row["value"] for row in records])
        good = [_row(row) for row in records if not (row["value"] or b"bad").startswith(b"bad")]
        dead = [_letter(row) for row in records if (row["value"] or b"bad").startswith(b"bad")]
        return Processed(
            Batch(pa.RecordBatch.from_pylist(good, schema=GOOD), batch.spans),
            Batch(pa.RecordBatch.from_pylist(dead, schema=LETTERS), batch.spans),
        )


@dataclass
class ListLog:
    """A log of one partition held in a list."""

    values: list[bytes | None] = field(default_factory=list)
    log_id: str = LOG

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        first = self._next(after)
        taken = self.values[first : first + limit]
        return raw(taken, first=first) if taken else None

    def lag(self, position: Position) -> int:
        return len(self.values) - self._next(position)

    def oldest(self) -> dict[str, int]:
        return {"0": 0}

    def ends(self) -> dict[str, int]:
        return {"0": len(self.values) - 1}

    def close(self) -> None: ...

    @staticmethod
    def _next(position: Position) -> int:
        last = position.last(LOG, "0")
        return 0 if last is None else last + 1


@dataclass
class ListSink:
    """A sink that holds its commits in a list; `trouble` runs before each append and may raise."""

    decisions: list[Decision] = field(default_factory=list)
    position: Position = field(default_factory=Position.empty)
    trouble: Callable[[], None] = lambda: None

    def head(self) -> Head:
        return Head(len(self.decisions), len(self.decisions), self.position, {}, Position.empty(), 0)

    def append(self, decision: Decision, head: Head) -> Commit:
        self.trouble()
        if head.version != len(self.decisions):
            raise CommitConflict("the table changed")
        self.decisions.append(decision)
        self.position = self.position.after(decision.spans)
        version = len(self.decisions)
        counts = (decision.rows.num_rows, decision.dead.num_rows, decision.duplicates.num_rows)
        return Commit(version, version, str(version), "pump", self.position, *counts, committed_at=datetime.now(UTC))

    def offsets(self) -> list[int]:
        return [o for d in self.decisions for o in d.rows.column("_offset").to_pylist()]

    def letters(self) -> list[dict[str, object]]:
        return [letter for d in self.decisions for letter in d.dead.to_pylist()]


class NoKeys:
    """A key index for contracts without a key: everything is new."""

    def decide(self, processed: Processed, head: Head) -> Decision:
        none = pa.RecordBatch.from_pylist([], schema=LETTERS)
        return Decision(processed.good.rows, processed.dead.rows, none, processed.good.spans, CONTRACT.hash)

    def advance(self, head: Head, commit: Commit) -> None: ...


@dataclass
class Follower:
    """Counts how often it was asked to adopt."""

    adopted: int = 0

    def adopt(self, sink: object) -> int:
        self.adopted += 1
        return 0

    def open(self, ids: object, at: Head) -> Batch:
        return raw([])


def _row(row: dict[str, object]) -> dict[str, object]:
    lineage = {"_log": row["log"], "_partition": row["partition"], "_offset": row["offset"], "_request": row["request"]}
    value = row["value"]
    text = value.decode("latin-1") if isinstance(value, bytes) else None
    stamps = {"event_date": NOON.date(), "event_hour": 12, "_received_at": NOON, "_contract_version": CONTRACT.version}
    return {"text": text, **stamps, **lineage}


def _letter(row: dict[str, object]) -> dict[str, object]:
    violation = {"index": None, "path": "", "code": "json.invalid", "message": "bad", "hint": "", "value": None}
    return {
        "contract": "notes",
        "contract_version": CONTRACT.version,
        "_log": row["log"],
        "_partition": row["partition"],
        "_offset": row["offset"],
        "_request": row["request"],
        "_received_at": row["received_at"],
        "stage": "parse",
        "violations": [violation],
        "value": row["value"],
    }
