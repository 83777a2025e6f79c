"""Values of typed formats as canonical JSON, the readable reference of the kernel's `spell`.

`kind` is what the contract has there (`string`, `integer`, …), or None. A value that JSON cannot say keeps its text.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import date, timedelta

from frazil.process.reference_json import NotJson, read

EPOCH = date(1970, 1, 1)
FIRST_DAY = (date.min - EPOCH).days
LAST_DAY = (date.max - EPOCH).days
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NUMBERS = ("integer", "number", "decimal")
_TEXTS = ("string", "uuid", "timestamp", "date", "json")
_NO_LIMIT = 10_000


def quoted(text: bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 stay what they are."""
    return json.dumps(text.decode("utf-8", "surrogateescape"), ensure_ascii=False).encode("utf-8", "surrogateescape")


def text(value: bytes, kind: str | None) -> bytes:
    """A text; where the contract has any JSON, a text that is JSON stands for itself."""
    if kind == "json":
        try:
            read(value.decode(), _NO_LIMIT)
        except (NotJson, UnicodeDecodeError):
            return quoted(value)
        return value
    return quoted(value)


def binary(value: bytes, kind: str | None) -> bytes:
    if kind == "uuid" and len(value) == 16:
        return uuid(value)
    return text(value, kind) if kind in _TEXTS else quoted(base64.b64encode(value))


def uuid(value: bytes) -> bytes:
    digits = value.hex()
    return f'"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"'.encode()


def double(value: float) -> bytes:
    """The fewest digits that name the double."""
    if math.isfinite(value):
        return repr(value).encode()
    return b'"NaN"' if math.isnan(value) else b'"Infinity"' if value > 0 else b'"-Infinity"'


def decimal(unscaled: int, scale: int) -> bytes:
    sign, digits = "-" if unscaled < 0 else "", str(abs(unscaled))
    if scale <= 0:
        return f"{sign}{digits}{'' if unscaled == 0 else '0' * -scale}".encode()
    digits = digits.rjust(scale + 1, "0")
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}".encode()


def day(days: int, kind: str | None) -> bytes:
    if kind in _NUMBERS:
        return str(days).encode()
    return f'"{_calendar(days)}"'.encode() if FIRST_DAY <= days <= LAST_DAY else f'"{days}"'.encode()


def _calendar(days: int) -> str:
    return (EPOCH + timedelta(days=days)).isoformat()


def _clock(parts: int, unit: str) -> str:
    second, part = divmod(parts, 10 ** DIGITS[unit])
    fraction = f".{part:0{DIGITS[unit]}d}" if part else ""
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{fraction}"


def instant(value: int, unit: str, utc: bool, kind: str | None) -> bytes:
    """An instant (`utc`) or a local time, counted in `unit` since 1970."""
    if kind in _NUMBERS:
        return str(value).encode()
    days, rest = divmod(value, 86_400 * 10 ** DIGITS[unit])
    if not FIRST_DAY <= days <= LAST_DAY:
        return f'"{value}"'.encode()
    return f'"{_calendar(days)}T{_clock(rest, unit)}{"Z" if utc else ""}"'.encode()


def time_of_day(value: int, unit: str, kind: str | None) -> bytes:
    if kind in _NUMBERS:
        return str(value).encode()
    return f'"{_clock(value, unit)}"'.encode() if 0 <= value < 86_400 * 10 ** DIGITS[unit] else f'"{value}"'.encode()


def members(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """An object: names (as text) and values (as JSON); those that are null are left out."""
    return b"{" + b",".join(quoted(name) + b":" + value for name, value in pairs if value != b"null") + b"}"
