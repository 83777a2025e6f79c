"""Actors that stop wherever they touch the catalog or the log, a catalog with weather, and logs that can be touched.

An actor is work in a thread of which one moves at a time: it may be killed at a touch, or overtaken. The catalog's answers
can be refused, lost or late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from frazil.batch import Batch, Position
from frazil.errors import FrazilError
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention, EmbeddedWriter


class Killed(BaseException):
    """SIGKILL: nothing after it runs, nothing catches it."""


_here = threading.local()


class Actor:
    """Work in a thread that moves only in `step`, from one touch of the catalog or the log to the next."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._killed, self.done, self.error = False, False, None
        self.answer: object = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        _here.actor = self
        self._go.acquire()
        try:
            if not self._killed:
                self.answer = work()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self._back.release()

    def step(self) -> bool:
        """Move to the next touch; False at the end. Raises what the work raised."""
        if not self.done:
            self._go.release()
            assert self._back.acquire(timeout=60), "an actor hangs"
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return not self.done

    def finish(self) -> object:
        while self.step():
            pass
        return self.answer

    def kill(self) -> None:
        if not self.done:
            self._killed = True
            self._go.release()
            assert self._back.acquire(timeout=60), "an actor hangs"
        self._thread.join()

    def pause(self) -> None:
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed


def touch() -> None:
    """Where an actor may be stopped; nothing outside of one."""
    actor = getattr(_here, "actor", None)
    if actor is not None:
        actor.pause()


class Weather:
    """A catalog whose next commit to the raw table may be refused, lose its answer (`lost`) or come later (`late`)."""

    def __init__(self, inner: Any, raw: str, seen: Callable[[Table, Any], None]) -> None:
        self.inner, self._raw, self._seen = inner, raw, seen
        self.fate = "ok"
        self.commits = 0
        self.last = ""  # what the last touch was: load, read, commit (of a raw table), other commit, committed
        self.in_flight: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def load_table(self, identifier: Any) -> Table:
        self.last = "load"
        touch()
        return self.inner.load_table(identifier)

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> Any:
        raw, fate = table.name()[-1] == self._raw, "ok"
        self.last = "commit" if raw else "other commit"
        touch()
        if raw:
            fate, self.fate = self.fate, "ok"
        if fate == "refused":
            raise CommitFailedException("refused by the weather")

        def swap() -> Any:
            answer = self.inner.commit_table(table, requirements, updates)
            self.commits += 1
            if raw:
                self._seen(table, answer)
            return answer

        if fate == "late":
            self.in_flight.append(swap)
            raise ConnectionError("no answer yet")
        answer = swap()
        self.last = "committed"
        touch()
        if fate == "lost":
            raise ConnectionError("the answer was lost")
        return answer

    def deliver(self, at: int = 0) -> None:
        with suppress(CommitFailedException, FrazilError):
            self.in_flight.pop(at)()


class TouchedLog:
    """The log, with a stop before each reading."""

    def __init__(self, inner: Any, weather: Weather) -> None:
        self.inner, self.weather = inner, weather

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        self.weather.last = "read"
        touch()
        return self.inner.read(after=after, limit=limit, wait=wait)


class DiskLog:
    """The embedded log as one object: its writer, a reader and its retention. One partition."""

    def __init__(self, directory: Path) -> None:
        self.writer, self.reader = EmbeddedWriter(directory, min_free_bytes=0), EmbeddedReader(directory)
        self.retention = EmbeddedRetention(directory)

    def __getattr__(self, name: str) -> Any:
        owner = {"append": self.writer, "roll": self.writer, "unlink": self.retention}.get(name, self.reader)
        return getattr(owner, name)

    def close(self) -> None:
        self.writer.close()
        self.reader.close()
