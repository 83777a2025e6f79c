"""Writing a mart: DuckDB writes Parquet files into the table's directory, one swap makes them the table.

Built anew, all files give way. Going on, only files that hold a row to replace are written again (copy on write); rows known
to be new are files of their own. A file that no commit names is an orphan, and is swept as any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import duckdb
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import IcebergType

from frazil.errors import CommitConflict
from frazil.table import files
from frazil.table.catalog import Lake, answering
from frazil.table.commit import Change, fresh_id, swap
from frazil.table.duck import path_of, quoted, view
from frazil.table.snapshots import MART, Markers
from frazil.warehouse.built import Built, Plan
from frazil.warehouse.columns import fits, reshaped, schema_of, spec_of, types_of
from frazil.warehouse.writing import Target

ATTEMPTS = 3
WORK = "frazil_work"
"""A database in memory that all connections of a run see, which temporary tables are not."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the materialization says about a mart.

    Args:
        name: Of the table.
        sql: The compiled query. Built anew: all rows. Going on: rows to add or to put in the place of others.
        partition_by: Columns whose values partition the table.
        unique_key: Columns that identify what a row replaces; empty: rows are only ever added.
        keys: A query for the keys whose rows give way; default: the keys of the query's rows.
        new_rows: A condition that holds only for rows whose key cannot be in the table yet; they replace nothing.
    """

    name: str
    sql: str
    partition_by: tuple[str, ...] = ()
    unique_key: tuple[str, ...] = ()
    keys: str | None = None
    new_rows: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of it: the new version, rows written by the query, files added and taken out."""

    table: Table
    rows: int
    added: int = 0
    removed: int = 0


@dataclass
class Writer:
    """Stores models of one run. Uses connections of its own, so that it never meets dbt's transactions."""

    lake: Lake
    connection: duckdb.DuckDBPyConnection
    invocation: str = ""
    _cursor: duckdb.DuckDBPyConnection = field(init=False)
    _work: str = field(init=False)

    def store(self, model: Model, plan: Plan) -> Stored:
        """Build a mart as planned; readers see the old or the new version.

        Raises:
            CommitConflict: Somebody else changed the mart meanwhile; nothing is half done.
            ConfigError: `warehouse.column_type`, `warehouse.partition`.
            Unavailable: Catalog or storage do not answer.
        """
        for attempt in range(ATTEMPTS):
            try:
                with self._working():
                    return self._replaced(model, plan) if plan.why else self._continued(model, plan)
            except CommitConflict:  # a compaction may have taken a file that we replace: look again
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def _working(self) -> Iterator[None]:
        """A connection, and a schema of its own for tables on the way."""
        with self.connection.cursor() as self._cursor:
            self._work = f"{WORK}.{quoted(fresh_id())}"
            self._cursor.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {WORK}")
            self._cursor.execute(f"CREATE SCHEMA {self._work}")
            try:
                yield
            finally:
                self._cursor.execute(f"DROP SCHEMA {self._work} CASCADE")

    def _replaced(self, model: Model, plan: Plan) -> Stored:
        """All rows anew."""
        types = types_of(model.name, self._described(model.sql))
        table = self.lake.find(model.name) or self._created(model, types)
        reshape = None if fits(table, types, model.partition_by) else reshaped(model.name, types, model.partition_by)
        metadata = _metadata(table, reshape)
        target = Target(metadata, self._compression)
        with answering("the mart cannot be written", table=model.name):
            rows, paths = target.copy(self._cursor, model.sql)
            added = target.durable(paths)
        head = table.metadata.current_snapshot()
        removed = tuple(files.entries(table, head)) if head is not None else ()
        built = replace(plan.now, generation=fresh_id(), invocation=self.invocation)
        landed = swap(self.lake, table, Change("transform", _marked(built), added, removed, rebuild=False, reshape=reshape))
        return Stored(landed.table, rows, len(added), len(removed))

    def _continued(self, model: Model, plan: Plan) -> Stored:
        """Only what changed."""
        table = self.lake.find(model.name)
        before = plan.before
        if table is None or before is None:
            raise CommitConflict(f"mart {model.name} is gone", hint="run again: it is built anew", table=model.name)
        self._cursor.execute(f"CREATE TABLE {self._work}.fresh AS {model.sql}")
        rows = self._number(f"SELECT count(*) FROM {self._work}.fresh")
        types = types_of(model.name, self._described(f"SELECT * FROM {self._work}.fresh"))
        if not fits(table, types, model.partition_by):
            words = f"the columns of {model.name} differ from those of its table when it goes on from there"
            raise CommitConflict(words, hint="`frazil transform --full-refresh` builds it anew", table=model.name)
        removed = self._holding_gone(table, model)
        with answering("the mart cannot be written", table=model.name):
            added = self._put(table, model, removed) if rows or removed else ()
        built = replace(plan.now, generation=before.generation, invocation=self.invocation)
        landed = swap(self.lake, table, Change("transform", _marked(built, before), added, removed, rebuild=False))
        return Stored(landed.table, rows, len(added), len(removed))

    def _holding_gone(self, table: Table, model: Model) -> tuple[DataFile, ...]:
        """Live files with a row that gives way."""
        if not model.unique_key:
            return ()
        names = ", ".join(quoted(name) for name in model.unique_key)
        condition = f" WHERE NOT ({model.new_rows})" if model.new_rows else ""
        keys = model.keys or f"SELECT {names} FROM {self._work}.fresh{condition}"
        self._cursor.execute(f"CREATE TABLE {self._work}.gone AS SELECT DISTINCT {names} FROM ({keys})")
        if not self._number(f"SELECT count(*) FROM {self._work}.gone"):
            return ()
        head = table.metadata.current_snapshot()
        live = {path_of(file.file_path): file for file in (files.entries(table, head) if head is not None else ())}
        if model.new_rows and model.partition_by:  # a row stays in its partition, so look only where there are some
            days = self._cursor.execute(f"SELECT DISTINCT {quoted(model.partition_by[0])} FROM {self._work}.fresh{condition}").fetchall()
            wanted = {_partition_value(day) for (day,) in days}
            live = {path: file for path, file in live.items() if file.partition[0] in wanted}
        old = view(table.schema(), list(live), filename=True)
        gone = f"EXISTS (FROM {self._work}.gone AS gone WHERE {_same(model.unique_key, 'gone')})"
        found = self._cursor.execute(f"SELECT DISTINCT filename FROM ({old}) AS old WHERE {gone}")
        return tuple(live[path] for (path,) in found.fetchall())

    def _put(self, table: Table, model: Model, removed: Sequence[DataFile]) -> tuple[DataFile, ...]:
        """Files with the fresh rows, and with what stays of the files that give way.

        DuckDB sorts all rows it writes into partitions before it writes one. So a partition with a file that gives way is written by
        a COPY of its own, several at a time; only rows of the other partitions go the dear way.
        """
        target = Target(table.metadata, self._compression, quickly=True)
        kept = [path_of(file.file_path) for file in removed]
        if not table.spec().fields:
            return target.durable(target.copy(self._cursor, self._merged(table, model, kept))[1])
        parts = self._parts(table, kept)
        here = f"FROM {self._work}.parts AS part WHERE " + _same([one.name for one in table.spec().fields], "part", "fresh")
        jobs: list[tuple[str, Path | None]] = [
            (self._merged(table, model, paths, f"EXISTS ({here} AND part.number = {number})"), Path(paths[0]).parent)
            for number, paths in parts.items()
        ]
        jobs.append((self._merged(table, model, [], f"NOT EXISTS ({here})" if parts else "true"), None))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            written = [paths for _, paths in pool.map(lambda job: self._copied(target, *job), jobs)]
        return target.durable([path for paths in written for path in paths])

    def _copied(self, target: Target, sql: str, into: Path | None) -> tuple[int, list[str]]:
        with self._cursor.cursor() as cursor:
            return target.copy(cursor, sql, into)

    def _parts(self, table: Table, paths: Sequence[str]) -> Mapping[int, Sequence[str]]:
        """Files by the number of their partition; a table `parts` says which partition has which number."""
        names = ", ".join(quoted(one.name) for one in table.spec().fields)
        if not paths:
            return {}
        self._cursor.execute(
            f"CREATE TABLE {self._work}.parts AS SELECT {names}, filename, dense_rank() OVER (ORDER BY {names}) AS number"
            f" FROM (SELECT DISTINCT {names}, filename FROM ({view(table.schema(), paths, filename=True)}))"
        )
        parts: dict[int, list[str]] = {}
        for number, path in self._cursor.execute(f"SELECT number, filename FROM {self._work}.parts ORDER BY ALL").fetchall():
            parts.setdefault(number, []).append(path)
        return parts

    def _merged(self, table: Table, model: Model, paths: Sequence[str], condition: str = "true") -> str:
        """The query for fresh rows that meet a condition, and for the rows that stay of these files."""
        fresh = f"SELECT * FROM {self._work}.fresh AS fresh WHERE {condition}"
        if not paths:
            return fresh
        names = ", ".join(quoted(one.name) for one in table.schema().fields)
        gone = f"EXISTS (FROM {self._work}.gone AS gone WHERE {_same(model.unique_key, 'gone')})"
        return f"SELECT {names} FROM ({view(table.schema(), paths)}) AS old WHERE NOT {gone} UNION ALL BY NAME {fresh}"

    def _created(self, model: Model, types: Mapping[str, IcebergType]) -> Table:
        schema = schema_of(types)
        return self.lake.create(model.name, schema, spec_of(model.name, schema, model.partition_by), {MART: "true"})

    @property
    def _compression(self) -> str:
        return self.lake.settings.lake.compression

    def _described(self, sql: str) -> list[tuple[str, str]]:
        return [(str(row[0]), str(row[1])) for row in self._cursor.execute(f"DESCRIBE {sql}").fetchall()]

    def _number(self, sql: str) -> int:
        return int(self._cursor.execute(sql).fetchall()[0][0])


def _marked(built: Built, before: Built | None = None) -> Callable[[Markers], Markers]:
    def mark(carried: Markers) -> Markers:
        if before is not None and Built.from_marker(carried.built) != before:
            raise CommitConflict("another run built this mart meanwhile", hint="run again", invocation=built.invocation)
        return replace(carried, built=built.as_marker())

    return mark


def _metadata(table: Table, reshape: Callable[[Transaction], None] | None) -> TableMetadata:
    """The table's metadata as the swap will leave its columns and partitions."""
    if reshape is None:
        return table.metadata
    transaction = Transaction(table)
    reshape(transaction)
    return transaction.table_metadata


def _same(names: Sequence[str], one: str, other: str = "old") -> str:
    return " AND ".join(f"{other}.{quoted(name)} IS NOT DISTINCT FROM {one}.{quoted(name)}" for name in names)


def _partition_value(value: object) -> object:
    """A date as Iceberg's partition holds it: days since 1970."""
    return (value - date(1970, 1, 1)).days if isinstance(value, date) else value
