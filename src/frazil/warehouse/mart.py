"""Writing a mart: DuckDB writes Parquet files into the table's directory, one swap makes them the table.

Built anew, all files give way. Going on, only files that hold a row to replace are written again (copy on write); rows known
to be new are files of their own. A file that no commit names is an orphan, and is swept as any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import compute_statistics_plan, data_file_statistics_from_parquet_metadata, parquet_path_to_id_mapping
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import IcebergType

from frazil.errors import CommitConflict
from frazil.table import files
from frazil.table.catalog import Lake, answering
from frazil.table.commit import Change, fresh_id, swap
from frazil.table.duck import literal, path_of, quoted, view
from frazil.table.durable_io import make_directory, sync_directory
from frazil.table.snapshots import MART, Markers
from frazil.warehouse.built import Built, Plan
from frazil.warehouse.columns import fits, reshaped, schema_of, spec_of, types_of

ATTEMPTS = 3
FRESH, GONE = "temp.main.fresh_rows", "temp.main.gone_keys"


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

    def store(self, model: Model, plan: Plan) -> Stored:
        """Build a mart as planned; readers see the old or the new version.

        Raises:
            CommitConflict: Somebody else changed the mart meanwhile; nothing is half done.
            ConfigError: `warehouse.column_type`, `warehouse.partition`.
            Unavailable: Catalog or storage do not answer.
        """
        for attempt in range(ATTEMPTS):
            self._cursor = self.connection.cursor()
            try:
                return self._replaced(model, plan) if plan.why else self._continued(model, plan)
            except CommitConflict:  # a compaction may have taken a file that we replace: look again
                if attempt + 1 == ATTEMPTS:
                    raise
            finally:
                self._cursor.close()
        raise AssertionError("unreachable")

    def _replaced(self, model: Model, plan: Plan) -> Stored:
        """All rows anew."""
        types = types_of(model.name, self._described(model.sql))
        table = self.lake.find(model.name) or self._created(model, types)
        reshape = None if fits(table, types, model.partition_by) else reshaped(model.name, types, model.partition_by)
        metadata = _metadata(table, reshape)
        with answering("the mart cannot be written", table=model.name):
            rows, added = self._written(table, metadata, model.sql)
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
        self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE fresh_rows AS {model.sql}")
        rows = self._number(f"SELECT count(*) FROM {FRESH}")
        types = types_of(model.name, self._described(f"SELECT * FROM {FRESH}"))
        if not fits(table, types, model.partition_by):
            words = f"the columns of {model.name} differ from those of its table when it goes on from there"
            raise CommitConflict(words, hint="`frazil transform --full-refresh` builds it anew", table=model.name)
        removed = self._holding_gone(table, model)
        query = f"SELECT * FROM {FRESH}"
        if removed:
            kept = view(table.schema(), [path_of(file.file_path) for file in removed])
            names = ", ".join(quoted(name) for name in types)
            query = (
                f"SELECT {names} FROM ({kept}) AS old WHERE NOT EXISTS (FROM {GONE} AS gone WHERE {_same(model)}) UNION ALL BY NAME {query}"
            )
        with answering("the mart cannot be written", table=model.name):
            added = self._written(table, table.metadata, query, quickly=True)[1] if rows or removed else ()
        built = replace(plan.now, generation=before.generation, invocation=self.invocation)
        landed = swap(self.lake, table, Change("transform", _marked(built, before), added, removed, rebuild=False))
        return Stored(landed.table, rows, len(added), len(removed))

    def _holding_gone(self, table: Table, model: Model) -> tuple[DataFile, ...]:
        """Live files with a row that gives way."""
        if not model.unique_key:
            return ()
        names = ", ".join(quoted(name) for name in model.unique_key)
        condition = f" WHERE NOT ({model.new_rows})" if model.new_rows else ""
        keys = model.keys or f"SELECT {names} FROM {FRESH}{condition}"
        self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE gone_keys AS SELECT DISTINCT {names} FROM ({keys})")
        if not self._number(f"SELECT count(*) FROM {GONE}"):
            return ()
        live = {path_of(task.file.file_path): task.file for task in files.planned(table)}
        if model.new_rows and model.partition_by:  # a row stays in its partition, so look only where there are some
            days = self._cursor.execute(f"SELECT DISTINCT {quoted(model.partition_by[0])} FROM {FRESH}{condition}").fetchall()
            wanted = {_partition_value(day) for (day,) in days}
            live = {path: file for path, file in live.items() if file.partition[0] in wanted}
        old = view(table.schema(), list(live), filename=True)
        found = self._cursor.execute(
            f"SELECT DISTINCT filename FROM ({old}) AS old WHERE EXISTS (FROM {GONE} AS gone WHERE {_same(model)})"
        )
        return tuple(live[path] for (path,) in found.fetchall())

    def _created(self, model: Model, types: Mapping[str, IcebergType]) -> Table:
        schema = schema_of(types)
        return self.lake.create(model.name, schema, spec_of(model.name, schema, model.partition_by), {MART: "true"})

    def _written(self, table: Table, metadata: TableMetadata, sql: str, *, quickly: bool = False) -> tuple[int, tuple[DataFile, ...]]:
        """Rows of a query as durable files below the table's `data`. `quickly`: packed less hard; compaction will write them again."""
        schema, partitions = metadata.schema(), [one.name for one in metadata.spec().fields]
        columns = ", ".join(quoted(one.name) for one in schema.fields)
        place = Path(path_of(table.location())) / "data"
        make_directory(place)
        target = place if partitions else place / f"{fresh_id()}.parquet"
        options = [
            f"FORMAT parquet, COMPRESSION {self.lake.settings.lake.compression}",
            f"FIELD_IDS {_field_ids(schema)}",
            "RETURN_FILES true",
        ]
        if quickly and self.lake.settings.lake.compression == "zstd":
            options += ["COMPRESSION_LEVEL 1"]
        if partitions:
            options += [f"PARTITION_BY ({', '.join(map(quoted, partitions))})", "WRITE_PARTITION_COLUMNS true", "APPEND true"]
            options += [f"FILENAME_PATTERN '{fresh_id()}-{{uuid}}'"]
        rows, paths = self._cursor.execute(
            f"COPY (SELECT {columns} FROM ({sql})) TO {literal(str(target))} ({', '.join(options)})"
        ).fetchall()[0]
        _made_durable(paths, below=place)
        return int(rows), _data_files(metadata, paths) if rows else ()

    def _described(self, sql: str) -> list[tuple[str, str]]:
        return [(str(row[0]), str(row[1])) for row in self._cursor.execute(f"DESCRIBE {sql}").fetchall()]

    def _number(self, sql: str) -> int:
        return int(self._cursor.execute(sql).fetchall()[0][0])


def _data_files(metadata: TableMetadata, paths: Sequence[str]) -> tuple[DataFile, ...]:
    """Written files as entries for a manifest, with the metrics of their footers.

    PyIceberg's `parquet_file_to_data_file` does the same, and derives plan and mapping anew for each file.
    """
    schema, spec = metadata.schema(), metadata.spec()
    stats, ids = compute_statistics_plan(schema, metadata.properties), parquet_path_to_id_mapping(schema)
    found = []
    for path in paths:
        footer = pq.read_metadata(path)
        metrics = data_file_statistics_from_parquet_metadata(footer, stats_columns=stats, parquet_column_mapping=ids)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=f"file://{path}",
            file_format=FileFormat.PARQUET,
            partition=metrics.partition(spec, schema),
            file_size_in_bytes=os.path.getsize(path),
            sort_order_id=None,
            spec_id=spec.spec_id,
            equality_ids=None,
            key_metadata=None,
            **metrics.to_serialized_dict(),
        )
        file.spec_id = spec.spec_id
        found.append(file)
    return tuple(found)


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


def _same(model: Model) -> str:
    return " AND ".join(f"old.{quoted(name)} IS NOT DISTINCT FROM gone.{quoted(name)}" for name in model.unique_key)


def _field_ids(schema: Schema) -> str:
    return "{" + ", ".join(f"{quoted(one.name)}: {one.field_id}" for one in schema.fields) + "}"


def _partition_value(value: object) -> object:
    """A date as Iceberg's partition holds it: days since 1970."""
    return (value - date(1970, 1, 1)).days if isinstance(value, date) else value


def _made_durable(paths: Sequence[str], *, below: Path) -> None:
    """Files and the directories that name them are on disk when this returns."""
    with ThreadPoolExecutor(8) as pool:  # a disk takes many flushes at once for little more than the price of one
        for _ in pool.map(_synced, paths):
            pass
        for _ in pool.map(sync_directory, {Path(path).parent for path in paths} | {below}):
            pass


def _synced(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
