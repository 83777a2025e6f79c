"""`frazil status` and `frazil doctor`: how things are, what is wrong, and what to type."""

from __future__ import annotations

import json as spelling
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, age, data, emit, say, size, table, talk
from frazil.cli.turns import turns
from frazil.errors import EXIT_NO

if TYPE_CHECKING:
    from frazil.contract import Contract
    from frazil.log import LogReader
    from frazil.project import Project

_WINDOW_COLUMNS = ("window", "contract", "worker", "lag", "watermark", "behind", "open", "late")
_COLUMNS = ("contract", "worker", "lag", "landed", "dead", "duplicates", "rate/s", "files", "size", "last commit")


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(doctor)


def status(
    json: Json = False,
    watch: Annotated[float | None, typer.Option(min=0.5, help="Show it again every so many seconds; Ctrl-C ends.")] = None,
) -> None:
    """How far each table is behind its log, how fast records come, how the tables and the live windows are."""
    project = session.project()
    for _ in (None,) if watch is None else turns(watch):
        rows = facts(project)
        if json:
            emit(rows)
        else:
            if watch is not None and talk().is_terminal:
                data().clear()
            table([_shown(row) for row in rows], _COLUMNS)
            if windows := [_shown_window(row, one) for row in rows for one in row["windows"]]:
                say("\n[bold]live windows[/]")
                table(windows, _WINDOW_COLUMNS)


def facts(project: Project) -> list[dict[str, Any]]:
    """One dict per contract; `rate` is records decided per second over the last ten minutes of commits."""
    from frazil.cli.tables import measured
    from frazil.engine import heartbeat, lines
    from frazil.table.history import entries_of

    beat, live = (heartbeat.read(lines.running_dir(project.settings), role) for role in ("process", "live"))
    rows = []
    for contract in project.contracts.values():
        head = project.sink(contract).head()
        raw = project.lake.raw(contract)
        reader = project.log_reader(contract)
        try:
            lag, log_id = reader.lag(head.position), reader.log_id
            windows = _windows(project, contract, reader, _pulse(live, contract.name))
        finally:
            reader.close()
        totals = {name: sum(getattr(one, name) for one in head.totals.values()) for name in ("records", "landed", "dead", "duplicates")}
        pulse = _pulse(beat, contract.name)
        rows.append(
            {
                "contract": contract.name,
                "version": contract.version,
                "log": log_id,
                "worker": pulse.get("state", "not running"),
                "error": pulse.get("error"),
                "lag": lag,
                **totals,
                "rate": _rate(entries_of(raw)),
                **{key: value for key, value in measured(raw).items() if key != "table"},
                "position": spelling.loads(head.position.to_json()),
                "windows": windows,
            }
        )
    return rows


def _pulse(beat: dict[str, Any] | None, contract: str) -> dict[str, Any]:
    """What a role that is alive says of a contract."""
    return beat["contracts"].get(contract, {}) if beat and beat["alive"] else {}


def _windows(project: Project, contract: Contract, reader: LogReader, pulse: dict[str, Any]) -> list[dict[str, Any]]:
    """The contract's live windows; `lag` is how many records they did not count yet."""
    from frazil.batch import Position
    from frazil.sink.window_progress import progress

    names = [spec.name for spec in project.windows.values() if spec.contract == contract.name]
    if not names:
        return []
    reached = next(iter(project.window_positions(contract)), Position.empty())
    facts = {"worker": pulse.get("state", "not running"), "error": pulse.get("error"), "lag": reader.lag(reached)}
    return [{**one.as_dict(), **facts} for one in progress(project.window_file(contract), names)]


def _shown_window(row: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    behind = one["behind_seconds"]
    shown = "" if behind is None else f"{timedelta(seconds=round(behind))}" if behind >= 0 else "ahead"
    return {**one, "contract": row["contract"], "watermark": one["watermark"] or "", "behind": shown}


def _rate(entries: list[Any]) -> float:
    """Records per second between the first and the last of the newest commits, 0.0 for fewer than two."""
    recent = [entry for entry in entries if entry.current and entry.kind == "pump"][-120:]
    if len(recent) < 2 or recent[-1].markers is None or recent[0].markers is None:
        return 0.0
    seconds = (recent[-1].committed_at - recent[0].committed_at).total_seconds()
    records = [sum(totals.records for totals in entry.markers.totals.values()) for entry in (recent[0], recent[-1])]
    now = datetime.now(recent[-1].committed_at.tzinfo)
    idle = (now - recent[-1].committed_at).total_seconds()
    return 0.0 if idle > 600 or seconds <= 0 else (records[1] - records[0]) / seconds


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "size": size(row["bytes"]), "last commit": age(row["committed_at"]), "rate/s": round(row["rate"])}


def doctor(json: Json = False) -> None:
    """What is wrong and what to type. Exit 1 when something needs you."""
    from frazil.engine.diagnosis import examine

    findings = examine(session.chosen.root, session.chosen.profile)
    bad = [one for one in findings if one.state != "good"]
    if json:
        emit([one.as_dict() for one in findings])
    else:
        marks = {"good": "[green]good[/]", "advice": "[yellow]look[/]", "bad": "[bold red]bad [/]"}
        for one in findings:
            data().print(f"{marks[one.state]}  {one.part:<26}", end="")
            data().print(one.says, markup=False)
            if one.hint and one.state != "good":
                data().print(f"{'':32}{one.hint}", markup=False, style="bold")
        say(f"{len(findings) - len(bad)} of {len(findings)} checks are good")
    if any(one.state == "bad" for one in findings):
        raise typer.Exit(EXIT_NO)
