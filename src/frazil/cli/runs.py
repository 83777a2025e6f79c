"""`frazil runs`: what pipelines did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, age, data, emit, say, table


def register(app: typer.Typer) -> None:
    app.command()(runs)


def runs(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One run: its steps and the end of its log.")] = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", "-p", help="Only this pipeline's.")] = None,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Newest runs, or lines of the log, to show.")] = 30,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the run.")] = False,
    json: Json = False,
) -> None:
    """Runs of pipelines, the newest first; with an ID its steps and log."""
    from frazil.pipeline import find
    from frazil.pipeline.execution import leases, settle, store_of
    from frazil.pipeline.journal import lines

    settings = session.project().settings
    store = store_of(settings)
    settle(store, directory=leases(settings))
    if id is None:
        listed = [run.as_dict() for run in store.runs(pipeline=None if pipeline is None else find(pipeline).name, limit=last)]
        _listed(listed, json=json)
        return
    found = store.cancel(id) if cancel else store.get(id)
    log = lines(store.log_of(id), last=last)
    if json:
        emit({**found.as_dict(), "log": log})
        return
    facts = found.as_dict()
    out = data()
    for name in ("run_id", "pipeline", "state", "cause", "created_at", "started_at", "ended_at", "seconds", "resumed"):
        out.print(f"{name:<12}{facts[name]}", markup=False)
    out.print()
    table([{**step, "": step["message"]} for step in facts["steps"]], ["name", "state", "attempts", "seconds", ""])
    if log:
        out.print()
    for line in log:
        out.print(_spelled(line), markup=False)
    if cancel:
        say(f"run {id}: {found.state}" + ("" if found.ended else ", asked to end"))


def _listed(rows: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        emit(rows)
        return
    shown = [
        {
            "run": row["run_id"],
            "pipeline": row["pipeline"],
            "state": row["state"],
            "started by": row["cause"].get("kind"),
            "created": age(datetime.fromisoformat(row["created_at"])),
            "seconds": row["seconds"],
            "": (row["error"] or {}).get("message"),
        }
        for row in rows
    ]
    table(shown, ["run", "pipeline", "state", "started by", "created", "seconds", ""])


def _spelled(line: dict[str, Any]) -> str:
    rest = " ".join(f"{key}={value!r}" for key, value in line.items() if key not in ("time", "level", "event", "step", "exception"))
    return f"{line.get('time', '')} {line.get('level', ''):<7} {line.get('step') or '-':<16} {line.get('event', '')} {rest}"
