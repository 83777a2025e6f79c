"""Seats: places of one machine, each held by one process at a time. Who starts again sits where somebody died, and finds his name there.

A cluster learns late that a client was killed: only its sessions and transactions running out tell. The machine knows at once, since the
kernel releases locks. What is read here is about liveness only; being right never depends on it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from uuid import uuid4

_MOST = 1_000


class Seat:
    """The first free seat of its kind, taken by the constructor and left when the process ends, however it ends.

    `name`: stays the same for all who ever sit here. `left`: what the one before noted, if it died here; None when it left in order.

    Args:
        directory: Of the project's state on this machine.
        kind: What the seat is for; a file name.

    Raises:
        OSError: The directory cannot be written.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST):
            file = os.open(directory / f"{kind}-{number}.seat", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            self._file = file
            break
        else:
            raise OSError(f"all {_MOST} seats for {kind} are taken")
        self.name, self.left = self._found()
        self._write(self.left)

    @classmethod
    def taken(cls, directory: Path | None, kind: str) -> Seat | None:
        """A seat, or None where there is no directory or it cannot be written: then clusters learn of deaths by timeouts."""
        if directory is None:
            return None
        try:
            return cls(directory, kind)
        except OSError:
            return None

    def note(self, text: str) -> None:
        """What the next one finds if this process is killed."""
        self._write(text)

    def leave(self) -> None:
        """In order: nothing is left behind but the name."""
        self._write(None)
        os.close(self._file)

    def _found(self) -> tuple[str, str | None]:
        try:
            facts = json.loads(os.pread(self._file, 4096, 0))
            return str(facts["name"]), facts["note"]
        except (ValueError, KeyError, TypeError):  # new, or cut off while it was written
            return str(uuid4()), None

    def _write(self, note: str | None) -> None:
        text = json.dumps({"name": self.name, "note": note}).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))
