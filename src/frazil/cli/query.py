"""`frazil query`: read-only SQL over the lake."""

from __future__ import annotations

import csv
import itertools
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from frazil.cli import session
from frazil.cli.output import Json, plain, say, table

if TYPE_CHECKING:
    from frazil.engine.query import Answer

_SHOWN = 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def register(app: typer.Typer) -> None:
    app.command()(query)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, WITH, DESCRIBE, SUMMARIZE or EXPLAIN; - reads it from stdin.")],
    format: Annotated[Literal["table", "csv", "json", "ndjson"], typer.Option("--format", "-f", help="How to print the rows.")] = "table",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which to break off.")] = 60.0,
    json: Json = False,
) -> None:
    """Ask the lake. Tables are raw_<contract>, dead_letters and commit_history; times are UTC."""
    from frazil.engine.query import Warehouse

    began = time.monotonic()
    warehouse = Warehouse(session.project().lake)
    try:
        answer = warehouse.ask(sys.stdin.read() if sql == "-" else sql, timeout=timeout)
        _PRINTERS["json" if json else format](answer)
        if format == "table" and not json:
            say(f"[dim]{time.monotonic() - began:.2f} s[/]")
    finally:
        warehouse.close()


def _as_table(answer: Answer) -> None:
    names = _distinct(answer.columns)
    rows = [dict(zip(names, row, strict=True)) for row in itertools.islice(answer.rows(_SHOWN + 1), _SHOWN + 1)]
    table(rows[:_SHOWN], names)
    if len(rows) > _SHOWN:
        say(f"[dim]the first {_SHOWN} rows; add LIMIT, or use --format csv for all[/]")


def _as_csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_csv_cell(value) for value in row] for row in answer.rows())


def _as_json(answer: Answer) -> None:
    names = _distinct(answer.columns)
    sys.stdout.write("[")
    for index, row in enumerate(answer.rows()):
        sys.stdout.write(("," if index else "") + "\n" + _json_row(names, row))
    sys.stdout.write("\n]\n")


def _as_ndjson(answer: Answer) -> None:
    names = _distinct(answer.columns)
    for row in answer.rows():
        sys.stdout.write(_json_row(names, row) + "\n")


_PRINTERS = {"table": _as_table, "csv": _as_csv, "json": _as_json, "ndjson": _as_ndjson}


def _json_row(names: Iterable[str], row: tuple[Any, ...]) -> str:
    return json.dumps(dict(zip(names, row, strict=True)), default=plain, ensure_ascii=False)


def _csv_cell(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay numbers."""
    if isinstance(value, int | float) or value is None:
        return value
    text = (
        value if isinstance(value, str) else str(plain(value)) if not isinstance(value, dict | list) else json.dumps(value, default=plain)
    )
    return f"'{text}" if text.startswith(_FORMULA) else text


def _distinct(names: list[str]) -> list[str]:
    """Column names made unique: the second `a` is `a_2`."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
