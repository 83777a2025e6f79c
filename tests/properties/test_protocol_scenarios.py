"""The races and crashes of the protocol one by one (`tests/protocol`), on the log in memory and on the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frazil.errors import Corrupt
from frazil.log import Record
from frazil.sink import books
from frazil.table import commit
from tests.actors import DiskLog
from tests.laws import Laws
from tests.protocol import SCENARIOS, before_its_commit, followers, lose, pumps, repairs
from tests.world import BEGIN, World, key_to, thing

TOLD = (followers, pumps, repairs)
"""The modules that tell the scenarios; importing them is what fills `SCENARIOS`."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "FIRST_WAIT_S", 0.0)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[tuple[World, Laws]]:
    world = World(tmp_path)
    yield world, Laws(world)
    world.close()


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
