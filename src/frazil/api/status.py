"""`GET /status/{job_id}`: processing's verdict on a request, read from the tables; there is no job store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from frazil.api.answers import answer
from frazil.api.door import Door
from frazil.api.guard import named
from frazil.api.receipts import Receipt
from frazil.errors import CommitConflict
from frazil.sink.books import Verdicts, verdicts
from frazil.sink.letters import shown

_FIRST_LOOK, _LONGEST_PAUSE = 0.1, 0.5


async def status(request: Request) -> Response:
    """How far a request's records are, by the id its 202 gave."""
    door: Door = request.app.state.door
    job_id: str = request.path_params["job_id"]
    receipt = door.signer.receipt(job_id)
    named(request, contract=receipt.contract, job=str(receipt.request))
    return answer(await verdict(door, job_id, receipt))


async def landed(door: Door, job_id: str, receipt: Receipt, seconds: float) -> dict[str, Any]:
    """Wait until every record of a request is decided, or until the time is over; its status then."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_LOOK
    while (left := deadline - time.monotonic()) > 0:
        if await asyncio.to_thread(_is_decided, door, receipt):
            break
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return await verdict(door, job_id, receipt)


async def verdict(door: Door, job_id: str, receipt: Receipt) -> dict[str, Any]:
    """The status of a request: `JobStatus`."""
    found = await asyncio.to_thread(_verdicts, door, receipt)
    facts = found.as_dict()
    return {"job_id": job_id, **facts, "errors": [shown(violation) for violation in found.errors]}


def _verdicts(door: Door, receipt: Receipt) -> Verdicts:
    project = door.project
    sink = project.sink(door.gate(receipt.contract).contract)
    return verdicts(project.lake, sink, project.dead_letters, receipt.request, receipt.spans, receipt.received)


def _is_decided(door: Door, receipt: Receipt) -> bool:
    """Whether the table's position covers the request: cheaper to ask often than its verdicts."""
    try:
        position = door.project.sink(door.gate(receipt.contract).contract).head().position
    except CommitConflict:
        return False  # it moved while it was read: look again
    return all(position.covers(span) for span in receipt.spans)
