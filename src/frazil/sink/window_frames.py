"""Results of live windows as people and programs get them: over WebSocket, in topics, on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from frazil.contract.windows import WindowSpec

STATES = ("provisional", "final", "merged")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def frame(spec: WindowSpec, outcome: tuple[Any, ...]) -> str:
    """A result of `WindowReader.changes` as a JSON object whose `values` keep every digit."""
    number, window, start, end, key, revision, state, values, at = outcome
    names = dict(zip(spec.key, json.loads(key), strict=True))
    head = {"cursor": str(number), "window": window, "start": moment(start), "end": moment(end), "key": names}
    told = json.dumps({**head, "revision": revision, "state": STATES[state], "at": moment(at)})
    return f'{told[:-1]},"values":{values}}}'


def moment(us: int) -> str:
    """An instant in us since 1970 as text, UTC."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
