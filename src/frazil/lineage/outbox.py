"""Events that the receiver did not take yet: a file each, so that a kill between two steps loses or doubles at most one."""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PIECE = 200
_EVERY = 100


class Outbox:
    """Kept events of a project, of all its processes, oldest first. `most`: how many may wait; the newest give way."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._numbers = itertools.count()
        self._count: int | None = None

    def keep(self, event: str) -> bool:
        """Put an event by; False when there are too many already, or the disk does not take it."""
        number = next(self._numbers)
        if self._count is None or number % _EVERY == 0:
            self._count = len(self._names())
        if self._count >= self._most:
            return False
        name = f"{time.time_ns():020}-{os.getpid()}-{number:06}"
        part, file = self._folder / f".{name}.part", self._folder / f"{name}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(event)
            os.replace(part, file)
        except OSError:
            return False
        self._count += 1
        return True

    def some(self) -> bool:
        """Whether events wait."""
        return bool(self._names())

    @contextmanager
    def taken(self) -> Iterator[Iterator[Path]]:
        """The kept events in order, for one process at a time; none while another one sends them."""
        if not self.some():
            yield iter(())
            return
        with (self._folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield iter(())
                return
            yield self._waiting()

    def _waiting(self) -> Iterator[Path]:
        last = ""
        while names := [name for name in self._names() if name > last][:_PIECE]:
            for name in names:
                yield self._folder / name
            last = names[-1]

    def done(self, file: Path) -> None:
        """Forget an event that was taken, or never will be."""
        file.unlink(missing_ok=True)
        if self._count is not None:
            self._count = max(0, self._count - 1)

    def _names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".json"))
        except OSError:
            return []
