"""Books find what was done to the tables behind their back, and nothing else."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.batch import Place
from frazil.sink import books
from frazil.sink.letters import places
from frazil.table import files
from frazil.table.commit import Change, swap
from tests.world import THINGS, World, mended, thing

values = st.one_of(st.none(), st.builds(thing, st.sampled_from("abcdef"), st.integers(0, 3)))
histories = st.lists(
    st.one_of(
        st.lists(values, min_size=1, max_size=4).map(lambda records: ("send", records)),
        st.integers(1, 4).map(lambda limit: ("pump", limit)),
        st.sampled_from([("replay", 0), ("undo", 0), ("adopt", 0), ("compact", 0), ("rewind", 1), ("discard", 2)]),
    ),
    min_size=2,
    max_size=10,
)


@contextmanager
def lived(history: list[tuple[str, Any]]) -> Iterator[World]:
    """A world after a history of its own."""
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        world.send(thing("a", 0), thing("b", 9), None)
        for what, how in history:
            act(world, what, how)
        world.drain()
        yield world
        world.close()


def act(world: World, what: str, how: Any) -> None:
    match what:
        case "send":
            world.send(*how)
        case "pump":
            world.pump(limit=how)
        case "replay":
            world.replay(mend=mended(None, 1))
        case "rewind":
            world.rewind(how)
        case "discard":
            world.discard(frozenset(place for place in world.sent if place.offset % how == 0))
        case _:
            getattr(world, what)()


def verify(world: World) -> books.Books:
    return books.verify(THINGS, world.log, world.sink, world.letters)


def found(balance: books.Books, fault: str) -> set[Place]:
    return {
        Place(one.log, one.partition, offset) for one in balance.findings if one.fault == fault for offset in range(one.first, one.last + 1)
    }


@pytest.mark.prop(13)
@settings(max_examples=15)
@given(histories)
def test_whatever_happens_the_books_balance(history: list[tuple[str, Any]]) -> None:
    with lived(history) as world:
        balance = verify(world)
        assert balance.balanced, balance.as_dict()
        assert balance.records == len(world.sent) == balance.landed + balance.dead + balance.duplicates + balance.pending


@settings(max_examples=15)
@given(histories, st.data())
def test_every_missing_and_doubled_position_is_named_and_no_other(history: list[tuple[str, Any]], data: st.DataObject) -> None:
    with lived(history) as world:
        table = world.lake.raw(THINGS)
        rows = files.found(table)
        landed = places(rows)
        fates = data.draw(st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=len(landed), max_size=len(landed)))
        if set(fates) <= {1}:
            return
        kept = rows.take(pa.array([at for at, times in enumerate(fates) for _ in range(times)], pa.int64()))
        closed = set(world.sent) - set(landed)
        vandal = Change("undo", added=files.write(table, kept), removed=tuple(task.file for task in files.planned(table)))
        swap(world.lake, table, vandal)
        balance = verify(world)
        gone = {place for place, times in zip(landed, fates, strict=True) if times == 0}
        replayed = set(places(world.letters.at(world.head()).newest()))
        assert found(balance, "missing") == gone - replayed, "a replayed place still has its letter"
        assert found(balance, "doubled") == {place for place, times in zip(landed, fates, strict=True) if times == 2}
        assert found(balance, "invented") == set()
        assert found(balance, "orphaned") <= closed
        assert not balance.balanced
        assert Counter(fates)[0] == 0 or balance.differences
