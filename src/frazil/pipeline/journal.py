"""A run's own log: every structured line of the process while the run lasts, beside what it prints."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import structlog

_TAIL_BYTES = 256 * 1024


class Journal:
    """Appends lines to a file, each with the step during which it was said. A full disk loses lines, never the run.

    Not `loud`: what is less than a warning goes into the file only, for a run at a terminal that shows its steps itself.
    """

    def __init__(self, path: Path, *, loud: bool = True) -> None:
        self._path = path
        self._loud = loud
        self._file: TextIO | None = None
        self.step: str | None = None

    @contextmanager
    def listening(self) -> Iterator[Journal]:
        """Take part in logging while the block runs."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        before = structlog.get_config()
        processors = before["processors"]
        everything = structlog.make_filtering_bound_logger(logging.INFO)
        structlog.configure(processors=[*processors[:-1], self._line, processors[-1]], wrapper_class=everything)
        try:
            yield self
        finally:
            structlog.configure(processors=processors, wrapper_class=before["wrapper_class"])
            if self._file is not None:
                self._file.close()
                self._file = None

    def _line(self, _logger: object, _method: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if self._file is not None:
            facts = {"step": self.step, **said}
            with suppress(OSError, ValueError):
                self._file.write(json.dumps(facts, default=str, ensure_ascii=False) + "\n")
                self._file.flush()
        if not self._loud and said.get("level") in ("debug", "info"):
            raise structlog.DropEvent
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
