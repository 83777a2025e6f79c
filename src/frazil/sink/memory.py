"""A sink and a key index in memory: for tests of what stands above a sink, and the readable form of its laws."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from frazil.batch import PLACE, Kind, Place, Position, Processed, Totals
from frazil.contract import Contract
from frazil.errors import CommitConflict, Corrupt
from frazil.sink import Commit, Decision, Head
from frazil.sink.compare import like, same_event
from frazil.sink.decide import CONFLICT, DUPLICATE, LANDS, Fates, content_columns, decided, key_columns, place_list, places
from frazil.sink.landing import moves, stamped
from frazil.table.commit import fresh_id
from frazil.table.snapshots import booked


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a memory sink: everything it holds, and what its own commit did."""

    number: int = 0
    kind: Kind = "pump"
    rows: tuple[pa.RecordBatch, ...] = ()
    set_aside: tuple[pa.RecordBatch, ...] = ()
    position: Position = field(default_factory=Position.empty)
    totals: dict[str, Totals] = field(default_factory=dict)
    commit_id: str = ""
    contract: str | None = None


class MemorySink:
    """Versions in a list; the swap is a lock and a comparison."""

    def __init__(self) -> None:
        self.versions = [Version()]
        self._lock = threading.Lock()

    def head(self) -> Head:
        now = self.versions[-1]
        return Head(now.number, now.number, now.position, now.totals, Position.empty(), 0, handle=now)

    def append(self, decision: Decision, head: Head) -> Commit:
        """Land a decision on top of `head`. Raises as `Sink.append` says."""
        decided_on = head.handle
        if not isinstance(decided_on, Version):
            raise Corrupt("this head was not read from this sink", code="sink.foreign_head", hint="pass what `head()` returned")
        if decision.replay is not None and not decision.rows.num_rows and not decision.duplicates.num_rows:
            return _commit(replace(decided_on, kind="replay", commit_id=""), decision)
        planned = head.sequence + 1
        letters = pa.concat_batches([decision.dead, decision.duplicates])
        rows, set_aside = (stamped(one, planned, decision.replay) for one in (decision.rows, letters))
        with self._lock:
            base = self._rebased(decided_on)
            done = Version(
                number=base.number + 1,
                kind="pump" if decision.replay is None else "replay",
                rows=(*base.rows, rows) if rows.num_rows else base.rows,
                set_aside=(*base.set_aside, set_aside) if set_aside.num_rows else base.set_aside,
                position=base.position.after(decision.spans),
                totals=booked(base.totals, moves(decision)),
                commit_id=fresh_id(),
                contract=decision.contract_hash,
            )
            self.versions.append(done)
        return _commit(done, decision)

    def maintain(self) -> None:
        """A commit of kind `maintenance`: nothing that a decision depends on changes."""
        with self._lock:
            now = self.versions[-1]
            self.versions.append(replace(now, number=now.number + 1, kind="maintenance", commit_id=fresh_id(), contract=None))

    def rows(self) -> list[dict[str, Any]]:
        """Rows that landed, in the order they did."""
        return [row for batch in self.versions[-1].rows for row in batch.to_pylist()]

    def set_aside(self) -> list[dict[str, Any]]:
        """Letters that were set aside, in the order they were."""
        return [letter for batch in self.versions[-1].set_aside for letter in batch.to_pylist()]

    def _rebased(self, decided_on: Version) -> Version:
        since = [one for one in self.versions if one.number > decided_on.number]
        if any(one.kind != "maintenance" for one in since):
            raise CommitConflict("the sink changed since its head was read", hint="nothing is half done: read the head and decide again")
        return self.versions[-1]


def _commit(done: Version, decision: Decision) -> Commit:
    return Commit(
        version=done.number,
        sequence=done.number,
        commit_id=done.commit_id,
        kind=done.kind,
        position=done.position,
        landed=decision.rows.num_rows,
        dead=decision.dead.num_rows,
        duplicates=decision.duplicates.num_rows,
        committed_at=datetime.now(UTC),
        handle=done,
    )


class MemoryKeys:
    """Deduplication record by record, as the law says it: no cache, no kernel, no vector."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def decide(self, processed: Processed, head: Head) -> Decision:
        """Decide each good row against the rows of `head` and those before it. Raises as `KeyIndex.decide` says."""
        version = head.handle
        if not isinstance(version, Version):
            raise Corrupt("this head was not read from a memory sink", code="sink.foreign_head", hint="pass what `head()` returned")
        good = processed.good.rows
        held = [(place, row) for batch in version.rows for place, _, row in self._events(batch, good)]
        landed = {place for place, _ in held}
        seen = {self._key(row): (place, row) for place, row in held}
        fates, firsts = [], []
        for place, key, row in self._events(good, good):
            if place in landed:
                raise CommitConflict(f"{place} has landed already", hint="the letters were read at another head: read them again")
            first = seen.setdefault(key, (place, row)) if self.contract.key else (place, row)
            fates.append(LANDS if first[0] == place else DUPLICATE if self._same(first[1], row) else CONFLICT)
            firsts.append(None if first[0] == place else first[0]._asdict())
        return decided(self.contract, processed, Fates(pa.array(fates, pa.int8()), pa.array(firsts, PLACE)))

    def advance(self, head: Head, commit: Commit) -> None:
        """Nothing to do: what `head` holds is looked at each time."""

    def _events(self, batch: pa.RecordBatch, model: pa.RecordBatch) -> Iterable[tuple[Place, tuple[object, ...], dict[str, Any]]]:
        content = like(batch, model.select(content_columns(self.contract))).to_pylist()
        for place, row in zip(place_list(places(batch)), content, strict=True):
            yield place, self._key(row), row

    def _key(self, row: dict[str, Any]) -> tuple[object, ...]:
        return tuple(_member(row, name.split(".")) for name in key_columns(self.contract))

    def _same(self, left: dict[str, Any], right: dict[str, Any]) -> bool:
        return same_event(left, right, self.contract)


def _member(row: Any, path: list[str]) -> object:
    for name in path:
        row = None if row is None else row[name]
    return row
