"""Reads a topic from where the table stands. A group decides who reads which partition, never from where."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from frazil.batch import Batch, Position, Span
from frazil.errors import Corrupt, OffsetExpired, Unavailable
from frazil.log import check_logs
from frazil.log.kafka.connection import KafkaConnection, answering, frazil_error
from frazil.log.kafka.estate import Estate
from frazil.log.kafka.rows import Check, Rows, raw

_SILENCE_S = 30.0  # a broker that holds records and gives none for so long is not answering
_JOIN_S = 10.0
_HINT_S = 5.0
_LOOK_S = 5.0
_PAUSE_S = 0.02
_MOST_AT_ONCE = 1_000  # messages are Python objects: few at a time, and the collector finds none of them alive
_PASSING = (KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)


@dataclass
class _Reading:
    """Where a partition's reader stands.

    `begun`: the oldest offset, when the table did not know the partition; `verify`: the record that must still be the one
    we saw; `start`: where the batch in hand begins.
    """

    next: int
    check: str | None
    begun: int | None = None
    verify: Check | None = None
    start: int = 0
    rows: Rows = field(default_factory=Rows)


class KafkaReader:
    """Reads one topic.

    Args:
        connection: The cluster.
        topic: The topic; it must exist.
        group: Name of a consumer group to share the partitions with; None reads all of them.
    """

    def __init__(self, connection: KafkaConnection, topic: str, *, group: str | None = None) -> None:
        self._connection, self._topic, self._group = connection, topic, group
        self._admin = connection.admin()
        self._log_id, self._partitions = connection.identity(self._admin, topic)
        self._looked = time.monotonic()
        self._consumer: Consumer | None = None
        self._reading: dict[int, _Reading] = {}
        self._assigned: set[int] = set()
        self._estate: Estate | None = None
        self._alone = group is None  # or as long as a dead member's partitions are read in its stead
        self._hinted = 0.0

    @property
    def log_id(self) -> str:
        return self._log_id

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        self._look(after)
        until = time.monotonic() + wait.total_seconds()
        try:
            consumer = self._joined()
            self._follow(after, consumer)
            while (found := self._collect(consumer, limit)) is None and (left := until - time.monotonic()) > 0:
                time.sleep(min(left, _PAUSE_S))
            return found
        except BaseException as error:
            self._reading.clear()  # what was taken and not handed out is read again
            if isinstance(error, OffsetExpired | Corrupt):
                self._looked = 0.0
                self._look(after)  # a topic that was made anew explains everything else
            raise

    def lag(self, position: Position) -> int:
        """Offsets after `position` that readers may see: transaction markers count, since only reading tells them apart."""
        self._look(position)
        ends = self._connection.offsets(self._admin, self._topic, self._partitions)
        lasts = {partition: position.last(self._log_id, str(partition)) for partition in ends}
        oldest = self._connection.offsets(self._admin, self._topic, self._partitions, oldest=True) if None in lasts.values() else {}
        firsts = {partition: oldest[partition] if last is None else last + 1 for partition, last in lasts.items()}
        return sum(max(0, end - firsts[partition]) for partition, end in ends.items())

    def oldest(self) -> dict[str, int]:
        return {str(at): offset for at, offset in self._connection.offsets(self._admin, self._topic, self._partitions, oldest=True).items()}

    def ends(self) -> dict[str, int]:
        return {str(at): offset - 1 for at, offset in self._connection.offsets(self._admin, self._topic, self._partitions).items()}

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        if self._estate is not None:
            self._estate.leave()

    # ------------------------------------------------------------ where to read

    def _look(self, position: Position) -> None:
        """Now and then: is it still the same topic, and has it new partitions?"""
        if time.monotonic() - self._looked > _LOOK_S:
            self._log_id, self._partitions = self._connection.identity(self._admin, self._topic)
            self._looked = time.monotonic()
            if self._group is None and self._consumer is not None:
                self._assigned = set(self._partitions)
        check_logs(position, self._log_id)

    def _joined(self) -> Consumer:
        """The consumer, with partitions assigned (none when the group has more members than the topic partitions)."""
        if self._consumer is None:
            self._consumer = self._opened()
            if self._group is None:
                self._assigned = set(self._partitions)
            else:
                self._estate = Estate(self._admin, self._connection.seats, self._group, self._topic)
                self._alone = True
        if self._estate is not None and self._alone:
            held = self._estate.held()
            self._assigned = set(held or ())
            if held is None:
                self._join(self._consumer)
        return self._consumer

    def _opened(self) -> Consumer:
        settings = self._connection.client(
            group_id=self._group or f"frazil-look-{uuid4()}",
            session_timeout_ms=6_000,  # the least that brokers take by themselves; a heartbeat is cheap, and tells of rebalances
            heartbeat_interval_ms=500,
            enable_auto_commit=False,
            auto_offset_reset="error",
            isolation_level="read_committed",
            partition_assignment_strategy="cooperative-sticky",
            topic_metadata_refresh_interval_ms=5000,
            queued_max_messages_kbytes=64 * 1024,
            fetch_wait_max_ms=50,
        )
        return Consumer(settings | {"enable.partition.eof": True})

    def _join(self, consumer: Consumer) -> None:
        """Become a member of the group, and wait a while for partitions."""
        if self._alone:
            consumer.unassign()
        self._reading.clear()
        self._alone = False
        consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        deadline = time.monotonic() + _JOIN_S
        while not self._assigned and time.monotonic() < deadline:
            self._take(consumer, 1, 0.1)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions are ours: they are taken up, from the table's position, by the next read."""
        consumer.incremental_assign([TopicPartition(self._topic, one.partition, 0) for one in partitions])
        consumer.pause([TopicPartition(self._topic, one.partition) for one in partitions])
        self._assigned |= {one.partition for one in partitions}
        self._looked = 0.0  # there may be new ones among them
        if self._estate is not None:
            self._estate.joined(consumer.memberid() or "")

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions are another's: what was read of them and not handed out is dropped."""
        for one in partitions:
            self._assigned.discard(one.partition)
            self._reading.pop(one.partition, None)
        consumer.incremental_unassign(partitions)

    def _follow(self, after: Position, consumer: Consumer) -> None:
        """Go to the table's position wherever the consumer stands elsewhere. Raises what a reader stops for."""
        self._hint(after, consumer)
        if not self._assigned <= set(self._partitions):
            self._look(after)
        moved = [at for at in self._assigned if self._elsewhere(after, at)]
        if not moved:
            return
        oldest = self._connection.offsets(self._admin, self._topic, self._partitions, oldest=True)
        ends = self._connection.offsets(self._admin, self._topic, self._partitions)
        places = {at: self._resume(after, at, oldest[at], ends[at]) for at in moved}
        self._reading |= places
        starts = [TopicPartition(self._topic, at, one.next if one.verify is None else one.verify.offset) for at, one in places.items()]
        with answering("the log cannot be read", topic=self._topic):
            if self._alone:
                held = {at: TopicPartition(self._topic, at, one.next) for at, one in self._reading.items() if at not in places}
                consumer.assign([*held.values(), *starts])
                return
            consumer.incremental_unassign([TopicPartition(self._topic, start.partition) for start in starts])
            consumer.incremental_assign(starts)
            consumer.resume([TopicPartition(self._topic, start.partition) for start in starts])

    def _resume(self, after: Position, partition: int, oldest: int, end: int) -> _Reading:
        name = str(partition)
        last, check = after.last(self._log_id, name), after.check(self._log_id, name)
        if last is None:
            return _Reading(oldest, None, begun=oldest)
        if last >= end:
            raise Corrupt(
                f"the log ends at offset {end - 1}, but offset {last} was in it",
                code="log.truncated",
                hint="was the topic restored, or a leader elected that lacked records? `frazil doctor`",
                topic=self._topic,
                partition=name,
                end=end - 1,
                offset=last,
            )
        if last + 1 < oldest:
            raise OffsetExpired(
                f"{oldest - last - 1:,} records were deleted before they were read",
                hint="raise the topic's retention.ms",
                topic=self._topic,
                partition=name,
                wanted=last + 1,
                oldest=oldest,
            )
        known = None if check is None else Check.read(check, last)
        return _Reading(last + 1, check, verify=known if known is not None and known.offset >= oldest else None)

    def _elsewhere(self, after: Position, partition: int) -> bool:
        reading, last = self._reading.get(partition), after.last(self._log_id, str(partition))
        return reading is None or reading.next != (reading.begun if last is None else last + 1)

    def _hint(self, after: Position, consumer: Consumer) -> None:
        """Tell the group how far the table is, for the eyes of other tools: nothing of ours reads it."""
        if self._alone or time.monotonic() - self._hinted < _HINT_S:
            return
        self._hinted = time.monotonic()
        lasts = ((at, after.last(self._log_id, str(at))) for at in self._assigned)
        offsets = [TopicPartition(self._topic, at, last + 1) for at, last in lasts if last is not None]
        if offsets:
            try:
                consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException:
                return  # a hint

    # ------------------------------------------------------------ reading

    def _collect(self, consumer: Consumer, limit: int) -> Batch | None:
        """Everything up to where the log ends now, at most `limit` rows."""
        ends = self._connection.offsets(self._admin, self._topic, self._partitions)
        for reading in self._reading.values():
            reading.start = reading.next
        self._take(consumer, min(limit, _MOST_AT_ONCE), 0.0)  # in any case: rebalances are heard of in between
        got, heard = sum(len(one.rows) for one in self._reading.values()), time.monotonic()

        def behind() -> bool:
            return any(at in ends and one.next < ends[at] for at, one in self._reading.items())

        before = {at: one.next for at, one in self._reading.items()}
        while got < limit and behind():
            taken = self._take(consumer, min(limit - got, _MOST_AT_ONCE), _PAUSE_S)
            got = sum(len(one.rows) for one in self._reading.values())
            now = {at: one.next for at, one in self._reading.items()}
            if taken or now != before:
                heard, before = time.monotonic(), now
            elif time.monotonic() - heard > _SILENCE_S:
                raise Unavailable(
                    "the cluster holds records and gives none", code="log.unavailable", hint="are the leaders up?", topic=self._topic
                )
        return self._batch()

    def _take(self, consumer: Consumer, count: int, seconds: float) -> int:
        """Move messages into their partitions; how many came, ends and refusals included."""
        with answering("the log cannot be read", topic=self._topic):
            messages = consumer.consume(count, seconds)
        for message in messages:
            reading = self._reading.get(message.partition() or 0)
            if reading is None or reading.verify is not None or message.error() is not None:
                self._one(message)
            elif (offset := message.offset() or 0) >= reading.next:
                reading.rows.add(message, offset)
                reading.next = offset + 1
        return len(messages)

    def _one(self, message: Message) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None and error.code() not in _PASSING:
            self._refused(error)
        reading = self._reading.get(-1 if partition is None else partition)
        if reading is None or offset is None:
            return
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                reading.next = max(reading.next, offset)
            return
        if reading.verify is not None:
            self._verify(reading.verify, message, offset)
            reading.verify = None
        if offset >= reading.next:
            reading.rows.add(message, offset)
            reading.next = offset + 1

    def _verify(self, expected: Check, message: Message, offset: int) -> None:
        """The last record before the position must be the one we saw; one that was compacted away cannot be asked."""
        found = Check.of(message)
        if offset == expected.offset and not found.agrees(expected):
            raise Corrupt(
                f"the record at offset {offset} is not the one that was read",
                code="log.record_changed",
                hint="was the topic restored, or a leader elected that lacked records?",
                topic=self._topic,
                partition=str(message.partition()),
                offset=offset,
                expected=str(expected),
                found=str(found),
            )

    def _refused(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._reading.clear()  # the next read looks where the log begins and ends, and says which it is
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_ID):
            self._looked = 0.0
        raise frazil_error(error, "the log cannot be read", topic=self._topic)

    def _batch(self) -> Batch | None:
        spans, rows = [], []
        for at, reading in sorted(self._reading.items()):
            if reading.rows.last is not None:
                reading.check = str(Check.of(reading.rows.last))
            if reading.next > reading.start:
                spans.append(Span(self._log_id, str(at), reading.start, reading.next - 1, reading.check))
            rows.append((str(at), reading.rows))
            reading.rows = Rows()
        return Batch(raw(self._log_id, rows), tuple(spans)) if spans else None


class KafkaRetention:
    """Retention belongs to the topic (`retention.ms`), since others may read it: nothing is deleted from here."""

    def unlink(self, floor: Position) -> int:
        return 0
