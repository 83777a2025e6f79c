"""`frazil generate`: synthetic events from a contract, to stdout, a file or the door."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, say
from frazil.cli.send import Url

if TYPE_CHECKING:
    from frazil.cli.pieces import Piece
    from frazil.contract.generate import Tally

_TICK = 0.05  # seconds between the gulps of a steady rate


def register(app: typer.Typer) -> None:
    app.command()(generate)


def generate(
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="Whose events.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many events.")] = 1_000,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Events per second; default: as fast as it goes.")] = None,
    invalid: Annotated[float, typer.Option(min=0, max=1, help="Share that breaks the contract, every kind alike.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share that is hours late, but good.")] = 0.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share that repeats an earlier event.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="The same seed and --now give the same events; default: a new one each time.")] = None,
    now: Annotated[datetime | None, typer.Option(help="The present of the events, UTC; default: the clock.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write NDJSON here instead of stdout.")] = None,
    send: Annotated[bool, typer.Option("--send", help="Send them to the server.")] = False,
    url: Url = None,
    batch: Annotated[int, typer.Option(min=1, max=1_000_000, help="With --send: most events of a request.")] = 5_000,
    wait: Annotated[bool, typer.Option("--wait", help="With --send: wait until everything has landed, and count.")] = False,
    json: Json = False,
) -> None:
    """Make believable events. The shares are exact: of N events, round(N x share) are of that kind."""
    from frazil.contract.generate import Generator

    chosen = session.project().contract(contract)
    # keys come from the seed: with one default for all, the second run would bring the first one's keys with other times
    seed = secrets.randbelow(2**31) if seed is None else seed
    maker = Generator(chosen, seed=seed, invalid=invalid, late=late, duplicate=duplicate)
    moment = datetime.now(UTC) if now is None else now.replace(tzinfo=UTC)
    events = paced(maker.events(count, now=moment), rate)
    if send:
        from frazil.cli.send import deliver

        pieces = _pieces(events, batch if rate is None else max(1, min(batch, int(rate))))
        deliver(pieces, contract, url, wait=wait, as_json=json, meant=invalid > 0, made=True)
    elif out is not None:
        with out.open("wb") as file:
            file.writelines(events)
    else:
        sys.stdout.buffer.writelines(events)
        sys.stdout.buffer.flush()
    if json and not send:
        emit(_facts(maker.tally, seed)) if out is not None else say(str(_facts(maker.tally, seed)))
    else:
        _told(maker.tally, seed)


def paced(events: Iterable[bytes], rate: float | None) -> Iterator[bytes]:
    """The same events, not faster than `rate` per second, evenly."""
    if rate is None:
        yield from events
        return
    began = time.monotonic()
    for number, event in enumerate(events):
        ahead = number / rate - (time.monotonic() - began)
        if ahead > _TICK:
            time.sleep(ahead)
        yield event


def _pieces(events: Iterable[bytes], size: int) -> Iterator[Piece]:
    from frazil.cli.pieces import Piece

    records: list[bytes] = []
    places: list[str] = []
    for number, event in enumerate(events, start=1):
        records.append(event.rstrip(b"\n"))
        places.append(f"generated:{number}")
        if len(records) == size:
            yield Piece(records, places, "ndjson")
            records, places = [], []
    if records:
        yield Piece(records, places, "ndjson")


def _facts(tally: Tally, seed: int) -> dict[str, object]:
    counts = {"plain": tally.plain, "late": tally.late, "duplicate": tally.duplicate, "invalid": tally.invalid}
    return {"seed": seed, "total": tally.total, "distinct": tally.distinct, **counts, "kinds": dict(tally.kinds)}


def _told(tally: Tally, seed: int) -> None:
    words = (
        f"{tally.total:,} generated: {tally.plain:,} plain, {tally.late:,} late, {tally.duplicate:,} duplicates, {tally.invalid:,} invalid"
    )
    say(words + (f" of {len(tally.kinds)} kinds" if tally.kinds else "") + f", seed {seed}")
