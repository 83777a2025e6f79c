"""`GET /dead-letters`, `POST /dead-letters/replay`: dead letters as work, as `frazil dead list` and `dead replay`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from frazil import flow, lineage
from frazil.api import bodies
from frazil.api.answers import answer
from frazil.api.door import Door
from frazil.api.guard import named
from frazil.api.problems import Refused
from frazil.batch import OPEN_STAGES, Place
from frazil.contract import Contract
from frazil.sink import repair
from frazil.sink.letters import Letters, causes, places, shown
from frazil.sink.mend import Patch, unchanged
from frazil.telemetry import logger

if TYPE_CHECKING:
    from frazil.project import Project

MOST_LETTERS: Final = 1000
_MEMBERS: Final = {"contract": str, "stage": str, "code": str, "ids": list, "all": bool, "patch": str, "dry_run": bool, "id": str}
_log = logger("api")


@dataclass(frozen=True, slots=True)
class Selection:
    """Open letters of one contract: all, or those of a stage, of a first violation's code, of named places."""

    contract: Contract
    stage: str | None = None
    code: str | None = None
    ids: frozenset[Place] | None = None

    def of(self, letters: Letters) -> pa.Table:
        rows = letters.open(self.ids)
        if self.stage is None and self.code is None:
            return rows
        told = zip(rows.column("stage").to_pylist(), rows.column("violations").to_pylist(), strict=True)
        return rows.filter(pa.array([self._fits(stage, listed) for stage, listed in told], pa.bool_()))

    def _fits(self, stage: str, violations: list[dict[str, Any]] | None) -> bool:
        first = violations[0]["code"] if violations else stage
        return self.stage in (None, stage) and self.code in (None, first)


async def dead_letters(request: Request) -> Response:
    """Open dead letters of a contract by cause, and the first of them."""
    door: Door = request.app.state.door
    query = request.query_params
    chosen = Selection(door.gate(query.get("contract")).contract, _stage(query.get("stage")), query.get("code"))
    limit = _limit(query.get("limit"))
    return answer(await asyncio.to_thread(_listed, door.project, chosen, limit))


async def replay(request: Request) -> Response:
    """Send open dead letters through their contract again, mended if a patch is given; `dry_run` only counts."""
    door: Door = request.app.state.door
    with door.budget.lease() as lease:
        asked = _asked(b"".join(await bodies.read(request.headers, request.receive, door.limits, lease)))
    contract = door.gate(asked.get("contract")).contract
    chosen = Selection(contract, _stage(asked.get("stage")), asked.get("code"), _places(asked.get("ids")))
    if not asked.get("all", False) and chosen == Selection(contract):
        raise Refused("no letters were named", code="dead.no_selection", hint='name ids, code, stage, or "all": true')
    named(request, contract=contract.name)
    mend = Patch.parse(asked["patch"]) if asked.get("patch") else unchanged
    if asked.get("dry_run", False):
        plan = await asyncio.to_thread(_planned, door.project, chosen, mend)
        return answer({"contract": contract.name, "dry_run": True, **plan.as_dict()})
    name = asked.get("id") or f"r{request.scope['state']['request']}"
    done = await asyncio.to_thread(_replayed, door.project, chosen, mend, name)
    _log.info("replayed", patch=asked.get("patch"), **done.as_dict())
    return answer({"contract": contract.name, "dry_run": False, **done.as_dict()})


def _listed(project: Project, chosen: Selection, limit: int) -> dict[str, Any]:
    rows = _found(project, chosen)
    return {
        "contract": chosen.contract.name,
        "open": rows.num_rows,
        "causes": [cause.as_dict() for cause in causes(rows)],
        "letters": [_letter(place, row) for place, row in zip(places(rows.slice(0, limit)), rows.slice(0, limit).to_pylist(), strict=True)],
    }


def _letter(place: Place, row: Mapping[str, Any]) -> dict[str, Any]:
    value = row["value"]
    return {
        "id": str(place),
        "stage": row["stage"],
        "contract_version": row["contract_version"],
        "received_at": row["_received_at"].isoformat(),
        "request": str(row["_request"]),
        "violations": [shown(violation) for violation in row["violations"]],
        "value": None if value is None else value.decode(errors="replace"),
    }


def _found(project: Project, chosen: Selection) -> pa.Table:
    sink = project.sink(chosen.contract)
    return repair.settled(lambda: chosen.of(project.dead_letters.at(sink.head())))


def _planned(project: Project, chosen: Selection, mend: repair.Mend) -> repair.Plan:
    contract = chosen.contract
    ids = frozenset(places(_found(project, chosen)))
    return repair.plan(ids, mend, project.processor(contract), project.keys(contract), project.dead_letters, project.sink(contract))


def _replayed(project: Project, chosen: Selection, mend: repair.Mend, id: str) -> repair.Replayed:
    contract = chosen.contract
    ids = frozenset(places(_found(project, chosen)))
    sink = project.sink(contract)
    parts = project.processor(contract), project.keys(contract), project.dead_letters, sink
    with lineage.repair(project.settings, "replay", contract.name) as told:
        done = repair.replay(cast(repair.Replay, flow.replay), ids, mend, *parts, id=id)
        told(done.snapshot_id, done.landed)
    project.dead_letters.adopt(sink)
    return done


def _asked(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON", code="body.invalid_json", hint="send one JSON object") from None
    if not isinstance(asked, dict):
        raise Refused("the body is not an object", code="request.invalid_parameter", hint=f"its members: {', '.join(_MEMBERS)}")
    for name, value in asked.items():
        kind = _MEMBERS.get(name)
        if kind is None or (value is not None and not isinstance(value, kind)):
            wanted = f"send a {kind.__name__}" if kind else f"known members: {', '.join(_MEMBERS)}"
            raise Refused(f"{name[:80]!r} is not as it should be", code="request.invalid_parameter", hint=wanted, parameter=name[:80])
    return asked


def _stage(named: str | None) -> str | None:
    if named is None or named in OPEN_STAGES:
        return named
    hint = f"stages of open letters: {', '.join(OPEN_STAGES)}"
    raise Refused(f"stage={named[:20]!r} is not known", code="request.invalid_parameter", hint=hint, parameter="stage")


def _places(ids: list[Any] | None) -> frozenset[Place] | None:
    if ids is None:
        return None
    try:
        return frozenset(Place.parse(str(one)) for one in ids)
    except ValueError:
        hint = "an id is log/partition/offset, as GET /dead-letters shows it"
        raise Refused("an id is not a place", code="request.invalid_parameter", hint=hint, parameter="ids") from None


def _limit(named: str | None) -> int:
    if named is None:
        return 20
    if not named.isascii() or not named.isdigit() or int(named) > MOST_LETTERS:
        hint = f"give a number, 0 to {MOST_LETTERS}"
        raise Refused(f"limit={named[:20]!r} is not known", code="request.invalid_parameter", hint=hint, parameter="limit")
    return int(named)
