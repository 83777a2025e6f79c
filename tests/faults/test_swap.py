"""What can happen to the one swap: refused, lost, late, overtaken. Nothing lands twice, nothing is lost, no file is deleted."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from frazil.errors import CommitConflict, Corrupt, FrazilError, Unavailable
from frazil.flow import pump
from frazil.sink import Commit, Head
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from frazil.table import commit as swapping
from frazil.table import durable_io
from frazil.table.commit import Change, swap
from tests.fated import FatedCatalog, fated
from tests.landing import ORDERS, Judge, ListLog, event, landed, raw_batch, set_aside, sink_and_keys, totals_of

Scene = tuple[IcebergSink, TableKeys, FatedCatalog]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "_wait", lambda attempt: None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A table with one landed batch of two rows and one letter, and fates before its catalog."""
    sink, keys = sink_and_keys(tmp_path)
    append(sink, keys, [event(1), event(2), b"{"])
    return sink, keys, fated(sink.lake)


def append(sink: IcebergSink, keys: TableKeys, values: list[bytes | None], *, head: Head | None = None) -> Commit:
    head = head or sink.head()
    last = [int(at[0]) for parts in head.position.logs.values() for at in parts.values()]
    return sink.append(keys.decide(Judge()(raw_batch(values, first=last[0] + 1 if last else 0)), head), head)


def seen(sink: IcebergSink) -> tuple[list[int], int, tuple[int, ...]]:
    """Offsets landed, letters set aside, totals."""
    return [row["_offset"] for row in landed(sink.lake)], len(set_aside(sink.lake)), totals_of(sink.head())


def files(sink: IcebergSink) -> set[Path]:
    root = sink.lake.settings.path_of(sink.lake.settings.lake.storage)
    return {path for path in root.rglob("*") if path.is_file()}


BEFORE = ([0, 1], 1, (3, 2, 1, 0))
AFTER = ([0, 1, 3], 2, (5, 3, 2, 0))
BATCH: list[bytes | None] = [event(3), b"{"]


@pytest.mark.parametrize("fate", ["lost", "lied", "broke"])
def test_a_commit_that_landed_is_found_whatever_the_answer_was(scene: Scene, fate: str) -> None:
    sink, keys, catalog = scene
    catalog.fates = [getattr(catalog, fate)]
    commit = append(sink, keys, BATCH)
    assert catalog.calls == 1, "it is looked up, never sent again"
    assert (commit.landed, commit.version) == (1, sink.head().version)
    assert seen(sink) == AFTER


def test_landed_but_reported_conflict(scene: Scene) -> None:
    """Canary: a catalog client that retries below us turns a landed commit into a conflict."""
    sink, keys, catalog = scene
    catalog.fates = [catalog.lied]
    append(sink, keys, BATCH)
    assert seen(sink) == AFTER
    assert all(path.exists() for path in files(sink))
    assert sink.lake.raw(ORDERS).scan().to_arrow().num_rows == 3, "its manifests are there"


@pytest.mark.parametrize("fate", ["refused", "unsent"])
def test_what_did_not_land_is_sent_again_with_the_same_files(scene: Scene, fate: str) -> None:
    sink, keys, catalog = scene
    catalog.fates = [getattr(catalog, fate)] * 2
    append(sink, keys, BATCH)
    assert catalog.calls == 3
    assert seen(sink) == AFTER
    assert len([path for path in files(sink) if path.suffix == ".parquet"]) == 4, "two batches, rows and letters each"


def test_two_writers_one_commit(tmp_path: Path) -> None:
    """Canary: of two writers that decided on one head exactly one lands, without a retry of PyIceberg's own."""
    writers = [sink_and_keys(tmp_path) for _ in range(2)]
    sink = writers[0][0]
    append(*writers[0], [event(1)])
    heads = [writer[0].head() for writer in writers]
    start, outcomes = threading.Barrier(2), []

    def write(number: int) -> None:
        start.wait()
        try:
            outcomes.append(append(*writers[number], [event(10 + number)], head=heads[number]))
        except FrazilError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Commit", "CommitConflict"]
    assert [row["_offset"] for row in landed(sink.lake)] == [0, 1]


def test_a_late_request_that_arrives_first_is_our_own_success(scene: Scene) -> None:
    sink, keys, catalog = scene

    def arrives(send: Any) -> Any:
        assert catalog.deliver() == [None]
        return send()

    catalog.fates = [catalog.delayed, arrives]
    append(sink, keys, BATCH)
    assert seen(sink) == AFTER


def test_a_late_request_that_arrives_after_our_second_try_is_refused(scene: Scene) -> None:
    sink, keys, catalog = scene
    catalog.fates = [catalog.delayed]
    append(sink, keys, BATCH)
    assert [type(answer).__name__ for answer in catalog.deliver()] == ["CommitFailedException"]
    assert seen(sink) == AFTER


def test_a_zombies_commit_is_refused_after_another_landed(scene: Scene, tmp_path: Path) -> None:
    """Its request is in flight while it is stopped; another process takes over and lands the same records."""
    sink, keys, catalog = scene
    catalog.fates = [catalog.delayed] * swapping.ATTEMPTS
    with pytest.raises(Unavailable):
        append(sink, keys, BATCH)
    append(*sink_and_keys(tmp_path), BATCH)
    answers = catalog.deliver()
    assert len(answers) == swapping.ATTEMPTS
    assert all(answers), "every request asserts a head that is gone"
    assert seen(sink) == AFTER


def test_a_zombies_commit_that_lands_late_is_where_the_next_pump_starts(scene: Scene, tmp_path: Path) -> None:
    sink, keys, catalog = scene
    catalog.fates = [catalog.delayed] * swapping.ATTEMPTS
    with pytest.raises(Unavailable):
        append(sink, keys, BATCH)
    assert catalog.deliver().count(None) == 1
    log = ListLog({"0": [event(1), event(2), b"{", *BATCH, event(4)]})
    other, its_keys = sink_and_keys(tmp_path)
    while pump(log, Judge(), its_keys, other) is not None:
        pass
    assert seen(sink) == ([0, 1, 3, 5], 2, (6, 4, 2, 0))


def test_another_commit_in_between_is_a_conflict(scene: Scene, tmp_path: Path) -> None:
    sink, keys, catalog = scene
    catalog.fates = [catalog.after(lambda: append(*sink_and_keys(tmp_path), BATCH))]
    kept = files(sink)
    with pytest.raises(CommitConflict):
        append(sink, keys, [event(4)])
    assert seen(sink) == AFTER
    assert kept < files(sink), "what did not land is an orphan; nobody deletes it here"


def test_maintenance_in_between_is_no_conflict(scene: Scene) -> None:
    sink, keys, catalog = scene
    catalog.fates = [catalog.after(lambda: swap(sink.lake, sink.lake.raw(ORDERS), Change("maintenance")))]
    commit = append(sink, keys, BATCH)
    assert commit.sequence == 3
    assert seen(sink) == AFTER


def test_a_rewind_in_between_is_a_conflict_and_fences_what_is_in_flight(scene: Scene) -> None:
    sink, keys, catalog = scene
    first = sink.lake.raw(ORDERS).metadata.current_snapshot()
    append(sink, keys, BATCH)
    head = sink.head()
    catalog.fates = [catalog.delayed] * swapping.ATTEMPTS
    with pytest.raises(Unavailable):
        append(sink, keys, [event(7)], head=head)
    done = swap(sink.lake, sink.lake.raw(ORDERS), Change("rewind", target=first, rebuild=False))
    assert done.snapshot.sequence_number == 3
    assert all(catalog.deliver())
    with pytest.raises(CommitConflict):
        append(sink, keys, [event(7)], head=head)
    assert seen(sink)[0] == [0, 1]


def test_a_change_that_may_not_be_rebuilt_is_a_conflict_even_over_maintenance(scene: Scene) -> None:
    sink, _, _ = scene
    table = sink.lake.raw(ORDERS)
    swap(sink.lake, table, Change("maintenance"))
    with pytest.raises(CommitConflict):
        swap(sink.lake, table, Change("maintenance", rebuild=False))


def test_a_file_that_is_gone_cannot_be_removed(scene: Scene) -> None:
    """An undo that was decided before a compaction took its file: look again, do not half remove."""
    sink, _, _ = scene
    table = sink.lake.raw(ORDERS)
    file = next(iter(table.scan().plan_files())).file
    swap(sink.lake, table, Change("undo", removed=(file,)))
    with pytest.raises(CommitConflict):
        swap(sink.lake, sink.lake.raw(ORDERS), Change("undo", removed=(file,)))


def test_a_catalog_that_stays_away_is_unavailable_and_nothing_is_skipped(scene: Scene) -> None:
    sink, keys, catalog = scene
    catalog.fates = [catalog.unsent] * swapping.ATTEMPTS
    with pytest.raises(Unavailable) as answer:
        append(sink, keys, BATCH)
    assert answer.value.retry == "backoff"
    assert seen(sink) == BEFORE
    append(sink, keys, BATCH)
    assert seen(sink) == AFTER


def test_a_reload_that_fails_is_tried_again_then_unavailable(scene: Scene) -> None:
    sink, keys, catalog = scene
    head = sink.head()

    def lost_and_blind(send: Any) -> Any:
        catalog.reads_fail = 2
        return catalog.lost(send)

    catalog.fates = [lost_and_blind]
    append(sink, keys, BATCH, head=head)
    assert seen(sink) == AFTER

    def lost_and_blind_for_long(send: Any) -> Any:
        catalog.reads_fail = swapping.ATTEMPTS
        return catalog.lost(send)

    catalog.fates = [lost_and_blind_for_long]
    with pytest.raises(Unavailable):
        append(sink, keys, [event(9)])
    assert seen(sink)[0] == [0, 1, 3, 5], "it landed; the next pump starts behind it"


def test_a_full_disk_while_manifests_are_written_is_unavailable(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, keys, _ = scene

    def full(self: durable_io.DurableStream, b: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable_io.DurableStream, "write", full)
        with pytest.raises(Unavailable):
            append(sink, keys, BATCH)
    assert seen(sink) == BEFORE
    append(sink, keys, BATCH)
    assert seen(sink) == AFTER


def test_an_error_that_is_a_bug_comes_out_after_a_look(scene: Scene) -> None:
    sink, keys, catalog = scene

    def bug(send: Any) -> Any:
        raise ZeroDivisionError

    catalog.fates = [bug]
    with pytest.raises(ZeroDivisionError):
        append(sink, keys, BATCH)
    assert seen(sink) == BEFORE


def test_markers_that_are_gone_stop_the_flow(scene: Scene) -> None:
    sink, _, _ = scene
    table = sink.lake.raw(ORDERS)
    rows = table.scan().to_arrow().cast(table.schema().as_arrow())
    table.overwrite(rows)  # another tool, whose commits carry no markers
    table = sink.lake.raw(ORDERS)
    head = table.metadata.current_snapshot_id
    table.maintenance.expire_snapshots().by_ids([one.snapshot_id for one in table.snapshots() if one.snapshot_id != head]).commit()
    with pytest.raises(Corrupt) as stop:
        sink.head()
    assert stop.value.code == "table.markers_missing"
    assert stop.value.exit_code == 78


def test_a_foreign_commit_is_passed_by_for_the_position_and_is_a_conflict_for_a_commit(scene: Scene) -> None:
    sink, keys, _ = scene
    head = sink.head()
    table = sink.lake.raw(ORDERS)
    table.delete("_offset = 1")
    assert sink.head().position == head.position
    with pytest.raises(CommitConflict):
        append(sink, keys, BATCH, head=head)
