"""Dead letters as records of a topic beside the contract's, and retries of those whose cause may pass.

Letters and the retries they ask for are one transaction; how far the topic came stands on its last record. So each letter is there
once, however often a processor is killed, and whoever else publishes at the same time is fenced off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from frazil.batch import Place, headers_of
from frazil.errors import Unavailable
from frazil.log.kafka.connection import ANSWER_S, KafkaConnection, answering, frazil_error
from frazil.log.kafka.delivery import producing

COMMIT = "frazil-commit"
PASSING = ("process.failed", "avro.unknown_schema")
"""Causes that may be gone later: code that was mended, a schema that was registered."""

_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_KEPT = {"retention.ms": "-1", "cleanup.policy": "delete"}
_AT_ONCE = 500


def dead_letters_topic(topic: str) -> str:
    """Where a topic's dead letters lie."""
    return f"{topic}.dead-letters"


def retry_topic(topic: str) -> str:
    """Where letters wait to be tried again."""
    return f"{topic}.retry"


@dataclass(frozen=True)
class Backoff:
    """When a letter is tried again: `first` after it was set aside, then twice as long each time, `attempts` times in all."""

    first: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(hours=1)
    attempts: int = 8

    def due(self, attempt: int, now: datetime) -> datetime:
        """When attempt 1, 2, … is due."""
        return now + min(self.longest, timedelta(seconds=self.first.total_seconds() * 2 ** min(attempt - 1, 30)))


@dataclass(frozen=True)
class Retry:
    """A letter to be tried again, and where in the retry topic it says so."""

    place: Place
    attempt: int
    due: datetime
    offset: int = -1

    def value(self) -> bytes:
        return json.dumps({"place": str(self.place), "attempt": self.attempt, "due": self.due.isoformat()}).encode()

    @classmethod
    def read(cls, value: bytes, offset: int) -> Retry:
        facts: dict[str, str] = json.loads(value)
        return cls(Place.parse(facts["place"]), int(facts["attempt"]), datetime.fromisoformat(facts["due"]), offset)


class DeadLetterTopic:
    """Publishes the letters of one contract.

    Args:
        connection: The cluster.
        topic: The contract's own topic.
        backoff: When letters of a passing cause are tried again.
    """

    def __init__(self, connection: KafkaConnection, topic: str, backoff: Backoff) -> None:
        self._connection, self._topic, self._backoff = connection, topic, backoff
        self._admin = connection.admin()
        for name in (dead_letters_topic(topic), retry_topic(topic)):
            connection.ensure_topic(self._admin, name, partitions=1, config=_KEPT)
        self._producer: Producer | None = None
        self._last: int | None = None

    def publish(self, newer: Callable[[int], pa.Table]) -> int:
        """Send the letters that are not in the topic yet; how many. 0 when another process took over: the next call looks anew.

        Args:
            newer: Letters after a commit's sequence number, in `LETTERS` with `_commit`, ordered by it.

        Raises:
            Unavailable: The cluster does not answer; nothing is half done, publish again.
        """
        try:
            producer = self._ready()
            letters = newer(self._last or 0)
            if not letters.num_rows:
                return 0
            with answering("dead letters were not published", topic=dead_letters_topic(self._topic)):
                producer.begin_transaction()
                self._send(producer, letters)
                producer.commit_transaction(ANSWER_S)
            self._last = int(letters["_commit"][-1].as_py())
            return int(letters.num_rows)
        except BaseException as error:
            self._producer = None  # fenced, or in a state nobody knows: the next call looks how far the topic came
            if _fenced_off(error):
                return 0
            raise

    def close(self) -> None:
        if self._producer is not None:
            self._producer.flush(ANSWER_S)

    def _ready(self) -> Producer:
        if self._producer is None:
            name = dead_letters_topic(self._topic)
            producer = Producer(producing(self._connection, transactional_id=f"frazil-{name}", linger_ms=5))
            with answering("dead letters cannot be published", topic=name):
                producer.init_transactions(self._connection.delivery_timeout)  # ends whatever another had begun
            self._last = _last_commit(self._connection, name)
            self._producer = producer
        return self._producer

    def _send(self, producer: Producer, letters: pa.Table) -> None:
        now = datetime.now(UTC)
        for batch in letters.to_batches(max_chunksize=_AT_ONCE):
            for letter in batch.to_pylist():
                _produce(producer, dead_letters_topic(self._topic), letter["value"], letter["key"], _headers(letter))
                if _passes(letter):
                    place = Place(letter["_log"], letter["_partition"], letter["_offset"])
                    asked = Retry(place, 1, self._backoff.due(1, now))
                    _produce(producer, retry_topic(self._topic), asked.value(), None, [])
            producer.poll(0)


def _fenced_off(error: BaseException) -> bool:
    """Whether another producer took over the transactional id: processors side by side do so whenever there are letters."""
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() in _FENCED


class RetryTopic:
    """Letters that wait to be tried again. Of those that share a group one reads at a time; what it did not finish the next one does.

    Args:
        connection: The cluster.
        topic: The contract's own topic.
        group: Name of the consumer group.
        backoff: When a letter that is still bad is tried again.
    """

    def __init__(self, connection: KafkaConnection, topic: str, group: str, backoff: Backoff) -> None:
        self._connection, self._topic, self._backoff = connection, topic, backoff
        self._waiting: dict[int, Retry] = {}
        settings = connection.client(
            group_id=f"{group}-retry",
            session_timeout_ms=10_000,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self._consumer = Consumer(settings)
        self._consumer.subscribe([retry_topic(topic)], on_revoke=lambda *_: self._waiting.clear(), on_lost=lambda *_: self._waiting.clear())
        self._producer = Producer(producing(connection, linger_ms=0))
        self._next = 0

    def due(self, now: datetime) -> list[Retry]:
        """What is to be tried again by now. Raises Unavailable."""
        with answering("retries cannot be read", topic=retry_topic(self._topic)):
            for message in self._consumer.consume(_AT_ONCE, 0.05):
                error, offset = message.error(), message.offset()
                if error is not None:
                    raise frazil_error(error, "retries cannot be read", topic=retry_topic(self._topic))
                if offset is not None:
                    self._next = offset + 1
                    if (retry := _read(message.value(), offset)) is not None:
                        self._waiting[offset] = retry
        return sorted((one for one in self._waiting.values() if one.due <= now), key=lambda one: one.due)

    def done(self, tried: Sequence[Retry], still_bad: frozenset[Place], now: datetime) -> int:
        """Ask again for what is still bad, then forget what was tried; how many are given up. Raises Unavailable."""
        given_up = 0
        for retry in tried:
            if retry.place not in still_bad:
                continue
            if retry.attempt >= self._backoff.attempts:
                given_up += 1
                continue
            again = Retry(retry.place, retry.attempt + 1, self._backoff.due(retry.attempt + 1, now))
            _produce(self._producer, retry_topic(self._topic), again.value(), None, [])
        if self._producer.flush(ANSWER_S):
            raise Unavailable("retries were not stored", code="log.unavailable", hint="is the cluster up?", topic=retry_topic(self._topic))
        for retry in tried:
            self._waiting.pop(retry.offset, None)
        with answering("retries cannot be read", topic=retry_topic(self._topic)):
            at = TopicPartition(retry_topic(self._topic), 0, min(self._waiting, default=self._next))
            self._consumer.commit(offsets=[at], asynchronous=False)
        return given_up

    def close(self) -> None:
        self._consumer.close()


def _read(value: bytes | None, offset: int) -> Retry | None:
    """A retry; None for a record that is none: the topic is open to others."""
    try:
        return Retry.read(value or b"", offset)
    except (ValueError, KeyError, TypeError):
        return None


def _produce(producer: Producer, topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, str | bytes | None]]) -> None:
    while True:
        try:
            producer.produce(topic, value, key=key, partition=0, headers=headers)
            return
        except BufferError:
            producer.poll(0.05)


def _passes(letter: dict[str, Any]) -> bool:
    violations = letter["violations"]
    return bool(violations) and all(one["code"] in PASSING for one in violations)


def _headers(letter: dict[str, Any]) -> list[tuple[str, str | bytes | None]]:
    """The record's own headers as they came, then cause, origin and contract, each as text."""
    first = letter["violations"][0] if letter["violations"] else {"code": letter["stage"], "path": "", "message": ""}
    said = {
        "frazil-contract": letter["contract"],
        "frazil-contract-version": letter["contract_version"],
        "frazil-stage": letter["stage"],
        "frazil-cause": ",".join(dict.fromkeys(one["code"] for one in letter["violations"])) or letter["stage"],
        "frazil-path": first["path"] or "",
        "frazil-message": first["message"] or "",
        "frazil-origin": f"{letter['_log']}/{letter['_partition']}/{letter['_offset']}",
        "frazil-request": str(letter["_request"]),
        "frazil-received-at": letter["_received_at"].isoformat(),
        COMMIT: str(letter["_commit"]),
    }
    own = [(name, value) for name, value in headers_of(letter.get("headers")) if name not in said]  # of a letter sent in again
    return [*own, *((name, str(value).encode()) for name, value in said.items())]


def _last_commit(connection: KafkaConnection, topic: str) -> int | None:
    """The commit whose letters are the topic's last; None for an empty topic."""
    consumer = Consumer(
        connection.client(
            group_id=f"frazil-look-{uuid4()}", enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="error"
        )
        | {"enable.partition.eof": True}
    )
    try:
        with answering("the topic's end cannot be read", topic=topic):
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), ANSWER_S)
            return max(_commits_before(consumer, topic, first, end), default=None)
    finally:
        consumer.close()


def _commits_before(consumer: Consumer, topic: str, first: int, end: int) -> Iterator[int]:
    """Commits named by the last records: transaction markers lie between them, so one looks back further and further."""
    back = 16
    while end > first:
        start = max(first, end - back)
        consumer.assign([TopicPartition(topic, 0, start)])
        found = list(_commits(consumer))
        if found or start == first:
            yield from found
            return
        back *= 16


def _commits(consumer: Consumer) -> Iterator[int]:
    while True:
        message = consumer.poll(ANSWER_S)
        if message is None:
            raise Unavailable("a topic's end cannot be read", code="log.unavailable", hint="is the cluster up?")
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return
            raise KafkaException(error)
        headers: Any = message.headers() or ()
        yield from (int(value) for name, value in headers if name == COMMIT and value is not None)
