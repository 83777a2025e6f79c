"""The lake as checks read it: DuckDB over the live files of each table's current snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.schema import Schema

from frazil.errors import ConfigError
from frazil.quality.suite import Check, path
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.duck import literal, path_of, quoted, view

MOST_FAILING = 100
"""Failing rows whose keys a result names."""


class Tables:
    """Views over one version of every table. `schemas` and `snapshots` by table name."""

    def __init__(self, lake: Lake, now: datetime) -> None:
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
        self._connection.execute("SET TimeZone='UTC'")
        self._now = f"TIMESTAMPTZ {literal(now.isoformat())}"
        self.schemas: dict[str, Schema] = {}
        self.snapshots: dict[str, int | None] = {}
        for name in lake.names():
            table = lake.find(name)
            if table is None:
                continue
            paths = [path_of(task.file.file_path) for task in files.planned(table)]
            self._connection.execute(f"CREATE VIEW {quoted(name)} AS {view(table.schema(), paths)}")
            self.schemas[name] = table.schema()
            self.snapshots[name] = table.metadata.current_snapshot_id

    def columns(self, table: str) -> list[str]:
        """Columns and members of objects, dotted."""
        return [name for name in self.schemas[table]._name_to_id if ".element" not in name and ".key" not in name]

    def count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()[0][0])

    def failing(self, check: Check) -> tuple[int, list[dict[str, Any]]]:
        """How many rows the check's query gives, and at most 100 of them: their key, or all columns where there is none.

        Raises:
            ConfigError: `quality.query_invalid`: names where the query stands.
        """
        assert check.sql is not None
        sql = check.sql.replace("{table}", quoted(check.table)).replace("{now}", self._now)
        with _told(check):
            there = self._connection.sql(sql)
            names = list(there.columns)
            wanted = [name for name in (*check.key, check.column or "") if name.split(".")[0] in names]
            chosen = ", ".join(f"{path(name)} AS {quoted(name)}" for name in dict.fromkeys(wanted)) or "*"
            number = int(self._connection.sql(f"SELECT count(*) FROM ({sql})").fetchall()[0][0])
            rows = self._connection.sql(f"SELECT {chosen} FROM ({sql}) LIMIT {MOST_FAILING}").to_arrow_table() if number else None
        return number, [] if rows is None else rows.to_pylist()

    def slices(self, table: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """The named columns, in pieces of at most `rows` rows; dotted members are columns of that name."""
        chosen = ", ".join(f"{path(name)} AS {quoted(name)}" for name in dict.fromkeys(columns))
        reader = self._connection.sql(f"SELECT {chosen} FROM {quoted(table)}").to_arrow_reader(rows)
        for batch in reader:
            yield pa.Table.from_batches([batch])

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _told(check: Check) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise ConfigError(
            f"the query of check {check.expectation} on {check.table} cannot be run: {str(error).strip()}",
            code="quality.query_invalid",
            hint=f"correct {check.origin}; `frazil query` shows the tables",
            suite=check.suite,
            origin=check.origin,
        ) from error


def typed(schema: Schema) -> Mapping[str, str]:
    """Types of a table's top-level columns, by name."""
    return {one.name: str(one.field_type) for one in schema.fields}
