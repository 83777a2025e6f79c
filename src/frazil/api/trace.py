"""`GET /events/{event_id}/trace`: one event's life, as `frazil trace`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from frazil.api import openapi
from frazil.api.answers import answer

if TYPE_CHECKING:
    from frazil.api.door import Door
    from frazil.project import Project

_one_at_a_time = threading.Lock()
"""A trace reads files of the whole lake: several at once would take the memory from ingest."""


class Trace(BaseModel):
    """What is known of one event."""

    event_id: str
    records: list[dict[str, Any]] = Field(
        description="every record that bore the id: place, request, verdict; file and snapshot, or violations"
    )
    marts: list[dict[str, Any]] = Field(description="rows of marts that bear it")
    checks: list[dict[str, Any]] = Field(description="the last checks of the tables it is in")


async def trace(request: Request) -> Response:
    """One event from request to mart row; a place, `log/partition/offset`, will do for an id."""
    door: Door = request.app.state.door
    contract = request.query_params.get("contract")
    return answer(await asyncio.to_thread(_traced, door.project, request.path_params["event_id"], contract))


def _traced(project: Project, event_id: str, contract: str | None) -> dict[str, Any]:
    from frazil.trace import trace as traced

    with _one_at_a_time:
        return traced(project, event_id, contract=contract)


# ---------------------------------------------------------------- what OpenAPI says


def add_routes(add: Callable[..., None]) -> None:
    """Add this route with the application's own way of adding one."""
    add("GET", "/events/{event_id:path}/trace", trace, "One event from request to mart row", TRACE_ANSWERS, TRACE)


_ID: Final = "0b6a8f0e-6f0e-4a39-9a86-3f2f6f1f9a10"
_TRACE: Final = {
    "event_id": _ID,
    "records": [
        {
            "contract": "events",
            "verdict": "landed",
            "place": "01JD3Q/0/1203",
            "request": "7265194117234688",
            "received_at": "2026-11-20T12:34:56.120000+00:00",
            "contract_version": "1.0.0",
            "replay": None,
            "file": ".frazil/lake/shop/raw_events/data/00000.parquet",
            "table": "raw_events",
            "snapshot": {"id": "4358109269873137077", "committed_at": "2026-11-20T12:34:57.300000+00:00"},
        }
    ],
    "marts": [{"table": "fact_events", "snapshot_id": "8110283746512345678", "row": {"event_id": _ID, "event_type": "purchase"}}],
    "checks": [
        {
            "table": "raw_events",
            "run_id": "0192f3a1",
            "started_at": "2026-11-20T12:35:09+00:00",
            "checks": 31,
            "passed": 31,
            "failed": None,
        }
    ],
}
TRACE: Final = {
    "parameters": [
        {"name": "event_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}, "example": _ID},
        {"name": "contract", "in": "query", "required": False, "description": "Only this contract's.", "schema": {"type": "string"}},
    ]
}
TRACE_ANSWERS: Final[openapi.Answers] = {
    200: {"model": Trace, "description": "Its records, mart rows, checks.", "content": {"application/json": {"example": _TRACE}}},
    **openapi.answers(403, 404, 503),
}
