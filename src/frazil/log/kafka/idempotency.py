"""Requests with an idempotency key: records and key in one transaction, keys in a compacted topic beside the records."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from frazil.batch import Span
from frazil.errors import FrazilError, Unavailable
from frazil.log import Appended, IdempotencyKey, IdempotencyMismatch
from frazil.log.kafka.connection import ANSWER_S, KafkaConnection, answering, frazil_error
from frazil.log.kafka.delivery import Delivery, Piece, microseconds, produce, producing
from frazil.log.kafka.seat import Seat

KEPT = timedelta(hours=24)
_CONFIG = {"cleanup.policy": "compact,delete", "retention.ms": str(25 * 3600 * 1000), "segment.ms": str(3600 * 1000)}
_MOST_TOGETHER = 64
_MARKERS_S = 2.0
_TRANSACTION_S = 10.0  # at least: who dies with one open and does not come back holds readers up for so long
_FORGET_AT = 100_000  # keys in memory before those of yesterday are looked for


def keys_topic(topic: str) -> str:
    """Where a topic's idempotency keys lie."""
    return f"{topic}.idempotency"


class _Known(NamedTuple):
    body: bytes
    appended: Appended
    received_us: int


@dataclass
class _Asked:
    records: Sequence[Piece]
    delivery: Delivery
    received_us: int
    format: str
    key: IdempotencyKey


class KeyedAppends:
    """One thread that appends requests with keys, as many as wait in one transaction.

    Two processes that are given the same key at the same moment may both store it: the rows' own key then makes the
    second one duplicates. One after the other, in whatever process, a key is stored once.

    Args:
        partition_of: Where a request's records without a key go.
    """

    def __init__(self, connection: KafkaConnection, topic: str, partition_of: Callable[[int], int]) -> None:
        self._connection, self._topic, self._partition_of = connection, topic, partition_of
        self._admin = connection.admin()
        connection.ensure_topic(self._admin, keys_topic(topic), partitions=1, config=_CONFIG)
        self._keys = _Keys(connection, topic)
        self._producer: Producer | None = None
        self._seat = Seat.taken(connection.seats, f"keys-{topic}")
        self._name = f"frazil-{topic}-{uuid4() if self._seat is None else self._seat.name}"
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"kafka-keys-{topic}", daemon=True)
        self._thread.start()

    def submit(
        self, records: Sequence[Piece], delivery: Delivery, received_at: datetime, format: str, key: IdempotencyKey
    ) -> Future[Appended]:
        self._asked.put(_Asked(records, delivery, microseconds(received_at), format, key))
        return delivery.done

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()
        self._keys.close()
        if self._seat is not None:
            self._seat.leave()

    def _run(self) -> None:
        while True:
            first = self._asked.get()
            if first is None:
                return
            together = [first]
            while len(together) < _MOST_TOGETHER:
                try:
                    more = self._asked.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._asked.put(None)
                    break
                together.append(more)
            try:
                self._append(together)
            except Exception as error:
                self._producer = None  # whatever state it is in, the next transaction begins with a new one
                self._fail(together, error)

    def _append(self, together: list[_Asked]) -> None:
        self._ready()  # first: it ends what a transaction before left open, and only then all keys that are stored can be seen
        self._keys.catch_up()
        fresh: dict[str, _Asked] = {}
        later: list[_Asked] = []
        for asked in together:
            if asked.key.key in fresh:
                later.append(asked)
            elif not self._answered(asked):
                fresh[asked.key.key] = asked
        if fresh:
            self._transact(list(fresh.values()))
        for asked in later:
            if not self._answered(asked):
                raise Unavailable("the first request with this key was not stored", code="log.unavailable", hint="send it again")

    def _answered(self, asked: _Asked) -> bool:
        known = self._keys.get(asked.key.key, asked.received_us)
        if known is None:
            return False
        if known.body != asked.key.body:
            asked.delivery.done.set_exception(
                IdempotencyMismatch(
                    "the idempotency key was used with another body", hint="send the same body again, or take a new key", key=asked.key.key
                )
            )
        else:
            first = known.appended
            asked.delivery.done.set_result(Appended(first.spans, first.request, first.receipt, repeated=True))
        return True

    def _transact(self, fresh: list[_Asked]) -> None:
        producer = self._ready()
        with answering("a keyed request was not stored", topic=self._topic):
            producer.begin_transaction()
            answers = []
            for asked in fresh:
                facts: Future[Appended] = Future()
                delivery = Delivery(asked.delivery.log_id, asked.delivery.request, len(asked.records), facts)
                answers.append((asked, facts))
                if not asked.records:
                    delivery.settle()
                produce(
                    producer, self._topic, asked.records, delivery, self._partition_of(delivery.request), (asked.received_us, asked.format)
                )
            producer.flush(self._connection.delivery_timeout)
            known = [(asked, _Known(asked.key.body, _with_receipt(facts.result(0), asked), asked.received_us)) for asked, facts in answers]
            for asked, one in known:
                producer.produce(keys_topic(self._topic), _written(one), asked.key.key.encode())
            producer.commit_transaction(self._connection.delivery_timeout)
        self._visible([span for _, one in known for span in one.appended.spans])
        for asked, one in known:
            self._keys.put(asked.key.key, one)
            asked.delivery.done.set_result(one.appended)

    def _visible(self, spans: Sequence[Span]) -> None:
        """Wait, for a bounded time, until readers may see what was committed: the markers follow the commit's answer."""
        last = {int(span.partition): span.last for span in spans}
        until = time.monotonic() + _MARKERS_S
        while time.monotonic() < until:
            ends = self._connection.offsets(self._admin, self._topic, tuple(last))
            if self._keys.settled() and all(ends[partition] > offset for partition, offset in last.items()):
                return
            time.sleep(0.002)

    def _ready(self) -> Producer:
        if self._producer is None:
            longest = max(_TRANSACTION_S, self._connection.delivery_timeout)
            named = {"transactional_id": self._name, "transaction_timeout_ms": int(longest * 1000)}
            settings = producing(self._connection, linger_ms=0, **named)
            producer = Producer(settings)
            with answering("no transaction can be opened", topic=self._topic):
                producer.init_transactions(self._connection.delivery_timeout)
            self._producer = producer
        return self._producer

    def _fail(self, together: list[_Asked], error: Exception) -> None:
        known = error if isinstance(error, FrazilError) else Unavailable(f"a keyed request was not stored: {error}", code="log.unavailable")
        for asked in together:
            if not asked.delivery.done.done():
                asked.delivery.done.set_exception(known)


class _Keys:
    """The keys of the last day, read from their topic up to its end whenever asked."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._at = TopicPartition(keys_topic(topic), 0, OFFSET_BEGINNING)
        self._consumer = Consumer(
            connection.client(
                group_id=f"frazil-keys-{uuid4()}", enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="earliest"
            )
            | {"enable.partition.eof": True}
        )
        self._consumer.assign([self._at])
        self._connection, self._admin = connection, connection.admin()
        self._known: dict[str, _Known] = {}
        self._next = 0
        self._forget_at = _FORGET_AT

    def catch_up(self) -> None:
        """Read what others stored. Raises Unavailable when the topic cannot be read to its end."""
        end = self._connection.offsets(self._admin, self._at.topic, (0,))[0]
        deadline = time.monotonic() + ANSWER_S
        while self._next < end:
            message = self._consumer.poll(1.0)
            if message is None:
                if time.monotonic() > deadline:
                    raise Unavailable("the idempotency keys cannot be read", code="log.unavailable", hint="is the cluster up?")
                continue
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise frazil_error(error, "the idempotency keys cannot be read")
            self._next = max(self._next, int(message.offset() or 0) + (error is None))
            key, value = message.key(), message.value()
            if error is None and isinstance(key, bytes) and isinstance(value, bytes):
                self.put(key.decode(), _read(value))

    def settled(self) -> bool:
        """Whether readers may see every key that is stored: no transaction is open."""
        at = (self._at.topic, (0,))
        return self._connection.offsets(self._admin, *at) == self._connection.offsets(self._admin, *at, committed=False)

    def get(self, key: str, now_us: int) -> _Known | None:
        known = self._known.get(key)
        if known is None or known.received_us <= now_us - KEPT // timedelta(microseconds=1):
            return None
        return known

    def put(self, key: str, known: _Known) -> None:
        self._known[key] = known
        if len(self._known) >= self._forget_at:
            self._known = {name: one for name, one in self._known.items() if self.get(name, known.received_us) is not None}
            self._forget_at = max(_FORGET_AT, 2 * len(self._known))

    def close(self) -> None:
        self._consumer.close()


def _with_receipt(appended: Appended, asked: _Asked) -> Appended:
    return Appended(appended.spans, appended.request, asked.key.receipt)


def _written(known: _Known) -> bytes:
    spans = [[span.log, span.partition, span.first, span.last] for span in known.appended.spans]
    receipt = base64.b64encode(known.appended.receipt).decode()
    facts = {
        "body": known.body.hex(),
        "receipt": receipt,
        "request": known.appended.request,
        "received_us": known.received_us,
        "spans": spans,
    }
    return json.dumps(facts, separators=(",", ":")).encode()


def _read(value: bytes) -> _Known:
    facts = json.loads(value)
    spans = tuple(Span(*span) for span in facts["spans"])
    appended = Appended(spans, facts["request"], base64.b64decode(facts["receipt"]))
    return _Known(bytes.fromhex(facts["body"]), appended, facts["received_us"])
