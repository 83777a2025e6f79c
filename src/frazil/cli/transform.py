"""`frazil transform`: dbt over the warehouse, with what `frazil run transform` does not let you choose."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, say, table
from frazil.errors import EXIT_NO

if TYPE_CHECKING:
    from frazil.warehouse import Transformation


def register(app: typer.Typer) -> None:
    app.command()(transform)


def transform(
    only: Annotated[
        Literal["build", "seed", "run", "test", "docs", "parse", "compile"],
        typer.Argument(metavar="[STEP]", help="build (seeds, models and tests), or one of: seed, run, test, docs, parse, compile."),
    ] = "build",
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="dbt selector (`fact_events+`, `tag:serving`); repeat.")
    ] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Build everything anew, not from what landed since.")] = False,
    target: Annotated[str | None, typer.Option(help="Output of profiles.yml; default: the setting warehouse.target.")] = None,
    json: Json = False,
) -> None:
    """Build the warehouse's tables from what has landed, and test them. Exit 1 when a model or a test failed."""
    from frazil.warehouse.run import transform as transformed

    done = transformed(session.project().settings, full_refresh=full_refresh, select=select or (), target=target, command=only)
    if json:
        emit({**asdict(done), "failed": [one.name for one in done.failed]})
    else:
        _show(done)
    if done.failed:
        raise typer.Exit(EXIT_NO)


def _show(done: Transformation) -> None:
    shown = [one for one in done.nodes if one.kind != "test" or one.outcome != "success"]
    if shown:
        columns = ["name", "kind", "outcome", "seconds", "rows"]
        how = [one.message if one.outcome == "success" else "" for one in shown]
        rows = [{**{name: getattr(one, name) for name in columns}, "how": said} for one, said in zip(shown, how, strict=True)]
        table(rows, [*columns, "how"])
    for one in done.nodes:
        if one.outcome in ("error", "fail", "warn"):
            say(f"[bold]{one.name}[/]: {one.outcome}")
            say(one.message.replace("[", "\\["))
    tests = [one for one in done.nodes if one.kind == "test"]
    good = f"{sum(one.outcome == 'success' for one in tests)} of {len(tests)} tests good, " if tests else ""
    say(f"{len(done.nodes) - len(tests)} models and seeds, {good}{done.seconds:.1f} s on {done.target}")
