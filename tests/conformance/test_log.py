"""The laws of a log, over every implementation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import data_processor_rs as kernel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.batch import RAW, Batch, Position, Span
from frazil.contract.load import load_directory
from frazil.errors import Corrupt, OffsetExpired
from frazil.log import Appended, IdempotencyKey, IdempotencyMismatch, LogReader, LogWriter, Record, Retention
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention, EmbeddedWriter
from frazil.log.kafka import KafkaConnection, KafkaReader, KafkaRetention, KafkaWriter
from frazil.log.memory import MemoryLog
from tests.shared import ROOT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEGMENTED = ["memory", "memory with three partitions", "embedded"]
"""Logs whose retention is ours: a topic's belongs to Kafka."""
KINDS = [*SEGMENTED, "kafka", "kafka with three partitions"]


@dataclass
class Log:
    """One log seen from all sides."""

    writer: LogWriter
    reader: LogReader
    retention: Retention
    roll: Callable[[], None]

    def append(self, *values: bytes | None, request: int = 1, at: datetime = NOW, key: IdempotencyKey | None = None) -> Appended:
        return self.writer.append([Record(value) for value in values], request=request, received_at=at, idempotency=key)

    def batches(self, limit: int = 1_000, after: Position | None = None) -> Iterator[tuple[Batch, Position]]:
        position = after or Position.empty()
        while (batch := self.reader.read(after=position, limit=limit)) is not None:
            position = position.after(batch.spans)
            yield batch, position

    def rows(self, limit: int = 1_000, after: Position | None = None) -> list[dict[str, Any]]:
        return [row for batch, _ in self.batches(limit, after) for row in batch.rows.to_pylist()]

    def end(self) -> Position:
        position = Position.empty()
        for _, position in self.batches():  # noqa: B007  # the last one counts
            pass
        return position


def open_log(kind: str, directory: Path, broker: Callable[[], str] = str) -> Log:
    if kind.startswith("kafka"):
        connection, topic = KafkaConnection(broker()), f"topic-{uuid4()}"
        connection.ensure_topic(connection.admin(), topic, partitions=3 if "three" in kind else 1, config={})
        return Log(KafkaWriter(connection, topic), KafkaReader(connection, topic), KafkaRetention(), lambda: None)
    if kind == "embedded":
        writer = EmbeddedWriter(directory, segment_bytes=256 * 1024, min_free_bytes=0)
        return Log(writer, EmbeddedReader(directory), EmbeddedRetention(directory), writer.roll)
    memory = MemoryLog(partitions=3 if "three" in kind else 1)
    return Log(memory, memory, memory, memory.roll)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Callable[[], str]:
    """The address of a real broker, started for whoever asks first."""
    return lambda: str(request.getfixturevalue("kafka").address)


@pytest.fixture(params=KINDS)
def log(request: pytest.FixtureRequest, tmp_path: Path, broker: Callable[[], str]) -> Iterator[Log]:
    opened = open_log(request.param, tmp_path / "topic", broker)
    yield opened
    opened.writer.close()
    opened.reader.close()


payloads = st.one_of(
    st.none(), st.binary(max_size=40), st.sampled_from([b"", b"\x00", b"\xff\xfe", b'{"event_id": 7}', b"\n", b"x" * 70_000])
)
records = st.builds(
    Record,
    value=payloads,
    key=st.one_of(st.none(), st.binary(max_size=8), st.sampled_from([b"a", b"b"])),
    line=st.one_of(st.none(), st.integers(1, 2**40)),
)
appends = st.lists(st.lists(records, max_size=12), max_size=8)


@pytest.mark.prop(2)
@pytest.mark.parametrize("kind", SEGMENTED)
@given(bodies=appends, limit=st.integers(1, 20), rolls=st.sets(st.integers(0, 8)))
def test_what_was_appended_is_read_byte_for_byte_in_order_per_key(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    broker: Callable[[], str],
    bodies: list[list[Record]],
    limit: int,
    rolls: set[int],
) -> None:
    read_as_appended(open_log(kind, tmp_path_factory.mktemp("log") / "topic", broker), bodies, limit, rolls)


@pytest.mark.prop(2)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SEGMENTED])
@given(bodies=appends, limit=st.integers(1, 20))
@settings(max_examples=12)  # each makes a topic
def test_what_was_appended_to_kafka_is_read_byte_for_byte_in_order_per_key(
    kind: str, tmp_path: Path, broker: Callable[[], str], bodies: list[list[Record]], limit: int
) -> None:
    read_as_appended(open_log(kind, tmp_path, broker), bodies, limit, set())


def read_as_appended(log: Log, bodies: list[list[Record]], limit: int, rolls: set[int]) -> None:
    """Append, read, compare: bytes, origin, and the order of each key."""
    sent: dict[bytes | None, list[tuple[Any, ...]]] = {}
    for request, body in enumerate(bodies):
        log.writer.append(body, request=request, received_at=NOW + timedelta(microseconds=request), format="ndjson")
        if request in rolls:
            log.roll()
        for record in body:
            fact = (record.value, record.line, request, NOW + timedelta(microseconds=request), "ndjson")
            sent.setdefault(record.key, []).append(fact)
    found: dict[bytes | None, list[tuple[Any, ...]]] = {}
    for row in log.rows(limit):
        fact = (row["value"], row["source"]["line"], row["request"], row["received_at"], row["source"]["format"])
        found.setdefault(row["key"], []).append(fact)
    # Without a key only the records of one request keep their order.
    assert sorted(found.pop(None, []), key=lambda fact: fact[2]) == sent.pop(None, [])
    assert found == sent
    log.writer.close()
    log.reader.close()


def test_an_empty_log_has_an_identity_and_nothing_else(log: Log) -> None:
    assert log.reader.log_id == log.writer.log_id
    assert log.reader.read(after=Position.empty(), limit=1) is None
    assert set(log.reader.ends().values()) == {-1}
    assert set(log.reader.oldest().values()) == {0}
    assert log.reader.lag(Position.empty()) == 0


def test_rows_have_the_raw_layout(log: Log) -> None:
    log.writer.append([Record(b"v", b"k", 3), Record(None)], request=9, received_at=NOW, format="ndjson")
    for batch, _ in log.batches():
        assert batch.rows.schema == RAW
        batch.rows.validate(full=True)
        assert {row["log"] for row in batch.rows.to_pylist()} == {log.reader.log_id}


def test_reading_starts_strictly_after_the_position_and_keeps_to_the_limit(log: Log) -> None:
    for request in range(7):
        log.append(*(b"%d" % number for number in range(5)), request=request)
    seen = []
    for batch, position in log.batches(limit=3):
        assert 1 <= len(batch) <= 3
        places = [(row["partition"], row["offset"]) for row in batch.rows.to_pylist()]
        assert not set(places) & set(seen)
        seen += places
        for span in batch.spans:
            assert position.last(span.log, span.partition) == span.last
    assert len(seen) == 35
    for name in log.reader.ends():
        offsets = [offset for partition, offset in seen if partition == name]
        assert offsets == sorted(offsets) == list(range(len(offsets)))


def test_spans_join_and_run_to_the_readers_position(log: Log) -> None:
    for request in range(6):
        log.append(b"a", b"b", request=request)
    ends: dict[str, int] = {}
    for batch, _ in log.batches(limit=5):
        for span in batch.spans:
            assert span.first == ends.get(span.partition, -1) + 1
            assert span.check is not None
            ends[span.partition] = span.last
    assert ends == {name: end for name, end in log.reader.ends().items() if end >= 0}


def test_an_append_says_where_its_records_lie(log: Log) -> None:
    for request in range(1, 6):
        appended = log.append(b"a", b"b", b"c", request=request)
        assert appended.request == request
        assert not appended.repeated
        rows = [row for row in log.rows() if row["request"] == request]
        held = {(row["partition"], row["offset"]) for row in rows}
        assert held == {(span.partition, at) for span in appended.spans for at in range(span.first, span.last + 1)}
        assert log.reader.lag(Position.empty().after(appended.spans)) >= 0


def test_the_checks_of_writer_and_reader_agree(log: Log) -> None:
    spans = log.append(b"a", b"b").spans
    end = log.end()
    for span in spans:  # Kafka does not tell a producer the leader's epoch
        assert (end.last(span.log, span.partition), span.check or end.check(span.log, span.partition)) == (
            span.last,
            end.check(span.log, span.partition),
        )


def test_an_append_of_nothing_moves_nothing(log: Log) -> None:
    log.append(b"a")
    before = log.reader.ends()
    assert log.append().spans == ()
    assert log.reader.ends() == before
    assert log.reader.read(after=log.end(), limit=1) is None


def test_none_means_caught_up_and_nothing_else(log: Log) -> None:
    log.append(*[b"x"] * 10)
    position = log.end()
    assert log.reader.lag(position) == 0
    log.append(b"y")
    assert log.reader.lag(position) == 1
    batch = log.reader.read(after=position, limit=10)
    assert batch is not None
    assert batch.rows.column("value").to_pylist() == [b"y"]


def test_a_gap_is_progress() -> None:
    memory = MemoryLog()
    log = Log(memory, memory, memory, memory.roll)
    log.append(b"a")
    memory.skip(3)
    log.append(b"b")
    memory.skip(2)
    assert [row["offset"] for row in log.rows(limit=1)] == [0, 4]
    batch, position = next(log.batches(limit=10))
    assert [(span.first, span.last) for span in batch.spans] == [(0, 6)]
    memory.skip(1)
    empty = memory.read(after=position, limit=10)
    assert empty is not None
    assert (len(empty), [(span.first, span.last) for span in empty.spans]) == (0, [(7, 7)])
    assert memory.lag(position) == 0
    assert memory.read(after=position.after(empty.spans), limit=10) is None


@pytest.mark.prop(2)
def test_an_admitted_body_is_stored_as_it_came(log: Log) -> None:
    contract = next(iter(load_directory(ROOT / "shop" / "contracts").values()))
    body = b'{"a": 1}\n\n  not json\t\n{"b": "\xc3\xa9", "b": 2}\r\n' + b'{"c": "' + b"x" * 100_000 + b'"}'
    for kind in ("ndjson", "json"):
        admission = kernel.admit(
            kernel.Plan(contract.plan), body if kind == "ndjson" else b'[{"a":1}, [], 7.50]', format=kind, received_at_us=0
        )
        appended = log.writer.append(admission, request=6, received_at=NOW, format=kind)
        assert sum(span.last - span.first + 1 for span in appended.spans) == len(admission) > 2
        rows = [row for row in log.rows() if row["source"]["format"] == kind]
        assert [row["value"] for row in rows] == admission.records()
        assert [row["source"]["line"] for row in rows] == [admission.line(index) for index in range(len(admission))]
        assert all(row["value"] in body or kind == "json" for row in rows)


def test_lag_counts_the_records_after_a_position(log: Log) -> None:
    for request in range(4):
        log.append(*[b"x"] * 25, request=request)
    left = 100
    for batch, position in log.batches(limit=13):
        left -= len(batch)
        assert log.reader.lag(position) == left
    assert left == 0


def test_a_reader_waits_for_the_first_row(log: Log) -> None:
    position = log.end()
    late = threading.Timer(0.05, lambda: log.append(b"late"))
    late.start()
    batch = log.reader.read(after=position, limit=10, wait=timedelta(seconds=20))
    late.join()
    assert batch is not None
    assert batch.rows.column("value").to_pylist() == [b"late"]
    assert log.reader.read(after=position.after(batch.spans), limit=10, wait=timedelta(milliseconds=30)) is None


def test_the_same_key_with_the_same_body_is_stored_once(log: Log) -> None:
    first = log.append(b"a", b"b", request=5, key=IdempotencyKey("k", b"digest", b"receipt"))
    log.append(b"between", request=6)
    log.roll()
    again = log.append(b"a", b"b", request=7, at=NOW + timedelta(hours=23), key=IdempotencyKey("k", b"digest", b"other"))
    assert (again.spans, again.request, again.receipt, again.repeated) == (first.spans, 5, b"receipt", True)
    assert sorted(row["value"] for row in log.rows()) == [b"a", b"b", b"between"]


def test_the_same_key_with_another_body_is_refused_and_stores_nothing(log: Log) -> None:
    log.append(b"a", key=IdempotencyKey("k", b"digest", b""))
    with pytest.raises(IdempotencyMismatch) as refused:
        log.append(b"b", key=IdempotencyKey("k", b"other", b""))
    assert refused.value.code == "log.idempotency_mismatch"
    assert [row["value"] for row in log.rows()] == [b"a"]


def test_a_key_is_forgotten_after_a_day_and_not_before(log: Log) -> None:
    key = IdempotencyKey("k", b"digest", b"")
    log.append(b"a", key=key)
    log.roll()
    log.roll()
    assert log.append(b"a", at=NOW + timedelta(hours=23, minutes=59), key=key).repeated
    assert not log.append(b"a", at=NOW + timedelta(hours=24, microseconds=1), key=key).repeated
    assert len(log.rows()) == 2


def test_a_position_of_another_log_stops_the_reader(log: Log) -> None:
    log.append(b"a")
    with pytest.raises(Corrupt) as stopped:
        log.reader.read(after=Position({"another": {"0": ("0", None)}}), limit=1)
    assert stopped.value.code == "log.recreated"
    assert stopped.value.exit_code == 78
    both = Position({"another": {"0": ("7", None)}, log.reader.log_id: {}})
    assert log.reader.read(after=both, limit=1) is not None


def test_a_log_that_ends_before_the_position_stops_the_reader(log: Log) -> None:
    span = log.append(b"a").spans[0]
    with pytest.raises(Corrupt) as stopped:
        log.reader.read(after=Position({span.log: {span.partition: (str(span.last + 1), None)}}), limit=1)
    assert stopped.value.code == "log.truncated"


def test_another_record_at_the_position_stops_the_reader(log: Log) -> None:
    span = log.append(b"a").spans[0]
    log.append(b"b")
    position = Position({span.log: {span.partition: (str(span.last), "00000000")}})
    with pytest.raises(Corrupt) as stopped:
        log.reader.read(after=position, limit=1)
    assert stopped.value.code == "log.record_changed"


@pytest.mark.parametrize("log", SEGMENTED, indirect=True)
def test_retention_deletes_whole_segments_behind_the_floor_and_says_what_is_missing(log: Log) -> None:
    spans: list[Span] = []
    for request in range(4):
        spans += log.append(*[b"x"] * 10, request=request * 3).spans
        log.roll()
    log.append(b"live", request=0)
    assert {span.partition for span in spans} == {"0"}
    inside = Position({log.reader.log_id: {"0": ("25", None)}})
    assert log.retention.unlink(Position.empty()) == 0
    assert log.retention.unlink(inside) == 2
    assert log.reader.oldest()["0"] == 20
    assert log.reader.lag(Position.empty()) == 21
    assert [row["offset"] for row in log.rows()] == list(range(20, 41))
    with pytest.raises(OffsetExpired) as expired:
        log.reader.read(after=Position({log.reader.log_id: {"0": ("10", None)}}), limit=1)
    assert expired.value.context["oldest"] == 20
    assert log.reader.read(after=Position({log.reader.log_id: {"0": ("19", None)}}), limit=1) is not None


@pytest.mark.parametrize("log", SEGMENTED, indirect=True)
def test_retention_never_deletes_the_live_segment(log: Log) -> None:
    log.append(*[b"x"] * 10, request=0)
    far = Position({log.reader.log_id: {"0": ("1000000", None)}})
    assert log.retention.unlink(far) == 0
    log.roll()
    assert log.retention.unlink(far) == 1
    assert log.retention.unlink(far) == 0
    span = log.append(b"next", request=0).spans[0]
    assert span.first == 10
    assert [row["value"] for row in log.rows()] == [b"next"]


def test_append_soon_answers_everybody_and_keeps_their_order(log: Log) -> None:
    async def many() -> list[Appended]:
        futures = [
            log.writer.append_soon([Record(b"%d" % request)], request=request * 3, received_at=NOW, idempotency=None)
            for request in range(200)
        ]
        futures[7].cancel()  # a client that went away
        done = await asyncio.gather(*futures, return_exceptions=True)
        return [appended for appended in done if isinstance(appended, Appended)]

    answered = asyncio.run(many())
    assert len(answered) >= 199
    assert [row["value"] for row in log.rows()] == [b"%d" % request for request in range(200)]
    firsts = [appended.spans[0].first for appended in answered]
    assert firsts == sorted(firsts)
    assert len(asyncio.run(many())) >= 199  # on another loop


def test_append_soon_raises_what_append_raises(log: Log) -> None:
    async def twice() -> None:
        for body in (b"digest", b"other"):
            await log.writer.append_soon([Record(b"a")], request=1, received_at=NOW, idempotency=IdempotencyKey("k", body, b""))

    with pytest.raises(IdempotencyMismatch):
        asyncio.run(twice())
