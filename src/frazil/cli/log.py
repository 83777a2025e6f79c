"""`frazil log`: the logs and how far the tables are behind them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Logs and positions.", no_args_is_help=True)
    group.command()(show)
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
