"""Records on their way to the cluster: how they are handed over, and when a request is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from frazil.batch import Span
from frazil.errors import FrazilError, Unavailable
from frazil.log import Appended, Record, Records
from frazil.log.kafka.connection import KafkaConnection, frazil_error
from frazil.log.kafka.origin import header, spoken_by

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BY_KEY = -1  # librdkafka's PARTITION_UA: the partitioner decides

Piece = tuple[bytes | None, bytes | None, int | None]
"""Value, key and line of a record: plain, since there are many."""

MOST_WAITING = 256 * 1024 * 1024
"""Bytes that may wait for the cluster; more is refused, so that clients slow down."""


def running() -> Future[Appended]:
    """A future that nobody can cancel: a client that went away does not take its records with it."""
    future: Future[Appended] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass
class Delivery:
    """One request on its way: answered once, when its last record is. `waiting` falls in the client's thread, `unsent` is set in ours."""

    log_id: str
    request: int
    waiting: int
    done: Future[Appended] = field(default_factory=running)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    error: KafkaError | None = None
    unsent: int = 0
    _settling: threading.Lock = field(default_factory=threading.Lock)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A record's delivery report; the last one settles the request."""
        self.waiting -= 1
        if error is not None:
            self.error = self.error or error
        else:
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            first, last = self.ranges.get(partition) or (offset, offset)
            if offset > last or offset <= first:
                self.ranges[partition] = (min(first, offset), max(last, offset))
        if self.waiting <= self.unsent:
            self.settle()

    def unsendable(self, error: KafkaError, count: int) -> None:
        """So many records were never queued: nothing will be reported of them."""
        self.error, self.unsent = self.error or error, count
        if self.waiting <= count:
            self.settle()

    def settle(self) -> None:
        with self._settling:
            if self.done.done():
                return
            if self.error is not None:
                self.done.set_exception(_undelivered(self.error))
            else:
                self.done.set_result(Appended(spans=self.spans(), request=self.request))

    def spans(self) -> tuple[Span, ...]:
        """Where the records lie; on a busy topic others' records may lie between them."""
        return tuple(Span(self.log_id, str(at), first, last) for at, (first, last) in sorted(self.ranges.items()))


def producing(connection: KafkaConnection, **own: object) -> dict[str, object]:
    """Configuration of every producer: acknowledged by all in-sync replicas, in order, each record once."""
    return connection.client(
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        partitioner="murmur2_random",
        delivery_timeout_ms=int(connection.delivery_timeout * 1000),
        queue_buffering_max_messages=2_000_000,
        queue_buffering_max_kbytes=2 * MOST_WAITING // 1024,
        **own,
    )


def produce(producer: Producer, topic: str, records: Sequence[Piece], delivery: Delivery, partition: int, said: tuple[int, str]) -> None:
    """Hand a request's records to the client; each delivery report goes to `delivery`. `said`: received at (µs) and format."""
    told, queued = delivery.delivered, producer.produce
    spoken = spoken_by(delivery.request, *said)
    for index, (value, key, line) in enumerate(records):
        at = partition if key is None else _BY_KEY
        while True:
            try:
                queued(topic, value, key, at, told, None, 0, header(spoken, line))  # by place: names cost a third
                break
            except BufferError:  # the client's own queue: its thread makes room
                time.sleep(0.001)
            except KafkaException as error:
                delivery.unsendable(error.args[0], len(records) - index)
                return


def each(records: Records | Sequence[Record]) -> list[Piece]:
    """Records, whether they are Python's or the kernel's."""
    if isinstance(records, Sequence):
        return [(record.value, record.key, record.line) for record in records]
    return [(value, None, records.line(index)) for index, value in enumerate(records.records())]


def microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _undelivered(error: KafkaError) -> FrazilError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return FrazilError(
            "a record is larger than the topic takes", code="log.record_too_large", hint="raise the topic's max.message.bytes, or split it"
        )
    refused = frazil_error(error, "the records were not acknowledged")
    if isinstance(refused, Unavailable):
        refused.hint = "whether they are stored is unknown: send again with the same Idempotency-Key"
    return refused
