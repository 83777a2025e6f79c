"""`frazil windows`: live windows, their results, what came too late."""

from __future__ import annotations

import json as spelling
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, table

if TYPE_CHECKING:
    from data_processor_rs import WindowReader

    from frazil.contract.windows import WindowSpec

Name = Annotated[str, typer.Argument(metavar="WINDOW", help="A name in windows.yaml.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Most rows.")]
Final = Annotated[bool, typer.Option("--final", help="Only final results.")]
STATES = ("provisional", "final", "merged")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Live windows: list, show, late.", no_args_is_help=True)
    group.command("list")(listed)
    group.command("show")(show)
    group.command("late")(late)
    app.add_typer(group, name="windows")


def listed(json: Json = False) -> None:
    """All windows: what they are, how far they are, how many events came too late. Checks windows.yaml."""
    project = session.project()
    rows = []
    for spec in project.windows.values():
        reader = _reader(spec)
        known = {one[0]: one for one in reader.progress()} if reader is not None else {}
        _, watermark, opened, missed, _ = known.get(spec.name, (spec.name, None, 0, 0, ""))
        facts = {"window": spec.name, "contract": spec.contract, "shape": spec.shape, "emit": spec.emit}
        rows.append({**facts, "watermark": None if watermark is None else _moment(watermark), "open": opened, "late": missed})
    if json:
        emit(rows)
        return
    table(rows, ["window", "contract", "shape", "emit", "watermark", "open", "late"])


def show(name: Name, limit: Limit = 20, final: Final = False, json: Json = False) -> None:
    """The newest results of a window, newest last."""
    spec = session.project().window(name)
    reader = _reader(spec)
    found = [] if reader is None else reader.changes(0, window=name, limit=1_000_000)
    kept = [one for one in found if STATES[one[6]] == "final" or not final][-limit:]
    rows = [
        (
            {"start": _moment(start), "end": _moment(end), **dict(zip(spec.key, spelling.loads(key), strict=True))},
            str(values),
            {"revision": revision, "state": STATES[state]},
        )
        for _, _, start, end, key, revision, state, values, _ in kept
    ]
    if json:
        # spelled from its parts: numbers keep every digit, which a double would not
        parts = [[spelling.dumps(head, ensure_ascii=False), values, spelling.dumps(tail)] for head, values, tail in rows]
        sys.stdout.write("[" + ", ".join("{" + ", ".join(one[1:-1] for one in part if one != "{}") + "}" for part in parts) + "]\n")
        return
    shown = [{**head, **spelling.loads(values, parse_float=str), **tail} for head, values, tail in rows]
    table(shown, ["start", "end", *spec.key, *(one.name for one in spec.values), "revision", "state"])


def late(name: Name, limit: Limit = 20, json: Json = False) -> None:
    """Events that came too late for a window, newest first, with the place of their record: they landed all the same."""
    spec = session.project().window(name)
    reader = _reader(spec)
    rows: list[dict[str, Any]] = [
        {"time": _moment(time), "missed": _moment(start), "watermark": _moment(reached), "key": key, "place": "/".join(map(str, place))}
        for key, start, time, reached, place in ([] if reader is None else reader.late(name, limit))
    ]
    if json:
        emit(rows)
        return
    table(rows, ["time", "missed", "watermark", "key", "place"])


def _reader(spec: WindowSpec) -> WindowReader | None:
    """None while nothing was counted yet."""
    from data_processor_rs import WindowReader

    project = session.project()
    file = project.window_file(project.contract(spec.contract))
    return WindowReader(str(file)) if file.exists() else None


def _moment(us: int) -> str:
    from frazil.sink.window_frames import moment

    return moment(us)
