"""Messages of a topic as rows, and what is remembered of one to know it again."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from confluent_kafka import Message

from frazil.batch import RAW, SOURCE, TEXT_CODE, headers_text
from frazil.log.kafka.origin import HEADER, Origin, origin


class Check(NamedTuple):
    """How a record is known again: the epoch of the leader that took it, a checksum of its time, key and value, and where it lies.

    The epoch alone is not enough: a log that was restored from a backup counts the same epochs again. The place is needed because a
    position often ends behind the last record, on a transaction's marker. Spelled `epoch.checksum.offset`.
    """

    epoch: str
    checksum: str | None
    offset: int

    @classmethod
    def of(cls, message: Message) -> Check:
        (_, at_ms), key, value = message.timestamp(), message.key(), message.value()
        checksum = zlib.crc32(b"%d" % at_ms)
        for part in (key, value):
            checksum = zlib.crc32(b"-" if part is None else b"%d:%b" % (len(part), part), checksum)
        epoch, offset = message.leader_epoch(), message.offset()
        return cls("" if epoch is None or epoch < 0 else str(epoch), f"{checksum:08x}", -1 if offset is None else offset)

    @classmethod
    def read(cls, text: str, last: int) -> Check:
        """What a position says of its record; positions of old hold the epoch of the record at `last` only."""
        epoch, _, more = text.partition(".")
        checksum, _, offset = more.partition(".")
        return cls(epoch, checksum, int(offset)) if offset.isdigit() else cls(epoch, None, last)

    def agrees(self, other: Check) -> bool:
        """Whether both are of the same record; what one of them does not say is not compared."""
        same_epoch = self.epoch == other.epoch or not self.epoch or not other.epoch
        return same_epoch and (self.checksum == other.checksum or self.checksum is None or other.checksum is None)

    def __str__(self) -> str:
        return f"{self.epoch}.{self.checksum}.{self.offset}"


class Rows:
    """Columns of one partition's records, in order. Messages are let go at once: a hundred thousand would keep the collector busy."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.offsets: list[int] = []
        self.received_us: list[int] = []
        self.requests: list[int] = []
        self.formats: list[str | None] = []
        self.lines: list[int | None] = []
        self.headers: list[str | None] = []
        self.last: Message | None = None
        self._said, self._known = b"", Origin(0, 0, None, None)

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, message: Message, offset: int) -> None:
        headers: Any = message.headers()
        said = self._origin(headers, message)
        self.values.append(message.value())
        self.keys.append(message.key())
        self.offsets.append(offset)
        self.received_us.append(said.received_us)
        self.requests.append(said.request)
        self.formats.append(said.format)
        self.lines.append(said.line)
        self.headers.append(_theirs(headers, said) if headers and (len(headers) > 1 or said.format is None) else None)
        self.last = message

    def _origin(self, headers: Any, message: Message) -> Origin:
        """What a record's header says. Those of one request say the same but for the line: it is read once."""
        if not headers or len(headers) != 1 or headers[0][0] != HEADER or headers[0][1] is None:
            return origin(headers or (), message.timestamp()[1])
        said, _, line = headers[0][1].rpartition(b";")
        if said == self._said and (not line or line.isdigit()):
            known = self._known
            return Origin(known.request, known.received_us, known.format, int(line) if line else None)
        found = origin(headers, message.timestamp()[1])
        if found.format is not None:
            self._said, self._known = said, found
        return found


def _theirs(headers: Any, said: Origin) -> str | None:
    """The headers that the producer gave; ours, where it is one, is told by other columns."""
    return headers_text(headers if said.format is None else [one for one in headers if one[0] != HEADER])


def raw(log_id: str, parts: Sequence[tuple[str, Rows]]) -> pa.RecordBatch:
    """Rows of partitions, one after the other, in `RAW` layout."""
    codes, count = pa.int32(), sum(len(rows) for _, rows in parts)

    def joined(name: str, kind: pa.DataType) -> pa.Array:
        return pa.concat_arrays([pa.array(getattr(rows, name), kind) for _, rows in parts] or [pa.array([], kind)])

    at_code = [pa.repeat(pa.scalar(at, codes), len(rows)) for at, (_, rows) in enumerate(parts)]
    partitions = pa.concat_arrays(at_code or [pa.array([], codes)])
    formats = joined("formats", pa.string())
    columns = {
        "value": joined("values", pa.binary()),
        "key": joined("keys", pa.binary()),
        "log": pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, codes), count), pa.array([log_id])).cast(TEXT_CODE),
        "partition": pa.DictionaryArray.from_arrays(partitions, pa.array([name for name, _ in parts], pa.string())).cast(TEXT_CODE),
        "offset": joined("offsets", pa.int64()),
        "received_at": joined("received_us", pa.int64()).cast(RAW.field("received_at").type),
        "request": joined("requests", pa.int64()),
        "source": pa.StructArray.from_arrays([formats, joined("lines", pa.int64())], fields=list(SOURCE), mask=formats.is_null()),
        "headers": joined("headers", pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[at.name] for at in RAW], schema=RAW)
