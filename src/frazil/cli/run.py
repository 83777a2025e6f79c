"""`frazil run`: one run of a pipeline, here and now; `frazil schedule`: the runs that a clock or a snapshot starts."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, say, table
from frazil.errors import ConfigError

if TYPE_CHECKING:
    from frazil.pipeline import StepState
    from frazil.pipeline.execution import Execution
    from frazil.pipeline.news import Heads
    from frazil.pipeline.store import Run
    from frazil.project import Project

_MARKS = {"running": "…", "succeeded": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]", "blocked": "[yellow]![/]"}
CANCELLED = 130


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(schedule)


def run(
    pipeline: Annotated[str, typer.Argument(help="pipeline (everything in order), transform, quality or maintain.")],
    step: Annotated[list[str] | None, typer.Option("--step", help="Only this step; may be repeated.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="How often a step is tried; default: the settings'.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Go on with the run of this name, or give a new one its name.")] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Build every model anew, not from what landed since.")] = False,
    attend: Annotated[bool, typer.Option("--attend", hidden=True)] = False,
    json: Json = False,
) -> None:
    """Run a pipeline. Exit 0: it succeeded; 1: the answer is no (a test or a check failed); 3: a step failed; 75: try again.

    While another run of the pipeline works this one waits; with one waiting already, it follows that one.
    """
    from frazil import telemetry
    from frazil.pipeline import find
    from frazil.pipeline.execution import store_of

    telemetry.configure(level="info" if attend else "warning")
    project, chosen = session.project(), find(pipeline)
    only = chosen.chosen(step or [])
    execution = _execution(project, pipeline, attempts, attend=attend, quiet=json or attend)
    store = store_of(project.settings)
    if id is not None:
        found = _named(project, pipeline, id, outside=bool(step))
        _answer(execution.run(found.id, only if step else ()), json=json)
        return
    cause = {"kind": "manual"} | ({"full_refresh": True} if full_refresh else {})
    if step or full_refresh:  # none that waits in the queue would do
        found, new = store.create(chosen, cause, process=os.getpid()), True
    else:
        found, new = store.join(chosen, cause, process=os.getpid())
    _answer(execution.run(found.id, only if step else ()) if new else _follow(project, found), json=json)


def schedule() -> None:
    """Start pipelines by clock and by new snapshots, as frazil.toml says, and what others put into the queue."""
    from frazil import telemetry
    from frazil.pipeline.scheduler import Scheduler

    telemetry.configure()
    project = session.project()
    if session.chosen.profile is not None:
        os.environ["FRAZIL_PROFILE"] = session.chosen.profile  # its runs are processes of their own
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    raise typer.Exit(Scheduler(project.settings, lambda known: _news(project, known)).run(stop))


def _news(project: Project, known: Heads) -> Heads | None:
    from frazil.pipeline.heads import news

    return news(project.lake, known)


def _execution(project: Project, pipeline: str, attempts: int | None, *, attend: bool, quiet: bool) -> Execution:
    from frazil.engine.steps import actions
    from frazil.pipeline import find
    from frazil.pipeline.execution import Execution, store_of
    from frazil.pipeline.heads import heads
    from frazil.pipeline.runner import Runner, Tries

    tries = Tries(attempts or getattr(project.settings.pipelines, pipeline).attempts)
    runner = Runner(
        store_of(project.settings),
        find(pipeline),
        actions(project),
        heads=lambda: heads(project.lake),
        tries=tries,
        told=(lambda name, state, message: None) if quiet else _tell,
        settings=project.settings,
    )
    return Execution(project.settings, runner, attend=attend, waiting=lambda ahead: None if quiet else _wait(ahead))


def _named(project: Project, pipeline: str, id: str, *, outside: bool) -> Run:
    """The run of this id. Steps one by one under a name of one's own are how another orchestrator drives a run."""
    from frazil.pipeline import find
    from frazil.pipeline.execution import store_of

    store = store_of(project.settings)
    found = store.find(id)
    if found is None:
        cause = {"kind": os.environ.get("FRAZIL_RUN_CAUSE", "outside" if outside else "manual")}
        found = store.create(find(pipeline), cause, id=id, driver="outside" if outside else "frazil", process=os.getpid())
    if found.pipeline != pipeline:
        hint = f"`frazil run {found.pipeline} --id {id}`"
        raise ConfigError(f"run {id} is of pipeline {found.pipeline}", code="run.other_pipeline", hint=hint, run=id)
    return found


def _follow(project: Project, found: Run) -> Run:
    """Wait for the end of a run that another process runs."""
    from frazil.pipeline.execution import store_of

    say(f"run {found.id} waits in the queue already; following it")
    store = store_of(project.settings)
    while not (now := store.get(found.id)).ended and now.state != "interrupted":
        time.sleep(0.2)
    return now


def _answer(done: Run, *, json: bool) -> None:
    from frazil.pipeline.runner import failure

    if json:
        emit(done.as_dict())
    else:
        rows = [asdict(one) | {"step": one.name, "": one.message} for one in done.steps]
        table(rows, ["step", "state", "attempts", "seconds", ""])
        say(f"run [bold]{done.id}[/] {done.state}" + ("" if done.seconds is None else f" after {done.seconds:,.1f} s"))
    error = failure(done)
    if error is not None:
        raise error
    if done.state in ("cancelled", "interrupted"):
        raise typer.Exit(CANCELLED)


def _tell(name: str, state: StepState, message: str) -> None:
    from rich.markup import escape

    if state != "running" or message:
        say(f"  {_MARKS.get(state, '·')} {name} {escape(message)}")
    else:
        say(f"  … {name}")


def _wait(ahead: Run | None) -> None:
    say("another run works" + ("" if ahead is None else f" ({ahead.id})") + "; waiting for its end")
