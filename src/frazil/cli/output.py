"""How commands speak: data on stdout, talk on stderr, the same facts as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
_WIDE = 4_000
_WORDS = ("value", "says", "hint", "doc", "description", "message", "")
"""Columns of words, which are known elsewhere in full; the first is shortened first."""
_LEAST = 16  # characters that say something

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")]


def data(*, wide: bool = False) -> Console:
    """The console for data. Not cut to a width when stdout is no terminal, or when it is to be `wide`."""
    from rich.console import Console

    if sys.stdout.isatty() and not wide:
        return Console(file=sys.stdout, highlight=False, soft_wrap=True)
    # rich takes the width of a dumb terminal for 80, unless it is told the height, too
    return Console(file=sys.stdout, highlight=False, soft_wrap=True, width=_WIDE, height=50)


def talk() -> Console:
    """The console for talk."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of talk, rich markup allowed."""
    talk().print(text)


def emit(value: object) -> None:
    """One JSON document on stdout, followed by a line break."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False) + "\n")


def plain(value: object) -> object:
    """JSON-ready spelling of what JSON does not know: RFC 3339 times, seconds, text of bytes where it is UTF-8."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Rows as an aligned table on stdout: numbers to the right with thousands separators, nothing for None.

    On a terminal that is too narrow words are shortened; ids, codes and numbers never are: they are there to be copied.
    """
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, box=None, header_style="bold", title_justify="left", pad_edge=False, show_edge=False)
    listed = list(rows)
    for name in columns:
        numbers = any(isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool) for row in listed)
        drawn.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    cells = [[cell(row.get(name)) for name in columns] for row in listed]
    if sys.stdout.isatty():
        _fit(cells, columns, shutil.get_terminal_size().columns)
    for texts in cells:
        drawn.add_row(*map(Text, texts))
    data(wide=True).print(drawn)


def _fit(cells: list[list[str]], columns: Sequence[str], width: int) -> None:
    """Shorten the words of a table, in place, until its lines are at most `width` wide or there is nothing left to shorten."""
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    over = sum(widths) + 2 * (len(columns) - 1) - width
    for name in _WORDS:
        if over <= 0 or name not in columns:
            continue
        at = columns.index(name)
        keep = min(widths[at], max(_LEAST, widths[at] - over))
        over -= widths[at] - keep
        for texts in cells:
            if cell_len(texts[at]) > keep:
                texts[at] = set_cell_size(texts[at], keep - 1) + "…"


def cell(value: object) -> str:
    """One value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value.tzinfo else value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=plain, ensure_ascii=False)
    return str(value)


def size(count: int | float) -> str:
    """Bytes in binary units, three digits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def age(moment: datetime | None) -> str:
    """How long ago, in the largest unit that says enough."""
    if moment is None:
        return "never"
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit} ago"
    return f"{seconds:,.0f} s ago"


def progress(unit: str = "events") -> Progress:
    """A progress bar on stderr; invisible when no terminal is attached."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=talk(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
