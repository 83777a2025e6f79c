"""`frazil tables`: the Iceberg tables, their versions, their upkeep."""

from __future__ import annotations

import json as spelling
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import DryRun, Json, age, data, emit, say, size, table
from frazil.errors import ConfigError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from frazil.table.catalog import Lake

Name = Annotated[str, typer.Argument(metavar="TABLE", help="Such as raw_events; a contract's name will do.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Iceberg tables: list, show, history, maintain, rewind.", no_args_is_help=True)
    for command in (listed, show, history, maintain, rewind):
        group.command("list" if command is listed else command.__name__)(command)
    app.add_typer(group, name="tables")


def listed(json: Json = False) -> None:
    """All tables: rows, files, size, last commit."""
    lake = session.project().lake
    rows = [measured(found) for name in lake.names() if (found := lake.find(name)) is not None]
    if json:
        emit(rows)
        return
    shown = [{**row, "size": size(row["bytes"]), "last commit": age(row["committed_at"])} for row in rows]
    table(shown, ["table", "rows", "files", "size", "snapshots", "last commit"])


def show(name: Name, json: Json = False) -> None:
    """One table: columns, partitioning, position, totals, properties."""
    from frazil.table.snapshots import standing

    found = _table(session.project().lake, name)
    facts: dict[str, Any] = measured(found)
    facts["location"] = found.location()
    facts["metadata"] = found.metadata_location
    facts["partitioned_by"] = str(found.spec().fields[0].name) if found.spec().fields else None
    facts["columns"] = [
        {"id": one.field_id, "name": one.name, "type": str(one.field_type), "required": one.required, "doc": one.doc}
        for one in found.schema().fields
    ]
    if name.startswith("raw_") or found.name()[-1].startswith("raw_"):
        standings = standing(found.metadata)
        facts["position"] = spelling.loads(standings.position.to_json())
        facts["totals"] = {log: _totals(totals) for log, totals in standings.totals.items()}
    facts["properties"] = dict(found.properties)
    if json:
        emit(facts)
        return
    out = data()
    for key in ("table", "rows", "files", "bytes", "snapshots", "partitioned_by", "location", "metadata", "position", "totals"):
        if key in facts:
            out.print(f"{key:<16}{facts[key]:,}" if isinstance(facts[key], int) else f"{key:<16}{facts[key]}", markup=False)
    out.print()
    table(facts["columns"], ["id", "name", "type", "required", "doc"])


def history(name: Name, last: Annotated[int, typer.Option(min=1, help="Newest commits to show.")] = 30, json: Json = False) -> None:
    """Every commit of a table, expired ones included: the audit log. One JSON object per line with --json."""
    from frazil.table.history import history as entries

    lake = session.project().lake
    rows = [entry.as_dict() for entry in entries(lake, _named(lake, name))][-last:]
    if json:
        for row in rows:
            emit(row)
        return
    columns = ["sequence", "snapshot_id", "committed_at", "kind", "landed", "dead", "duplicates", "files_added", "files_removed"]
    table([{**row, "snapshot_id": str(row["snapshot_id"])} for row in rows], columns)


def maintain(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TABLE…]", help="Default: all tables.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compact small files, expire old snapshots, apply the log's retention, delete orphans. Changes no row.

    Orphans are files that no version of any table names, older than three days; the first run only counts them.
    """
    from frazil.engine.upkeep import Keeper

    project = session.project()
    chosen = [_named(project.lake, name) for name in names] if names else None
    code, rows = Keeper(project, dry_run=dry_run).report(chosen, force=True)
    if json:
        emit(rows)
    else:
        for row in rows:
            told = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("table", "job"))
            data().print(f"{row['table']:<24}{row['job']:<10}{told}", markup=False)
        if dry_run:
            say("nothing was changed")
    if code:
        raise typer.Exit(code)


def rewind(
    name: Name,
    snapshot: Annotated[int, typer.Option("--to", help="Snapshot to go back to; `frazil tables history` lists them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Show an older version again, as a new commit. Records after it are landed again by the next processing."""
    from frazil.table import rewind as rewinding

    lake = session.project().lake
    chosen = _named(lake, name)
    plan = rewinding.plan(lake, chosen, snapshot)
    facts = plan.as_dict()
    if not json:
        say(
            f"{chosen} goes back to snapshot {snapshot}: {facts['records_again']:,} records will be decided again"
            f" ({facts['landed']:,} landed rows leave the table until then)"
        )
    if not dry_run:
        if not yes and not json and not typer.confirm("rewind?", err=True):
            raise typer.Exit(1)
        landed = rewinding.rewind(lake, chosen, snapshot, head=plan.head)
        facts["snapshot_id"] = landed.snapshot.snapshot_id
    if json:
        emit(facts)
    else:
        say("nothing was changed" if dry_run else f"[green]done[/]: snapshot {facts['snapshot_id']}")


def measured(found: Table) -> dict[str, Any]:
    """What the head's summary says of a table's size."""
    from datetime import UTC, datetime

    head = found.current_snapshot()
    summary = head.summary.additional_properties if head is not None and head.summary is not None else {}
    return {
        "table": found.name()[-1],
        "rows": int(summary.get("total-records", 0)),
        "files": int(summary.get("total-data-files", 0)),
        "bytes": int(summary.get("total-files-size", 0)),
        "snapshots": len(found.metadata.snapshots),
        "committed_at": None if head is None else datetime.fromtimestamp(head.timestamp_ms / 1000, UTC),
        "snapshot_id": None if head is None else head.snapshot_id,
    }


def _totals(totals: Any) -> dict[str, int]:
    return {"records": totals.records, "landed": totals.landed, "dead": totals.dead, "duplicates": totals.duplicates}


def _named(lake: Lake, name: str) -> str:
    """The table's full name: `events` is `raw_events` where there is no table `events`."""
    known = lake.names()
    for one in (name, f"raw_{name}", name.rpartition(".")[2]):
        if one in known:
            return one
    raise ConfigError(f"no table {name}", code="tables.unknown", hint=f"tables: {', '.join(known) or 'none yet'}", table=name)


def _table(lake: Lake, name: str) -> Table:
    found = lake.find(_named(lake, name))
    if found is None:
        raise ConfigError(f"no table {name}", code="tables.unknown", hint="it was there a moment ago; look again", table=name)
    return found
