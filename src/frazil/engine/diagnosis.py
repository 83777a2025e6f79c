"""What is wrong with a project, and what to type: the checks behind `frazil doctor`. Nothing is changed."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from frazil import settings as configuration
from frazil.batch import Position
from frazil.contract import Contract
from frazil.contract.windows import FILE as WINDOWS
from frazil.contract.windows import WindowSpec
from frazil.engine import heartbeat, lines
from frazil.errors import EXIT_OPERATOR, ContractError, FrazilError
from frazil.project import Project
from frazil.settings import Settings
from frazil.sink.window_progress import progress
from frazil.table.evolve import fitting

_MANY_FILES = 200
_MANY_LATE = 0.01  # of the records in the log


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `advice`: nothing is broken, but somebody should look; `hint`: what to type."""

    part: str
    state: Literal["good", "advice", "bad"]
    says: str
    hint: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(root: Path | None, profile: str | None) -> list[Finding]:
    """Every check that can be made, in the order in which one depends on the other; it ends where nothing more can be told."""
    found: list[Finding] = [
        Finding(f"variable {name}", "advice", "names no setting: nothing reads it", _nearest(name))
        for name in configuration.unknown_variables(os.environ)
    ]
    settings = _tried(found, "project", lambda: configuration.load(root, profile=profile), lambda it: f"{it.root} ({it.name})")
    if settings is None:
        return found
    project = Project(settings)
    contracts = _tried(found, "contracts", lambda: project.contracts, lambda it: f"{len(it)}: {', '.join(sorted(it))}")
    if contracts is not None and settings.default_contract not in {None, *contracts}:
        hint = f"set default_contract in frazil.toml to one of: {', '.join(sorted(contracts)) or 'none yet'}"
        found.append(Finding("default contract", "bad", f"no contract {settings.default_contract!r}", hint))
    found.append(_disk(settings))
    lake = _tried(found, "lake", lambda: project.lake, lambda it: f"{len(it.names())} tables in {settings.lake.catalog}")
    if contracts is None or lake is None:
        return found
    for contract in contracts.values():
        found.extend(_contract(project, contract))
    if (settings.root / WINDOWS).exists():
        windows = _tried(found, "windows", lambda: project.windows, lambda it: f"{len(it)}: {', '.join(it) or 'none'}") or {}
        for name in sorted({spec.contract for spec in windows.values()}):
            specs = [spec for spec in windows.values() if spec.contract == name]
            found.extend(_windows(project, project.contract(name), specs))
    found.append(_door(settings))
    return found


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), configuration.variables(), n=1)
    return f"did you mean {near[0]}? otherwise: unset {name}" if near else f"unset {name}"


def _tried(found: list[Finding], part: str, make: Callable[[], Any], says: Callable[[Any], str]) -> Any:
    try:
        made = make()
        found.append(Finding(part, "good", says(made)))
        return made
    except FrazilError as error:
        found.append(Finding(part, "bad", f"[{error.code}] {error.message}", error.hint))
        return None


def _disk(settings: Settings) -> Finding:
    place = settings.state_dir if settings.state_dir.exists() else settings.root
    usage = shutil.disk_usage(place)
    floor = settings.log.min_free_bytes if settings.log.min_free_bytes is not None else min(usage.total // 20, 1 << 30)
    free = f"{_spelled(usage.free)} free"
    if usage.free < floor:
        return Finding(
            "disk",
            "bad",
            f"{free}, the floor is {_spelled(floor)}: the API refuses events",
            "free some space; writing goes on by itself",
        )
    if usage.free < 2 * floor:
        return Finding("disk", "advice", f"{free}, near the floor", "free some space, or lower log.retention")
    return Finding("disk", "good", free)


def _spelled(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:,.1f} MiB"


def _contract(project: Project, contract: Contract) -> Iterator[Finding]:
    """The log, the table, the worker and the letters of one contract."""
    name = contract.name
    try:
        head = project.sink(contract).head()
        reader = project.log_reader(contract)
        try:
            lag, end = reader.lag(head.position), max(reader.ends().values(), default=-1)
            if lag:
                reader.read(after=head.position, limit=1)
        finally:
            reader.close()
    except FrazilError as error:
        state: Literal["advice", "bad"] = "bad" if error.exit_code == EXIT_OPERATOR else "advice"
        yield Finding(f"{name}: log and table", state, f"[{error.code}] {error.message}", error.hint)
        return
    yield Finding(f"{name}: log and table", "good", f"{end + 1:,} records, {lag:,} behind")
    yield _worker(project.settings, name, lag)
    table = project.lake.raw(contract)
    try:
        fitting(table, contract)
    except ContractError as error:  # said before the first record that cannot land
        yield Finding(f"{name}: contract", "bad", f"[{error.code}] {error.message}", error.hint)
    summary = head_summary(table)
    if int(summary.get("total-data-files", 0)) > _MANY_FILES:
        yield Finding(f"{name}: files", "advice", f"{summary['total-data-files']} data files", "frazil tables maintain")
    causes = project.dead_letters.at(head).causes()
    opened = sum(cause.count for cause in causes)
    if opened:
        most = causes[0]
        yield Finding(
            f"{name}: dead letters",
            "advice",
            f"{opened:,} open; most often {most.code} at {most.path or 'the record'} ({most.count:,})",
            f"frazil dead list --contract {name}",
        )
    else:
        yield Finding(f"{name}: dead letters", "good", "none open")


def _windows(project: Project, contract: Contract, specs: list[WindowSpec]) -> Iterator[Finding]:
    """The live windows of one contract: who counts, what was late."""
    part = f"{contract.name}: live windows"
    try:
        reached = next(iter(project.window_positions(contract)), Position.empty())
        known = progress(project.window_file(contract), [spec.name for spec in specs])
        reader = project.log_reader(contract)
        try:
            lag, counted = reader.lag(reached), sum(max(0, end + 1) for end in reader.ends().values())
        finally:
            reader.close()
    except FrazilError as error:
        state: Literal["advice", "bad"] = "bad" if error.exit_code == EXIT_OPERATOR else "advice"
        yield Finding(part, state, f"[{error.code}] {error.message}", error.hint)
        return
    yield replace(_worker(project.settings, contract.name, lag, "live"), part=part)
    for one in known:
        at = "nothing counted yet" if one.watermark is None else f"final up to {one.watermark:%Y-%m-%d %H:%M:%S} UTC"
        says = f"{at}, {one.open:,} open, {one.late:,} late"
        if one.late > _MANY_LATE * counted:
            hint = f"frazil windows late {one.window} shows them; a larger allowed_lateness in windows.yaml lets them in"
            yield Finding(f"window {one.window}", "advice", says, hint)
        else:
            yield Finding(f"window {one.window}", "good", says)


def head_summary(table: Any) -> dict[str, str]:
    head = table.current_snapshot()
    return dict(head.summary.additional_properties) if head is not None and head.summary is not None else {}


def _worker(settings: Settings, name: str, lag: int, role: str = "process") -> Finding:
    beat = heartbeat.read(lines.running_dir(settings), role)
    pulse = (beat or {}).get("contracts", {}).get(name)
    part = f"{name}: worker"
    if beat is None or pulse is None or not beat["alive"]:
        stopped = (pulse or {}).get("error") if pulse and pulse["state"] == "stopped" else None
        if stopped:
            return Finding(part, "bad", f"stopped: [{stopped['code']}] {stopped['message']}", stopped["hint"])
        state: Literal["good", "advice"] = "advice" if lag else "good"
        return Finding(part, state, f"not running, {lag:,} records wait", f"frazil up, or frazil {role} --until-idle")
    if pulse["state"] == "stopped":
        error = pulse["error"] or {"code": "?", "message": "", "hint": ""}
        return Finding(part, "bad", f"stopped: [{error['code']}] {error['message']}", error["hint"])
    if pulse["state"] == "waiting":
        error = pulse["error"] or {"code": "?", "message": "", "hint": ""}
        return Finding(part, "advice", f"waits: [{error['code']}] {error['message']}", error["hint"])
    return Finding(part, "good", f"{pulse['state']}, pid {beat['pid']}")


def _door(settings: Settings) -> Finding:
    import urllib.error
    import urllib.request

    url = f"http://{settings.api.host}:{settings.api.port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/api/v1/health/ready", timeout=1.0):
            return Finding("api", "good", f"answers at {url}")
    except urllib.error.HTTPError as refusal:
        return Finding("api", "bad", f"answers {refusal.code} at {url}: not ready", f"what is wrong is at {url}/api/v1/health")
    except OSError as error:
        return Finding("api", "advice", f"does not answer at {url}: {getattr(error, 'reason', error)}", "frazil up, or frazil serve")
