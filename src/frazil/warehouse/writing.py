"""Rows of a query as durable Parquet files of a table, with the metrics that a manifest holds. No commit names them yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import compute_statistics_plan, data_file_statistics_from_parquet_metadata, parquet_path_to_id_mapping
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata

from frazil.table.commit import fresh_id
from frazil.table.duck import literal, path_of, quoted
from frazil.table.durable_io import make_directory, sync_directory

FEW = 4  # threads cost more than they save


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows of a table are written, and how.

    Args:
        metadata: Columns and partitions of the files.
        compression: As DuckDB names it.
        quickly: Packed less hard; compaction will write them again.
    """

    metadata: TableMetadata
    compression: str
    quickly: bool = False

    @property
    def place(self) -> Path:
        return Path(path_of(self.metadata.location)) / "data"

    def copy(self, cursor: duckdb.DuckDBPyConnection, sql: str, into: Path | None = None) -> tuple[int, list[str]]:
        """Write the rows of a query: how many, and the files. `into`: all in one file of this directory; else a file per partition."""
        schema, partitions = self.metadata.schema(), [one.name for one in self.metadata.spec().fields]
        columns = ", ".join(quoted(one.name) for one in schema.fields)
        make_directory(self.place)
        options = [f"FORMAT parquet, COMPRESSION {self.compression}", f"FIELD_IDS {_field_ids(schema)}", "RETURN_FILES true"]
        if self.quickly and self.compression == "zstd":
            options += ["COMPRESSION_LEVEL 1"]
        if partitions and into is None:
            options += [f"PARTITION_BY ({', '.join(map(quoted, partitions))})", "WRITE_PARTITION_COLUMNS true", "APPEND true"]
            options += [f"FILENAME_PATTERN '{fresh_id()}-{{uuid}}'"]
            target = self.place
        else:
            target = (into or self.place) / f"{fresh_id()}.parquet"
        words = f"COPY (SELECT {columns} FROM ({sql})) TO {literal(str(target))} ({', '.join(options)})"
        rows, paths = cursor.execute(words).fetchall()[0]
        return int(rows), list(paths) if rows else []

    def durable(self, paths: Sequence[str]) -> tuple[DataFile, ...]:
        """Written files as entries for a manifest, with the metrics of their footers; on disk when this returns.

        PyIceberg's `parquet_file_to_data_file` does the same, and derives plan and mapping anew for each file.
        """
        _made_durable(paths, below=self.place)
        schema, spec = self.metadata.schema(), self.metadata.spec()
        stats, ids = compute_statistics_plan(schema, self.metadata.properties), parquet_path_to_id_mapping(schema)
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


def _field_ids(schema: Schema) -> str:
    return "{" + ", ".join(f"{quoted(one.name)}: {one.field_id}" for one in schema.fields) + "}"


def _made_durable(paths: Sequence[str], *, below: Path) -> None:
    """Files and the directories that name them are on disk when this returns."""
    directories = {Path(path).parent for path in paths} | {below}
    if len(paths) < FEW:
        for path in paths:
            _synced(path)
        for directory in directories:
            sync_directory(directory)
        return
    with ThreadPoolExecutor(8) as pool:  # a disk takes many flushes at once for little more than the price of one
        for _ in pool.map(_synced, paths):
            pass
        for _ in pool.map(sync_directory, directories):
            pass


def _synced(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
