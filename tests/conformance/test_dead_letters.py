"""The laws of a follower of dead letters (`frazil.sink.DeadLetters`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from frazil import flow
from frazil.batch import RAW, Place
from frazil.errors import CommitConflict, ConfigError
from frazil.sink import repair
from frazil.sink.letters import places
from frazil.sink.mend import Patch, Replacement, unchanged
from tests.laws import Laws
from tests.world import THINGS, World, thing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, partitions=1, lag=16)
    yield made
    made.close()


def parts(world: World) -> tuple[object, ...]:
    return world.processor, world.keys(), world.letters, world.sink


def test_open_letters_are_raw_records_in_order_of_places(world: World) -> None:
    world.send(thing("b", 9), thing("a", 0), None, thing("a", 0), b"\xff")
    world.pump()
    for _ in range(2):
        found = world.letters.open(None, at=world.head())
        assert found.rows.schema == RAW
        assert found.spans == ()
        assert found.rows.column("value").to_pylist() == [thing("b", 9), None, b"\xff"]
        assert found.rows.column("offset").to_pylist() == [0, 2, 4]
        assert set(found.rows.column("request").to_pylist()) == {1}
        one = frozenset([Place(world.log.log_id, "0", 2), Place(world.log.log_id, "0", 3), Place("elsewhere", "0", 0)])
        assert world.letters.open(one, at=world.head()).rows.column("offset").to_pylist() == [2], "a duplicate is closed"
        assert world.adopt() in (4, 0), "adopted once, and read the same before and after"
    assert world.lake.dead_letters().scan().to_arrow().num_rows == 4


def test_adopting_costs_a_commit_only_when_there_is_something(world: World) -> None:
    world.send(thing("a", 0))
    world.pump()
    assert world.adopt() == 0
    assert not world.lake.dead_letters().metadata.snapshots
    for number in range(16):
        world.send(thing(f"k{number}", 0))
        world.pump()
        world.adopt()
    assert len(world.lake.dead_letters().metadata.snapshots) == 1, "so that expiry is not held up for ever"


def test_letters_of_days_lie_in_partitions_of_days(world: World) -> None:
    for _ in range(6):
        world.send(None)
    world.pump()
    world.adopt()
    table = world.lake.dead_letters()
    one_day = table.scan(row_filter="_received_at >= '2026-11-21T00:00:00+00:00'")
    assert 0 < len(list(one_day.plan_files())) < len(list(table.scan().plan_files()))
    assert one_day.to_arrow().num_rows == 2


def test_a_follower_that_is_ahead_tells_the_older_truth_or_says_so(world: World) -> None:
    for _ in range(2):
        world.send(None)
        world.pump()
    head = world.head()
    for _ in range(2):
        world.send(None)
        world.pump()
        world.adopt()
        assert len(world.letters.open(None, at=head)) == 2, "as of its head, whatever was adopted since"
    world.expire(1)
    head = world.head()
    world.send(None)
    world.pump()
    world.adopt()
    assert len(world.letters.open(None, at=head)) == 4
    world.expire_letters()
    with pytest.raises(CommitConflict):
        world.letters.open(None, at=head)
    assert len(world.letters.open(None, at=world.head())) == 5


# ---------------------------------------------------------------- repair


def test_a_plan_says_what_a_replay_will_do(world: World) -> None:
    world.send(thing("a", 0), b'{"k":"b","n":"1"}', b'{"k":"a","n":"0"}', b'{"k":"c","n":"x"}', None)
    world.pump()
    before = world.head().version
    mend = Patch.parse("n = number(n)")
    plan = repair.plan(None, mend, *parts(world))  # type: ignore[arg-type]
    assert (plan.selected, plan.lands, plan.duplicates, plan.still_bad) == (4, 1, 1, 2)
    assert {cause.code for cause in plan.still} == {"type.mismatch", "record.null"}
    assert world.head().version == before
    done = repair.replay(flow.replay, None, mend, *parts(world), id="fix")  # type: ignore[arg-type]
    assert (done.landed, done.duplicates, done.still_bad) == (plan.lands, plan.duplicates, plan.still_bad)
    assert done.still == plan.still
    again = repair.replay(flow.replay, None, mend, *parts(world), id="fix")  # type: ignore[arg-type]
    assert (again.landed, again.duplicates, again.snapshot_id) == (0, 0, None)
    landed = [row for row in world.lake.raw(THINGS).scan().to_arrow().to_pylist() if row["_replay"] == "fix"]
    assert [(row["_offset"], row["k"], row["n"]) for row in landed] == [(1, "b", 1)]
    json.dumps([plan.as_dict(), done.as_dict()])
    Laws(world).hold()
    undone = repair.undo(world.lake, world.sink, world.letters, "fix")
    assert (undone.rows, undone.reopened, undone.kept) == (1, 1, ())
    assert repair.undo(world.lake, world.sink, world.letters, "fix").snapshot_id is None
    assert repair.undo(world.lake, world.sink, world.letters, "unknown").rows == 0
    json.dumps(undone.as_dict())
    Laws(world).hold()


def test_a_replay_after_the_contract_changed_needs_no_mend(world: World) -> None:
    world.limit = 0
    world.send(thing("a", 1), thing("b", 3))
    world.pump()
    world.limit = 2
    done = repair.replay(flow.replay, None, unchanged, *parts(world), id="looser")  # type: ignore[arg-type]
    assert (done.landed, done.still_bad) == (1, 1)
    Laws(world).hold()


def test_a_record_that_is_not_json_is_replaced_whole(world: World, tmp_path: Path) -> None:
    world.send(b"not json")
    world.pump()
    (tmp_path / "value").write_bytes(thing("a", 0) + b"\n")
    done = repair.replay(flow.replay, None, Replacement.read(tmp_path / "value"), *parts(world), id="v")  # type: ignore[arg-type]
    assert done.landed == 1
    Laws(world).hold()


def test_a_discard_closes_with_a_reason_and_a_rewind_takes_it_back(world: World) -> None:
    world.send(thing("a", 9), None)
    world.pump()
    one = frozenset(world.open()[:1])
    with pytest.raises(ConfigError):
        repair.discard(world.lake, world.sink, world.letters, one, "  ")
    done = repair.discard(world.lake, world.sink, world.letters, one, "a test event")
    assert done.letters == 1
    assert repair.discard(world.lake, world.sink, world.letters, one, "again").snapshot_id is None
    closed = world.letters.at(world.head()).newest().slice(0, 1).to_pylist()[0]
    assert (closed["stage"], closed["value"]) == ("discard", thing("a", 9))
    assert [violation["code"] for violation in closed["violations"]] == ["dead.discarded", "range.above_maximum"]
    assert closed["violations"][0]["message"] == "a test event"
    assert places(world.letters.at(world.head()).open()) == world.open()
    assert len(world.open()) == 1
    Laws(world).hold()
    world.rewind(1)
    assert len(world.open()) == 2
    Laws(world).hold()


def test_what_loses_every_race_says_so(world: World) -> None:
    def lose() -> None:
        raise CommitConflict("lost")

    with pytest.raises(CommitConflict):
        repair.settled(lose, attempts=3)
