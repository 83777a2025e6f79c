"""`frazil send`: files or stdin to a server, with a summary of what was refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frazil.cli import session
from frazil.cli.output import Json, cell, data, emit, progress, say, size, table
from frazil.errors import EXIT_NO, ConfigError

if TYPE_CHECKING:
    from frazil.cli.pieces import Piece
    from frazil.cli.sender import Sender

Contract = Annotated[str | None, typer.Option("--contract", "-c", help="Contract the events are meant for; default: the project's.")]
Url = Annotated[str | None, typer.Option(help="Server; default: the project's, http://127.0.0.1:8080.")]


def register(app: typer.Typer) -> None:
    app.command()(send)


def send(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="NDJSON, JSON, CSV, Avro or Parquet files; - is stdin.")],
    contract: Contract = None,
    url: Url = None,
    format: Annotated[str | None, typer.Option(help="ndjson, json, csv, avro or parquet; default: by the file's name.")] = None,
    csv: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="How CSV is spelled: delimiter, quote, header=absent, columns, null.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most events of a request.")] = 5_000,
    batch_bytes: Annotated[int, typer.Option(min=1_024, help="Most bytes of a request.")] = 4 * 1024 * 1024,
    on_invalid: Annotated[
        str, typer.Option(help="dead_letter: bad records can be mended later. reject: nothing of such a request is stored.")
    ] = "dead_letter",
    from_line: Annotated[int, typer.Option(min=1, help="Start at this line of an NDJSON or CSV file.")] = 1,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything has landed, and count.")] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds without an answer after which to give up.")] = 60.0,
    json: Json = False,
) -> None:
    """Send events. Exit 0: all accepted; 1: some rejected; 75: not finished, send the rest later."""
    from frazil.cli.pieces import Cut

    if on_invalid not in ("dead_letter", "reject"):
        raise typer.BadParameter("use dead_letter or reject", param_hint="--on-invalid")
    dialect = _dialect(csv or [])
    cut = Cut(batch, batch_bytes, from_line, dialect)
    pieces = (piece for file in files for piece in cut.pieces(file, format))
    total = sum(Path(file).stat().st_size for file in files if file != "-" and Path(file).is_file())
    reject = on_invalid == "reject"
    deliver(pieces, contract, url, reject=reject, wait=wait, patience=patience, as_json=json, total=total or None, dialect=dialect)


def _dialect(named: list[str]) -> dict[str, list[str]]:
    """`NAME=VALUE` options as the door's parameters."""
    dialect: dict[str, list[str]] = {}
    for one in named:
        name, is_there, value = one.partition("=")
        if name not in ("delimiter", "quote", "header", "columns", "null") or not is_there:
            raise typer.BadParameter("use delimiter=, quote=, header=absent, columns=a,b or null=", param_hint="--csv")
        if name in ("delimiter", "quote") and len(value) > 1:
            raise typer.BadParameter(f"{name} is one character", param_hint="--csv")
        dialect.setdefault(name, []).append(value)
    return dialect


def deliver(
    pieces: Iterator[Piece],
    contract: str | None,
    url: str | None,
    *,
    reject: bool = False,
    wait: bool = False,
    patience: float = 60.0,
    as_json: bool = False,
    total: int | None = None,
    meant: bool = False,
    made: bool = False,
    dialect: dict[str, list[str]] | None = None,
) -> None:
    """Send pieces with a progress bar (`total` bytes), print the summary, exit 1 when something was rejected and not `meant` to be.

    `made`: the events lie in no file, so nothing can be sent again from a line on.
    """
    from frazil.cli.sender import Sender

    address, name = _where(contract, url)
    began = time.monotonic()
    with progress("bytes") as bar:
        task = bar.add_task(f"sending to {address}", total=total)
        sender = Sender(
            address,
            name,
            reject=reject,
            patience=patience,
            dialect=dialect,
            made=made,
            waiting=lambda why, seconds: say(f"[yellow]{why}; trying again in {seconds:.1f} s[/]"),
        )
        for piece in pieces:
            sender.send(piece)
            bar.update(task, completed=sender.tally.bytes)
        verdict = sender.landed(time.monotonic() + 120.0) if wait else None
    sender.close()
    _summary(sender, name, address, time.monotonic() - began, verdict, as_json=as_json)
    if sender.tally.rejected and not meant:
        raise typer.Exit(EXIT_NO)


def _where(contract: str | None, url: str | None) -> tuple[str, str]:
    """Server and contract: as given, else as the project says."""
    if url is not None and contract is not None:
        return url.rstrip("/"), contract
    try:
        settings = session.settings()
    except ConfigError:
        if contract is None:
            raise
        return "http://127.0.0.1:8080", contract
    chosen = contract or settings.default_contract
    if chosen is None:
        chosen = session.project().contract(None).name
    return (url or f"http://{settings.api.host}:{settings.api.port}").rstrip("/"), chosen


def _summary(sender: Sender, contract: str, address: str, seconds: float, verdict: dict[str, int] | None, *, as_json: bool) -> None:
    tally = sender.tally
    if as_json:
        facts = {name: value for name, value in asdict(tally).items() if name not in ("refused", "jobs")}
        emit(
            {
                "contract": contract,
                "url": address,
                **facts,
                "seconds": round(seconds, 3),
                "refused": [asdict(one) for one in tally.refused.values()],
                "verdict": verdict,
                "jobs": tally.jobs,
            }
        )
        return
    rate = tally.received / seconds if seconds else 0.0
    words = f"{tally.received:,} events in {tally.requests:,} requests, {size(tally.bytes)}, {seconds:,.1f} s ({rate:,.0f}/s)"
    say(f"{contract}: {words}" + (f", {tally.retries:,} retries" if tally.retries else ""))
    out = data()
    out.print(f"accepted {tally.accepted:,}  rejected {tally.rejected:,}")
    if verdict is not None:
        out.print("  ".join(f"{name} {cell(count)}" for name, count in verdict.items()))
    if tally.refused:
        out.print()
        rows = [
            {"count": one.count, "code": one.code, "says": one.message, "first at": one.examples[0], "hint": one.hint}
            for one in sorted(tally.refused.values(), key=lambda one: -one.count)
        ]
        table(rows, ["count", "code", "says", "first at", "hint"])
    listed = sum(one.count for one in tally.refused.values())
    if tally.violations > listed:
        say(f"[dim]{tally.violations - listed:,} more violations are not listed here; `frazil dead list` groups all of them[/]")
