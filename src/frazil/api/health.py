"""`/health`: what works, what does not, per component. Ready means: events can be taken in and will be on disk."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from frazil.api.answers import answer
from frazil.api.door import Door, Gate
from frazil.errors import FrazilError
from frazil.sink.window_progress import progress

CATALOG_SECONDS = 5.0
Component = dict[str, Any]
_ROLES = {"process": "processing", "live": "counting of live windows"}


async def live(request: Request) -> Response:
    """The process answers."""
    return answer({"state": "ok", "components": {}})


async def ready(request: Request) -> Response:
    """Whether events can be taken in: 503 when no log can be written or the disk is full."""
    door: Door = request.app.state.door
    return _answer(log_components(door))


async def health(request: Request) -> Response:
    """All components: logs, disk, catalog, processing, live windows."""
    door: Door = request.app.state.door
    components = log_components(door)
    components["catalog"] = await _catalog(door)
    components["process"] = _process(door)
    windows = await asyncio.to_thread(_windows, door)
    return _answer(components if windows is None else {**components, "windows": windows})


def log_components(door: Door) -> dict[str, Component]:
    """The logs, and the disk below them where they lie on this machine."""
    components = {f"log.{name}": _log(gate) for name, gate in door.gates.items()}
    if not door.project.logs_are_kafka:
        components["disk"] = _disk(door)
    return components


def _answer(components: dict[str, Component]) -> Response:
    logs = [part["state"] for name, part in components.items() if name.startswith("log.")]
    full = "disk" in components and components["disk"]["state"] == "down"
    stopped = full or (logs and all(state == "down" for state in logs))
    state = "down" if stopped else "ok" if all(part["state"] in ("ok", "unknown") for part in components.values()) else "degraded"
    return answer({"state": state, "components": components}, 503 if stopped else 200, {"Retry-After": "5"} if stopped else None)


def _log(gate: Gate) -> Component:
    if gate.fault is not None:
        return {"state": "down", "detail": gate.fault.message, "code": gate.fault.code, "hint": gate.fault.hint}
    return {"state": "ok", "detail": "takes records"} if gate.writer is not None else {"state": "unknown", "detail": "not opened yet"}


def _disk(door: Door) -> Component:
    settings = door.project.settings
    place = settings.path_of(settings.log.url)
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    floor = settings.log.min_free_bytes
    floor = min(usage.total // 20, 1 << 30) if floor is None else floor
    facts = {"free_bytes": usage.free, "floor_bytes": floor}
    if usage.free < floor:
        return {"state": "down", "detail": "less free than the floor: free some space, writing goes on by itself", **facts}
    return {"state": "ok", "detail": "", **facts}


async def _catalog(door: Door) -> Component:
    """Reading the catalog may hang with its server: that is an answer, too."""
    try:
        async with asyncio.timeout(CATALOG_SECONDS):
            await asyncio.to_thread(_read_catalog, door)
    except TimeoutError:
        return {"state": "down", "detail": f"no answer in {CATALOG_SECONDS:g} s"}
    except FrazilError as error:
        return {"state": "down", "detail": error.message, "code": error.code, "hint": error.hint}
    except Exception as error:  # a catalog's driver raises what it likes; health reports it and goes on
        return {"state": "down", "detail": type(error).__name__}
    return {"state": "ok", "detail": "readable"}


def _read_catalog(door: Door) -> None:
    door.project.lake.catalog.list_namespaces()


def _windows(door: Door) -> Component | None:
    """How far live windows are, and what their role last said; None for a project without."""
    project = door.project
    try:
        specs = list(project.windows.values())
        part = _role(door, "live") if specs else None
        if part is None:
            return None
        told = {}
        for name in sorted({spec.contract for spec in specs}):
            file = project.window_file(project.contract(name))
            known = progress(file, [spec.name for spec in specs if spec.contract == name])
            told.update({one.window: {"contract": name, **one.as_dict()} for one in known})
        return {**part, "windows": told}
    except FrazilError as error:
        return {"state": "down", "detail": error.message, "code": error.code, "hint": error.hint}


def _process(door: Door) -> Component:
    return _role(door, "process")


def _role(door: Door, role: str) -> Component:
    """What a role last said of itself, in this machine's project directory."""
    try:
        facts = json.loads((door.project.settings.state_dir / "run" / f"{role}.json").read_text())
        workers = {name: {key: pulse[key] for key in ("state", "lag", "last_commit")} for name, pulse in facts["contracts"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {"state": "unknown", "detail": f"no {_ROLES[role]} was seen here: start it with `frazil {role}`"}
    waiting = [name for name, worker in workers.items() if worker["state"] in ("waiting", "stopped")]
    state = "degraded" if waiting else "ok"
    detail = f"not going on: {', '.join(waiting)}" if waiting else ""
    return {"state": state, "detail": detail, "at": facts.get("at"), "contracts": workers}
