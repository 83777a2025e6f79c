"""A rewind says what it will do, refuses what it cannot undo, and is found in the history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from frazil.batch import Position, Totals
from frazil.errors import CommitConflict, ConfigError
from frazil.table import rewind as rewinds
from frazil.table.commit import Change, swap
from frazil.table.history import commit_for, entries_of, history, settled
from frazil.table.snapshots import markers_of
from tests.laws import Laws
from tests.world import THINGS, World, thing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, partitions=1)
    for key in "abc":
        made.send(thing(key, 0), None, thing(key, 0))
        made.pump()
    yield made
    made.close()


def snapshot(world: World, sequence: int) -> int:
    return next(version.snapshot.snapshot_id for version in world.archive.values() if version.seq == sequence)


def test_a_plan_counts_what_lands_again_and_changes_nothing(world: World) -> None:
    before = world.head().version
    plan = rewinds.plan(world.lake, world.raw, snapshot(world, 1))
    assert plan.again == {world.log.log_id: Totals(records=6, landed=2, dead=2, duplicates=2)}
    assert plan.as_dict()["records_again"] == 6
    assert (plan.sequence, plan.settled, plan.head) == (1, 1, before)
    assert world.head().version == before
    assert rewinds.targets(world.lake, world.raw) == [snapshot(world, 1), snapshot(world, 2)]


def test_a_rewind_shows_the_target_and_lands_the_rest_again(world: World) -> None:
    laws = Laws(world)
    landed = rewinds.rewind(world.lake, world.raw, snapshot(world, 1))
    assert landed.snapshot.parent_snapshot_id == snapshot(world, 1)
    assert landed.snapshot.sequence_number == 4
    assert (landed.markers.kind, landed.markers.rewind, landed.markers.epoch) == ("rewind", 1, 4)
    assert world.lake.raw(THINGS).scan().to_arrow().num_rows == 1
    laws.hold()
    world.drain()
    laws.hold()
    assert world.lake.raw(THINGS).scan().to_arrow().num_rows == 3
    told = history(world.lake, world.raw)
    assert [(entry.kind, entry.current) for entry in told] == [
        ("pump", True), ("pump", False), ("pump", False), ("rewind", True), ("pump", True),
    ]  # fmt: skip
    assert [None if entry.moved is None else entry.moved.records for entry in told] == [3, 3, 3, -6, 6]


def test_a_rewind_refuses_a_head_the_operator_did_not_see(world: World) -> None:
    plan = rewinds.plan(world.lake, world.raw, snapshot(world, 1))
    world.send(thing("d", 0))
    world.pump()
    with pytest.raises(CommitConflict):
        rewinds.rewind(world.lake, world.raw, snapshot(world, 1), head=plan.head)
    Laws(world).hold()


@pytest.mark.parametrize(
    ("target", "code"), [("head", "rewind.not_an_ancestor"), ("left behind", "rewind.not_an_ancestor"), ("switch", "rewind.across_switch")]
)
def test_what_is_not_a_target_is_refused(world: World, target: str, code: str) -> None:
    if target == "left behind":
        rewinds.rewind(world.lake, world.raw, snapshot(world, 1))
        wanted = snapshot(world, 3)
    elif target == "switch":
        other = Position({"another log": {}})
        swap(
            world.lake, world.lake.raw(THINGS), Change("switch", lambda carried: replace(carried, position=carried.position.merged(other)))
        )
        wanted = snapshot(world, 3)
    else:
        wanted = world.head().version
    before = world.head().version
    with pytest.raises(ConfigError) as caught:
        rewinds.rewind(world.lake, world.raw, wanted)
    assert caught.value.code == code
    assert world.head().version == before
    with pytest.raises(ConfigError) as unknown:
        rewinds.plan(world.lake, "raw_absent", 1)
    assert unknown.value.code == "rewind.unknown_table"


def test_a_commit_is_found_by_its_planned_number(world: World) -> None:
    table = world.lake.raw(THINGS)
    swap(world.lake, table, Change("maintenance"))
    world.send(thing("d", 0))
    slow = world.head()
    raw = world.log.read(after=slow.position, limit=10)
    decision = world.keys().decide(world.processor(raw), slow)
    swap(world.lake, world.lake.raw(THINGS), Change("maintenance"))
    commit = world.sink.append(decision, slow)  # planned as 5, rebuilt over maintenance
    assert commit.sequence == 6
    entries = entries_of(world.lake.raw(THINGS))
    found = commit_for(entries, 5)
    assert found is not None
    assert found.snapshot_id == commit.version
    assert [settled(entries, sequence) for sequence in range(1, 7)] == [1, 2, 3, 3, 3, 6]
    Laws(world).hold()


def test_a_rewound_table_outlives_its_target(world: World) -> None:
    rewinds.rewind(world.lake, world.raw, snapshot(world, 1))
    world.letters.lag = 1
    world.adopt()
    world.expire(1)
    assert len(world.lake.raw(THINGS).metadata.snapshots) == 1
    Laws(world).hold()
    world.drain()
    Laws(world).hold()
    head = world.lake.raw(THINGS).current_snapshot()
    assert head is not None
    assert markers_of(head).epoch == 4  # type: ignore[union-attr]
