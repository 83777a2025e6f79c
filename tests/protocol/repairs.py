"""Replays, undos, discards, retention and books beside everything else."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from frazil.batch import Totals
from frazil.errors import CommitConflict, ConfigError, FrazilError
from frazil.sink import books
from frazil.table import files
from frazil.table import rewind as rewinds
from frazil.table.commit import Change, swap
from tests.laws import Laws
from tests.protocol import before_its_commit, rest, scenario
from tests.world import World, mended, thing

# ---------------------------------------------------------------- repair


@scenario
def a_replay_does_not_move_the_position(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), thing("b", 9), partition=0)
    world.send(thing("c", 0), partition=1)
    world.pump(limit=2)
    world.replay(frozenset(world.open()[:1]), mended(None, 0))
    laws.hold()
    world.drain()
    laws.hold()


@scenario
def a_replay_races_two_pumps(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), thing("b", 9), thing("c", 0), partition=0)
    world.pump(limit=2)
    work = [lambda: world.replay(mend=mended(None, 0), keys=1), lambda: world.pump(0, 1), lambda: world.pump(1, 1)]
    actors = [before_its_commit(world, one) for one in work]
    for actor in actors[1:] + actors[:1]:
        with contextlib.suppress(CommitConflict):
            actor.finish()
    laws.hold()
    rest(world, laws)


@scenario
def replaying_twice_is_replaying_once(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), None, thing("b", 9), partition=0)
    world.pump()
    first = world.replay(mend=mended(None, 0))
    again = world.replay(mend=mended(None, 0))
    assert (first.landed, again.landed, again.duplicates) == (3, 0, 0)
    assert again.version == first.version
    laws.hold()


@scenario
def an_undo_keeps_rows_that_duplicates_name(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), thing("b", 9), partition=0)
    world.pump()
    world.replay(mend=mended(None, 0))
    world.send(thing("a", 0), partition=0)
    world.pump()
    done = world.undo()
    assert (done.rows, len(done.kept)) == (1, 1)
    laws.hold()
    rest(world, laws)


@scenario
def an_undo_opens_its_duplicates_again(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), thing("b", 9), thing("c", 9), partition=0)
    world.pump()
    world.replay(mend=mended("a", 0))
    assert not world.open()
    done = world.undo()
    assert done.reopened == 2
    assert len(world.open()) == 2
    laws.hold()
    rest(world, laws)


@scenario
def an_undo_races_a_compaction(world: World, laws: Laws) -> None:
    for key in "ab":
        world.send(thing(key, 9), partition=0)
        world.pump()
        world.replay(mend=mended(None, 0), id=key)
    slow = before_its_commit(world, lambda: world.undo("a"))
    world.compact()
    try:
        slow.finish()
    except CommitConflict:
        world.undo("a")
    laws.hold()
    rest(world, laws)


@scenario
def a_compaction_races_an_undo(world: World, laws: Laws) -> None:
    for key in "ab":
        world.send(thing(key, 9), partition=0)
        world.pump()
        world.replay(mend=mended(None, 0), id=key)
    slow = before_its_commit(world, world.compact)
    world.undo("a")
    slow.finish()
    laws.hold()
    rest(world, laws)


# ---------------------------------------------------------------- retention


@scenario
def retention_and_rewind_cannot_both_win(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), None, partition=0)
        world.log.roll()
        world.pump()
    retaining = before_its_commit(world, lambda: world.retain(0))
    world.rewind(2)
    retaining.finish()
    laws.hold()
    rest(world, laws)


@scenario
def nothing_below_the_floor_is_rewound_to(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), None, partition=0)
        world.log.roll()
        world.pump()
    rewinding = before_its_commit(world, lambda: world.rewind(2))
    assert world.retain(1).segments
    with pytest.raises(FrazilError):
        rewinding.finish()
    laws.hold()
    oldest = min(world.archive.values(), key=lambda version: version.seq)
    with pytest.raises(ConfigError) as caught:
        rewinds.rewind(world.lake, world.raw, oldest.snapshot.snapshot_id)
    assert caught.value.code == "rewind.below_floor"
    rest(world, laws)


@scenario
def retention_keeps_what_is_pending(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), None, partition=0)
        world.log.roll()
    world.pump(limit=3)
    world.retain(0)
    laws.hold()
    world.restart()
    rest(world, laws)


# ---------------------------------------------------------------- books


@scenario
def missing_doubled_and_miscounted_records_are_named(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), None, thing("a", 0), thing("b", 0), partition=0)
    world.pump()
    table = world.lake.raw(world.sink.contract)
    rows = files.found(table)
    swap(world.lake, table, Change("pump", lambda m: replace(m, totals={world.log.log_id: Totals(4, 3, 1, 1)}), files.write(table, rows)))
    found = books.verify(world.sink.contract, world.log, world.sink, world.letters)
    assert [(one.fault, one.first, one.last) for one in found.findings] == [("doubled", 0, 0), ("doubled", 3, 3)]
    assert [(one.name, one.told, one.counted) for one in found.differences] == [("landed", 3, 2)]
    gone = files.planned(world.lake.raw(world.sink.contract))
    swap(world.lake, world.lake.raw(world.sink.contract), Change("undo", removed=tuple(task.file for task in gone)))
    found = books.verify(world.sink.contract, world.log, world.sink, world.letters)
    named = [(one.fault, one.first, one.last) for one in found.findings]
    assert named == [("missing", 0, 0), ("orphaned", 2, 2), ("missing", 3, 3)]
    assert not found.balanced
    assert found.as_dict()["missing"] == 2
