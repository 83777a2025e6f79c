"""The Iceberg sink: rows, letters set aside and the position become visible in one swap of the raw table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import data_processor_rs as kernel
import pyarrow as pa
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from frazil.contract import Contract
from frazil.errors import CommitConflict, Corrupt
from frazil.sink import Commit, Decision, Head, Kind
from frazil.sink.landing import moves, stamped
from frazil.table.catalog import Lake, answering
from frazil.table.commit import Change, Landed, fresh_id, swap
from frazil.table.evolve import evolved
from frazil.table.snapshots import Markers, SetAside, booked, last_sequence, sequence_of, standing


@dataclass(frozen=True, slots=True)
class LandedFiles:
    """What `Commit.handle` holds: the version of the table with the commit, and the data files it added."""

    landed: Landed | None
    added: tuple[DataFile, ...] = ()


class IcebergSink:
    """`raw_<contract>` as a sink. Any number of them, in any number of processes, may land to one table.

    No state of the flow is kept between calls: who is right is decided by the swap alone.
    """

    def __init__(self, lake: Lake, contract: Contract) -> None:
        self.lake = lake
        self.contract = contract
        self._fits: tuple[object, int] | None = None  # table and schema known to have the contract's columns

    def head(self) -> Head:
        """The current version of the table, which is created when it is not there.

        Raises:
            Corrupt: `table.markers_missing`, `table.markers_unreadable`, `table.foreign`: an operator has to look.
            CommitConflict: The table moved on while we were about to stop; look again.
            Unavailable: Catalog or storage did not answer.
        """
        table = self.lake.raw(self.contract)
        try:
            markers = standing(table.metadata)
        except Corrupt as stop:
            if self.lake.raw(self.contract).metadata.current_snapshot_id != table.metadata.current_snapshot_id:
                raise CommitConflict("the table moved on while its markers were read", hint="read the head again") from stop
            raise
        return Head(
            version=table.metadata.current_snapshot_id or 0,
            sequence=last_sequence(table.metadata),
            position=markers.position,
            totals=markers.totals,
            floor=markers.floor,
            epoch=markers.epoch,
            handle=table,
        )

    def append(self, decision: Decision, head: Head) -> Commit:
        """Land a decision on top of `head`: files first, then the one swap.

        A replay that lands and closes nothing commits nothing: the answer is the head as a commit with an empty id.

        Raises:
            CommitConflict: Anything but maintenance was committed since `head`; nothing is half done.
            ContractError: `contract.breaking_change`: the table cannot take the contract's columns.
            Corrupt: `sink.foreign_head`: `head` was not read from this table.
            Unavailable: Catalog or storage did not answer; read the head again before another try.
        """
        table = self._table(head)
        if decision.replay is not None and not decision.rows.num_rows and not decision.duplicates.num_rows:
            return _nothing(decision, head, table)
        table = self._evolved(table)
        planned = head.sequence + 1
        with answering("files cannot be written", table=table.name()[-1]):
            added = self._write_rows(table, decision, planned)
            set_aside = self._write_set_aside(decision, planned)
        kind: Kind = "pump" if decision.replay is None else "replay"
        landed = swap(self.lake, table, Change(kind, lambda carried: _marked(carried, decision, set_aside), added))
        return Commit(
            version=landed.snapshot.snapshot_id,
            sequence=sequence_of(landed.snapshot),
            commit_id=landed.markers.commit_id,
            kind=kind,
            position=landed.markers.position,
            landed=decision.rows.num_rows,
            dead=decision.dead.num_rows,
            duplicates=decision.duplicates.num_rows,
            committed_at=datetime.fromtimestamp(landed.snapshot.timestamp_ms / 1000, UTC),
            handle=LandedFiles(landed, added),
        )

    def _evolved(self, table: Table) -> Table:
        """The version that has the contract's columns; looked at once per schema of the table."""
        if self._fits != (table.metadata.table_uuid, table.metadata.current_schema_id):
            table = evolved(self.lake, table, self.contract)
            self._fits = (table.metadata.table_uuid, table.metadata.current_schema_id)
        return table

    def _table(self, head: Head) -> Table:
        table = head.handle
        if not isinstance(table, Table) or table.name()[-1] != self.lake.raw_name(self.contract):
            raise Corrupt("this head was not read from this table", code="sink.foreign_head", hint="pass what `head()` returned")
        return table

    def _write_rows(self, table: Table, decision: Decision, planned: int) -> tuple[DataFile, ...]:
        rows = stamped(decision.rows, planned, decision.replay)
        return tuple(data_file(table, written) for written in write_files(table, rows, self.lake.settings.lake.compression))

    def _write_set_aside(self, decision: Decision, planned: int) -> tuple[SetAside, ...]:
        letters = pa.concat_batches([decision.dead, decision.duplicates])
        if not letters.num_rows:
            return ()
        return write_set_aside(self.lake, stamped(letters, planned, decision.replay))


def write_set_aside(lake: Lake, letters: pa.RecordBatch) -> tuple[SetAside, ...]:
    """Write letters (`LETTERS` + `_commit`) as durable files of `dead_letters`, one per day of `_received_at`; not yet in the table.

    Raises:
        OSError: The storage failed. What was written is an orphan.
    """
    table = lake.dead_letters()
    files = write_files(table, letters, lake.settings.lake.compression)
    return tuple(SetAside(_url(one["path"]), one["partition"], one["record_count"], one["file_size_in_bytes"]) for one in files)


def write_files(table: Table, rows: pa.RecordBatch, compression: str = "zstd") -> list[dict[str, Any]]:
    """Write rows as durable Parquet files below a table's `data`, one or more per day of its partition; not yet in the table.

    Returns:
        The kernel's metrics, one dict per file (`data_processor_rs.write_iceberg_parquet`).
    """
    if not rows.num_rows:
        return []
    spec, schema = table.spec(), table.schema()
    partition = schema.find_column_name(spec.fields[0].source_id) if spec.fields else None
    return kernel.write_iceberg_parquet(
        rows,
        str(local_path(table.location()) / "data"),
        schema_json=schema.model_dump_json(),
        partition_field=partition,
        file_prefix=f"{fresh_id()}-",
        compression=compression,
        durable=True,
    )


def data_file(table: Table, written: dict[str, Any]) -> DataFile:
    """A written file as an entry for the table's manifest, with the kernel's metrics; its footer is not read again."""
    counts = ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds")
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=_url(written["path"]),
        file_format=FileFormat.PARQUET,
        partition=Record(*([written["partition"]] if table.spec().fields else [])),
        record_count=written["record_count"],
        file_size_in_bytes=written["file_size_in_bytes"],
        split_offsets=written["split_offsets"],
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
        **{name: written[name] for name in counts},
    )
    file.spec_id = table.spec().spec_id
    return file


def local_path(location: str) -> Path:
    """The path of a `file://` location."""
    return Path(urlsplit(location).path)


def _url(path: str) -> str:
    return path if "://" in path else f"file://{path}"


def _marked(carried: Markers, decision: Decision, set_aside: tuple[SetAside, ...]) -> Markers:
    return replace(
        carried,
        position=carried.position.after(decision.spans),
        totals=booked(carried.totals, moves(decision)),
        contract=decision.contract_hash,
        set_aside=set_aside,
        replay=decision.replay,
    )


def _nothing(decision: Decision, head: Head, table: Table) -> Commit:
    snapshot = table.current_snapshot()
    at = datetime.now(UTC) if snapshot is None else datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
    return Commit(head.version, head.sequence, "", "replay", head.position, 0, 0, 0, at, LandedFiles(None))
