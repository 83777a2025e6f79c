"""Answers in JSON: ASCII on the wire, so that no text of a record can make one invalid, and never infinite numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


def answer(facts: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An `application/json` answer that no cache keeps."""
    content = json.dumps(facts, separators=(",", ":"), allow_nan=False).encode()
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/json")


def shown(violation: Mapping[str, Any]) -> dict[str, Any]:
    """A stored violation as the door shows it: its value as JSON, or as text where it was cut or is no finite number."""
    text = violation["value"]
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        value = text
    finite = not isinstance(value, float) or math.isfinite(value)
    return {**violation, "value": value if finite else text}
