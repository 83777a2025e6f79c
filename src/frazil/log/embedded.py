"""The embedded log: a directory of SQLite segments that the kernel writes and reads. No server, no container."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import data_processor_rs as kernel
import pyarrow as pa

from frazil.batch import RAW, Batch, Position, Span
from frazil.errors import Corrupt, FrazilError, Throttled, Unavailable
from frazil.errors import OffsetExpired as Expired
from frazil.log import Appended, IdempotencyKey, IdempotencyMismatch, Record, Records, check_logs

PARTITION = "0"
"""One machine needs no more: a request is one transaction, and order holds over the whole topic."""

_SLOWEST_POLL_S = 0.02
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_Facts = tuple[int, int, str, int, bytes, bool]


class EmbeddedWriter:
    """Appends records of one topic; one thread of the kernel commits for everybody who waits.

    Args:
        directory: The topic's directory, made when absent.
        segment_bytes: A segment is sealed when it holds this much.
        min_free_bytes: Free disk space to leave; None is the smaller of 5 % and 1 GiB.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = 64 * 1024 * 1024, min_free_bytes: int | None = None) -> None:
        with _frazil_errors():
            self._kernel = kernel.EmbeddedLogWriter(str(directory), segment_bytes=segment_bytes, min_free_bytes=min_free_bytes)
        self._waiting: dict[int, asyncio.Future[Appended]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @property
    def log_id(self) -> str:
        return self._kernel.log_id

    def append(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        with _frazil_errors():
            facts = self._kernel.append(
                _kernel_records(records),
                request=request,
                received_at_us=_microseconds(received_at),
                format=format,
                idempotency=_kernel_key(idempotency),
            )
        return self._appended(facts)

    def append_soon(
        self,
        records: Records | Sequence[Record],
        *,
        request: int,
        received_at: datetime,
        format: str = "json",
        idempotency: IdempotencyKey | None = None,
    ) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = self._listen().create_future()
        try:
            with self._lock:  # so that its outcome cannot come before the future is listed
                ticket = self._kernel.submit(
                    _kernel_records(records),
                    request=request,
                    received_at_us=_microseconds(received_at),
                    format=format,
                    idempotency=_kernel_key(idempotency),
                )
                self._waiting[ticket] = future
        except kernel.KernelError as error:
            _raise(error)
        return future

    def roll(self) -> None:
        """Seal the live segment and start the next; nothing happens when it is empty."""
        with _frazil_errors():
            self._kernel.roll()

    def seal(self) -> None:
        """Take no more records, in any process, now and after a restart: every later append is `log.sealed`. Safe to repeat."""
        with _frazil_errors():
            self._kernel.seal()

    def close(self) -> None:
        self._kernel.close()
        self._deliver()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._kernel.fileno())
        self._loop = None

    def _listen(self) -> asyncio.AbstractEventLoop:
        """Watch the kernel's socket from the running loop, so that the writer thread needs no interpreter lock."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._kernel.fileno())
            loop.add_reader(self._kernel.fileno(), self._deliver)
            self._loop = loop
        return loop

    def _deliver(self) -> None:
        with self._lock:
            settled = [(self._waiting.pop(ticket), outcome) for ticket, outcome in self._kernel.completed()]
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for future, outcome in settled:
            loop = future.get_loop()
            if loop is running:
                self._resolve(future, outcome)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(self._resolve, future, outcome)

    def _resolve(self, future: asyncio.Future[Appended], outcome: _Facts | kernel.KernelError) -> None:
        if future.done():  # the one who waited has gone away; the records are stored all the same
            return
        if isinstance(outcome, kernel.KernelError):
            future.set_exception(frazil_error(outcome))
        else:
            future.set_result(self._appended(outcome))

    def _appended(self, facts: _Facts) -> Appended:
        first, last, check, request, receipt, repeated = facts
        spans = (Span(self.log_id, PARTITION, first, last, check),) if last >= first else ()
        return Appended(spans=spans, request=request, receipt=receipt, repeated=repeated)


class EmbeddedReader:
    """Reads one topic, from any process. Opening it makes the log, so that its identity exists from the start."""

    def __init__(self, directory: Path) -> None:
        with _frazil_errors():
            self._kernel = kernel.EmbeddedLogReader(str(directory))

    @property
    def log_id(self) -> str:
        return self._kernel.log_id

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        check_logs(after, self.log_id)
        last, check = _last(after, self.log_id)
        until, pause = time.monotonic() + wait.total_seconds(), 0.001
        while True:
            with _frazil_errors():
                found = self._kernel.resume(last, check, limit)
            if found is not None:
                return self._batch(*found)
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(pause, left))
            pause = min(pause * 2, _SLOWEST_POLL_S)

    def lag(self, position: Position) -> int:
        check_logs(position, self.log_id)
        last, _ = _last(position, self.log_id)
        with _frazil_errors():
            # Offsets of this log have no gaps: what lies between two of them is known without reading it.
            return max(0, self._kernel.end() - max(last, self._kernel.first() - 1))

    def oldest(self) -> dict[str, int]:
        with _frazil_errors():
            return {PARTITION: self._kernel.first()}

    def ends(self) -> dict[str, int]:
        with _frazil_errors():
            return {PARTITION: self._kernel.end()}

    def close(self) -> None:
        self._kernel.close()

    def _batch(self, rows: kernel.Rows, check: str) -> Batch:
        batch = pa.record_batch(rows)
        offsets = batch.column("offset")
        batch = batch.append_column(RAW.field("headers"), pa.nulls(len(batch), pa.string()))  # HTTP brings none
        return Batch(batch, (Span(self.log_id, PARTITION, offsets[0].as_py(), offsets[-1].as_py(), check),))


class EmbeddedRetention:
    """Unlinks whole sealed segments behind a floor that the caller has committed."""

    def __init__(self, directory: Path) -> None:
        with _frazil_errors():
            self._kernel = kernel.EmbeddedLogWriter(str(directory))

    def unlink(self, floor: Position) -> int:
        last = floor.last(self._kernel.log_id, PARTITION)
        if last is None:
            return 0
        with _frazil_errors():
            return self._kernel.unlink(last)


def frazil_error(error: kernel.KernelError) -> FrazilError:
    """The kernel's error in Frazil's tree, with its code, hint and facts."""
    context: dict[str, Any] = dict(error.context)
    message, hint, code = str(error), error.hint, error.code
    match error:
        case kernel.LogThrottled():
            retry_after = int(context.pop("retry_after", 1))
            return Throttled(message, hint=hint, code=code, retry_after=retry_after, **context)
        case kernel.LogUnavailable():
            return Unavailable(message, hint=hint, code=code, **context)
        case kernel.LogExpired():
            return Expired(message, hint=hint, code=code, **context)
        case kernel.IdempotencyMismatch():
            return IdempotencyMismatch(message, hint=hint, code=code, **context)
        case kernel.LogCorrupt():
            return Corrupt(message, hint=hint, code=code, **context)
    return FrazilError(message, hint=hint, code=code, **context)


@contextmanager
def _frazil_errors() -> Iterator[None]:
    try:
        yield
    except kernel.KernelError as error:
        _raise(error)


def _raise(error: kernel.KernelError) -> NoReturn:
    raise frazil_error(error) from error


def _kernel_records(records: Records | Sequence[Record]) -> Any:
    if not isinstance(records, kernel.Admission) and isinstance(records, Sequence):
        return [(record.value, record.key, record.line) for record in records]
    return records


def _kernel_key(key: IdempotencyKey | None) -> tuple[str, bytes, bytes] | None:
    return None if key is None else (key.key, key.body, key.receipt)


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _last(position: Position, log: str) -> tuple[int, str | None]:
    last = position.last(log, PARTITION)
    return (-1, None) if last is None else (last, position.check(log, PARTITION))
