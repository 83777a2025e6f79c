"""Upkeep changes no row, keeps what is needed, and keeps commits cheap."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
from pyiceberg.table import Table

from frazil.batch import Position
from frazil.errors import ConfigError, Corrupt
from frazil.sink import books
from frazil.table import files, maintenance, orphans
from frazil.table.commit import Change, swap
from frazil.table.history import entries_of, history
from frazil.table.snapshots import ancestry, markers_of
from tests.laws import Laws
from tests.world import THINGS, World, mended, thing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def rows(world: World) -> list[dict[str, object]]:
    return sorted(files.found(world.lake.raw(THINGS)).to_pylist(), key=lambda row: (row["_partition"], row["_offset"]))


def commits(world: World, count: int) -> None:
    for number in range(count):
        world.send(thing(f"k{world.requests}-{number}", 0), partition=0)
        world.pump()


def test_compaction_joins_small_files_and_changes_no_row(world: World) -> None:
    commits(world, 9)
    world.send(None, partition=0)
    world.pump()
    before, table = rows(world), world.lake.raw(THINGS)
    days = {str(task.file.partition) for task in files.planned(table)}
    planned = maintenance.compact(world.lake, world.raw, least_files=2, dry_run=True)
    assert rows(world) == before
    done = maintenance.compact(world.lake, world.raw, least_files=2)
    assert (done.files_before, done.commits) == (planned.files_before, planned.commits)
    table = world.lake.raw(THINGS)
    assert rows(world) == before
    assert len(files.planned(table)) == len(days)
    assert table.current_snapshot().summary.operation.value == "replace"  # type: ignore[union-attr]
    markers = markers_of(table.current_snapshot())  # type: ignore[arg-type]
    assert markers is not None
    assert (markers.kind, markers.set_aside, markers.position) == ("maintenance", (), world.head().position)
    assert maintenance.compact(world.lake, world.raw, least_files=2).commits == 0
    assert maintenance.compact(world.lake, "raw_absent").commits == 0
    Laws(world).hold()


def test_a_compacted_table_still_finds_its_keys_and_prunes_by_request(world: World) -> None:
    commits(world, 5)
    world.compact()
    world.send(thing("k0-0", 0), partition=0)
    world.pump()
    assert next(iter(world.head().totals.values())).duplicates == 1
    one = files.planned(world.lake.raw(THINGS), files.equal("_request", 1))
    assert len(one) == 1
    assert not files.planned(world.lake.raw(THINGS), files.equal("_request", 99))


def test_expiry_keeps_the_newest_the_hourly_and_the_unadopted(world: World) -> None:
    commits(world, 6)
    assert maintenance.expire(world.lake, world.raw, keep=2, hourly_for=timedelta()).expired == 0, "nothing is adopted yet"
    world.letters.lag = 1
    world.adopt()
    kept = maintenance.expire(world.lake, world.raw, keep=2, hourly_for=timedelta(hours=24), dry_run=True)
    assert (kept.expired, kept.kept) == (4, 2), "the last of this hour is among the newest"
    later = datetime.now(UTC) + timedelta(hours=2)
    commits(world, 1)
    world.adopt()
    done = maintenance.expire(world.lake, world.raw, keep=1, now=later)
    assert done.kept in (1, 2)
    assert done.recorded == done.expired
    told = history(world.lake, world.raw)
    assert [entry.sequence for entry in told] == list(range(1, 8))
    assert sum(entry.expired for entry in told) == done.expired
    assert all(entry.current for entry in told)
    assert [entry.moved.landed for entry in told if entry.moved is not None] == [1] * 7
    Laws(world).hold()


@pytest.mark.prop(42)
def test_every_commit_of_every_table_is_in_the_audit_log(world: World) -> None:
    world.letters.lag = 1
    for number in range(4):
        world.send(thing(f"k{number}", 0), thing("z", 9), partition=0)
        world.pump()
        world.adopt()
    world.replay(mend=mended(None, 0))
    world.undo()
    world.adopt()
    names = (world.raw, "dead_letters", "commit_history")
    seen: dict[str, set[int]] = {name: set() for name in names}

    def note() -> None:
        for name in names:
            table = world.lake.find(name)
            seen[name] |= set() if table is None else {entry.snapshot_id for entry in entries_of(table)}

    for _ in range(3):
        for name in names:
            note()
            maintenance.expire(world.lake, name, keep=1, hourly_for=timedelta())
            note()
    for name in names:
        told = history(world.lake, name)
        assert {entry.snapshot_id for entry in told} == seen[name]
        assert len(told) == len(seen[name])
        assert all({"kind", "position", "committed_at", "files_added", "writer"} <= entry.as_dict().keys() for entry in told)


def test_an_expiry_that_lost_the_race_does_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commits(world, 3)
    world.letters.lag = 1
    world.adopt()
    record = maintenance.record

    def overtaken(*arguments: object) -> int:
        commits(world, 1)
        return record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(maintenance, "record", overtaken)
    assert maintenance.expire(world.lake, world.raw, keep=1, hourly_for=timedelta()).expired == 0
    assert len(world.lake.raw(THINGS).metadata.snapshots) == 4
    Laws(world).hold()


def test_commits_stay_cheap_when_old_snapshots_are_expired(world: World) -> None:
    """A hundred and twenty commits with upkeep: the last ones cost about what the first ones did."""
    table = world.lake.raw(THINGS)
    costs: list[float] = []
    for number in range(120):
        one = files.planned(table)[:0]
        assert not one
        began = time.process_time()
        landed = swap(world.lake, table, Change("pump", lambda carried: carried, added=_file(table, number)))
        costs.append(time.process_time() - began)
        table = landed.table
        if number % 30 == 29:
            world.letters.lag = 1
            world.adopt()
            maintenance.expire(world.lake, world.raw, hourly_for=timedelta())
            table = world.lake.raw(THINGS)
    assert len(table.metadata.snapshots) <= 20
    assert len(table.current_snapshot().manifests(table.io)) <= 40  # type: ignore[union-attr]
    assert median(costs[-30:]) <= 3 * median(costs[5:30]), "a commit's cost grows with the table's age"


def _file(table: object, number: int) -> tuple[object, ...]:
    """A data file that is only named: what a commit costs does not depend on what is in it."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{table.location()}/data/{number}.parquet",  # type: ignore[attr-defined]
        file_format=FileFormat.PARQUET,
        partition=Record(20_000),
        record_count=1,
        file_size_in_bytes=1,
        spec_id=0,
        column_sizes={}, value_counts={}, null_value_counts={}, nan_value_counts={}, lower_bounds={}, upper_bounds={},
    )  # fmt: skip
    return (file,)


# ---------------------------------------------------------------- orphans


def aged(world: World, days: float = 4) -> None:
    """Everything in the lake gets older."""
    old = time.time() - days * 86_400
    for folder, _, names in os.walk(world.settings.state_dir / "lake"):
        for name in names:
            os.utime(Path(folder) / name, (old, old))


def test_a_sweep_takes_orphans_and_nothing_that_is_named(world: World) -> None:
    commits(world, 4)
    world.send(None, thing("z", 9), partition=0)
    world.pump()
    written = files.write(world.lake.raw(THINGS), files.found(world.lake.raw(THINGS)))  # a killed writer's files
    world.compact()
    world.replay(mend=mended(None, 0))
    world.rewind(2)
    world.letters.lag = 1
    world.adopt()
    world.expire(1)
    assert orphans.sweep(world.lake, dry_run=False).orphans == 0, "they are young"
    aged(world)
    planned = orphans.sweep(world.lake)
    assert planned.orphans > len(written)
    assert planned.deleted == 0
    done = orphans.sweep(world.lake, dry_run=False)
    assert done.deleted == planned.orphans
    assert orphans.sweep(world.lake).orphans == 0
    world.restart()
    world.drain()
    world.adopt()
    balance = books.verify(THINGS, world.log, world.sink, world.letters)
    assert balance.balanced, balance.as_dict()
    assert (len(rows(world)), balance.landed, balance.dead) == (4, 4, 2)
    assert len(world.letters.at(world.head()).open()) == 2
    assert not Path(written[0].file_path.removeprefix("file://")).exists()


def test_a_batch_on_its_way_survives_a_sweep(world: World) -> None:
    commits(world, 1)
    aged(world)
    world.send(thing("new", 0), None, partition=0)
    head = world.head()
    raw = world.log.read(after=head.position, limit=10)
    decision = world.keys().decide(world.processor(raw), head)
    append = world.lake.catalog.commit_table  # type: ignore[attr-defined]

    def swept(table: Table, *arguments: object) -> object:
        assert table.name()[-1] != world.raw or orphans.sweep(world.lake, dry_run=False).young >= 2
        return append(table, *arguments)

    world.lake.catalog.commit_table = swept  # type: ignore[method-assign]
    world.sink.append(decision, head)
    Laws(world).hold()


def test_a_sweep_refuses_what_it_cannot_know(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commits(world, 1)
    with pytest.raises(ConfigError) as young:
        orphans.sweep(world.lake, older_than=timedelta(hours=1))
    assert young.value.code == "orphans.too_young"
    monkeypatch.setattr(orphans, "local_path", lambda location: Path("/elsewhere"))
    with pytest.raises(Corrupt) as moved:
        orphans.sweep(world.lake, dry_run=False)
    assert moved.value.code == "orphans.other_place"


# ---------------------------------------------------------------- retention


def test_retention_deletes_only_what_everybody_has_passed(world: World) -> None:
    from frazil.table.retention import Ages, retain

    laws = Laws(world)
    for number in range(4):
        world.send(thing(f"k{number}", 0), partition=0)
        world.log.roll()
    world.pump(limit=3)
    now = datetime(2027, 1, 1, tzinfo=UTC)
    lagging = Position({world.log.log_id: {"0": ("1", None)}})
    young = retain(world.lake, world.raw, world.log, world.log, ages=Ages(timedelta(days=365), now=now))
    assert (young.segments, young.committed) == (0, False)
    fresh = retain(world.lake, world.raw, world.log, world.log, ages=Ages(timedelta()))
    assert fresh.segments == 0, "the commit is younger than ten minutes"
    planned = retain(world.lake, world.raw, world.log, world.log, ages=Ages(timedelta(), now=now), others=[lagging], dry_run=True)
    assert planned.floor.last(world.log.log_id, "0") == 1
    assert world.head().floor == Position.empty()
    done = retain(world.lake, world.raw, world.log, world.log, ages=Ages(timedelta(), now=now), others=[lagging])
    assert (done.segments, world.log.oldest()["0"]) == (2, 2)
    done = retain(world.lake, world.raw, world.log, world.log, ages=Ages(timedelta(), now=now))
    assert (done.segments, world.log.oldest()["0"]) == (1, 3), "never an unread record"
    assert world.head().floor.last(world.log.log_id, "0") == 2
    laws.hold()
    world.drain()
    laws.hold()
    assert len(ancestry(world.lake.raw(THINGS).metadata)) == 4
