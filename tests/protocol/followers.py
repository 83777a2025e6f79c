"""Rewinds, and the letters and marts that follow the history."""

from __future__ import annotations

import contextlib

from frazil.errors import CommitConflict
from tests.actors import Actor
from tests.laws import Laws
from tests.protocol import before_its_commit, lose, rest, scenario, until
from tests.world import World, mended, thing

# ---------------------------------------------------------------- rewind


@scenario
def a_rewind_takes_letters_back_and_records_land_again(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), thing(key, 9), None, partition=0)
        world.pump()
    world.adopt()
    world.rewind(2)
    laws.hold()
    world.adopt()
    laws.hold()
    rest(world, laws)


@scenario
def a_rewind_after_maintenance_takes_back_the_right_letters(world: World, laws: Laws) -> None:
    """A commit decided before a compaction and rebuilt over it has a smaller `_commit` than its number."""
    for key in "ab":
        world.send(thing(key, 0), partition=0)
        world.pump()
    world.send(None, thing("c", 0), partition=0)
    slow = before_its_commit(world, world.pump)
    world.compact()
    slow.finish()
    world.adopt()
    world.rewind(1)  # to the compaction: the slow pump's letters lie after it
    world.adopt()
    laws.hold()
    world.expire(1)
    rest(world, laws)


@scenario
def the_target_of_a_rewind_gets_no_late_commit(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), partition=0)
    world.pump()
    world.send(thing("b", 0), None, partition=0)
    world.weather.fate = "late"
    zombie = before_its_commit(world, world.pump)  # decided on the rewind's target
    until(zombie, 1)
    world.pump(1)
    zombie.kill()
    world.rewind(1)
    world.weather.deliver()
    laws.hold()
    rest(world, laws)


@scenario
def commit_numbers_are_never_used_again(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), partition=0)
        world.pump()
        laws.mart()
    world.rewind(2)
    world.send(thing("d", 0), partition=0)
    world.pump()
    laws.mart()
    laws.hold()


@scenario
def a_mart_follows_rows_that_go(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), thing("b", 0), partition=0)
    world.pump()
    world.replay(mend=mended(None, 0))
    laws.mart()
    world.undo()
    laws.mart()
    world.rewind(2)
    laws.mart()
    rest(world, laws)


@scenario
def a_replay_lands_while_the_table_is_rewound(world: World, laws: Laws) -> None:
    for key in "ab":
        world.send(thing(key, 9), partition=0)
        world.pump()
    slow = before_its_commit(world, lambda: world.replay(mend=mended(None, 0)))
    world.rewind(1)
    lose(slow)
    laws.hold()
    rest(world, laws)


@scenario
def a_replay_reads_letters_at_its_own_head(world: World, laws: Laws) -> None:
    """Letters are read at the head that is swapped: one rewound away meanwhile does not land."""
    for touches in range(1, 8):
        world.send(thing(f"k{touches}", 9), partition=0)
        world.pump()
        slow = Actor(lambda: world.replay(mend=mended(None, 0)))
        alive = all(slow.step() for _ in range(touches))
        world.rewind(1)  # the newest letter's record is pending again
        if alive:
            with contextlib.suppress(CommitConflict):
                slow.finish()
        laws.hold()
        world.drain()
    rest(world, laws)


# ---------------------------------------------------------------- letters


@scenario
def letters_are_adopted_in_order_once(world: World, laws: Laws) -> None:
    world.limit = 0
    world.send(thing("a", 1), None, partition=0)
    world.pump()
    world.send(thing("b", 1), partition=0)
    world.pump()
    slow, quick = Actor(world.adopt), Actor(world.adopt)
    until(slow, 3)
    quick.finish()
    slow.finish()
    laws.hold()
    laws.adopted()
    world.replay(mend=mended("z", 0))  # the first lands, the others close as duplicates
    world.undo()
    world.rewind(1)
    world.undo()
    world.adopt()
    laws.hold()
    rest(world, laws)


@scenario
def a_rewind_and_what_follows_are_adopted_together(world: World, laws: Laws) -> None:
    for _ in range(3):
        world.send(None, thing("a", 0), partition=0)
        world.pump()
    world.adopt()
    world.rewind(2)
    world.pump(limit=2)
    world.pump()
    world.adopt()
    laws.hold()
    rest(world, laws)


@scenario
def maintenance_sets_nothing_aside(world: World, laws: Laws) -> None:
    for key in "ab":
        world.send(thing(key, 0), partition=0)
        world.pump()
    world.send(None, thing("c", 0), partition=0)
    world.pump()
    world.compact()
    laws.hold()
    rest(world, laws)


@scenario
def expiry_keeps_what_is_not_adopted(world: World, laws: Laws) -> None:
    for _ in range(4):
        world.send(None, thing("a", 9), partition=0)
        world.pump()
    world.expire(1)
    laws.hold()
    world.adopt()
    assert world.expire(1).expired == 3
    laws.hold()
    rest(world, laws)


@scenario
def a_reader_of_letters_survives_expiry_behind_it(world: World, laws: Laws) -> None:
    for _ in range(3):
        world.send(None, partition=0)
        world.pump()
    reading = until(Actor(lambda: world.letters.at(world.head()).newest().num_rows), 2)  # it has its head
    world.adopt()
    world.send(thing("a", 0), partition=0)
    world.pump()
    world.expire(1)
    with contextlib.suppress(CommitConflict):  # then it looks again
        assert reading.finish() == 3
    rest(world, laws)
