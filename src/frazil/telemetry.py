"""Structured logs (one JSON object or one readable line per event, on stderr) and the process's metrics registry."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Literal, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry

registry = CollectorRegistry()
"""Every metric of this process; the API serves it at `/metrics`."""


class _Steady:
    """A stream whose failure stops nobody: what cannot be logged on a full disk or a closed pipe must still be answered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure(style: Literal["json", "console"] | None = None, level: str = "info") -> None:
    """Set up logging for a command or server; `style` defaults to console on a terminal, JSON elsewhere."""
    style = style or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.typing.Processor = (
        # plain tracebacks: the pretty ones print every local variable, pages of them, and what is in them may be secret
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Steady(sys.stderr))),
    )


def configure_once(level: str = "info") -> None:
    """As `configure`, unless logging is set up already."""
    if not structlog.is_configured():
        configure(level=level)


def logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its component in every line."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return bound
