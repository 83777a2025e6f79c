"""The one shape that moves between stages, and the layouts of its rows."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
TEXT_CODE = pa.dictionary(pa.int32(), pa.string())
SOURCE = pa.struct([("format", pa.string()), ("line", pa.int64())])

RECORD = pa.schema(
    [
        pa.field("value", pa.binary()),  # the record's own bytes; null is a record without a value
        pa.field("key", pa.binary()),
        pa.field("log", TEXT_CODE, nullable=False),
        pa.field("partition", TEXT_CODE, nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("received_at", TIMESTAMP, nullable=False),
        pa.field("request", pa.int64(), nullable=False),  # 0: not brought by a request of ours
        pa.field("source", SOURCE),  # format of the body and line or row in it, from 1
    ]
)
"""Of a record, what it is judged by: 8 columns, the kernel's own layout."""

RAW = pa.schema([*RECORD, pa.field("headers", pa.string())])
"""Records as a log gives them: 0..n rows x 9 columns, in offset order per partition.

`headers` are those that its producer gave a Kafka record, as `headers_text` spells them; null where there are none.
"""

LINEAGE = pa.schema(
    [
        pa.field("event_date", pa.date32(), nullable=False),
        pa.field("event_hour", pa.int32(), nullable=False),  # 0..23, UTC
        pa.field("_log", TEXT_CODE, nullable=False),
        pa.field("_partition", TEXT_CODE, nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("_request", pa.int64(), nullable=False),
        pa.field("_received_at", TIMESTAMP, nullable=False),
        pa.field("_contract_version", TEXT_CODE, nullable=False),
        pa.field("_key", pa.binary()),
        pa.field("_headers", pa.string()),
    ]
)
"""What every good row carries after its contract's columns. The sink adds `_commit` (long) and `_replay` (text)."""

VIOLATION = pa.struct(
    [
        pa.field("index", pa.int64()),  # null in a dead letter: the place says which record
        pa.field("path", pa.string()),
        pa.field("code", pa.string()),
        pa.field("message", pa.string()),
        pa.field("hint", pa.string()),
        pa.field("value", pa.string()),  # the offending value as JSON text, null when there is none
    ]
)
VIOLATIONS = pa.list_(pa.field("element", VIOLATION))
PLACE = pa.struct([("log", pa.string()), ("partition", pa.string()), ("offset", pa.int64())])

LETTERS = pa.schema(
    [
        pa.field("contract", pa.string(), nullable=False),
        pa.field("contract_version", pa.string(), nullable=False),
        pa.field("_log", pa.string(), nullable=False),
        pa.field("_partition", pa.string(), nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("_request", pa.int64(), nullable=False),
        pa.field("_received_at", TIMESTAMP, nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # parse validate identity process dedupe discard
        pa.field("violations", VIOLATIONS, nullable=False),
        pa.field("value", pa.binary()),  # the record's own bytes; null for `dedupe` and for a null record
        pa.field("key", pa.binary()),
        pa.field("headers", pa.string()),
        pa.field("source", SOURCE),
        pa.field("first", PLACE),  # `dedupe`: where the landed row it equals came from
        pa.field("_replay", pa.string()),  # the replay that set it aside, else null
    ]
)
"""Dead letters and recorded duplicates. The sink adds `_commit` (long)."""

OPEN_STAGES = ("parse", "validate", "identity", "process")
"""Stages of letters that can be replayed."""


Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a Kafka record, in its order; a name may come twice."""


def headers_text(headers: Headers) -> str | None:
    """Headers as a JSON array of `[name, value]`, None when there are none.

    A value is text, null, or `{"base64": "…"}` where its bytes are not UTF-8: no byte is lost.
    """
    return json.dumps([[name, told(value)] for name, value in headers], ensure_ascii=False) if headers else None


def headers_of(text: str | None) -> Headers:
    """The inverse of `headers_text`."""
    return [(name, _bytes(value)) for name, value in json.loads(text or "[]")]


def told(value: bytes | None) -> str | dict[str, str] | None:
    """Bytes as JSON-ready data: text, or `{"base64": "…"}` where they are not UTF-8."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}


def _bytes(value: Any) -> bytes | None:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else None if value is None else str(value).encode()


class Place(NamedTuple):
    """Where a record lies. Offsets of different logs are never compared."""

    log: str
    partition: str
    offset: int

    def __str__(self) -> str:
        return f"{self.log}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The inverse of `str`. Raises ValueError when `text` is not `log/partition/offset`; a log's id may hold slashes."""
        log, partition, offset = text.rsplit("/", 2)
        return cls(log, partition, int(offset))


class Span(NamedTuple):
    """A closed range of offsets a reader went through, gaps included.

    `check` is the checksum (Kafka: leader epoch) of the last record at or before `last`.
    """

    log: str
    partition: str
    first: int
    last: int
    check: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Last offset whose effect is durable, per log and partition: `{log: {partition: (last, check)}}`.

    Offsets are kept as text, since Kinesis numbers exceed 64 bits, and compare as numbers. One JSON spelling
    everywhere: `{"<log>": {"0": ["1199", "<check>"]}}`.
    """

    logs: Mapping[str, Mapping[str, tuple[str, str | None]]]

    @classmethod
    def empty(cls) -> Position:
        return cls({})

    @classmethod
    def from_json(cls, text: str) -> Position:
        return cls({log: {p: (str(last), check) for p, (last, check) in parts.items()} for log, parts in json.loads(text).items()})

    def to_json(self) -> str:
        return json.dumps(
            {log: {p: list(at) for p, at in parts.items()} for log, parts in self.logs.items()}, separators=(",", ":"), sort_keys=True
        )

    def last(self, log: str, partition: str) -> int | None:
        """The last offset handled, or None at the very beginning."""
        at = self.logs.get(log, {}).get(partition)
        return None if at is None else int(at[0])

    def check(self, log: str, partition: str) -> str | None:
        at = self.logs.get(log, {}).get(partition)
        return None if at is None else at[1]

    def covers(self, span: Span) -> bool:
        last = self.last(span.log, span.partition)
        return last is not None and last >= span.last

    def after(self, spans: Iterable[Span]) -> Position:
        """This position moved to the end of `spans`; what they do not name stays."""
        logs = {log: dict(parts) for log, parts in self.logs.items()}
        for span in spans:
            logs.setdefault(span.log, {})[span.partition] = (str(span.last), span.check)
        return Position(logs)

    def merged(self, other: Position) -> Position:
        """`other` laid over this one, partition by partition."""
        logs = {log: dict(parts) for log, parts in self.logs.items()}
        for log, parts in other.logs.items():
            logs.setdefault(log, {}).update(parts)
        return Position(logs)


Kind = Literal["pump", "replay", "undo", "discard", "rewind", "maintenance", "switch", "adopt", "transform"]
"""What a commit does. `maintenance` neither adds nor removes a row nor sets a letter aside nor moves the position; `transform`
builds a mart."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Running counts of one log: records up to the position, and where they stand. A record counts once, landed first."""

    records: int = 0
    landed: int = 0
    dead: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrow rows and the log spans they came from: the only thing that crosses a stage boundary.

    An empty batch still carries spans: gaps are progress.
    """

    rows: pa.RecordBatch
    spans: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return int(self.rows.num_rows)


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of one record: the same object over HTTP, in a dead letter, on the command line, in the dashboard.

    `index` counts records of a body from 0 (None in a dead letter), `path` is a JSON pointer, `value` the
    offending value as JSON-ready data, shortened when it is long.
    """

    index: int | None
    path: str
    code: str
    message: str
    hint: str
    value: object

    def as_dict(self) -> dict[str, object]:
        return {"index": self.index, "path": self.path, "code": self.code, "message": self.message, "hint": self.hint, "value": self.value}


@dataclass(frozen=True, slots=True)
class Processed:
    """A judged batch: `good.rows` in the contract's columns + `LINEAGE`, `dead.rows` in `LETTERS`; good + dead == raw.

    `raw` is the batch that was judged: a good event that turns out to conflict becomes a letter with its record's own bytes.
    """

    good: Batch
    dead: Batch
    raw: Batch | None = None
