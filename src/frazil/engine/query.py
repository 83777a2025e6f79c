"""Read-only SQL over the lake with DuckDB: each table a view over the live files of its current snapshot.

No extension is needed, and the SQL reaches nothing but those files: no other path, no network, no settings, no writing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from frazil.errors import ConfigError, FrazilError
from frazil.table.catalog import Lake
from frazil.table.duck import literal, path_of, quoted, view

_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(?:ANALYZE\b\s*)?(?:\([^()]*\)\s*)?", re.IGNORECASE)


@dataclass
class Answer:
    """Rows of a query, read once. `columns`: names in order; a name may stand twice."""

    columns: list[str]
    _result: duckdb.DuckDBPyRelation
    _timer: threading.Timer

    def rows(self, size: int = 10_000) -> Iterator[tuple[Any, ...]]:
        """Rows as tuples of Python values; times are UTC. Raises as `Warehouse.ask`: a query works while it is read."""
        try:
            with _told():
                for batch in self._result.to_arrow_reader(size):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        finally:
            self._timer.cancel()


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
            paths = [path_of(task.file.file_path) for task in table.scan().plan_files()]
            self._connection.execute(f"CREATE VIEW {namespace}.{quoted(name)} AS {view(table.schema(), paths)}")
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
        with _told(self.tables):
            if not _reads(sql):
                words, hint = "only one statement that reads is allowed", "use SELECT, WITH, DESCRIBE, SUMMARIZE or EXPLAIN"
                raise ConfigError(words, code="query.not_reading", hint=hint)
            timer = threading.Timer(timeout, self._connection.interrupt)
            timer.daemon = True
            timer.start()
            try:
                result = self._connection.sql(sql)
            except BaseException:
                timer.cancel()
                raise
        return Answer(list(result.columns), result, timer)

    def close(self) -> None:
        self._connection.close()


def _reads(sql: str) -> bool:
    """Whether this is one statement that reads. EXPLAIN ANALYZE runs what it explains, so that has to read, too."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        return False
    if statements[0].type == duckdb.StatementType.EXPLAIN:
        explain = _EXPLAIN.match(sql)
        return explain is not None and [one.type for one in duckdb.extract_statements(sql[explain.end() :])] == [
            duckdb.StatementType.SELECT
        ]
    return bool(statements[0].type == duckdb.StatementType.SELECT)


@contextmanager
def _told(tables: Sequence[str] = ()) -> Iterator[None]:
    """DuckDB's errors in Frazil's words."""
    try:
        yield
    except (duckdb.InterruptException, OSError) as error:  # pyarrow hands an interrupt on as an OSError
        raise FrazilError("the query took too long", code="query.timeout", hint="raise --timeout, or ask for less") from error
    except duckdb.Error as error:
        hint = f"tables: {', '.join(tables)}; `DESCRIBE {tables[0]}` lists columns" if tables else "correct the query"
        raise ConfigError(str(error).strip(), code="query.invalid", hint=hint) from error
