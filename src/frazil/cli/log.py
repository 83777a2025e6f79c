"""`frazil log`: the logs and how far the tables are behind them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import DryRun, Json, emit, say, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Logs and positions.", no_args_is_help=True)
    group.command()(show)
    group.command()(switch)
    app.add_typer(group, name="log")


def show(name: Annotated[str | None, typer.Argument(metavar="[CONTRACT]", help="Default: all.")] = None, json: Json = False) -> None:
    """Each log's identity, first and last record, the table's position in it, and the lag."""
    project = session.project()
    contracts = [project.contract(name)] if name else list(project.contracts.values())
    rows: list[dict[str, Any]] = []
    for contract in contracts:
        reader = project.log_reader(contract)
        try:
            position = project.sink(contract).head().position
            oldest, lag = reader.oldest(), reader.lag(position)
            for partition, end in reader.ends().items():
                last = position.last(reader.log_id, partition)
                rows.append(
                    {
                        "contract": contract.name,
                        "log": reader.log_id,
                        "partition": partition,
                        "first": oldest.get(partition, 0),
                        "last": end,
                        "position": last,
                        "lag": lag,
                    }
                )
        finally:
            reader.close()
    if json:
        emit(rows)
    else:
        table(rows, ["contract", "partition", "first", "last", "position", "lag", "log"])


def switch(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the log is to be, such as kafka://broker:9092.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Move from the embedded log to another: seal it, land what it holds, read the new one from then on. Safe to repeat.

    Clients are answered 503 from the seal until the API is started again with the new log; what was acknowledged before is landed.
    Frazil's own settings file is changed at the end. Exit 75: not finished, run it again.
    """
    from frazil import telemetry
    from frazil.engine import switch as switching

    telemetry.configure()
    project = session.project()
    new = switching.moved(project, url)
    if dry_run:
        rows = [asdict(one) for one in switching.plan(project, new)]
    else:
        rows = [asdict(one) for one in switching.switch(project, new, told=(lambda said: None) if json else say)]
        switching.write_url(project.settings.root / "frazil.toml", url)
    if json:
        emit(rows)
        return
    table(rows, ["contract", "waiting", "adopted", "old", "new"])
    say("nothing was changed" if dry_run else f"frazil.toml names {url}: start `frazil up` again")
