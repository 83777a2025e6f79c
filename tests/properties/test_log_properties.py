"""The embedded log against the log in memory: the same story told to both, the same answers from both."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frazil.batch import Batch, Position
from frazil.errors import FrazilError
from frazil.log import Appended, IdempotencyKey, Record
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention, EmbeddedWriter
from frazil.log.memory import MemoryLog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
values = st.one_of(st.none(), st.binary(max_size=60), st.just(b""), st.just(40_000).map(lambda size: b"x" * size))
records = st.lists(st.builds(Record, value=values, key=st.one_of(st.none(), st.binary(max_size=3))), max_size=6)


class TwoLogs(RuleBasedStateMachine):
    """Appends, retries, rolls, restarts, retention and reads, in any order."""

    @initialize()
    def begin(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.directory = Path(self.scratch.name) / "topic"
        self.memory, self.position, self.seen, self.clock = MemoryLog(), Position.empty(), list[Any](), 0
        self.open()

    def open(self) -> None:
        self.writer = EmbeddedWriter(self.directory, segment_bytes=64 * 1024, min_free_bytes=0)
        self.reader = EmbeddedReader(self.directory)

    def theirs(self, position: Position) -> Position:
        """A position of the embedded log, in the words of the one in memory."""
        last = position.last(self.reader.log_id, "0")
        return Position.empty() if last is None else Position({self.memory.log_id: {"0": (str(last), None)}})

    def outcome(self, writer: Any, body: list[Record], key: IdempotencyKey | None, at: datetime) -> tuple[Any, ...]:
        try:
            done: Appended = writer.append(body, request=self.clock, received_at=at, idempotency=key)
        except FrazilError as error:
            return (type(error), error.code)
        return ([(span.first, span.last) for span in done.spans], done.request, done.receipt, done.repeated)

    @rule(body=records, key=st.one_of(st.none(), st.sampled_from("abc")), digest=st.sampled_from([b"1", b"2"]), hours=st.integers(0, 9))
    def append(self, body: list[Record], key: str | None, digest: bytes, hours: int) -> None:
        self.clock += hours
        at = NOW + timedelta(hours=self.clock)
        idempotency = None if key is None else IdempotencyKey(key, digest, b"receipt of %d" % self.clock)
        assert self.outcome(self.writer, body, idempotency, at) == self.outcome(self.memory, body, idempotency, at)

    @rule()
    def roll(self) -> None:
        self.writer.roll()

    @rule()
    def restart(self) -> None:
        self.writer.close()
        self.reader.close()
        self.open()

    @rule(limit=st.integers(1, 9))
    def read(self, limit: int) -> None:
        found = self.reader.read(after=self.position, limit=limit)
        expected = self.memory.read(after=self.theirs(self.position), limit=limit)
        assert facts(found) == facts(expected)
        if found is not None:
            assert [(span.first, span.last) for span in found.spans] == [(span.first, span.last) for span in expected.spans]  # type: ignore[union-attr]
            self.position = self.position.after(found.spans)

    @precondition(lambda self: self.position.logs)
    @rule()
    def retain(self) -> None:
        """The embedded log cuts at its own segments: never past the floor, and the memory follows."""
        EmbeddedRetention(self.directory).unlink(self.position)
        oldest, last = self.reader.oldest()["0"], self.position.last(self.reader.log_id, "0")
        assert last is not None
        assert oldest <= last + 1
        kept = self.reader.read(after=Position.empty(), limit=1)
        assert kept is None or kept.spans[0].first == oldest

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "reader"):
            return
        assert self.reader.ends() == self.memory.ends()
        assert self.reader.lag(self.position) == self.memory.lag(self.theirs(self.position))

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.writer.close()
            self.reader.close()
            self.scratch.cleanup()


def facts(batch: Batch | None) -> list[Any] | None:
    if batch is None:
        return None
    return [{name: value for name, value in row.items() if name != "log"} for row in batch.rows.to_pylist()]


TwoLogs.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_the_embedded_log_tells_what_the_one_in_memory_tells = pytest.mark.prop(2)(TwoLogs.TestCase)


@pytest.mark.prop(2)
@given(bodies=st.lists(st.lists(records.filter(bool), min_size=1, max_size=4), min_size=1, max_size=6), limit=st.integers(1, 30))
@settings(max_examples=30)
def test_concurrent_appends_keep_each_requests_order(bodies: list[list[list[Record]]], limit: int) -> None:
    """Each sender's requests are queued one after the other while others queue theirs: its records keep their order."""
    with tempfile.TemporaryDirectory() as scratch:
        writer, reader = kernel.EmbeddedLogWriter(scratch, min_free_bytes=0, segment_bytes=65_536), EmbeddedReader(Path(scratch))
        for turn in range(4):
            for sender, requests in enumerate(bodies):
                if turn < len(requests):
                    rows = [(record.value, record.key, None) for record in requests[turn]]
                    writer.submit(rows, request=sender, received_at_us=turn)
        writer.close()
        assert not [outcome for _, outcome in writer.completed() if isinstance(outcome, Exception)]
        found: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
        position = Position.empty()
        while (batch := reader.read(after=position, limit=limit)) is not None:
            position = position.after(batch.spans)
            for row in batch.rows.to_pylist():
                found.setdefault(row["request"], []).append((row["value"], row["key"]))
        sent = {at: [(record.value, record.key) for request in requests for record in request] for at, requests in enumerate(bodies)}
        assert found == sent
        reader.close()
