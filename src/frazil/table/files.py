"""Data files of a table: which are live, what they hold, and new ones from Arrow rows.

Built on PyIceberg's own reader and writer, so every catalog and storage works; files are durable when `write` returns
(`DurableFileIO`). Nothing here commits: `frazil.table.commit.swap` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, EqualTo, GreaterThan, GreaterThanOrEqual, NotNull
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files, parquet_file_to_data_file, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Snapshot

from frazil.errors import Corrupt
from frazil.table.catalog import answering


def equal(column: str, value: object) -> BooleanExpression:
    """Rows whose column has this value."""
    return EqualTo(column, value)  # type: ignore[arg-type,call-arg,misc]  # the model's fields hide its own constructor


def above(column: str, value: int) -> BooleanExpression:
    """Rows whose column is greater."""
    return GreaterThan(column, value)  # type: ignore[arg-type,call-arg,misc]


def at_least(column: str, value: object) -> BooleanExpression:
    """Rows whose column is not less."""
    return GreaterThanOrEqual(column, value)  # type: ignore[arg-type,call-arg,misc]


def present(column: str) -> BooleanExpression:
    """Rows whose column is not null."""
    return NotNull(column)  # type: ignore[arg-type,misc]


def planned(table: Table, row_filter: BooleanExpression | None = None) -> list[FileScanTask]:
    """Live files of the head that may hold rows of the filter, by partitions and metrics."""
    if table.metadata.current_snapshot() is None:
        return []
    with answering("the table's files cannot be listed", table=table.name()[-1]):
        return list(table.scan(row_filter=row_filter or AlwaysTrue()).plan_files())


def rows_of(
    table: Table, tasks: Iterable[FileScanTask], columns: Sequence[str] | None = None, row_filter: BooleanExpression | None = None
) -> pa.Table:
    """Rows of these files: 0..n rows in the table's current columns, or in `columns` (top level, in the table's order)."""
    schema = table.schema() if columns is None else _selected(table.schema(), columns)
    with answering("the table cannot be read", table=table.name()[-1]):
        scan = ArrowScan(table.metadata, table.io, schema, row_filter or AlwaysTrue())
        return scan.to_table(tasks)


def found(table: Table, columns: Sequence[str] | None = None, row_filter: BooleanExpression | None = None) -> pa.Table:
    """Rows of the head that match the filter."""
    return rows_of(table, planned(table, row_filter), columns, row_filter)


def arrow_schema(table: Table) -> pa.Schema:
    """The table's current columns in Arrow, with field ids."""
    return schema_to_pyarrow(table.schema())


def write(table: Table, rows: pa.Table) -> tuple[DataFile, ...]:
    """New data files of the table from rows in its columns, at least one per partition; durable when it returns.

    They are orphans until a commit names them.
    """
    if not rows.num_rows:
        return ()
    with answering("the files cannot be written", table=table.name()[-1]):
        return tuple(_dataframe_to_data_files(table_metadata=table.metadata, df=rows, io=table.io))


def described(table: Table, path: str) -> DataFile:
    """The data file for a Parquet file that lies in the lake, with metrics from its footer."""
    with answering("the file cannot be read", table=table.name()[-1], path=path):
        file = parquet_file_to_data_file(table.io, table.metadata, path)
    file.spec_id = table.metadata.default_spec_id  # a manifest would have set it
    return file


def read_file(table: Table, path: str, row_filter: BooleanExpression | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one Parquet file in the table's layout, whether a commit names it or not."""
    return rows_of(table, [FileScanTask(described(table, path))], columns, row_filter)


def entries(table: Table, snapshot: Snapshot) -> list[DataFile]:
    """Live data files of a snapshot, from its manifests.

    Raises:
        Corrupt: A file lies in two live entries: rows would be read twice.
    """
    live: dict[str, DataFile] = {}
    with answering("the table's manifests cannot be read", table=table.name()[-1]):
        for manifest in snapshot.manifests(table.io):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                file = entry.data_file
                if file.content == DataFileContent.DATA and file.file_path in live:
                    raise Corrupt(
                        f"{file.file_path} stands twice in table {table.name()[-1]}",
                        code="table.file_twice",
                        hint="stop processing and look at `frazil tables history`",
                        path=file.file_path,
                    )
                live[file.file_path] = file
    return list(live.values())


def _selected(schema: Schema, columns: Sequence[str]) -> Schema:
    return schema.select(*columns)
