"""The life of one event: where it came in, what was decided, where it lies, what was made of it and how that was checked."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb
from pyiceberg.table import Table

from frazil.batch import Place
from frazil.contract import Contract
from frazil.errors import EXIT_NO, FrazilError
from frazil.project import Project
from frazil.sink.letters import COMMIT, Letters, in_layout, shown
from frazil.sink.repair import settled
from frazil.table import files
from frazil.table.duck import literal, path_of, quoted, view
from frazil.table.history import commit_for, history
from frazil.table.snapshots import MART

_RESULTS = "quality_results"
_PLACES = ("_log", "_partition", "_offset")


class NoTrace(FrazilError):
    """Nothing bears this id."""

    code, exit_code = "trace.unknown_event", EXIT_NO


def trace(project: Project, event_id: str, *, contract: str | None = None) -> dict[str, Any]:
    """What is known of one event, JSON-ready.

    Args:
        event_id: The value of the contract's key (the first field of a key of several), or a place, `log/partition/offset`.
        contract: Only this contract; default all.

    Returns:
        `event_id` and `records`: every record that bore the id, each with its place, request, verdict and letters; landed
        ones with file and snapshot, rows of marts that bear the id, and the last checks of those tables.

    Raises:
        NoTrace: Nothing bears this id.
        Unavailable: Catalog or storage do not answer.
    """
    chosen = [project.contract(contract)] if contract else list(project.contracts.values())
    records = [record for one in chosen for record in _records(project, one, event_id)]
    if not records:
        raise NoTrace(
            f"no record bears the id {event_id[:80]!r}",
            hint="was it sent, and has it landed? `frazil status` shows what is pending, `frazil dead list` what could not be read",
            event_id=event_id[:80],
            contracts=", ".join(one.name for one in chosen),
        )
    marts = _marts(project, event_id)
    tables = {one["table"] for one in (*records, *marts) if "table" in one}
    return {"event_id": event_id, "records": records, "marts": marts, "checks": _checks(project, tables)}


def _records(project: Project, contract: Contract, event_id: str) -> list[dict[str, Any]]:
    """Landed rows, then letters that are not among them, of one contract."""
    table = project.lake.find(project.lake.raw_name(contract))
    if table is None:
        return []
    rows = _landed(table, contract, event_id)
    letters = _letters(project, contract, event_id, [row["place"] for row in rows])
    said = history(project.lake, table.name()[-1])
    found = []
    for row in rows:
        commit = commit_for(said, int(row.pop("_commit")))
        snapshot = None if commit is None else {"id": str(commit.snapshot_id), "committed_at": commit.committed_at.isoformat()}
        found.append({"contract": contract.name, "verdict": "landed", **row, "table": table.name()[-1], "snapshot": snapshot})
    return found + letters


def _landed(table: Table, contract: Contract, event_id: str) -> list[dict[str, Any]]:
    paths = [path_of(task.file.file_path) for task in files.planned(table)]
    condition = _condition(contract, event_id)
    if condition is None:
        return []
    sql = f"SELECT *, filename FROM ({view(table.schema(), paths, filename=True)}) WHERE {condition}"
    return [_row(row) for row in _asked(sql)]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    place = Place(row["_log"], row["_partition"], row["_offset"])
    return {
        "place": str(place),
        "request": str(row["_request"]),
        "received_at": row["_received_at"].isoformat(),
        "contract_version": row["_contract_version"],
        "replay": row["_replay"],
        "headers": json.loads(row.get("_headers") or "[]"),
        "file": row["filename"],
        "_commit": row[COMMIT],
    }


def _condition(contract: Contract, event_id: str) -> str | None:
    """Rows with this key or at this place."""
    try:
        log, partition, offset = Place.parse(event_id)
        return f"_log = {literal(log)} AND _partition = {literal(partition)} AND _offset = {int(offset)}"
    except ValueError:
        pass
    if not contract.key:
        return None
    name = ".".join(quoted(part) for part in contract.key[0].split("/")[1:])
    return f"lower({name}::VARCHAR) = lower({literal(event_id)})"


def _letters(project: Project, contract: Contract, event_id: str, landed: Sequence[str]) -> list[dict[str, Any]]:
    """Letters whose bytes bear the id, whose place it is, or that say that they repeat one of the landed rows."""
    sink = project.sink(contract)
    letters: Letters = settled(lambda: project.dead_letters.at(sink.head()))
    found = []
    for row in in_layout(letters.rows).to_pylist():
        place = Place(row["_log"], row["_partition"], row["_offset"])
        first = row["first"] and str(Place(row["first"]["log"], row["first"]["partition"], row["first"]["offset"]))
        if not (str(place) == event_id or first in landed or _bears(contract, row["value"], event_id)):
            continue
        found.append(
            {
                "contract": contract.name,
                "verdict": "duplicate" if row["stage"] == "dedupe" else "dead",
                "stage": row["stage"],
                "place": str(place),
                "request": str(row["_request"]),
                "received_at": row["_received_at"].isoformat(),
                "contract_version": row["contract_version"],
                "replay": row["_replay"],
                "headers": json.loads(row.get("headers") or "[]"),
                "first": first,
                "violations": [shown(violation) for violation in row["violations"]],
            }
        )
    return found


def _bears(contract: Contract, value: bytes | None, event_id: str) -> bool:
    """Whether a record's bytes have the id as their key; what cannot be read bears none."""
    if value is None or not contract.key:
        return False
    try:
        at: Any = json.loads(value)
        for part in contract.key[0].split("/")[1:]:
            at = at[part]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return str(at).lower() == event_id.lower()


def _marts(project: Project, event_id: str) -> list[dict[str, Any]]:
    """Rows of marts with a column that bears the id: columns called as a contract's key."""
    keys = {one.key[0].removeprefix("/") for one in project.contracts.values() if len(one.key) == 1}
    found = []
    for name in project.lake.names():
        table = project.lake.find(name)
        if table is None or MART not in table.properties:
            continue
        for column in sorted(keys & {one.name for one in table.schema().fields}):
            sql = view(table.schema(), [path_of(task.file.file_path) for task in files.planned(table)])
            rows = _asked(f"SELECT * FROM ({sql}) WHERE lower({quoted(column)}::VARCHAR) = lower({literal(event_id)}) ORDER BY ALL")
            snapshot = table.metadata.current_snapshot_id
            found += [{"table": name, "snapshot_id": str(snapshot), "row": {key: _plain(one) for key, one in row.items()}} for row in rows]
    return found


def _checks(project: Project, tables: Collection[str]) -> list[dict[str, Any]]:
    """The last stored checks of these tables: per table, how many passed and what failed."""
    table = project.lake.find(_RESULTS)
    if table is None or not tables:
        return []
    sql = view(table.schema(), [path_of(task.file.file_path) for task in files.planned(table)])
    chosen = ", ".join(literal(name) for name in sorted(tables))
    newest = 'rank() OVER (PARTITION BY "table" ORDER BY started_at DESC, run_id DESC) = 1'
    last = f'SELECT * FROM ({sql}) WHERE "table" IN ({chosen}) QUALIFY {newest}'
    grouped = f"""SELECT "table", any_value(run_id) AS run_id, any_value(started_at) AS started_at, count(*) AS checks,
        count(*) FILTER (passed) AS passed, list(message ORDER BY message) FILTER (NOT passed) AS failed
        FROM ({last}) GROUP BY 1 ORDER BY 1"""
    return [{key: _plain(one) for key, one in row.items()} for row in _asked(grouped)]


def _asked(sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as connection:
        connection.execute("SET TimeZone='UTC'")
        rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
        return rows


def _plain(value: Any) -> Any:
    """JSON-ready: times as text, exact decimals and what is no finite number, too."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and (value is None or isinstance(value, bool | int | float | str)) else str(value)
