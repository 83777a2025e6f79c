"""All relations of the last run for a reader: marts, and the views before them, that no table of the lake holds.

The DuckDB file is dbt's and can be open in one process only. So a run leaves the text of its views (`views.json`), each over the
files it read: whoever reads them sees what the run saw, while another run works.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from frazil.errors import ConfigError, Corrupt
from frazil.settings import Settings
from frazil.table.duck import quoted

FILE = "views.json"


def leave(connection: duckdb.DuckDBPyConnection, schema: str, state: Path) -> None:
    """Write down the views of a schema; the file is the old or the new one, never half."""
    views = connection.execute("SELECT view_name, sql FROM duckdb_views() WHERE schema_name = ? ORDER BY view_oid", [schema]).fetchall()
    found = [(name, sql) for name, sql in views if _stands(connection, f"{quoted(schema)}.{quoted(name)}")]
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [schema]).fetchall()
    held = {str(name): connection.execute(f"SELECT * FROM {quoted(schema)}.{quoted(name)}").fetchall() for (name,) in tables}
    columns = {name: [str(row[0]) for row in connection.execute(f"DESCRIBE {quoted(schema)}.{quoted(name)}").fetchall()] for name in held}
    seeds = {name: {"columns": columns[name], "rows": rows} for name, rows in held.items()}
    state.mkdir(parents=True, exist_ok=True)
    fresh = state / f"{FILE}.new"
    fresh.write_text(json.dumps({"schema": schema, "views": found, "seeds": seeds}, default=str))
    fresh.replace(state / FILE)


def _stands(connection: duckdb.DuckDBPyConnection, view: str) -> bool:
    """Whether what a view reads is there: the view of a model that was since renamed or removed may not."""
    try:
        connection.execute(f"DESCRIBE {view}").fetchall()
    except duckdb.Error:
        return False
    return True


def relations(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A DuckDB database in memory with every relation of the last run, in the schema of the project's name; times are UTC.

    Raises:
        ConfigError: `warehouse.not_built`: there was no run yet.
        Corrupt: `warehouse.views_unreadable`: a view cannot be made; the files it reads may be gone since.
    """
    file = settings.state_dir / "warehouse" / FILE
    if not file.is_file():
        raise ConfigError("the warehouse was never built", code="warehouse.not_built", hint="`frazil run transform` builds it")
    left = json.loads(file.read_text())
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    connection.execute("SET TimeZone='UTC'")
    connection.execute(f"CREATE SCHEMA {quoted(left['schema'])}")
    for name, seed in left["seeds"].items():
        columns = ", ".join(f"{quoted(one)} VARCHAR" for one in seed["columns"])
        connection.execute(f"CREATE TABLE {quoted(left['schema'])}.{quoted(name)} ({columns})")
        marks = ", ".join("?" for _ in seed["columns"])
        connection.executemany(f"INSERT INTO {quoted(left['schema'])}.{quoted(name)} VALUES ({marks})", seed["rows"])
    _make(connection, dict(left["views"]))
    connection.execute(f"SET search_path={quoted(left['schema'])}")
    return connection


def _make(connection: duckdb.DuckDBPyConnection, waiting: dict[str, str]) -> None:
    """Make views in an order in which each finds what it stands on."""
    while waiting:
        failed: dict[str, str] = {}
        for name, sql in waiting.items():
            try:
                connection.execute(sql)
            except duckdb.Error as error:
                failed[name] = str(error)
        if len(failed) == len(waiting):
            name, told = next(iter(failed.items()))
            hint = "run `frazil run transform` again"
            raise Corrupt(f"view {name} cannot be made: {told}", code="warehouse.views_unreadable", hint=hint, view=name)
        waiting = {name: waiting[name] for name in failed}
