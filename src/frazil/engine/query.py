"""Read-only SQL over the lake with DuckDB: each table a view over the live files of its current snapshot.

No extension is needed, and the SQL reaches nothing but those files: no other path, no network, no settings, no writing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from frazil.errors import ConfigError, FrazilError
from frazil.table.catalog import Lake

_SIMPLE: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    StringType: "VARCHAR",
    UUIDType: "UUID",
    BinaryType: "BLOB",
    FixedType: "BLOB",
}
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass
class Answer:
    """Rows of a query, read in pieces. `columns`: names in order; a name may stand twice."""

    columns: list[str]
    cursor: duckdb.DuckDBPyConnection

    def rows(self, size: int = 10_000) -> Iterator[tuple[Any, ...]]:
        while found := self.cursor.fetchmany(size):
            yield from found


class Warehouse:
    """The lake as a DuckDB database in memory, closed to everything else. Views show the snapshots of the moment it was opened.

    Args:
        lake: Where the tables are. Table `raw_events` of project `shop` is `shop.raw_events`, and `raw_events` for short.
        memory: Most memory of a query, as DuckDB writes it.
    """

    def __init__(self, lake: Lake, *, memory: str = "2GB") -> None:
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
        self._connection.execute(f"SET memory_limit='{memory}'")
        self._connection.execute("SET TimeZone='UTC'")
        namespace = quoted(lake.namespace)
        self._connection.execute(f"CREATE SCHEMA {namespace}")
        files: list[str] = []
        self.tables = lake.names()
        for name in self.tables:
            table = lake.catalog.load_table((lake.namespace, name))
            paths = [_path(task.file.file_path) for task in table.scan().plan_files()]
            self._connection.execute(f"CREATE VIEW {namespace}.{quoted(name)} AS {view(table, paths)}")
            files += paths
        self._lock(namespace, files)

    def _lock(self, namespace: str, files: list[str]) -> None:
        self._connection.execute(f"SET search_path='{namespace.strip(chr(34))}'")
        self._connection.execute(f"SET allowed_paths=[{', '.join(map(literal, files))}]")
        self._connection.execute("SET enable_external_access=false")
        self._connection.execute("SET lock_configuration=true")

    def ask(self, sql: str, *, timeout: float = 60.0) -> Answer:
        """Run one reading statement.

        Args:
            timeout: Seconds after which it is broken off.

        Raises:
            ConfigError: `query.not_reading`, `query.invalid`: the SQL is not one statement that reads, or is wrong.
            FrazilError: `query.timeout`.
        """
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in _READING:
                raise ConfigError(
                    "only one statement that reads is allowed",
                    code="query.not_reading",
                    hint="use SELECT, WITH, DESCRIBE, SUMMARIZE or EXPLAIN",
                )
            timer = threading.Timer(timeout, self._connection.interrupt)
            timer.start()
            try:
                cursor = self._connection.execute(statements[0])
            finally:
                timer.cancel()
        except duckdb.InterruptException as error:
            raise FrazilError(
                f"the query took longer than {timeout:g} s", code="query.timeout", hint="raise --timeout, or ask for less"
            ) from error
        except duckdb.Error as error:
            words = str(error).strip()
            tables = ", ".join(self.tables) or "none yet"
            raise ConfigError(
                words, code="query.invalid", hint=f"tables: {tables}; `DESCRIBE {self.tables[0] if self.tables else 'TABLE'}` lists columns"
            ) from error
        return Answer([column[0] for column in cursor.description or []], cursor)

    def close(self) -> None:
        self._connection.close()


def view(table: Table, paths: list[str]) -> str:
    """The SELECT behind a table: its live files, columns matched by Iceberg field id, columns a file lacks as NULL."""
    columns = table.schema().fields
    if not paths:
        return f"SELECT {', '.join(f'NULL::{duck_type(one.field_type)} AS {quoted(one.name)}' for one in columns)} WHERE false"
    mapping = ", ".join(
        f"{one.field_id}: {{name: {literal(one.name)}, type: {literal(duck_type(one.field_type))}, default_value: NULL}}" for one in columns
    )
    return f"SELECT * FROM read_parquet([{', '.join(map(literal, paths))}], schema=MAP {{{mapping}}}, hive_partitioning=false)"


def duck_type(one: IcebergType) -> str:
    """DuckDB's spelling of an Iceberg type."""
    if isinstance(one, DecimalType):
        return f"DECIMAL({one.precision},{one.scale})"
    if isinstance(one, StructType):
        return "STRUCT(" + ", ".join(f"{quoted(field.name)} {duck_type(field.field_type)}" for field in one.fields) + ")"
    if isinstance(one, ListType):
        return f"{duck_type(one.element_type)}[]"
    if isinstance(one, MapType):
        return f"MAP({duck_type(one.key_type)}, {duck_type(one.value_type)})"
    return _SIMPLE[type(one)]


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _path(location: str) -> str:
    return unquote(urlsplit(location).path) if re.match(r"file:", location) else location
