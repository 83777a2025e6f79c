"""Markers and ancestry: what a summary says, and what a commit takes over from its parent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import Kind, Position, Totals
from frazil.errors import Corrupt
from frazil.table.snapshots import Markers, Move, SetAside, booked

names = st.text("abc-019", min_size=1, max_size=4)
offsets = st.integers(-1, 10**30).map(str)
positions = st.dictionaries(names, st.dictionaries(names, st.tuples(offsets, st.none() | names), max_size=2), max_size=2).map(Position)
floors = st.dictionaries(names, st.dictionaries(names, offsets.map(lambda last: (last, None)), max_size=2), max_size=2).map(Position)
counts = st.builds(Totals, *[st.integers(0, 10**12)] * 4)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["pump", "replay", "undo", "discard", "rewind", "maintenance", "switch"])
markers = st.builds(
    Markers,
    kind=kinds,
    position=positions,
    totals=st.dictionaries(names, counts, max_size=2),
    floor=floors,
    epoch=st.integers(0, 10**6),
    commit_id=names,
    writer=names,
    contract=st.none() | names,
    set_aside=st.lists(
        st.builds(SetAside, names.map("file:///{}".format), st.integers(0, 30_000), st.integers(1), st.integers(1)), max_size=2
    ).map(tuple),
    replay=st.none() | names,
    rewind=st.none() | st.integers(0, 10**6),
)


@given(markers)
def test_markers_come_back_from_a_summary_as_they_were(one: Markers) -> None:
    summary = one.to_summary()
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in summary.items())
    assert Markers.from_summary({**summary, "total-records": "7"}) == one


@given(markers, kinds)
def test_a_commit_takes_over_where_the_flow_stands_and_nothing_of_its_parents_own(one: Markers, kind: Kind) -> None:
    taken = one.carried(kind)
    assert (taken.kind, taken.position, taken.totals, taken.floor, taken.epoch) == (kind, one.position, one.totals, one.floor, one.epoch)
    assert (taken.commit_id, taken.writer, taken.contract, taken.set_aside, taken.replay, taken.rewind) == ("", "", None, (), None, None)


def test_the_spelling_is_the_one_the_documents_name() -> None:
    one = Markers(
        "pump",
        Position({"L": {"0": ("1199", "c"), "1": ("979", None)}}),
        {"L": Totals(4, 2, 1, 1)},
        Position({"L": {"0": ("7", None)}}),
        3,
        "id",
        "host:1:2",
        "hash",
        (SetAside("file:///a.parquet", 20_000, 2, 99),),
    )
    assert one.to_summary() == {
        "frazil.kind": "pump",
        "frazil.position": '{"L":{"0":["1199","c"],"1":["979",null]}}',
        "frazil.totals": '{"L":{"dead":1,"duplicates":1,"landed":2,"records":4}}',
        "frazil.floor": '{"L":{"0":"7"}}',
        "frazil.epoch": "3",
        "frazil.commit-id": "id",
        "frazil.writer": "host:1:2",
        "frazil.contract": "hash",
        "frazil.set-aside": json.dumps([{"bytes": 99, "day": 20_000, "path": "file:///a.parquet", "records": 2}], separators=(",", ":")),
    }


def test_a_summary_of_another_tool_has_no_markers() -> None:
    assert Markers.from_summary({"total-records": "1", "frazil-like": "x"}) is None


@pytest.mark.parametrize(
    "broken", [{"kind": "brand new"}, {"position": "{"}, {"totals": '{"L":{"strange":1}}'}, {"epoch": "x"}, {"floor": "[]"}]
)
def test_markers_that_cannot_be_read_stop(broken: dict[str, str]) -> None:
    summary = Markers("pump").to_summary() | {f"frazil.{name}": value for name, value in broken.items()}
    with pytest.raises(Corrupt) as stop:
        Markers.from_summary(summary)
    assert stop.value.code == "table.markers_unreadable"


@given(st.lists(st.tuples(st.sampled_from(["L", "M"]), st.sampled_from(["landed", "dead", "duplicates"]), st.integers(0, 5)), max_size=6))
def test_a_record_is_counted_once(arrivals: list[tuple[str, str, int]]) -> None:
    totals = booked({}, [Move(log, None, state, number) for log, state, number in arrivals])
    for log in {log for log, _, _ in arrivals}:
        assert totals[log].records == totals[log].landed + totals[log].dead + totals[log].duplicates


def test_a_replay_moves_records_and_adds_none() -> None:
    before = {"L": Totals(10, 6, 3, 1)}
    assert booked(before, [Move("L", "dead", "landed", 2), Move("L", "dead", "duplicates", 1)]) == {"L": Totals(10, 8, 0, 2)}
    assert booked(before, []) == before
    assert before == {"L": Totals(10, 6, 3, 1)}, "the old books are left alone"
    assert replace(before["L"], landed=7) != before["L"]
