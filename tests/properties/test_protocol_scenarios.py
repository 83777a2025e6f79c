"""The races and crashes of the protocol one by one: each of the doubts that the design names, in the order that hurts.

`SCENARIOS` are also what the broken rules of `test_protocol_mutants.py` are run against.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from frazil.batch import Totals
from frazil.errors import CommitConflict, ConfigError, Corrupt, FrazilError
from frazil.log import Record
from frazil.sink import books
from frazil.table import commit, files
from frazil.table import rewind as rewinds
from frazil.table.commit import Change, swap
from tests.laws import Laws
from tests.world import BEGIN, Actor, DiskLog, World, key_to, mended, thing

Scenario = Callable[[World, Laws], None]
SCENARIOS: dict[str, Scenario] = {}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "FIRST_WAIT_S", 0.0)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[tuple[World, Laws]]:
    world = World(tmp_path)
    yield world, Laws(world)
    world.close()


def scenario(check: Scenario) -> Scenario:
    SCENARIOS[check.__name__] = check
    return check


def until(actor: Actor, touches: int) -> Actor:
    """The actor moved so many touches of catalog or log; it is alive then."""
    for _ in range(touches):
        assert actor.step()
    return actor


def before_its_commit(world: World, work: Callable[[], object], what: str = "commit") -> Actor:
    """The actor stopped right before its swap of the raw table, or before another touch."""
    actor = Actor(work)
    while actor.step():
        if world.weather.last == what:
            return actor
    raise AssertionError(f"it never came to a {what}")


def lose(actor: Actor) -> None:
    with pytest.raises(CommitConflict):
        actor.finish()


def rest(world: World, laws: Laws) -> None:
    """Everything comes to rest, and every law holds."""
    while world.weather.in_flight:
        world.weather.deliver()
    world.weather.fate = "ok"
    world.restart()
    world.drain()
    world.letters.lag = 1
    world.adopt()
    laws.hold()
    laws.mart()
    laws.adopted()


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
    for limit in (1, 2, 3, 100):
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


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, ground: tuple[World, Laws]) -> None:
    SCENARIOS[name](*ground)


ON_DISK = (
    "two_pumps_race",
    "the_answer_of_a_landed_commit_is_lost",
    "a_killed_pump_leaves_nothing_half_done",
    "a_contract_changes_between_kill_and_restart",
    "other_cuts_give_the_same_tables",
    "a_rewind_takes_letters_back_and_records_land_again",
    "a_replay_races_two_pumps",
    "nothing_below_the_floor_is_rewound_to",
    "retention_keeps_what_is_pending",
)


@pytest.mark.parametrize("name", ON_DISK)
def test_scenario_on_the_embedded_log(name: str, tmp_path: Path) -> None:
    world = World(tmp_path, log=DiskLog(tmp_path / "log"))
    SCENARIOS[name](world, Laws(world))
    world.close()


# ---------------------------------------------------------------- where an operator has to look


def test_a_log_that_is_not_the_one_we_read_stops_processing(ground: tuple[World, Laws]) -> None:
    world, _ = ground
    world.send(thing("a", 0), None, thing("b", 0), partition=0)
    world.pump()
    world.log.truncate(1)
    with pytest.raises(Corrupt) as truncated:
        world.pump()
    assert truncated.value.code == "log.truncated"
    found = books.verify(world.sink.contract, world.log, world.sink, world.letters)
    assert not found.balanced
    assert [(one.fault, one.first, one.last) for one in found.findings] == [("invented", 2, 2)]
    world.log.append([Record(thing("c", 0), key_to(0))], request=9, received_at=BEGIN)  # restored from a backup and regrown
    with pytest.raises(Corrupt) as changed:
        world.pump()
    assert changed.value.code == "log.record_changed"
    world.log.recreate()
    with pytest.raises(Corrupt) as recreated:
        world.pump()
    assert recreated.value.code == "log.recreated"


def test_a_log_unlinked_behind_a_pump_is_a_conflict_not_a_stop(ground: tuple[World, Laws]) -> None:
    world, laws = ground
    world.send(thing("a", 0), None, partition=0)
    world.pump()
    world.send(thing("b", 0), partition=0)
    world.log.roll()
    world.send(thing("c", 0), partition=0)
    slow = before_its_commit(world, world.pump, "read")
    world.drain()
    world.retain(0)
    lose(slow)
    laws.hold()
