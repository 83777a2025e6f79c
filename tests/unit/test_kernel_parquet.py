"""Parquet for Iceberg: partitions, metrics, readers, refusals."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.typedef import Record

TEXT_CODE = pa.dictionary(pa.int32(), pa.string())
SCHEMA = json.dumps(
    {
        "type": "struct",
        "schema-id": 0,
        "fields": [
            {"id": 1, "name": "event_id", "required": True, "type": "uuid"},
            {"id": 2, "name": "kind", "required": True, "type": "string"},
            {"id": 3, "name": "at", "required": True, "type": "timestamptz"},
            {"id": 4, "name": "value", "required": False, "type": "double"},
            {"id": 5, "name": "price", "required": False, "type": "decimal(9, 2)"},
            {
                "id": 6,
                "name": "context",
                "required": False,
                "type": {
                    "type": "struct",
                    "fields": [
                        {"id": 7, "name": "country", "required": False, "type": "string"},
                        {"id": 8, "name": "hour", "required": True, "type": "int"},
                    ],
                },
            },
            {
                "id": 9,
                "name": "tags",
                "required": False,
                "type": {"type": "list", "element-id": 10, "element-required": False, "element": "string"},
            },
            {"id": 11, "name": "note", "required": False, "type": "string"},
        ],
    }
)
CONTEXT = pa.struct([pa.field("country", TEXT_CODE), pa.field("hour", pa.int32(), nullable=False)])
START = datetime(2026, 3, 1, tzinfo=UTC)


def events(count: int, start: datetime = START, step: timedelta = timedelta(minutes=7)) -> pa.RecordBatch:
    """Rows for `SCHEMA`, without the optional `note`."""
    columns = {
        "event_id": pa.array([n.to_bytes(16) for n in range(count)], pa.binary(16)),
        "kind": pa.array([f"kind {n % 3}" for n in range(count)], TEXT_CODE),
        "at": pa.array([start + n * step for n in range(count)], pa.timestamp("us", tz="UTC")),
        "value": pa.array([None if n % 5 == 0 else float("nan") if n % 7 == 0 else n / 4 for n in range(count)], pa.float64()),
        "price": pa.array([Decimal(n - 50).scaleb(-2) for n in range(count)], pa.decimal128(9, 2)),
        "context": pa.array(
            [None if n % 4 == 0 else {"country": None if n % 3 == 0 else "de", "hour": n % 24} for n in range(count)], CONTEXT
        ),
        "tags": pa.array([None if n % 4 == 0 else ["x"] * (n % 3) for n in range(count)], pa.list_(pa.string())),
    }
    return pa.record_batch(columns)


def write(rows: Any, place: Path, **options: Any) -> list[dict[str, Any]]:
    options = {"schema_json": SCHEMA, "partition_field": "at", "durable": False} | options
    return kernel.write_iceberg_parquet(rows, str(place), **options)


def read(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for file in files for row in pa.record_batch(kernel.read_iceberg_parquet(file["path"])).to_pylist()]


# ---------------------------------------------------------------- partitions


@pytest.mark.prop(36)
@pytest.mark.parametrize(
    "start", [datetime(1969, 12, 30, 22, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), START - timedelta(microseconds=3)]
)
def test_each_row_lies_in_the_file_of_its_utc_day(tmp_path: Path, start: datetime) -> None:
    rows = events(500)
    instants = [start + n * timedelta(minutes=17, microseconds=1) for n in range(500)]
    rows = rows.set_column(2, "at", pa.array(instants, pa.timestamp("us", tz="UTC")))
    files = write(rows, tmp_path)
    assert sorted({(at.date() - datetime(1970, 1, 1).date()).days for at in instants}) == [file["partition"] for file in files]
    for file in files:
        day = datetime(1970, 1, 1).date() + timedelta(days=file["partition"])
        assert Path(file["path"]).parent.name == f"at_day={day.isoformat()}"
        found = read([file])
        assert {row["at"].date() for row in found} == {day}
        assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    assert sum(file["record_count"] for file in files) == 500


def test_a_date_and_a_nested_timestamp_part_rows_as_well(tmp_path: Path) -> None:
    fields = [
        {"id": 1, "name": "day", "required": False, "type": "date"},
        {"id": 2, "name": "x", "required": False, "type": {"type": "struct", "fields": [
            {"id": 3, "name": "n", "required": False, "type": "long"},
            {"id": 4, "name": "at", "required": False, "type": "timestamp"},
        ]}},
    ]  # fmt: skip
    schema = json.dumps({"type": "struct", "fields": fields})
    days = [START.date(), None, START.date()]
    nested = [{"n": 1, "at": datetime(1969, 12, 31, 23, 59, 59, 999999)}, None, {"n": 1, "at": datetime(1970, 1, 1)}]
    rows = pa.record_batch(
        [pa.array(days, pa.date32()), pa.array(nested, pa.struct([("n", pa.int64()), ("at", pa.timestamp("us"))]))], names=["day", "x"]
    )
    files = write(rows, tmp_path / "a", schema_json=schema, partition_field="day")
    assert [(Path(f["path"]).parent.name, f["partition"], f["record_count"]) for f in files] == [
        ("day_day=null", None, 1), ("day_day=2026-03-01", 20_513, 2),
    ]  # fmt: skip
    files = write(rows, tmp_path / "b", schema_json=schema, partition_field="x.at")
    assert [(Path(f["path"]).parent.name, f["partition"]) for f in files] == [
        ("x.at_day=null", None), ("x.at_day=1969-12-31", -1), ("x.at_day=1970-01-01", 0),
    ]  # fmt: skip


def test_files_are_rolled_near_the_target_and_keep_the_order(tmp_path: Path) -> None:
    rows = events(200_000, step=timedelta(milliseconds=1)).drop_columns(["tags"])
    files = write(rows, tmp_path, target_bytes=400_000, file_prefix="run-")
    assert len(files) > 2
    assert [Path(file["path"]).name for file in files] == [f"run-{n}.parquet" for n in range(len(files))]
    assert all(file["file_size_in_bytes"] < 1_200_000 for file in files)
    assert [row["event_id"] for row in read(files)] == rows.column("event_id").to_pylist()


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    [file] = write(events(3), tmp_path)
    before = Path(file["path"]).read_bytes()
    with pytest.raises(kernel.ParquetFault) as caught:
        write(events(5), tmp_path)
    assert caught.value.code == "parquet.exists"
    assert Path(file["path"]).read_bytes() == before


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield events(100)
        yield events(100, START + timedelta(days=5))
        raise RuntimeError("the source broke")

    stream = pa.RecordBatchReader.from_batches(events(0).schema, broken())
    with pytest.raises(kernel.ParquetFault, match="the source broke"):
        write(stream, tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_durable_files_below_new_directories_are_readable(tmp_path: Path) -> None:
    files = write(events(300), tmp_path / "deep" / "er", durable=True)
    assert sum(file["record_count"] for file in files) == len(read(files)) == 300


# ---------------------------------------------------------------- metrics


def statistics_of_pyiceberg(file: dict[str, Any], schema: Schema) -> Any:
    plan = compute_statistics_plan(schema, {})
    return data_file_statistics_from_parquet_metadata(pq.read_metadata(file["path"]), plan, parquet_path_to_id_mapping(schema))


def test_counts_and_sizes_are_those_of_the_footer(tmp_path: Path) -> None:
    schema = Schema.model_validate_json(SCHEMA)
    [file] = write(events(150), tmp_path)
    theirs = statistics_of_pyiceberg(file, schema)
    assert file["record_count"] == theirs.record_count
    assert file["column_sizes"] == theirs.column_sizes
    assert file["value_counts"] == theirs.value_counts
    assert file["null_value_counts"] == theirs.null_value_counts
    assert file["split_offsets"] == theirs.split_offsets


def test_bounds_are_the_values_between_which_all_lie(tmp_path: Path) -> None:
    schema = Schema.model_validate_json(SCHEMA)
    [file] = write(events(150), tmp_path)

    def bounds(name: str) -> tuple[Any, Any]:
        field = schema.find_field(name)
        spelled = file["lower_bounds"][field.field_id], file["upper_bounds"][field.field_id]
        return from_bytes(field.field_type, spelled[0]), from_bytes(field.field_type, spelled[1])

    rows = events(150).to_pylist()
    values = [row["value"] for row in rows if row["value"] is not None and row["value"] == row["value"]]
    assert bounds("value") == (min(values), max(values))
    assert bounds("price") == (Decimal("-0.50"), Decimal("0.99"))
    assert bounds("kind") == ("kind 0", "kind 2")
    assert bounds("context.country") == ("de", "de")
    assert bounds("context.hour") == (1, 23)
    assert file["nan_value_counts"] == {4: sum(row["value"] != row["value"] for row in rows)}
    assert not {10, 11} & set(file["lower_bounds"])  # list elements have none, nor has a column of nulls
    theirs = statistics_of_pyiceberg(file, schema).to_serialized_dict()
    for field_id, bound in theirs["lower_bounds"].items():
        if field_id not in (4, 10):  # its reader sees no bounds of doubles; lists have none with us
            assert file["lower_bounds"][field_id] == bound
            assert file["upper_bounds"][field_id] == theirs["upper_bounds"][field_id]


def test_columns_of_nothing_but_nan_or_null_have_no_bounds(tmp_path: Path) -> None:
    schema = json.dumps({"type": "struct", "fields": [{"id": n, "name": f"c{n}", "required": False, "type": "double"} for n in (1, 2)]})
    rows = pa.record_batch([pa.array([float("nan")] * 3), pa.nulls(3, pa.float64())], names=["c1", "c2"])
    [file] = write(rows, tmp_path, schema_json=schema, partition_field=None)
    assert (file["lower_bounds"], file["upper_bounds"], file["nan_value_counts"]) == ({}, {}, {1: 3, 2: 0})
    assert file["null_value_counts"] == {1: 0, 2: 3}


def test_negative_zero_lies_below_zero_in_bounds(tmp_path: Path) -> None:
    schema = json.dumps({"type": "struct", "fields": [{"id": 1, "name": "c", "required": False, "type": "double"}]})
    rows = pa.record_batch([pa.array([0.0, -0.0])], names=["c"])
    [file] = write(rows, tmp_path, schema_json=schema, partition_field=None)
    assert (file["lower_bounds"][1].hex(), file["upper_bounds"][1].hex()) == ("0000000000000080", "0000000000000000")
    assert duckdb.sql(f"select count(*) from '{file['path']}' where c = 0").fetchall() == [(2,)]


# ---------------------------------------------------------------- other readers


@pytest.mark.prop(46)
def test_pyiceberg_reads_the_files_through_a_table_and_prunes(tmp_path: Path) -> None:
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("raw")
    spec = PartitionSpec(PartitionField(3, 1000, DayTransform(), "at_day"))
    table = catalog.create_table("raw.events", Schema.model_validate_json(SCHEMA), partition_spec=spec)
    schema_json = table.schema().model_dump_json()  # the catalog may number fields anew
    rows = events(1000)
    metrics = "record_count file_size_in_bytes column_sizes value_counts null_value_counts nan_value_counts lower_bounds upper_bounds"
    with table.transaction() as change, change.update_snapshot().fast_append() as append:
        for file in write(rows, tmp_path / "data", schema_json=schema_json):
            entry = DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=f"file://{file['path']}",
                file_format=FileFormat.PARQUET,
                partition=Record(file["partition"]),
                split_offsets=file["split_offsets"],
                sort_order_id=None,
                equality_ids=None,
                key_metadata=None,
                spec_id=table.spec().spec_id,
                **{name: file[name] for name in metrics.split()},
            )
            append.append_data_file(entry)
    table = catalog.load_table("raw.events")
    found = table.scan().to_arrow().sort_by("at").drop_columns(["note"]).to_pylist()
    expected = rows.to_pylist()
    for ours, theirs in zip(expected, found, strict=True):
        same = {name: theirs[name] for name in ours if name not in ("value", "event_id")}
        assert same == {name: ours[name] for name in same}
        assert str(ours["value"]) == str(theirs["value"])
    day = "at >= '2026-03-03T00:00:00+00:00' and at < '2026-03-04T00:00:00+00:00'"
    assert len(list(table.scan().plan_files())) == 5
    assert len(list(table.scan(row_filter=day).plan_files())) == 1
    assert len(list(table.scan(row_filter="kind = 'kind 9'").plan_files())) == 0  # by bounds
    assert table.scan(row_filter="context.country = 'de'").count() == sum(
        row["context"] is not None and row["context"]["country"] == "de" for row in expected
    )


@pytest.mark.prop(46)
def test_duckdb_and_pyarrow_read_the_same(tmp_path: Path) -> None:
    files = write(events(40_000, step=timedelta(seconds=1)), tmp_path)
    [file] = files
    ours = pa.record_batch(kernel.read_iceberg_parquet(file["path"]))
    theirs = pq.read_table(file["path"])
    theirs = theirs.set_column(0, "event_id", theirs.column("event_id").cast(pa.binary(16)))
    assert [str(row) for row in theirs.to_pylist()] == [str(row) for row in ours.to_pylist()]
    query = f"""select count(*), count(distinct event_id), sum(price), count(context), sum(context.hour), sum(len(tags)),
        sum(value) filter (where not isnan(value)), epoch_us(min("at")), count(note) from '{file["path"]}'"""
    rows = events(40_000, step=timedelta(seconds=1)).to_pylist()
    numbers = [row["value"] for row in rows if row["value"] is not None and row["value"] == row["value"]]
    expected = (
        40_000, 40_000, sum(row["price"] for row in rows), sum(row["context"] is not None for row in rows),
        sum(row["context"]["hour"] for row in rows if row["context"]), sum(len(row["tags"]) for row in rows if row["tags"]),
        pytest.approx(sum(numbers)), int(START.timestamp()) * 1_000_000, 0,
    )  # fmt: skip
    con = duckdb.connect()
    assert con.sql(query).fetchall() == [expected]


# ---------------------------------------------------------------- refusals


@pytest.mark.prop(12)
@pytest.mark.parametrize(
    ("change", "code", "facts"),
    [
        (lambda rows: rows.drop_columns(["kind"]), "parquet.missing_column", {"column": "kind"}),
        (lambda rows: rows.append_column("surplus", pa.nulls(3)), "parquet.unknown_column", {"column": "surplus"}),
        (lambda rows: rows.set_column(1, "kind", pa.array([1, 2, 3])), "parquet.type_mismatch", {"column": "kind"}),
        (lambda rows: rows.set_column(1, "kind", pa.array(["a", None, "b"])), "parquet.null_in_required", {"column": "kind", "row": 1}),
        (
            lambda rows: rows.set_column(5, "context", pa.array([None, {"hour": None}, {"hour": 1}], pa.struct([("hour", pa.int32())]))),
            "parquet.null_in_required",
            {"column": "context.hour", "row": 1},
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_the_column(tmp_path: Path, change: Any, code: str, facts: dict[str, Any]) -> None:
    with pytest.raises(kernel.ParquetFault) as caught:
        write(change(events(3)), tmp_path)
    assert caught.value.code == code
    assert facts.items() <= caught.value.context.items()
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.prop(48)
def test_an_unknown_compression_is_named_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(kernel.FormatError) as caught:
        write(events(3), tmp_path, compression="brotli")
    assert caught.value.code == "parquet.unknown_compression"
    assert "zstd" in caught.value.hint


@pytest.mark.parametrize("kind", ["time", "timestamp_ns", "decimal(39, 2)", "fixed[0]", {"type": "map"}, 7])
def test_a_type_that_is_not_written_is_named(tmp_path: Path, kind: Any) -> None:
    schema = json.dumps({"type": "struct", "fields": [{"id": 1, "name": "c", "required": False, "type": kind}]})
    with pytest.raises(kernel.ParquetFault) as caught:
        write(events(1), tmp_path, schema_json=schema)
    assert caught.value.code == "parquet.unsupported_type"


def test_a_directory_that_cannot_be_is_an_error_of_io(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(kernel.ParquetFault) as caught:
        write(events(1), tmp_path / "file" / "below")
    assert caught.value.code == "parquet.io"
    assert caught.value.context["errno"] > 0


def test_reading_names_what_is_wrong(tmp_path: Path) -> None:
    for content, code in [
        (b"", "parquet.invalid_file"),
        (b"PAR1" * 3, "parquet.invalid_file"),
        (b"no parquet at all", "parquet.invalid_file"),
    ]:
        path = tmp_path / "x.parquet"
        path.write_bytes(content)
        with pytest.raises(kernel.ParquetFault) as caught:
            kernel.read_iceberg_parquet(str(path))
        assert caught.value.code == code
        assert caught.value.context["path"] == str(path)
    with pytest.raises(kernel.ParquetFault) as caught:
        kernel.read_iceberg_parquet(str(tmp_path / "absent"))
    assert caught.value.code == "parquet.not_found"


def test_columns_are_chosen_by_name_dotted_when_nested(tmp_path: Path) -> None:
    [file] = write(events(10), tmp_path)
    rows = pa.record_batch(kernel.read_iceberg_parquet(file["path"], columns=["kind", "context.hour"]))
    assert rows.schema.names == ["kind", "context"]
    assert rows.schema.field("context").type.num_fields == 1
    with pytest.raises(kernel.ParquetFault) as caught:
        kernel.read_iceberg_parquet(file["path"], columns=["kinds"])
    assert caught.value.code == "parquet.unknown_column"


@pytest.mark.prop(4)
def test_broken_files_are_errors_never_crashes(shared: Path) -> None:
    broken = sorted((shared / "corpora" / "parquet-testing" / "bad_data").glob("*.parquet"))
    assert broken
    for path in broken:
        if path.name == "ARROW-GH-43605.parquet":  # odd but sound: one code of no bits
            assert len(kernel.read_iceberg_parquet(str(path))) > 0
            continue
        with pytest.raises(kernel.ParquetFault) as caught:
            kernel.read_iceberg_parquet(str(path))
        assert caught.value.code == "parquet.invalid_file"
        assert caught.value.context["path"] == str(path)


def test_the_founding_name_writes_day_partitioned_zstd(tmp_path: Path) -> None:
    rows = events(400)
    required = pa.schema([field.with_nullable(field.name not in ("event_id", "at")) for field in rows.schema])
    files = kernel.write_iceberg(pa.record_batch(rows.columns, schema=required), str(tmp_path))
    assert len(files) == 2
    assert len(read(files)) == 400
    footer = pq.read_metadata(files[0]["path"])
    assert footer.row_group(0).column(1).compression == "ZSTD"
    assert kernel.write_iceberg(pa.record_batch(rows.columns, schema=required), str(tmp_path))  # again: new names
