"""`frazil quality`: suites of checks, their runs and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, data, emit, say, table, talk
from frazil.errors import EXIT_NO

if TYPE_CHECKING:
    from frazil.quality.suite import Check

Suites = Annotated[list[str] | None, typer.Argument(metavar="[SUITE]…", help="Names of suites; default all.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Checks of tables: list, show, history, run.", no_args_is_help=True)
    for command in (listed, show, history, run):
        group.command("list" if command is listed else command.__name__)(command)
    app.add_typer(group, name="quality")


def listed(suites: Suites = None, json: Json = False) -> None:
    """All checks: those that follow from the contracts, and the project's own. Names of expectations are looked up when they run."""
    from frazil.quality.run import chosen, suites_of

    checks = [_told(one) for one in chosen(suites_of(session.settings()), suites or ())]
    if json:
        emit(checks)
        return
    table(checks, ["suite", "table", "column", "expectation", "severity", "origin"])


def show(
    id: Annotated[str | None, typer.Argument(metavar="[RUN_ID]", help="A run of checks; default the newest.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Passed checks, too.")] = False,
    json: Json = False,
) -> None:
    """One run: its score, what failed, and the keys of failing rows."""
    from frazil.quality.past import run as past

    found = past(session.project().lake, id)
    if json:
        emit(found)
        return
    _shown(found, every=every)


def history(
    suite: Annotated[str | None, typer.Option("--suite", "-s", help="Only results of this suite.")] = None,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Newest runs to show.")] = 30,
    json: Json = False,
) -> None:
    """Runs of checks, the newest first, with their scores."""
    from frazil.quality.past import runs

    rows = runs(session.project().lake, suite=suite, last=last)
    if json:
        emit(rows)
        return
    spelled = [{**row, "score": f"{row['score']:.1%}", "suites": ", ".join(row["suites"])} for row in rows]
    table(spelled, ["run_id", "started_at", "suites", "checks_run", "passed", "critical", "warnings", "score"])


def run(
    suites: Suites = None,
    tables: Annotated[list[str] | None, typer.Option("--table", "-t", help="Only checks of this table; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Run suites over the lake: keep the results, write reports and pages, tell what is critical. Exit 1 when a critical check failed."""
    from frazil.quality.past import run as past
    from frazil.quality.run import check

    project = session.project()
    with talk().status("running checks"):  # Great Expectations alone takes seconds to load
        done = check(project.settings, suites=suites or (), tables=tables)
    if not done.checks:
        say("no check has a table that is there yet: land events, then `frazil transform`")
    if json:
        emit(past(project.lake, done.run_id) if done.checks else {"run_id": done.run_id, "checks": [], "score": 1.0})
    elif done.checks:
        _shown(past(project.lake, done.run_id), every=False)
        say(f"pages: {project.settings.state_dir / 'quality' / 'docs' / 'index.html'}")
    if done.critical:
        raise typer.Exit(EXIT_NO)


def _told(one: Check) -> dict[str, Any]:
    """A check, JSON-ready."""
    return {
        "suite": one.suite,
        "table": one.table,
        "column": one.column,
        "expectation": one.expectation,
        "severity": one.severity,
        "arguments": dict(one.kwargs),
        "key": list(one.key),
        "about": one.about,
        "origin": one.origin,
    }


def _shown(found: dict[str, Any], *, every: bool) -> None:
    out = data()
    said = f"{found['passed']} of {found['checks_run']} checks passed, score {found['score']:.1%}"
    out.print(f"run {found['run_id']} at {found['started_at']}: {said}", markup=False)
    for one in found["checks"]:
        if one["passed"] and not every:
            continue
        out.print(f"{'✓' if one['passed'] else '✗'} {one['severity']:<9}{one['suite']}: {one['message']}", markup=False)
        for row in one["failing"][:5]:
            out.print(f"    {' '.join(f'{name}={value}' for name, value in row.items())}", markup=False)
        if len(one["failing"]) > 5:
            out.print(f"    … {len(one['failing']) - 5} more keys in .frazil/reports/{found['run_id']}", markup=False)
