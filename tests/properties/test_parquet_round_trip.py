"""What is written as Parquet is read back as it was, by the kernel and by others."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.iceberg_rows import Case, cases


def settled(value: Any) -> Any:
    """A value that compares by what it is: every NaN alike, zeros by sign, exact types."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, dict):
        return {name: settled(part) for name, part in value.items()}
    if isinstance(value, list):
        return [settled(part) for part in value]
    return value.bytes if hasattr(value, "bytes") else value


def listed(rows: pa.RecordBatch | pa.Table) -> list[Any]:
    return [settled(row) for row in rows.to_pylist()]


def leaf_ids(schema: Any) -> list[int]:
    """Ids of the primitive fields in the order of the Parquet columns."""
    return [field_id for field_id, name in schema._lazy_id_to_name.items() if schema.find_type(name).is_primitive]


@pytest.mark.prop(7)
@given(case=cases())
def test_written_rows_are_read_back_the_same(case: Case) -> None:
    with tempfile.TemporaryDirectory() as place:
        files = kernel.write_iceberg_parquet(case.rows, place, schema_json=case.schema_json, durable=False)
        if case.rows.num_rows == 0:
            assert files == []
            return
        [file] = files
        assert file["record_count"] == case.rows.num_rows
        assert file["file_size_in_bytes"] == Path(file["path"]).stat().st_size
        expected = listed(case.rows)
        assert listed(pa.record_batch(kernel.read_iceberg_parquet(file["path"]))) == expected
        assert listed(pq.read_table(file["path"])) == expected


@pytest.mark.prop(7)
@given(case=cases(), cut=st.integers(0, 30))
def test_rows_in_two_batches_are_the_rows_in_one(case: Case, cut: int) -> None:
    cut = min(cut, case.rows.num_rows)
    halves = pa.Table.from_batches([case.rows.slice(0, cut), case.rows.slice(cut)])
    with tempfile.TemporaryDirectory() as place:
        files = kernel.write_iceberg_parquet(halves, place, schema_json=case.schema_json, durable=False)
        read = [row for file in files for row in listed(pa.record_batch(kernel.read_iceberg_parquet(file["path"])))]
        assert read == listed(case.rows)


@pytest.mark.prop(7)
@pytest.mark.prop(46)
@given(case=cases(), compression=st.sampled_from(["zstd", "snappy", "none"]))
@settings(max_examples=30)
def test_every_field_has_its_id_and_type_in_the_file(case: Case, compression: str) -> None:
    if case.rows.num_rows == 0:
        return
    with tempfile.TemporaryDirectory() as place:
        [file] = kernel.write_iceberg_parquet(case.rows, place, schema_json=case.schema_json, durable=False, compression=compression)
        from pyiceberg.io.pyarrow import pyarrow_to_schema

        assert pyarrow_to_schema(pq.read_schema(file["path"])).as_struct() == case.schema.as_struct()


@pytest.mark.prop(47)
@given(case=cases(), asked=st.sampled_from([("zstd", "ZSTD"), ("snappy", "SNAPPY"), ("none", "UNCOMPRESSED")]))
@settings(max_examples=30)
def test_files_are_compressed_as_asked(case: Case, asked: tuple[str, str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for file in kernel.write_iceberg_parquet(case.rows, place, schema_json=case.schema_json, durable=False, compression=asked[0]):
            footer = pq.read_metadata(file["path"])
            groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
            assert {group.column(at).compression for group in groups for at in range(group.num_columns)} == {asked[1]}
