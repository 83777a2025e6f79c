"""One run that is told when it begins and when it ends, and what is known of it by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from frazil.lineage import RunRef
from frazil.lineage.datasets import Tables, Written, table_input, table_output
from frazil.lineage.events import JobType, State, run_event
from frazil.lineage.sending import Sender

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

Datasets = tuple[Sequence["InputDataset"], Sequence["OutputDataset"]]


class Telling:
    """A run being told. `reads` and `writes` may be named until it ends; they are looked up in the lake by the sender.

    `failure`: set to why, a run that ends without an exception has failed all the same.
    """

    def __init__(self, sender: Sender, run: RunRef, kind: JobType, above: RunRef | None) -> None:
        self.sender, self.run, self.kind, self.above = sender, run, kind, above
        self.failure: str | None = None
        self._reads: list[tuple[str, int | None]] = []
        self._writes: list[tuple[str, int | None, Written]] = []

    def reads(self, table: str, snapshot_id: int | None = None) -> None:
        """A table of the lake is read, at its current snapshot unless another is named."""
        self._reads.append((table, snapshot_id))

    def writes(self, table: str, snapshot_id: int | None, rows: int | None = None) -> None:
        """A table of the lake was written: what the run made of it."""
        self._writes.append((table, snapshot_id, Written(rows)))

    def tell(self, state: State, error: str | None = None) -> None:
        """The run changed its state, now."""
        at, reads, writes = datetime.now(UTC), tuple(self._reads), tuple(self._writes)

        def make() -> Iterator[RunEvent]:
            datasets = self._datasets(reads, writes)
            yield run_event(state, self.run, self.kind, at, above=self.above, datasets=datasets, error=error)

        self.sender.tell(make)

    def further(self, make: Callable[[], Iterator[RunEvent]]) -> None:
        """Tell of runs that are parts of this one."""
        self.sender.tell(make)

    def _datasets(self, reads: Sequence[tuple[str, int | None]], writes: Sequence[tuple[str, int | None, Written]]) -> Datasets:
        settings, tables = self.sender.settings, Tables(self.sender.settings)
        try:
            read = [table_input(settings, one, snapshot) for name, snapshot in reads if (one := tables.find(name)) is not None]
            wrote = [
                table_output(settings, one, what, snapshot) for name, snapshot, what in writes if (one := tables.find(name)) is not None
            ]
            return read, wrote
        finally:
            tables.close()
