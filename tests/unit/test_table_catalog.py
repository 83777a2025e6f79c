"""The lake: how it is opened, what its tables are, and that a reader needs no Frazil."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from sqlalchemy import text

from frazil.batch import LETTERS
from frazil.contract import Contract, Field
from frazil.contract.derive import iceberg_schema
from frazil.errors import ConfigError, Corrupt, Unavailable
from frazil.flow import pump
from frazil.process.python import PythonProcessor
from frazil.settings import LakeSettings, Settings
from frazil.table.catalog import HISTORY_TABLE, LETTERS_TABLE, Lake
from frazil.table.snapshots import OWNER
from tests.landing import ORDERS, Judge, ListLog, event, open_lake, sink_and_keys


def test_every_connection_is_durable(tmp_path: Path) -> None:
    """Without FULL a power cut loses the pointer; without WAL readers block the writer."""
    lake = open_lake(tmp_path)
    assert isinstance(lake.catalog, SqlCatalog)
    connections = [lake.catalog.engine.connect() for _ in range(3)]
    for connection in connections:
        asked = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "busy_timeout")]
        assert asked == ["wal", 2, 10_000]
        connection.close()


@pytest.mark.parametrize(
    ("lake", "code", "known"),
    [
        (LakeSettings(catalog="rest+https://catalog.example"), "lake.unknown_catalog", "sqlite://"),
        (LakeSettings(storage="s3://bucket/prefix"), "lake.unknown_storage", "file://"),
        (LakeSettings(storage="file://.frazil/l#ke"), "lake.bad_path", "#"),
    ],
)
def test_an_unknown_backend_names_the_known(tmp_path: Path, lake: LakeSettings, code: str, known: str) -> None:
    with pytest.raises(ConfigError) as error:
        Lake.open(Settings(root=tmp_path, lake=lake))
    assert error.value.code == code
    assert known in error.value.hint


def test_a_lake_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the lake should be")
    with pytest.raises(Unavailable):
        Lake.open(Settings(root=tmp_path, lake=LakeSettings(storage="file://taken/lake")))


def test_tables_are_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        lakes = list(pool.map(lambda _: open_lake(tmp_path), range(8)))
        tables = list(pool.map(lambda lake: lake.raw(ORDERS), lakes))
    assert len({table.metadata.table_uuid for table in tables}) == 1
    assert lakes[0].names() == ["raw_orders"]


def test_a_table_has_the_contracts_columns_with_their_field_ids(tmp_path: Path) -> None:
    table = open_lake(tmp_path).raw(ORDERS)
    assert table.schema().as_struct() == iceberg_schema(ORDERS).as_struct()
    assert [(field.name, type(field.transform)) for field in table.spec().fields] == [("at_day", DayTransform)]
    assert table.schema().find_column_name(table.spec().fields[0].source_id) == "at"
    assert table.format_version == 2
    assert table.properties[OWNER] == "shop"
    assert table.properties["write.parquet.compression-codec"] == "zstd"
    assert table.properties["commit.retry.num-retries"] == "0"
    assert table.metadata.table_uuid != open_lake(tmp_path).dead_letters().metadata.table_uuid


def test_letters_and_history_have_their_layout(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    assert [field.name for field in lake.dead_letters().schema().fields] == [*LETTERS.names, "_commit"]
    assert lake.dead_letters().schema().as_struct() == LETTERS_TABLE.as_struct()
    assert lake.commit_history().schema().as_struct() == HISTORY_TABLE.as_struct()


@pytest.mark.parametrize("owner", [{}, {OWNER: "another"}])
def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path, owner: dict[str, str]) -> None:
    lake = open_lake(tmp_path)
    lake.catalog.create_table(("shop", "raw_orders"), iceberg_schema(ORDERS), properties=owner)
    with pytest.raises(Corrupt) as stop:
        lake.raw(ORDERS)
    assert (stop.value.code, stop.value.exit_code) == ("table.foreign", 78)


def test_an_unknown_table_is_none(tmp_path: Path) -> None:
    assert open_lake(tmp_path).find("raw_nothing") is None


def test_metadata_that_is_cut_stops(tmp_path: Path) -> None:
    table = open_lake(tmp_path).raw(ORDERS)
    file = Path(table.metadata_location.removeprefix("file://"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Corrupt) as stop:
        open_lake(tmp_path).raw(ORDERS)
    assert stop.value.code == "table.unreadable"


# ---------------------------------------------------------------- a reader without Frazil

TEXT_KEY = Contract(
    "visits",
    "1",
    (
        Field("id", "/id", "string", required=True),
        Field("at", "/at", "timestamp", required=True),
        Field("n", "/n", "number"),
        Field("who", "/who", "object", fields=(Field("name", "/who/name", "string"),)),
    ),
    key=("/id",),
    event_time="/at",
    unknown="drop",
)


@pytest.fixture
def read_alone(tmp_path: Path) -> Table:
    """Two days of orders, as a catalog that knows nothing of Frazil loads them."""
    sink, keys = sink_and_keys(tmp_path)
    log = ListLog()
    for batch in ([event(1), event(2, day=-1, amount=None)], [event(3, amount=-7), event(4, day=-1), b"{"]):
        log.append(*batch)
        pump(log, Judge(), keys, sink)
    sink.lake.close()
    catalog = SqlCatalog("frazil", uri=f"sqlite:///{tmp_path}/.frazil/catalog.db", warehouse=f"file://{tmp_path}/.frazil/lake")
    return catalog.load_table("shop.raw_orders")


def test_pyiceberg_alone_reads_the_table(read_alone: Table) -> None:
    rows = read_alone.scan(selected_fields=("amount", "_offset", "_commit")).to_arrow().sort_by("_offset").to_pylist()
    assert rows == [
        {"amount": 1, "_offset": 0, "_commit": 1},
        {"amount": None, "_offset": 1, "_commit": 1},
        {"amount": -7, "_offset": 2, "_commit": 2},
        {"amount": 1, "_offset": 3, "_commit": 2},
    ]
    assert "frazil" not in type(read_alone.io).__module__


@pytest.mark.prop(36)
@pytest.mark.parametrize(
    ("row_filter", "planned"),
    [
        ("at >= '2026-11-20T00:00:00+00:00'", 2),
        ("at < '2026-11-20T00:00:00+00:00'", 2),
        ("at >= '2026-11-21T00:00:00+00:00'", 0),
        ("_commit > 1", 2),
        ("amount < 0", 1),
        ("_offset = 1", 1),
        ("amount is null", 1),
    ],
)
def test_filters_read_only_what_they_need(read_alone: Table, row_filter: str, planned: int) -> None:
    assert len(list(read_alone.scan().plan_files())) == 4
    assert len(list(read_alone.scan(row_filter=row_filter).plan_files())) == planned


def test_files_say_what_is_in_them(read_alone: Table) -> None:
    schema, snapshot = read_alone.schema(), read_alone.current_snapshot()
    assert snapshot is not None
    entries = [entry for manifest in snapshot.manifests(read_alone.io) for entry in manifest.fetch_manifest_entry(read_alone.io)]
    amount, offset = schema.find_field("amount"), schema.find_field("_offset")
    seen = []
    for file in (entry.data_file for entry in entries):
        path = Path(file.file_path.removeprefix("file://"))
        assert path.stat().st_size == file.file_size_in_bytes
        assert set(file.value_counts) == {field.field_id for field in schema.fields}
        assert f"at_day={'2026-11-20' if file.partition[0] == 20_777 else '2026-11-19'}" in file.file_path
        bounds = [from_bytes(offset.field_type, side[offset.field_id]) for side in (file.lower_bounds, file.upper_bounds)]
        seen.append((file.partition[0], file.record_count, file.null_value_counts[amount.field_id], *bounds))
    assert sorted(seen) == [(20_776, 1, 0, 3, 3), (20_776, 1, 1, 1, 1), (20_777, 1, 0, 0, 0), (20_777, 1, 0, 2, 2)]


def test_inspect_reads_metrics_of_plain_columns(tmp_path: Path) -> None:
    sink, keys = sink_and_keys(tmp_path, TEXT_KEY)
    log = ListLog({"0": [b'{"id":"a","at":"2026-11-20T01:00:00Z","n":1.5,"who":{"name":"x"}}', b'{"id":"b","at":"2026-11-20T02:00:00Z"}']})
    pump(log, PythonProcessor(TEXT_KEY), keys, sink)
    (file,) = sink.lake.raw(TEXT_KEY).inspect.files().to_pylist()
    metrics = file["readable_metrics"]
    assert (file["record_count"], file["file_format"]) == (2, "PARQUET")
    assert (metrics["id"]["lower_bound"], metrics["id"]["upper_bound"]) == ("a", "b")
    assert (metrics["n"]["null_value_count"], metrics["n"]["lower_bound"]) == (1, 1.5)
    name = sink.lake.raw(TEXT_KEY).schema().find_field("who.name").field_id
    assert dict(file["null_value_counts"])[name] == 1
