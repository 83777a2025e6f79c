"""`frazil trace`: one event from request to mart row."""

from __future__ import annotations

from typing import Annotated

import typer

from frazil.cli import session
from frazil.cli.output import Json, data, emit


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Value of the contract's key, or a place: log/partition/offset.")],
    contract: Annotated[str | None, typer.Option("--contract", "-c", help="Only this contract.")] = None,
    json: Json = False,
) -> None:
    """Show one event's life: request, log position, verdict, file and snapshot, mart rows, checks. Exit 1 for an unknown id."""
    from frazil.trace import trace as traced

    found = traced(session.project(), event_id, contract=contract)
    if json:
        emit(found)
        return
    out = data()
    for record in found["records"]:
        out.print(f"{record['contract']}: {record['verdict']}", style="bold", markup=False)
        for name in ("place", "request", "received_at", "contract_version", "stage", "first", "replay", "table", "file"):
            if record.get(name) is not None:
                out.print(f"  {name:<17}{record[name]}", markup=False)
        if record.get("snapshot"):
            out.print(f"  {'snapshot':<17}{record['snapshot']['id']} at {record['snapshot']['committed_at']}", markup=False)
        for violation in record.get("violations") or []:
            out.print(f"  {violation['path'] or '/'}: {violation['code']}: {violation['message']}", markup=False)
    for mart in found["marts"]:
        out.print(f"{mart['table']} (snapshot {mart['snapshot_id']})", style="bold", markup=False)
        for name, value in mart["row"].items():
            out.print(f"  {name:<17}{value}", markup=False)
    for one in found["checks"]:
        out.print(f"checks of {one['table']}: {one['passed']} of {one['checks']} passed, run {one['run_id']}", markup=False)
        for failed in one["failed"] or []:
            out.print(f"  {failed}", markup=False)
