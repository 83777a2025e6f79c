"""Who works on something: a lock on a file of the project's state. It keeps workers from racing; being right never depends on it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """An exclusive `flock`, released by the kernel when its holder ends, however it ends."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / f"{name}.lease"
        self._file: int | None = None

    def take(self) -> bool:
        """Try once, without waiting; True when this process holds it."""
        if self._file is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def holder(directory: Path, name: str) -> int | None:
    """Process id of the holder, None when nobody holds it."""
    lease = Lease(directory, name)
    if not lease._path.exists():
        return None
    if lease.take():
        lease.release()
        return None
    text = lease._path.read_text().strip()
    return int(text) if text.isdigit() else -1
