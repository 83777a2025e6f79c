"""Live windows as a sink: state, position and keys of one contract's windows in one file, changed by one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.compute as pc

from frazil.batch import PLACE, TIMESTAMP, Position, Processed, Totals
from frazil.contract import Contract
from frazil.contract.windows import WindowSpec, value_class
from frazil.errors import CommitConflict, Corrupt, Unavailable
from frazil.sink import Commit, Decision, Head
from frazil.sink.decide import Fates, column, column_of, content_columns, decided, key_columns, place_list, places, plain
from frazil.sink.keys import at_or_before
from frazil.sink.landing import moves
from frazil.table.commit import fresh_id
from frazil.table.snapshots import booked

Condition = Callable[[pa.RecordBatch], pa.Array]
"""Which of n judged rows a window is about: n booleans."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class WindowSink:
    """The live windows of one contract.

    Args:
        file: Their state; made when absent. Windows that are new start at its position, state of changed ones is dropped.
        contract: The events' contract.
        specs: The windows.
        conditions: By window name; a window without one is about every event.
        memory_bytes: What open windows take in memory at most, as the kernel reckons; the others lie in the file.

    Raises:
        Unavailable: The file cannot be opened.
        Corrupt: The file is not what was written.
    """

    def __init__(
        self,
        file: Path,
        contract: Contract,
        specs: Sequence[WindowSpec],
        conditions: Mapping[str, Condition],
        *,
        memory_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.contract = contract
        self._specs, self._conditions = tuple(specs), conditions
        self._read: tuple[pa.RecordBatch, pa.RecordBatch] | None = None  # the last rows that were read: they are asked for twice
        file.parent.mkdir(parents=True, exist_ok=True)
        plans = json.dumps([spec.plan(contract) for spec in specs])
        kinds = {one.name: one.kind for one in contract.fields}
        content = [name for name in content_columns(contract) if kinds.get(name, "json") != "json"]  # JSON has many spellings
        with kernel_errors():
            self.store = kernel.WindowStore(str(file), plans, key=key_columns(contract), content=content, most_bytes=memory_bytes)

    def head(self) -> Head:
        with kernel_errors():
            sequence, position, totals = self.store.head()
        known = {log: Totals(**counts) for log, counts in json.loads(totals or "{}").items()}
        reached = Position.from_json(position) if position else Position.empty()
        return Head(sequence, sequence, reached, known, Position.empty(), 0, handle=self)

    def append(self, decision: Decision, head: Head) -> Commit:
        """Count a decision's rows. Raises as `Sink.append` says."""
        if head.handle is not self:
            raise Corrupt("this head was not read from this sink", code="sink.foreign_head", hint="pass what `head()` returned")
        kind = "pump" if decision.replay is None else "replay"
        if decision.replay is not None and not decision.rows.num_rows and not decision.duplicates.num_rows:
            return self._commit(decision, head.sequence, head.position, kind, "")
        position = head.position.after(decision.spans)
        totals = booked(head.totals, moves(decision))
        with kernel_errors():
            sequence, _, _ = self.store.append(
                decision.rows,
                self.events(decision.rows),
                head=head.sequence,
                position=position.to_json(),
                totals=json.dumps({log: asdict(counts) for log, counts in totals.items()}),
                replay=decision.replay,
                now_us=(datetime.now(UTC) - _EPOCH) // _MICROSECOND,
            )
        return self._commit(decision, sequence, position, kind, fresh_id())

    def maintain(self, keep: timedelta = timedelta(days=7)) -> int:
        """Forget final results and late events that ended `keep` before the watermark; returns how many."""
        with kernel_errors():
            return self.store.maintain(keep // _MICROSECOND)

    def events(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The columns of judged rows that the kernel's windows read (`window/columns.rs`)."""
        if self._read is None or self._read[0] is not rows:
            self._read = rows, self._columns(rows)
        return self._read[1]

    def _columns(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        received = rows.column("_received_at").cast(TIMESTAMP)
        time = received
        if self.contract.event_time is not None:
            time = pc.coalesce(plain(column(rows, column_of(self.contract.event_time))).cast(TIMESTAMP), received)
        found: dict[str, pa.Array] = {"time": time, "received": received}
        for name, kind in zip(("log", "partition", "offset"), PLACE, strict=True):
            found[name] = plain(rows.column(f"_{name}")).cast(kind.type)
        for number, spec in enumerate(self._specs):
            condition = self._conditions.get(spec.name)
            found[f"{number}.where"] = pa.repeat(pa.scalar(True), len(rows)) if condition is None else condition(rows)
            for at, name in enumerate(spec.key):
                found[f"{number}.k{at}"] = _text(plain(column(rows, name)))
            for at, value in enumerate(spec.values):
                if value.field is not None:
                    array = plain(column(rows, value.field))
                    found[f"{number}.a{at}"] = _text(array) if value.kind in ("count", "distinct") else _value(array)
        return pa.RecordBatch.from_arrays([_whole(array) for array in found.values()], names=list(found))

    def _commit(self, decision: Decision, sequence: int, position: Position, kind: Any, commit_id: str) -> Commit:
        return Commit(
            version=sequence,
            sequence=sequence,
            commit_id=commit_id,
            kind=kind,
            position=position,
            landed=decision.rows.num_rows,
            dead=decision.dead.num_rows,
            duplicates=decision.duplicates.num_rows,
            committed_at=datetime.now(UTC),
            handle=self,
        )


class WindowKeys:
    """Deduplication against the keys that the windows' own file holds: as long as a repetition could still be counted."""

    def __init__(self, sink: WindowSink) -> None:
        self._sink = sink

    def decide(self, processed: Processed, head: Head) -> Decision:
        """Raises as `KeyIndex.decide` says."""
        good = processed.good.rows
        if head.handle is not self._sink:
            raise Corrupt("this head was not read from this sink", code="sink.foreign_head", hint="pass what `head()` returned")
        with kernel_errors():
            for place in place_list(places(at_or_before(good, head))):
                if self._sink.store.landed(*place):
                    raise CommitConflict(f"{place} is counted already", hint="the letters were read at another head: read them again")
            seen = pa.record_batch(self._sink.store.seen(good, self._sink.events(good)))
        first = pa.StructArray.from_arrays(
            [seen.column(one.name) for one in PLACE], fields=list(PLACE), mask=pc.equal(seen.column("fate"), pa.scalar(0, pa.int8()))
        )
        return decided(self._sink.contract, processed, Fates(seen.column("fate"), first))

    def advance(self, head: Head, commit: Commit) -> None:
        """Nothing to do: the commit itself took the keys over."""


def _whole(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _text(array: pa.Array) -> pa.Array:
    """Any value as the text that identifies it."""
    if pa.types.is_fixed_size_binary(array.type):
        return pa.array([None if value is None else str(UUID(bytes=value)) for value in array.to_pylist()], pa.string())
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
    return array.cast(pa.string())


def _value(array: pa.Array) -> pa.Array:
    kind, scale = value_class(array.type)
    if kind == "exact":
        wide = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
        return wide.cast(pa.decimal128(38, scale))
    if kind == "float":
        return array.cast(pa.float64())
    return array.cast(TIMESTAMP) if kind == "time" else _text(array)


@contextmanager
def kernel_errors() -> Iterator[None]:
    """The kernel's errors as the tree's."""
    try:
        yield
    except kernel.WindowConflict as error:
        raise CommitConflict(str(error), hint=error.hint, code=error.code, **error.context) from error
    except kernel.WindowUnavailable as error:
        raise Unavailable(str(error), hint=error.hint, code=error.code, **error.context) from error
    except kernel.WindowCorrupt as error:
        raise Corrupt(str(error), hint=error.hint, code=error.code, **error.context) from error
