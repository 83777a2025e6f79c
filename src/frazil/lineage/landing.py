"""Landing as runs: the commits of some seconds are one run, told when it begins and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from frazil.lineage import RunRef, parent, ref
from frazil.lineage.sending import Sender
from frazil.table.commit import fresh_id

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent


@dataclass(frozen=True, slots=True)
class Committed:
    """One commit of a raw table. `table` is the version with it; `set_aside` counts dead letters and duplicates."""

    table: Table
    snapshot: Snapshot
    landed: int
    set_aside: int
    seconds: float
    at: datetime


@dataclass(slots=True)
class _Interval:
    run: RunRef
    opened: float
    landed: int = 0
    set_aside: int = 0
    bytes: int = 0
    files: int = 0
    last: Committed | None = None

    def add(self, one: Committed) -> None:
        summary = one.snapshot.summary
        told: Mapping[str, str] = {} if summary is None else summary.additional_properties
        self.landed += one.landed
        self.set_aside += one.set_aside
        self.bytes += int(told.get("added-files-size", 0))
        self.files += int(told.get("added-data-files", 0))
        self.last = one


@dataclass
class Landing:
    """Watches one contract's worker. `committed` and `ended` take no time and never fail; events are made by the sender.

    Made in the thread whose run (a pipeline's step) the landing belongs to.
    """

    sender: Sender
    contract: str
    above: RunRef | None = field(default_factory=parent)
    _open: _Interval | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._every = self.sender.settings.lineage.every.total_seconds()
        self.sender.listen(self._tick)

    def committed(self, one: Committed) -> None:
        """Count a commit to the open run, or begin one with it."""
        began = datetime.fromtimestamp(one.at.timestamp() - one.seconds, UTC)
        with self._lock:  # telling takes no time, and a run's begin is told before its end
            if self._open is None:
                run = self._ref()
                self._open = _Interval(run, time.monotonic())
                self.sender.tell(lambda: self._began(run, one.table, began))
            self._open.add(one)

    def ended(self, error: Mapping[str, Any] | None) -> None:
        """The worker ended; `error` as `FrazilError.as_dict` when it had to."""
        self._complete()
        if error is not None:
            at, run = datetime.now(UTC), self._ref()
            self.sender.tell(lambda: self._failed(run, at, f"[{error.get('code')}] {error.get('message')}"))

    def _ref(self) -> RunRef:
        return ref(self.sender.settings, f"land.{self.contract}", fresh_id(), self.above)

    def _tick(self) -> None:
        now = self._open
        if now is not None and time.monotonic() - now.opened >= self._every:
            self._complete()

    def _complete(self) -> None:
        with self._lock:
            now, self._open = self._open, None
            if now is not None:
                self.sender.tell(lambda: self._completed(now))

    def _began(self, run: RunRef, table: Table, at: datetime) -> Iterator[RunEvent]:
        from openlineage.client.event_v2 import OutputDataset

        from frazil.lineage.datasets import place_of
        from frazil.lineage.events import run_event

        raw = OutputDataset(*place_of(table.location()))
        yield run_event("START", run, "LANDING", at, above=self.above, datasets=([self._log()], [raw]))

    def _completed(self, now: _Interval) -> Iterator[RunEvent]:
        from frazil.lineage.datasets import Written, table_output
        from frazil.lineage.events import run_event

        assert now.last is not None
        settings, last = self.sender.settings, now.last
        raw = table_output(settings, last.table, Written(now.landed, now.bytes, now.files), last.snapshot.snapshot_id)
        outputs = [raw, *self._letters(now.set_aside)]
        yield run_event("COMPLETE", now.run, "LANDING", last.at, above=self.above, datasets=([self._log()], outputs))

    def _failed(self, run: RunRef, at: datetime, error: str) -> Iterator[RunEvent]:
        from frazil.lineage.events import run_event

        for state in ("START", "FAIL"):
            told = error if state == "FAIL" else None
            yield run_event(state, run, "LANDING", at, above=self.above, datasets=([self._log()], []), error=told)

    def _log(self) -> InputDataset:
        from frazil.lineage.datasets import log_input

        return log_input(self.sender.settings, self.contract)

    def _letters(self, set_aside: int) -> list[OutputDataset]:
        """`dead_letters`, which follows the commit; its version is the follower's business."""
        from openlineage.client.event_v2 import OutputDataset

        from frazil.lineage.datasets import Tables, Written, place_of, statistics
        from frazil.table.catalog import DEAD_LETTERS

        if not set_aside:
            return []
        tables = Tables(self.sender.settings)
        try:
            table = tables.find(DEAD_LETTERS)
            return [] if table is None else [OutputDataset(*place_of(table.location()), outputFacets=statistics(Written(set_aside)))]
        finally:
            tables.close()
