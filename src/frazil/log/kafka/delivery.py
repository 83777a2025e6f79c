"""Records on their way to the cluster: how they are handed over, and when a request is answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from frazil.batch import Span
from frazil.errors import FrazilError, Unavailable
from frazil.log import Appended, Record, Records
from frazil.log.kafka.connection import KafkaConnection, frazil_error
from frazil.log.kafka.origin import header

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_WAITING = 256 * 1024 * 1024
"""Bytes that may wait for the cluster; more is refused, so that clients slow down."""


def running() -> Future[Appended]:
    """A future that nobody can cancel: a client that went away does not take its records with it."""
    future: Future[Appended] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass
class Delivery:
    """One request on its way: answered once, when its last record is."""

    log_id: str
    request: int
    waiting: int
    done: Future[Appended] = field(default_factory=running)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    error: KafkaError | None = None

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A record's delivery report; the last one settles the request."""
        self.waiting -= 1
        if error is not None:
            self.error = self.error or error
        else:
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            first, last = self.ranges.get(partition, (offset, offset))
            self.ranges[partition] = (min(first, offset), max(last, offset))
        if self.waiting == 0:
            self.settle()

    def settle(self) -> None:
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


def produce(producer: Producer, topic: str, records: Sequence[Record], delivery: Delivery, partition: int, said: tuple[int, str]) -> None:
    """Hand a request's records to the client; each delivery report goes to `delivery`. `said`: received at (µs) and format."""
    received_us, of_body = said
    for index, record in enumerate(records):
        placed: dict[str, Any] = {"key": record.key} if record.key is not None else {"partition": partition}
        headers = header(delivery.request, received_us, of_body, record.line)
        while True:
            try:
                producer.produce(topic, record.value, headers=headers, on_delivery=delivery.delivered, **placed)
                break
            except BufferError:  # the client's own queue: its thread makes room
                time.sleep(0.001)
            except KafkaException as error:  # never queued: it and those after it will not be reported
                delivery.error = delivery.error or error.args[0]
                delivery.waiting -= len(records) - index
                if delivery.waiting == 0:
                    delivery.settle()
                return


def each(records: Records | Sequence[Record]) -> Sequence[Record]:
    if isinstance(records, Sequence):
        return records
    return [Record(value, None, records.line(index)) for index, value in enumerate(records.records())]


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
