"""`POST /trigger/{pipeline}`, `GET /runs`, `GET /runs/{run_id}`, `POST /runs/{run_id}/cancel`: as `frazil run` and `frazil runs`."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from frazil.api import openapi
from frazil.api.answers import answer
from frazil.api.problems import Refused
from frazil.pipeline import PIPELINES, find
from frazil.pipeline.execution import leases, settle, store_of, trigger
from frazil.pipeline.journal import lines
from frazil.pipeline.metrics import METRICS
from frazil.pipeline.store import Run

if TYPE_CHECKING:
    from frazil.api.door import Door
    from frazil.settings import Settings

MOST_RUNS: Final = 1_000
_children: list[subprocess.Popen[bytes]] = []
_starting = threading.Lock()


class StepOfRun(BaseModel):
    """One step. blocked: a step it needs failed; skipped: nothing to do, `message` says why."""

    name: str
    state: Literal["waiting", "running", "succeeded", "failed", "skipped", "blocked", "cancelled", "interrupted"]
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float = Field(description="over all attempts")
    message: str
    result: dict[str, Any]
    error: dict[str, Any] | None
    log: list[dict[str, Any]] = Field(default=[], description="at most the last 200 lines")


class PipelineRun(BaseModel):
    """One run of a pipeline. interrupted: its process ended in the middle; a scheduler takes it up again."""

    run_id: str
    pipeline: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
    cause: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    resumed: int
    covered: dict[str, dict[str, Any]] = Field(description="heads of the raw tables that it covers")
    error: dict[str, Any] | None
    steps: list[StepOfRun]


def watch(settings: Settings) -> None:
    """Let `/metrics` tell of this project's runs."""
    METRICS.store = store_of(settings)


async def start(request: Request) -> Response:
    """Put a run into the queue: 202 with its id, also when one was waiting there already (`coalesced`)."""
    door: Door = request.app.state.door
    name = find(request.path_params["pipeline"]).name
    cause = {"kind": "api", "request": str(request.scope["state"]["request"])}
    run, new = await asyncio.to_thread(_start, door.project.settings, name, cause)
    url = _url(run)
    facts = {"run_id": run.id, "pipeline": name, "state": run.state, "coalesced": not new, "run_url": url}
    return answer(facts, 202, {"Location": url})


async def run(request: Request) -> Response:
    """One run: its steps, and the end of each one's log."""
    settings = request.app.state.door.project.settings
    return answer(await asyncio.to_thread(_told, settings, request.path_params["run_id"]))


async def runs(request: Request) -> Response:
    """Runs, the newest first, without logs."""
    query, settings = request.query_params, request.app.state.door.project.settings
    pipeline = None if query.get("pipeline") is None else find(query["pipeline"]).name
    limit = _limit(query.get("limit"))
    listed = await asyncio.to_thread(_listed, settings, pipeline, limit)
    return answer({"runs": [{**one.as_dict(), "run_url": _url(one)} for one in listed]})


async def cancel(request: Request) -> Response:
    """Ask a run to end; one that is over stays as it is."""
    settings = request.app.state.door.project.settings
    store = store_of(settings)
    await asyncio.to_thread(store.cancel, request.path_params["run_id"])
    return answer(await asyncio.to_thread(_told, settings, request.path_params["run_id"]), 202)


def _start(settings: Settings, pipeline: str, cause: dict[str, str]) -> tuple[Run, bool]:
    with _starting:
        return trigger(settings, pipeline, cause, _children)


def _told(settings: Settings, name: str) -> dict[str, Any]:
    store = store_of(settings)
    settle(store, directory=leases(settings))
    found = store.get(name)
    facts = found.as_dict()
    log = lines(store.log_of(found.id), last=1_000)
    for step in facts["steps"]:
        step["log"] = [line for line in log if line.get("step") == step["name"]][-200:]
    return facts


def _listed(settings: Settings, pipeline: str | None, limit: int) -> list[Run]:
    store = store_of(settings)
    settle(store, directory=leases(settings))
    return store.runs(pipeline=pipeline, limit=limit)


def _url(run: Run) -> str:
    return f"/api/v1/runs/{run.id}"


def _limit(named: str | None) -> int:
    if named is None:
        return 50
    if not named.isascii() or not named.isdigit() or not 1 <= int(named) <= MOST_RUNS:
        hint = f"give a number, 1 to {MOST_RUNS}"
        raise Refused(f"limit={named[:20]!r} is not known", code="request.invalid_parameter", hint=hint, parameter="limit")
    return int(named)


# ---------------------------------------------------------------- what OpenAPI says

Add = Callable[..., None]


def add_routes(add: Add) -> None:
    """Add these routes with the application's own way of adding one."""
    add("POST", "/trigger/{pipeline}", start, "Start a run of a pipeline", START_ANSWERS, START, code=202)
    add("GET", "/runs", runs, "Runs of pipelines, the newest first", RUNS_ANSWERS, RUNS)
    add("GET", "/runs/{run_id}", run, "One run: its steps, state, log", RUN_ANSWERS, RUN)
    add("POST", "/runs/{run_id}/cancel", cancel, "End a run", CANCEL_ANSWERS, RUN, code=202)


_ID: Final = "pipeline-20261120T123456-0a1b2c"
_STEP: Final = {
    "name": "process",
    "state": "succeeded",
    "attempts": 1,
    "started_at": "2026-11-20T12:34:56.100+00:00",
    "ended_at": "2026-11-20T12:34:57.400+00:00",
    "seconds": 1.3,
    "message": "1,204 landed, 3 dead, 0 duplicates",
    "result": {"landed": 1204, "dead": 3, "duplicates": 0},
    "error": None,
    "log": [{"time": "2026-11-20T12:34:57.399Z", "level": "info", "event": "step done", "step": "process"}],
}
_RUN: Final = {
    "run_id": _ID,
    "pipeline": "pipeline",
    "state": "succeeded",
    "cause": {"kind": "api"},
    "created_at": "2026-11-20T12:34:56.000+00:00",
    "started_at": "2026-11-20T12:34:56.050+00:00",
    "ended_at": "2026-11-20T12:35:09.000+00:00",
    "seconds": 12.95,
    "resumed": 0,
    "covered": {"raw_events": {"uuid": "0192f3a1-7c00-7000-8000-000000000001", "sequence": 17, "snapshot_id": "4358109269873137077"}},
    "error": None,
    "steps": [_STEP],
}
_STARTED: Final = {"run_id": _ID, "pipeline": "pipeline", "state": "queued", "coalesced": False, "run_url": f"/api/v1/runs/{_ID}"}
_RUN_ID: Final = {"name": "run_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}, "example": _ID}
_NAMES: Final = {"type": "string", "enum": sorted(PIPELINES)}
START: Final = {"parameters": [{"name": "pipeline", "in": "path", "required": True, "schema": _NAMES, "example": "pipeline"}]}
START_ANSWERS: Final[openapi.Answers] = {
    202: {"description": "The run is in the queue.", "content": {"application/json": {"example": _STARTED}}},
    **openapi.answers(403, 404, 503),
}
RUN: Final = {"parameters": [_RUN_ID]}
RUN_ANSWERS: Final[openapi.Answers] = {
    200: {"model": PipelineRun, "description": "Its steps, state, log.", "content": {"application/json": {"example": _RUN}}},
    **openapi.answers(403, 404, 503),
}
CANCEL_ANSWERS: Final[openapi.Answers] = {
    202: {"model": PipelineRun, "description": "Asked to end.", "content": {"application/json": {"example": _RUN}}},
    **openapi.answers(403, 404, 503),
}
RUNS: Final = {
    "parameters": [
        {"name": "pipeline", "in": "query", "required": False, "description": "Only this pipeline's.", "schema": _NAMES},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "description": "Newest runs to list.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MOST_RUNS, "default": 50},
        },
    ]
}
RUNS_ANSWERS: Final[openapi.Answers] = {
    200: {"description": "Runs, the newest first.", "content": {"application/json": {"example": {"runs": [_RUN]}}}},
    **openapi.answers(400, 403, 404, 503),
}
