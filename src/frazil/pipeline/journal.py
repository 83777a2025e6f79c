"""A run's own log: every structured line of the process while the run lasts, beside what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import structlog

_TAIL_BYTES = 256 * 1024


class Journal:
    """Appends lines to a file, each with the step during which it was said. A full disk loses lines, never the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.step: str | None = None

    @contextmanager
    def listening(self) -> Iterator[Journal]:
        """Take part in logging while the block runs."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        before = structlog.get_config()["processors"]
        structlog.configure(processors=[*before[:-1], self._line, before[-1]])
        try:
            yield self
        finally:
            structlog.configure(processors=before)
            if self._file is not None:
                self._file.close()
                self._file = None

    def _line(self, _logger: object, _method: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if self._file is not None:
            facts = {"step": self.step, **said}
            with suppress(OSError, ValueError):
                self._file.write(json.dumps(facts, default=str, ensure_ascii=False) + "\n")
                self._file.flush()
        return said


def lines(path: Path, *, step: str | None = None, last: int = 200) -> list[dict[str, Any]]:
    """The last lines of a run's log, of one step or of all; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            facts = json.loads(line, parse_constant=str)
            if isinstance(facts, dict) and step in (None, facts.get("step")):
                found.append(facts)
    return found[-last:]
