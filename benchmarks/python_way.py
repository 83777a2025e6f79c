"""Plain Python: what a careful programmer writes without a kernel. Only the Parquet file comes from a library, pyarrow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.events import CURRENCIES, KINDS

Event = dict[str, Any]
PRODUCT = re.compile(r"^P[0-9]{5}$")
COUNTRY = re.compile(r"^[A-Z]{2}$")
UUID_TEXT = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def parse(lines: Iterable[bytes]) -> tuple[list[Event], int]:
    """Events, and how many lines were none."""
    events, broken = [], 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            broken += 1
            continue
        if isinstance(event, dict):
            events.append(event)
        else:
            broken += 1
    return events, broken


def validate(events: Iterable[Event]) -> list[tuple[int, str, str]]:
    """Every violation as (index, path, code)."""
    found: list[tuple[int, str, str]] = []
    for index, event in enumerate(events):
        _text(found, index, event, "event_id", "/event_id", required=True, pattern=UUID_TEXT)
        _text(found, index, event, "event_type", "/event_type", required=True, among=KINDS)
        _text(found, index, event, "user_id", "/user_id", required=True, shortest=1, longest=64)
        _text(found, index, event, "session_id", "/session_id", required=True, shortest=1, longest=64)
        _text(found, index, event, "timestamp", "/timestamp", required=True, pattern=STAMP)
        _number(found, index, event, "value", "/value", required=True, least=0)
        _text(found, index, event, "currency", "/currency", required=True, among=CURRENCIES)
        properties, context = event.get("properties"), event.get("context")
        if isinstance(properties, dict):
            _text(found, index, properties, "product_id", "/properties/product_id", pattern=PRODUCT)
            _number(found, index, properties, "price", "/properties/price", least=0)
            _number(found, index, properties, "quantity", "/properties/quantity", least=1, most=1000, whole=True)
            _text(found, index, properties, "url", "/properties/url", longest=2048)
        elif properties is not None:
            found.append((index, "/properties", "type.mismatch"))
        if isinstance(context, dict):
            _address(found, index, context)
            _text(found, index, context, "user_agent", "/context/user_agent", longest=512)
            _text(found, index, context, "country", "/context/country", pattern=COUNTRY)
        elif context is not None:
            found.append((index, "/context", "type.mismatch"))
    return found


def _text(
    found: list[tuple[int, str, str]],
    index: int,
    event: Event,
    name: str,
    path: str,
    *,
    required: bool = False,
    among: list[str] | None = None,
    pattern: re.Pattern[str] | None = None,
    shortest: int = 0,
    longest: int = 1_000_000,
) -> None:
    value = event.get(name)
    if value is None:
        if required:
            found.append((index, path, "required.missing"))
    elif not isinstance(value, str):
        found.append((index, path, "type.mismatch"))
    else:
        if among is not None and value not in among:
            found.append((index, path, "enum.unknown"))
        if pattern is not None and not pattern.search(value):
            found.append((index, path, "pattern.mismatch"))
        if not shortest <= len(value) <= longest:
            found.append((index, path, "length"))


def _number(
    found: list[tuple[int, str, str]],
    index: int,
    event: Event,
    name: str,
    path: str,
    *,
    required: bool = False,
    least: float | None = None,
    most: float | None = None,
    whole: bool = False,
) -> None:
    value = event.get(name)
    if value is None:
        if required:
            found.append((index, path, "required.missing"))
    elif isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        found.append((index, path, "type.mismatch"))
    elif least is not None and value < least:
        found.append((index, path, "range.below_minimum"))
    elif most is not None and value > most:
        found.append((index, path, "range.above_maximum"))


def _address(found: list[tuple[int, str, str]], index: int, context: Event) -> None:
    value = context.get("ip")
    if value is None:
        return
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts):
        found.append((index, "/context/ip", "format.ipv4"))


def transform(events: Iterable[Event]) -> list[Event]:
    """Typed values, `event_date`, `event_hour`."""
    rows = []
    for event in events:
        at = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
        rows.append(
            {
                **event,
                "event_id": UUID(event["event_id"]).bytes,
                "timestamp": at,
                "value": float(event["value"]),
                "event_date": at.date(),
                "event_hour": at.hour,
            }
        )
    return rows


def deduplicate(rows: Iterable[Event]) -> list[Event]:
    """The first row of each id."""
    seen: set[bytes] = set()
    kept = []
    for row in rows:
        if row["event_id"] not in seen:
            seen.add(row["event_id"])
            kept.append(row)
    return kept


def plain(kind: pa.DataType) -> pa.DataType:
    """The type as a programmer would name it: text is text."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    return pa.string() if pa.types.is_dictionary(kind) else kind


def write(rows: Iterable[Event], place: Path, schema: pa.Schema) -> int:
    """Day-partitioned zstd Parquet; how many bytes."""
    days: dict[Any, list[Event]] = {}
    for row in rows:
        days.setdefault(row["event_date"], []).append(row)
    written = 0
    for day, of_day in days.items():
        path = place / f"event_date={day}" / "0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(of_day, schema=schema), path, compression="zstd", compression_level=1)
        written += path.stat().st_size
    return written
