"""❸ The log: an ordered, durable record of every record as it came. Protocols and their laws.

One suite, `tests/conformance/test_log.py`, runs on every implementation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from frazil.batch import Batch, Position, Span
from frazil.errors import Corrupt, FrazilError


class IdempotencyMismatch(FrazilError):
    """An idempotency key came again with another body. Nothing was stored."""

    code = "log.idempotency_mismatch"


@dataclass(frozen=True, slots=True)
class Record:
    """One record to append: its bytes as they came, an optional ordering key, and its line or row in the body, from 1."""

    value: bytes | None
    key: bytes | None = None
    line: int | None = None


class Records(Protocol):
    """Records to append that the kernel may hold without a Python object per record (`data_processor_rs.Admission`)."""

    def __len__(self) -> int: ...
    def records(self) -> list[bytes]: ...
    def line(self, index: int) -> int | None: ...


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client sends to make a retry free: kept 24 hours, in the append's own transaction.

    `body` is a digest of the request; `receipt` are opaque bytes given back when the key is seen again.
    """

    key: str
    body: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """A durable append. `repeated`: the idempotency key was known, nothing was written, the facts are the first append's."""

    spans: tuple[Span, ...]
    request: int
    receipt: bytes = b""
    repeated: bool = False


class LogWriter(Protocol):
    """Appends records of one topic.

    Law: what `append` returned for is on disk, byte for byte, in order, and survives a kill and a power cut.
    """

    @property
    def log_id(self) -> str:
        """Identity made with the log; a re-created log has another."""

    def append(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        """Append all records in one transaction and return when they are durable.

        Raises:
            Throttled: The queue or the disk is full, or the key is still running. Nothing was stored.
            Unavailable: An I/O error stopped the writer. Whether the records are stored is unknown until a restart.
            IdempotencyMismatch: The key was used with another body. Nothing was stored.
        """

    def append_soon(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> asyncio.Future[Appended]:
        """As `append`, without blocking the running event loop."""

    def close(self) -> None:
        """Finish what was queued, then release the files."""


class LogReader(Protocol):
    """Reads records of one topic. Any number of readers, in any process."""

    @property
    def log_id(self) -> str: ...

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        """Return the next records strictly after a position, in offset order per partition.

        Args:
            after: Last offset handled, per partition. An unlisted partition starts at its oldest record.
            limit: Most rows to return over all partitions, 1 to 1_000_000.
            wait: How long to wait for the first row; zero polls once.

        Returns:
            A batch of 0..limit rows in `RAW` layout (0 rows where only gaps lie), or None if nothing came in `wait`.
            Its spans run to the reader's position.

        Raises:
            OffsetExpired: Retention deleted records after `after`. Nothing was consumed.
            Corrupt: `log.recreated` (the position knows other logs but not this one), `log.record_changed` (the
                record at the position is not the one we saw), `log.truncated` (the log ends before the position),
                `log.checksum` (bytes do not match their checksum).
            Unavailable: The log did not answer. Nothing was consumed; call again.
        """

    def lag(self, position: Position) -> int:
        """Records after `position`, asked of the log, never subtracted."""

    def oldest(self) -> dict[str, int]:
        """First offset still held, per partition (the next one to come when it is empty)."""

    def ends(self) -> dict[str, int]:
        """Last durable offset per partition, -1 when nothing was ever written."""

    def close(self) -> None: ...


class Retention(Protocol):
    """Unlinks whole segments of one topic; the caller has committed the floor first."""

    def unlink(self, floor: Position) -> int:
        """Delete segments that end at or before the floor; returns how many. Never the live one."""


def check_logs(position: Position, log_id: str) -> None:
    """Every reader's first stop rule: a position of other logs says nothing about this one.

    Raises:
        Corrupt: `log.recreated` when the position names logs but not this one.
    """
    if position.logs and log_id not in position.logs:
        raise Corrupt(
            "the position belongs to another log: this one was made anew",
            code="log.recreated",
            hint="put the old log back; `frazil log switch` is how a project moves to another log",
            expected=", ".join(sorted(position.logs)),
            found=log_id,
        )
