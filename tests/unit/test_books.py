"""Books and verdicts: what is missing is named, what a request became is told from the tables alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import Batch, Processed
from frazil.errors import Unavailable
from frazil.sink import books, ranges
from frazil.sink.letters import causes
from frazil.table import files
from tests.laws import Laws
from tests.world import BEGIN, THINGS, World, mended, thing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, partitions=1)
    yield made
    made.close()


def verify(world: World, since: object = None) -> books.Books:
    return books.verify(THINGS, world.log, world.sink, world.letters, since)  # type: ignore[arg-type]


# ---------------------------------------------------------------- ranges

offsets = st.sets(st.integers(0, 20), max_size=12)


def of(numbers: set[int]) -> ranges.Ranges:
    return ranges.ranges_of(pa.array(sorted(numbers, key=lambda one: one % 7), pa.int64()))


def numbers(found: ranges.Ranges) -> set[int]:
    return {one for first, last in found for one in range(first, last + 1)}


@given(offsets, offsets, st.integers(0, 20), st.integers(0, 20))
def test_ranges_are_sets(one: set[int], other: set[int], low: int, high: int) -> None:
    assert numbers(of(one)) == one
    assert ranges.joined(of(one), of(other)) == of(one | other)
    assert ranges.without(of(one), of(other)) == of(one - other)
    assert ranges.both(of(one), of(other)) == of(one & other)
    assert numbers(ranges.between(of(one), low, high)) == {x for x in one if low <= x <= high}
    assert ranges.count(of(one)) == len(one)
    assert numbers(ranges.repeated(pa.array([*one, *other], pa.int64()))) == one & other


# ---------------------------------------------------------------- verify


def test_an_empty_project_balances(world: World) -> None:
    found = verify(world)
    assert found.balanced
    assert (found.records, found.pending) == (0, 0)
    json.dumps(found.as_dict())


def test_pending_records_balance_and_are_counted(world: World) -> None:
    world.send(thing("a", 0), None, thing("a", 0))
    world.send(thing("b", 0), thing("c", 9))
    world.pump(limit=3)
    found = verify(world)
    assert found.balanced
    assert (found.records, found.landed, found.dead, found.duplicates, found.pending, found.open) == (5, 1, 1, 1, 2, 1)
    assert found.records == found.landed + found.dead + found.duplicates + found.pending


def test_since_counts_what_was_received_from_then_on(world: World) -> None:
    for key in "abc":
        world.send(thing(key, 0), None)
    world.drain()
    found = verify(world, BEGIN + timedelta(hours=10))
    assert found.balanced
    assert (found.records, found.landed, found.dead, found.differences) == (4, 2, 2, ())


def test_records_that_the_log_forgot_are_known_by_the_totals(world: World) -> None:
    for key in "abc":
        world.send(thing(key, 0), None)
        world.log.roll()
    world.drain()
    world.retain(1)
    found = verify(world)
    assert found.balanced
    assert (found.records, found.before, found.landed, found.dead) == (6, 4, 3, 3)


def test_a_table_that_moves_while_it_is_read_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(None, thing("a", 0))
    world.letters.lag = 1
    world.pump()
    at, moves = world.letters.at, iter([True, True, False])

    def moving(*arguments: object, **named: object) -> object:
        if next(moves, False):
            world.send(None)
            world.pump()
            world.adopt()
        return at(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(world.letters, "at", moving)
    found = verify(world)
    assert found.balanced
    monkeypatch.setattr(world.letters, "at", lambda *arguments, **named: _moved())
    with pytest.raises(Unavailable) as caught:
        verify(world)
    assert caught.value.code == "books.moving"


def _moved() -> None:
    from frazil.errors import CommitConflict

    raise CommitConflict("moved")


# ---------------------------------------------------------------- verdicts


@pytest.mark.prop(3)
def test_a_job_goes_forward_but_for_a_rewind(world: World) -> None:
    laws = Laws(world)
    world.send(thing("x", 0))
    world.pump()
    world.send(thing("a", 0), None, thing("x", 0), thing("b", 9))
    states = [laws.job(2)]
    world.pump(limit=2)
    states.append(laws.job(2))
    world.drain()
    states.append(laws.job(2))
    assert [one.state for one in states] == ["queued", "processing", "completed"]
    assert [one.pending for one in states] == [4, 2, 0]
    done = states[-1]
    assert (done.received, done.landed, done.duplicates, done.dead, done.open) == (4, 1, 1, 2, 2)
    assert [(error["index"], error["code"]) for error in done.errors] == [(1, "record.null"), (3, "range.above_maximum")]
    assert [landing.snapshot_id for landing in done.snapshots] == [_snapshot(world, 2)]
    world.replay(mend=mended(None, 1))
    after = laws.job(2)
    assert (after.state, after.landed, after.dead, after.errors_total) == ("completed", 3, 0, 0)
    assert len(after.snapshots) == 2
    world.rewind(3)
    assert (laws.job(2).state, laws.job(2).pending) == ("rewound", 4)
    assert laws.job(1).state == "completed"
    world.drain()
    assert laws.job(2).state == "completed"
    json.dumps(laws.job(2).as_dict())


@pytest.mark.prop(3)
def test_failed_follows_the_open_letters(world: World) -> None:
    laws = Laws(world)
    world.send(thing("a", 0), thing("b", 0))
    head = world.head()
    raw = world.log.read(after=head.position, limit=10)
    judged = world.processor(raw)
    broken = replace_stage(world, judged)
    world.sink.append(world.keys().decide(broken, head), head)
    assert laws.job(1).state == "failed"
    world.replay()
    assert (laws.job(1).state, laws.job(1).landed) == ("completed", 2)


def replace_stage(world: World, judged: Processed) -> Processed:
    """As if code had failed on the last record of the batch."""
    assert judged.raw is not None
    strict = world.processor.__class__(replace(THINGS, key=THINGS.key))
    null = judged.raw.rows.set_column(0, judged.raw.rows.schema.field(0), pa.nulls(len(judged.raw), pa.binary()))
    dead = strict(Batch(null, judged.raw.spans)).dead.rows.slice(len(judged.raw) - 1)
    stage = dead.schema.get_field_index("stage")
    dead = dead.set_column(stage, dead.schema.field(stage), pa.array(["process"], pa.string()))
    value = dead.schema.get_field_index("value")
    dead = dead.set_column(value, dead.schema.field(value), judged.raw.rows.column("value").slice(len(judged.raw) - 1))
    good = judged.good.rows.slice(0, len(judged.good) - 1)
    return Processed(Batch(good, judged.good.spans), Batch(dead, judged.dead.spans), judged.raw)


def test_snapshots_of_a_request_survive_expiry_and_files_are_pruned(world: World) -> None:
    laws = Laws(world)
    for key in "abcd":
        world.send(thing(key, 0))
        world.pump()
    landed = [laws.job(request).snapshots[0].snapshot_id for request in (1, 2, 3, 4)]
    world.letters.lag = 1
    world.adopt()
    world.expire(1)
    assert [laws.job(request).snapshots[0].snapshot_id for request in (1, 2, 3, 4)] == landed
    assert len(files.planned(world.lake.raw(THINGS), files.equal("_request", 2))) == 1


def test_causes_are_counted_with_an_example(world: World) -> None:
    world.send(thing("a", 9), None, thing("b", 9), b"{", thing("c", 0), thing("c", 1))
    world.pump()
    found = world.letters.at(world.head()).causes()
    assert [(cause.stage, cause.code, cause.path, cause.count) for cause in found] == [
        ("validate", "range.above_maximum", "/n", 2),
        ("identity", "identity.conflict", "/k", 1),
        ("parse", "json.invalid", "", 1),
        ("parse", "record.null", "", 1),
    ]
    assert found[0].example.offset == 0
    assert found[0].value == thing("a", 9).decode()
    assert found[3].value is None
    assert causes(world.letters.at(world.head()).open(frozenset())) == []
    json.dumps([cause.as_dict() for cause in found])


def _snapshot(world: World, sequence: int) -> int:
    return next(version.snapshot.snapshot_id for version in world.archive.values() if version.seq == sequence)
