"""Appends to a topic: an idempotent producer that answers when every in-sync replica has the records."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime

from confluent_kafka import KafkaError, Producer

from frazil.errors import Throttled
from frazil.log import Appended, IdempotencyKey, Record, Records
from frazil.log.kafka.connection import KafkaConnection
from frazil.log.kafka.delivery import MOST_WAITING, Delivery, each, microseconds, produce, producing
from frazil.log.kafka.idempotency import KeyedAppends

Frame = Callable[[Sequence[bytes | None], datetime], list[bytes | None]]

_ON_THE_LOOP = 5_000  # records: some milliseconds


class KafkaWriter:
    """Appends records of one topic, from any number of processes.

    Records with a key go where Kafka's own partitioner puts them (murmur2), the others of a request all to one partition.
    A request with an idempotency key is one transaction with its key.

    Args:
        connection: The cluster.
        topic: The topic; it must exist.
        frame: Spells a request's values another way on their way out, such as Avro in a registry's frame.
    """

    def __init__(self, connection: KafkaConnection, topic: str, *, frame: Frame | None = None) -> None:
        self._connection, self.topic, self._frame = connection, topic, frame
        admin = connection.admin()
        self._log_id, self._partitions = connection.identity(admin, topic)
        self._producer = self._made()
        self._spoilt = False
        self._bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._keyed: KeyedAppends | None = None
        self._poller = threading.Thread(target=self._poll, name=f"kafka-{topic}", daemon=True)
        self._poller.start()

    @property
    def log_id(self) -> str:
        return self._log_id

    def append(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        return self._send(records, request, received_at, format, idempotency).result()

    def append_soon(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> asyncio.Future[Appended]:
        if self._frame is None and len(records) <= _ON_THE_LOOP:
            return asyncio.wrap_future(self._send(records, request, received_at, format, idempotency))
        return asyncio.ensure_future(self._send_aside(records, request, received_at, format, idempotency))

    def close(self) -> None:
        if self._keyed is not None:
            self._keyed.close()
        self._producer.flush(self._connection.delivery_timeout)
        self._stop.set()
        self._poller.join()

    async def _send_aside(
        self, records: Records | Sequence[Record], request: int, received_at: datetime, format: str, key: IdempotencyKey | None
    ) -> Appended:
        """Spelling values another way takes its time, and so do many records: not on the loop."""
        return await asyncio.wrap_future(await asyncio.to_thread(self._send, records, request, received_at, format, key))

    def _send(
        self, records: Records | Sequence[Record], request: int, received_at: datetime, format: str, key: IdempotencyKey | None
    ) -> Future[Appended]:
        listed = each(records)
        if self._frame is not None:
            values = self._frame([value for value, _, _ in listed], received_at)
            listed = [(value, key, line) for value, (_, key, line) in zip(values, listed, strict=True)]
        delivery = Delivery(self._log_id, request, len(listed))
        if key is not None:
            return self._keyed_appends().submit(listed, delivery, received_at, format, key)
        if not listed:
            delivery.settle()
            return delivery.done
        size = sum(len(value or b"") for value, _, _ in listed)
        self._take(size)
        delivery.done.add_done_callback(lambda _: self._settled(delivery, size))
        produce(self._producer, self.topic, listed, delivery, self.partition_of(request), (microseconds(received_at), format))
        return delivery.done

    def partition_of(self, request: int) -> int:
        """Where a request's records without a key go."""
        return self._partitions[request % len(self._partitions)]

    def _keyed_appends(self) -> KeyedAppends:
        with self._lock:
            if self._keyed is None:
                self._keyed = KeyedAppends(self._connection, self.topic, self.partition_of)
            return self._keyed

    def _take(self, size: int) -> None:
        with self._lock:
            if self._bytes and self._bytes + size > MOST_WAITING:
                raise Throttled(
                    "the cluster is slower than what arrives",
                    code="log.queue_full",
                    hint="send more slowly",
                    retry_after=1,
                    topic=self.topic,
                )
            self._bytes += size

    def _settled(self, delivery: Delivery, size: int) -> None:
        with self._lock:
            self._bytes -= size
        if delivery.error is not None and (delivery.error.fatal() or delivery.error.code() == KafkaError._FATAL):
            self._spoilt = True

    def _made(self) -> Producer:
        return Producer(producing(self._connection, linger_ms=5))

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.05)
            if self._spoilt:  # by what the cluster lost or was restored to: this producer refuses everything from now on
                spoilt, self._producer, self._spoilt = self._producer, self._made(), False
                spoilt.purge()
                spoilt.flush(1)
