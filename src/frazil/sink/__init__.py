"""❺ A sink is where a flow ends: it holds its position in the same atomic write as its rows.

One suite, `tests/conformance/test_sink.py`, runs on every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from frazil.batch import Batch, Kind, Place, Position, Processed, Span, Totals

__all__ = ["Commit", "DeadLetters", "Decision", "Head", "KeyIndex", "Kind", "Sink", "Totals"]


@dataclass(frozen=True, slots=True)
class Head:
    """One version of a sink: what a decision is made against, and what its commit is swapped with.

    `version` is the snapshot id (0: no snapshot yet), `sequence` its sequence number; a commit planned on this head
    is number `sequence + 1`. `handle` is the sink's own (the Iceberg sink: the loaded table).
    """

    version: int
    sequence: int
    position: Position
    totals: Mapping[str, Totals]
    floor: Position
    epoch: int
    handle: object = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of each record of a batch. rows + dead + duplicates == the raw records.

    `rows` in the contract's columns + `LINEAGE`, `dead` and `duplicates` in `LETTERS`. `replay` names a replay: then the
    position does not move, and letters that are still bad are left as they were.
    """

    rows: pa.RecordBatch
    dead: pa.RecordBatch
    duplicates: pa.RecordBatch
    spans: tuple[Span, ...]
    contract_hash: str
    replay: str | None = None

    def replayed(self, id: str) -> Decision:
        """This decision as a replay: only what it lands or closes as `dedupe` takes effect."""
        return replace(self, dead=self.dead.slice(0, 0), spans=(), replay=id)


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed decision. `handle` is the sink's own."""

    version: int
    sequence: int
    commit_id: str
    kind: Kind
    position: Position
    landed: int
    dead: int
    duplicates: int
    committed_at: datetime
    handle: object = None


class Sink(Protocol):
    """Where a flow ends. Holds its position in the same atomic write as its rows."""

    def head(self) -> Head:
        """One version of this sink, with the last offset per partition whose effect is durable in it."""

    def append(self, decision: Decision, head: Head) -> Commit:
        """Write the decided rows, what was set aside and the new position, in one swap.

        Law: twice leaves what once leaves. `CommitConflict` if anything but maintenance was committed since `head`:
        nothing is half done then, pump again.
        """


class KeyIndex(Protocol):
    """All deduplication: within the batch and against what `head` holds.

    Law: each record is decided as if it came alone, in offset order, against the table plus the rows before it, so the
    cut of batches never changes the outcome.
    """

    def decide(self, processed: Processed, head: Head) -> Decision: ...

    def advance(self, head: Head, commit: Commit) -> None:
        """Take over a commit's keys; only while the cache still reflects `head`."""


class DeadLetters(Protocol):
    """A follower of the committed history, not a sink: it may lag, never disagree."""

    def adopt(self, sink: Sink) -> int:
        """Add what each committed snapshot set aside, in order of sequence numbers, once; returns how many letters."""

    def open(self, ids: frozenset[Place] | None, at: Head) -> Batch:
        """Open letters at `at` in `RAW` layout, unadopted files included; None means all. Ordered by place."""
