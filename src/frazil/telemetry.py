"""Structured logs (one JSON object or one readable line per event, on stderr) and the process's metrics registry."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from json.encoder import encode_basestring_ascii
from typing import Literal, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry

registry = CollectorRegistry()
"""Every metric of this process; the API serves it at `/metrics`."""


class _Steady:
    """A stream whose failure stops nobody: what cannot be logged on a full disk or a closed pipe must still be answered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._by_line = getattr(stream, "line_buffering", False)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def write_line(self, line: str) -> None:
        """Write a whole line and see it off."""
        try:
            self._stream.write(line)
            if not self._by_line:
                self._stream.flush()
        except (OSError, ValueError):
            return

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure(style: Literal["json", "console"] | None = None, level: str = "info") -> None:
    """Set up logging for a command or server; `style` defaults to console on a terminal, JSON elsewhere."""
    global _plain
    style = style or ("console" if sys.stderr.isatty() else "json")
    stream = _Steady(sys.stderr)
    renderer: structlog.typing.Processor = (
        # plain tracebacks: the pretty ones print every local variable, pages of them, and what is in them may be secret
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        _concerned,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        renderer,
    ]
    threshold: int = getattr(logging, level.upper())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
    )
    _plain = _PlainLines(stream, processors) if style == "json" and threshold <= logging.INFO else None


def configure_once(level: str = "info") -> None:
    """As `configure`, unless logging is set up already."""
    if not structlog.is_configured():
        configure(level=level)


class _PlainLines:
    """Writes a line of JSON with nothing in between. `processors` are the chain it stands for, as it was configured."""

    def __init__(self, stream: _Steady, processors: list[structlog.typing.Processor]) -> None:
        self._stream = stream
        self._processors = processors
        self._renderer = processors[-1]
        self._second = 0
        self._stamp = ""

    def stands(self) -> bool:
        """Whether that chain is still the one in use: nobody configured another or captures what is logged."""
        return structlog.is_configured() and self._processors[-1] is self._renderer

    def write(self, component: str, event: str, facts: dict[str, str | int | float]) -> None:
        second, micros = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        told = ", ".join(
            [f'"{name}": {encode_basestring_ascii(value) if isinstance(value, str) else repr(value)}' for name, value in facts.items()]
        )
        self._stream.write_line(
            f'{{"component": "{component}", {told}, "event": "{event}", "level": "info", "time": "{self._stamp}.{micros:06}Z"}}\n'
        )


_plain: _PlainLines | None = None


_concerning: ContextVar[Mapping[str, str | int | float] | None] = ContextVar("concerning", default=None)


def concerning(facts: Mapping[str, str | int | float]) -> None:
    """Name in every line that this task and the threads it waits for log from here on what it is about; `facts` may grow."""
    _concerning.set(facts)


def _concerned(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in (_concerning.get() or {}).items():
        line.setdefault(name, value)
    return line


def told(component: str, event: str, facts: dict[str, str | int | float]) -> None:
    """Log at level `info` what `logger(component)` would, for what is said once per request: a tenth of its time.

    `facts` are texts and finite numbers and name everything, since what the task is about is not added.
    """
    if _plain is not None and _plain.stands():
        _plain.write(component, event, facts)
    else:
        logger(component).info(event, **facts)


def logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its component in every line."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return bound
