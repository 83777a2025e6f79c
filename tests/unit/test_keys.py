"""The key index of a table: bounded, tagged with the snapshot it reflects, exact whatever the cache holds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from frazil.batch import Position, Processed
from frazil.contract import Contract, Field
from frazil.errors import Corrupt, Unavailable
from frazil.flow import pump
from frazil.sink import Commit
from frazil.sink.compare import equal_content
from frazil.sink.iceberg import IcebergSink, local_path
from frazil.sink.keys import TableKeys, needed_bytes
from frazil.table.commit import Change, swap
from frazil.table.maintenance import compact
from tests.landing import LOG, ORDERS, Judge, ListLog, event, raw_batch, set_aside, sink_and_keys


def land(sink: IcebergSink, keys: TableKeys, log: ListLog, *values: bytes) -> Commit:
    log.append(*values)
    commit = pump(log, Judge(), keys, sink)
    assert commit is not None
    return commit


@pytest.fixture
def landed(tmp_path: Path) -> tuple[IcebergSink, ListLog]:
    """Six batches of ten keys, two days each."""
    sink, keys = sink_and_keys(tmp_path)
    log = ListLog()
    for n in range(6):
        land(sink, keys, log, *(event(10 * n + i, day=-(i % 2)) for i in range(10)))
    return sink, log


def all_again() -> list[bytes]:
    return [event(n, day=-(n % 2)) for n in range(60)]


@pytest.mark.parametrize("room", [0, 5, 12, 35, 1_000], ids="room for {} keys".format)
def test_an_index_of_any_size_finds_every_key_of_the_batchs_days(landed: tuple[IcebergSink, ListLog], room: int) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=needed_bytes(room))
    for _ in range(2):
        assert land(sink, keys, log, *all_again()).duplicates == 60
    changed = [event(n, 7, day=-(n % 2)) for n in range(0, 60, 7)]
    commit = land(sink, keys, log, *changed, event(1_000))
    assert (commit.landed, commit.dead) == (1, len(changed))
    assert keys.size_bytes <= needed_bytes(room)


def test_a_key_of_another_day_is_found_while_its_file_is_in_the_cache(landed: tuple[IcebergSink, ListLog]) -> None:
    """The same key with another event time is another content, wherever it landed."""
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=1 << 20)
    assert land(sink, keys, log, event(3, day=-2), event(59, day=-9)).dead == 2


def test_the_newest_files_fill_what_room_is_left(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=needed_bytes(25))
    commit = land(sink, keys, log, event(50, day=-3), event(0, day=-3))
    assert (commit.dead, commit.landed) == (1, 1), (
        "key 50 lies in the newest files, key 0 in the oldest: its day differs, it is not looked for"
    )


def test_the_cache_goes_on_with_each_commit_of_its_own(landed: tuple[IcebergSink, ListLog], monkeypatch: pytest.MonkeyPatch) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=1 << 20)
    land(sink, keys, log, event(100))
    monkeypatch.setattr(TableKeys, "_file", lambda *args: pytest.fail("a manifest was read again"))
    head = sink.head()
    decision = keys.decide(Judge()(raw_batch([event(100), event(0)], first=61)), head)
    assert decision.duplicates.num_rows == 2


def test_a_compaction_moves_keys_to_another_file(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=1 << 20)
    land(sink, keys, log, event(100))
    before = {task.file.file_path for task in sink.lake.raw(ORDERS).scan().plan_files()}
    compact(sink.lake, sink.lake.raw_name(ORDERS), least_files=2)
    after = {task.file.file_path for task in sink.lake.raw(ORDERS).scan().plan_files()}
    assert len(after) < len(before)
    for gone in before - after:
        local_path(gone).unlink()  # as the sweep does, much later
    assert land(sink, keys, log, *all_again(), event(100)).duplicates == 61
    assert len(keys) == 61


def test_rows_taken_out_of_the_table_free_their_keys(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=1 << 20)
    land(sink, keys, log, event(100))
    files = [task.file for task in sink.lake.raw(ORDERS).scan(row_filter="_offset < 10").plan_files()]
    swap(sink.lake, sink.lake.raw(ORDERS), Change("undo", removed=tuple(files)))
    commit = land(sink, keys, log, event(0), event(10))
    assert (commit.landed, commit.duplicates) == (1, 1)


def test_a_file_that_cannot_be_read_is_unavailable_never_skipped(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    keys = TableKeys(sink.lake, ORDERS, max_bytes=1 << 20)
    file = local_path(next(iter(sink.lake.raw(ORDERS).scan().plan_files())).file.file_path)
    aside = file.rename(file.with_suffix(".away"))
    log.append(event(0))
    with pytest.raises(Unavailable):
        pump(log, Judge(), keys, sink)
    aside.rename(file)
    assert pump(log, Judge(), keys, sink) is not None
    assert sink.head().totals[LOG].duplicates == 1


def test_a_file_with_other_bytes_stops(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    file = local_path(next(iter(sink.lake.raw(ORDERS).scan().plan_files())).file.file_path)
    file.write_bytes(b"PAR1 not really")
    log.append(event(0))
    with pytest.raises(Corrupt) as stop:
        pump(log, Judge(), TableKeys(sink.lake, ORDERS, max_bytes=1 << 20), sink)
    assert stop.value.exit_code == 78


def test_an_identity_letter_tells_which_event_has_the_key(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, log = landed
    land(sink, TableKeys(sink.lake, ORDERS, max_bytes=1 << 20), log, event(7, 9, day=-1))
    letter = set_aside(sink.lake)[-1]
    (violation,) = letter["violations"]
    assert letter["stage"] == "identity"
    assert letter["value"] == event(7, 9, day=-1)
    assert (letter["key"], letter["source"]) == (b"k", {"format": "ndjson", "line": 1})
    assert (violation["path"], violation["code"]) == ("/event_id", "identity.conflict")
    assert violation["value"] == '"00000000-0000-0000-0000-000000000007"'
    assert f"{LOG}/0/7" in violation["message"]
    assert violation["hint"]


def test_a_processor_that_loses_a_record_stops_the_flow(landed: tuple[IcebergSink, ListLog]) -> None:
    sink, _ = landed
    judged = Judge()(raw_batch([event(200), event(201)], first=60))
    short = type(judged.good)(judged.good.rows.slice(1), judged.good.spans)
    with pytest.raises(Corrupt) as stop:
        TableKeys(sink.lake, ORDERS, max_bytes=1).decide(Processed(short, judged.dead, judged.raw), sink.head())
    assert stop.value.code == "batch.unbalanced"


def test_places_of_several_logs_and_partitions_are_told_apart(tmp_path: Path) -> None:
    sink, keys = sink_and_keys(tmp_path)
    for log, partition in ((LOG, "0"), (LOG, "1"), ("01920000-0000-7000-8000-000000000002", "0")):
        head = sink.head()
        number = sum(len(parts) for parts in head.position.logs.values())
        judged = Judge()(raw_batch([event(number)], log=log, partition=partition))
        keys.advance(head, sink.append(keys.decide(judged, head), head))
    assert sum(len(parts) for parts in sink.head().position.logs.values()) == 3
    assert sink.head().position != Position.empty()


# ---------------------------------------------------------------- typed values

JSONS = Contract("j", "1", (Field("id", "/id", "string"), Field("n", "/n", "number"), Field("body", "/body", "json")), key=("/id",))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ('{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}', True),
        ("[1, 2]", "[2, 1]", False),
        ("1", "1.0", True),
        ("1e2", "100", True),
        ("1", "true", False),
        ("0", "false", False),
        ('"1"', "1", False),
        ('{"a": 1, "a": 2}', '{"a": 2}', False),
        ('{"a": 1, "a": 2}', '{"a": 2, "a": 1}', False),
        ("123456789012345678901234567890", "123456789012345678901234567891", False),
        ("0.1", "0.10000000000000001", False),
        ('"\\u00e4"', '"ä"', True),
        ("[" * 5_000 + "]" * 5_000, "[" * 5_000 + " " + "]" * 5_000, False),
    ],
)
def test_json_is_compared_by_value(left: str, right: str, same: bool) -> None:
    def rows(body: str) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"id": ["a"], "n": [float("nan")], "body": [body], "_extra": pa.nulls(1, pa.string())})

    content = ["id", "n", "body", "_extra"]
    assert equal_content(rows(left), rows(right), JSONS, content).to_pylist() == [same]
    assert equal_content(rows(left), rows(left), JSONS, content).to_pylist() == [True]
