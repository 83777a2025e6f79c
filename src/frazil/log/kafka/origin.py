"""What a request says about its records, as the one header that each of them carries: `request;received_at µs;format;line`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

HEADER = "frazil"


class Origin(NamedTuple):
    """Where a record came from. `request` 0: not from a request of ours; `received_us` in µs since 1970, UTC."""

    request: int
    received_us: int
    format: str | None
    line: int | None


def spoken_by(request: int, received_us: int, format: str) -> str:
    """What the headers of all records of a request have in common."""
    return f"{request};{received_us};{format};"


def header(spoken: str, line: int | None) -> list[tuple[str, str | bytes | None]]:
    """The headers of one record."""
    return [(HEADER, (spoken if line is None else f"{spoken}{line}").encode())]


def origin(headers: Sequence[tuple[Any, Any]], timestamp_ms: int) -> Origin:
    """Read the header; a record without a readable one came when its timestamp says, from no request."""
    for name, value in headers:
        if name == HEADER and value is not None:
            try:
                request, received, of_body, line = bytes(value).decode("ascii").split(";")
                return Origin(int(request), int(received), of_body, int(line) if line else None)
            except ValueError:
                break
    return Origin(0, timestamp_ms * 1000, None, None)
