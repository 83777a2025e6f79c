"""Pumps that race, are killed or told late; what others commit in between."""

from __future__ import annotations

from tests.actors import Actor
from tests.laws import Laws
from tests.protocol import before_its_commit, lose, rest, scenario, until
from tests.world import World, mended, thing

# ---------------------------------------------------------------- pumps


@scenario
def two_pumps_race(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), thing("b", 9), thing("a", 0), partition=0)
    first, second = before_its_commit(world, lambda: world.pump(0)), before_its_commit(world, lambda: world.pump(1))
    first.finish()
    lose(second)
    laws.hold()


@scenario
def a_cache_of_an_old_head_decides_nothing(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), partition=0)
    world.pump(0)
    world.send(thing("b", 0), partition=0)
    world.pump(1)
    world.send(thing("b", 0), thing("b", 1), thing("a", 1), partition=0)
    world.pump(0)  # its cache was made before `b` landed
    laws.hold()


@scenario
def a_shared_cache_never_mixes_two_heads(world: World, laws: Laws) -> None:
    """A pump that slept over other commits rebuilds the shared cache at its old head between a swap and its advance."""
    world.send(*(thing(key, 0) for key in "abcb"), partition=0)
    sleeper = before_its_commit(world, lambda: world.pump(0, limit=1), "read")
    world.pump(1, limit=2)
    third = before_its_commit(world, lambda: world.pump(0, limit=1))
    until(third, 1)  # committed, cache not yet advanced
    sleeper.step()  # it decides on its old head, and comes to its commit
    assert world.weather.last == "commit"
    third.finish()
    world.pump(0, limit=5)
    lose(sleeper)
    laws.hold()


@scenario
def positions_of_all_partitions_are_kept(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), partition=0)
    world.pump()
    world.send(thing("b", 0), partition=1)
    world.pump()
    laws.hold()
    assert world.pump() is None


@scenario
def records_are_decided_in_the_order_of_offsets(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), thing("a", 1), thing("a", 0), partition=0)
    world.pump()
    laws.hold()


@scenario
def the_answer_of_a_landed_commit_is_lost(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), None, partition=0)
    world.weather.fate = "lost"
    assert world.pump() is not None
    assert world.pump() is None
    laws.hold()


@scenario
def a_zombie_lands_late_or_not_at_all(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), None, partition=0)
    world.weather.fate = "late"
    zombie = before_its_commit(world, world.pump)
    until(zombie, 1)  # its request is on the way, it looks at the table again
    world.pump(1)
    world.weather.deliver()
    lose(zombie)
    rest(world, laws)


@scenario
def a_killed_pump_leaves_nothing_half_done(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), None, thing("b", 9), thing("a", 1), partition=0)
    touches = 0
    while True:
        pump = Actor(world.pump)
        going = all(pump.step() for _ in range(touches))
        pump.kill()
        laws.hold()
        if not going:
            break
        touches += 1
        world.restart()
    assert touches > 4
    rest(world, laws)


@scenario
def a_contract_changes_between_kill_and_restart(world: World, laws: Laws) -> None:
    for limit in (0, 3):
        world.limit = 2
        world.send(thing("a", 0), thing("b", 1), thing("c", 3), partition=0)
        killed = before_its_commit(world, lambda: world.pump(limit=2))
        killed.kill()
        world.limit = limit
        world.restart()
        world.drain(limit=1)
        laws.hold()
        late = before_its_commit(world, lambda: world.pump(limit=3)) if world.log.lag(world.head().position) else None
        assert late is None
    rest(world, laws)


@scenario
def other_cuts_give_the_same_tables(world: World, laws: Laws) -> None:
    records = [thing(key, n) for key in "abca" for n in (0, 1, 0, 9)]
    standing = set()
    for limit in (1, 3, 100):
        world.send(*records, partition=0)
        world.drain(limit=limit)
        laws.hold()
        found = laws.job(world.requests)
        standing.add((found.pending, found.landed + found.duplicates, found.dead))
    assert len(standing) == 1


# ---------------------------------------------------------------- what others commit in between


@scenario
def a_pump_is_not_rebuilt_over_another_pump(world: World, laws: Laws) -> None:
    world.send(thing("a", 0), partition=0)
    slow = before_its_commit(world, world.pump)
    world.send(thing("a", 0), partition=0)
    world.pump(1)
    lose(slow)
    rest(world, laws)


@scenario
def a_pump_is_rebuilt_over_maintenance(world: World, laws: Laws) -> None:
    for key in "ab":
        world.send(thing(key, 0), thing(key, 9), partition=0)
        world.pump()
    slow = None
    world.send(thing("c", 0), None, partition=0)
    slow = before_its_commit(world, world.pump)
    world.compact()
    slow.finish()
    laws.hold()
    assert world.pump() is None
    rest(world, laws)


@scenario
def a_pump_is_not_rebuilt_over_an_undo(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), partition=0)
    world.pump()
    world.replay(mend=mended(None, 0))
    world.send(thing("a", 0), partition=0)  # a duplicate of the mended row
    slow = before_its_commit(world, world.pump)
    world.undo()
    lose(slow)
    rest(world, laws)


@scenario
def a_replay_is_not_rebuilt_over_a_discard(world: World, laws: Laws) -> None:
    world.send(thing("a", 9), thing("b", 9), partition=0)
    world.pump()
    slow = before_its_commit(world, lambda: world.replay(mend=mended(None, 0)))
    world.discard(frozenset(world.open()))
    lose(slow)
    rest(world, laws)


@scenario
def a_pump_is_not_rebuilt_over_a_rewind(world: World, laws: Laws) -> None:
    for key in "abc":
        world.send(thing(key, 0), None, partition=0)
        world.pump()
    world.send(thing("d", 0), partition=0)
    slow = before_its_commit(world, world.pump)
    world.rewind(2)
    lose(slow)
    rest(world, laws)
