"""One table of dead letters for all contracts: what happens to one contract's letters leaves the others' alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil import flow
from frazil.batch import Place
from frazil.errors import Corrupt
from frazil.log import Record
from frazil.log.memory import MemoryLog
from frazil.process.python import PythonProcessor
from frazil.sink.dead_letters import IcebergDeadLetters
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from frazil.sink.letters import SCHEMA, Letters, places
from frazil.table import maintenance
from frazil.table import rewind as rewinds
from frazil.table.catalog import DEAD_LETTERS
from tests.actors import Actor
from tests.laws import Laws
from tests.world import BEGIN, THINGS, World, thing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, partitions=1)
    yield made
    made.close()


class Neighbour:
    """Another contract in the same lake."""

    def __init__(self, world: World) -> None:
        self.contract = replace(THINGS, name="others")
        self.log = MemoryLog()
        self.sink = IcebergSink(world.lake, self.contract)
        self.keys = TableKeys(world.lake, self.contract, max_bytes=1 << 24)
        self.letters = IcebergDeadLetters(world.lake, lag=1)

    def land(self, *values: bytes | None) -> None:
        self.log.append([Record(value) for value in values], request=1, received_at=BEGIN)
        flow.pump(self.log, PythonProcessor(self.contract), self.keys, self.sink)

    def open(self) -> list[bytes | None]:
        return list(self.letters.open(None, at=self.sink.head()).rows.column("value").to_pylist())


def test_a_rewind_takes_back_its_own_contracts_letters_only(world: World) -> None:
    other, laws = Neighbour(world), Laws(world)
    for number in range(3):
        world.send(None, thing(f"k{number}", 0))
        world.pump()
        other.land(b"junk", None)
        world.adopt()
        other.letters.adopt(other.sink)
    assert world.lake.dead_letters().scan().to_arrow().num_rows == 9
    maintenance.compact(world.lake, DEAD_LETTERS, least_files=2)  # both contracts' letters in one file
    assert len(list(world.lake.dead_letters().scan().plan_files())) < 6
    laws.hold()
    rewinds.rewind(world.lake, world.raw, next(iter(world.archive)))
    laws.hold()
    world.adopt()
    laws.hold()
    assert other.open() == [b"junk", None] * 3
    rows = world.lake.dead_letters().scan().to_arrow().to_pylist()
    assert sorted((row["contract"], row["_commit"]) for row in rows) == [("others", n) for n in (1, 1, 2, 2, 3, 3)] + [("things", 1)]
    world.drain()
    other.land(b"more")
    assert other.open() == [*[b"junk", None] * 3, b"more"]
    laws.hold()


def test_two_followers_of_two_contracts_do_not_lose_to_each_other(world: World) -> None:
    other = Neighbour(world)
    world.send(None)
    world.pump()
    other.land(None, b"junk")
    commits = world.weather.commits
    one, two = Actor(world.adopt), Actor(lambda: other.letters.adopt(other.sink))
    going = [one, two]
    while going:
        going = [actor for actor in going if actor.step()]
    assert (one.answer, two.answer) == (1, 2)
    assert world.weather.commits == commits + 2
    assert world.lake.dead_letters().scan().to_arrow().num_rows == 3
    Laws(world).hold()


def test_letters_whose_commits_another_tool_expired_are_not_passed_over(world: World) -> None:
    for _ in range(3):
        world.send(None)
        world.pump()
    table = world.lake.raw(THINGS)
    old = [snapshot.snapshot_id for snapshot in table.metadata.snapshots[:2]]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    with pytest.raises(Corrupt) as caught:
        world.adopt()
    assert caught.value.code == "letters.history_broken"
    assert world.lake.dead_letters().scan().to_arrow().num_rows == 0


def test_letters_survive_upkeep_of_their_own_table(world: World) -> None:
    laws = Laws(world)
    world.letters.lag = 1
    for number in range(5):
        world.send(None, thing(f"k{number}", 9))
        world.pump()
        world.adopt()
        world.compact_letters()
        maintenance.expire(world.lake, DEAD_LETTERS, keep=1, hourly_for=timedelta())
        laws.hold()
    laws.adopted()


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(["parse", "validate", "dedupe", "discard"])), max_size=12)


@given(rows, st.sets(st.integers(0, 4)))
def test_the_newest_letter_speaks_and_a_landed_row_speaks_louder(drawn: list[tuple[int, int, str]], landed: set[int]) -> None:
    listed = [
        {**{field.name: None for field in SCHEMA}, "contract": "c", "contract_version": "1", "_log": "L", "_partition": str(partition % 2),
         "_offset": offset, "_request": 1, "_received_at": BEGIN, "stage": stage, "violations": [], "_commit": commit}
        for commit, (partition, offset, stage) in enumerate(drawn)
    ]  # fmt: skip
    places_landed = frozenset(Place("L", "0", offset) for offset in landed)
    letters = Letters(pa.Table.from_pylist(listed[::-1], schema=SCHEMA), places_landed)
    speaking = {(str(partition % 2), offset): stage for partition, offset, stage in drawn}
    newest = letters.newest()
    assert {
        (place.partition, place.offset): stage for place, stage in zip(places(newest), newest.column("stage").to_pylist(), strict=True)
    } == speaking
    assert places(newest) == sorted(places(newest))
    expected = {key for key, stage in speaking.items() if stage in ("parse", "validate") and not (key[0] == "0" and key[1] in landed)}
    assert {(place.partition, place.offset) for place in places(letters.open())} == expected
