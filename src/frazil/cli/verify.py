"""`frazil verify`: do the books of every contract balance?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from frazil.cli import session
from frazil.cli.output import Json, data, emit, progress, say, table
from frazil.errors import EXIT_NO, ConfigError

if TYPE_CHECKING:
    from frazil.sink.books import Books

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    contract: Annotated[list[str] | None, typer.Option("--contract", "-c", help="Only this contract; may be repeated.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only records received since: 2026-11-20, 2026-11-20T12:00Z, or 90m, 24h, 7d ago.")
    ] = None,
    json: Json = False,
) -> None:
    """Count every record: in the log = landed + dead + duplicates + pending, each in one place.

    Exit 1 if a single record is missing or doubled; 0 with records pending.
    """
    from frazil.sink.books import verify as balance

    project = session.project()
    contracts = [project.contract(name) for name in contract] if contract else list(project.contracts.values())
    moment = None if since is None else instant(since)
    books: list[Books] = []
    with progress("contracts") as bar:
        for one in bar.track(contracts, description="counting"):
            reader = project.log_reader(one)
            try:
                books.append(balance(one, reader, project.sink(one), project.dead_letters, moment))
            finally:
                reader.close()
    if json:
        emit([one.as_dict() for one in books])
    else:
        show(books)
    if not all(one.balanced for one in books):
        raise typer.Exit(EXIT_NO)


def show(books: list[Books]) -> None:
    """The balance as a table, then every discrepancy."""
    rows = [
        {
            "contract": one.contract,
            "in the log": one.records,
            "= landed": one.landed,
            "+ dead": one.dead,
            "+ duplicates": one.duplicates,
            "+ pending": one.pending,
            "open letters": one.open,
            "balanced": one.balanced,
        }
        for one in books
    ]
    table(rows, ["contract", "in the log", "= landed", "+ dead", "+ duplicates", "+ pending", "open letters", "balanced"])
    for one in books:
        for finding in one.findings:
            span = f"{finding.first}" if finding.first == finding.last else f"{finding.first}..{finding.last}"
            data().print(f"{one.contract}: {finding.fault} {finding.log}/{finding.partition}/{span}", markup=False, style="red")
        for difference in one.differences:
            said = f"totals say {difference.name} {difference.told:,}, the tables hold {difference.counted:,}"
            data().print(f"{one.contract}: {said} (log {difference.log})", markup=False, style="red")
    if all(one.balanced for one in books):
        say("[green]every record is in exactly one place[/]")
    else:
        say("[bold red]the books do not balance[/]; `frazil tables history` shows what was committed, `frazil doctor` what to do")


def instant(text: str) -> datetime:
    """A moment, UTC: a date, an RFC 3339 time (UTC where it has no zone), or an age such as `90m`.

    Raises:
        ConfigError: `usage.bad_time`.
    """
    age = re.fullmatch(r"(\d+)\s*(s|min|m|h|d)", text.strip())
    if age is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a time", code="usage.bad_time", hint="write 2026-11-20, 2026-11-20T12:00Z or 24h") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
