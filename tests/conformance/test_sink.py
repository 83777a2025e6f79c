"""The laws of a sink and its key index, on every implementation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.batch import Batch, Place, Position
from frazil.contract import Contract
from frazil.contract.windows import Value, WindowSpec
from frazil.errors import CommitConflict, Corrupt, OffsetExpired
from frazil.flow import pump
from frazil.sink import Decision, Head, KeyIndex, Sink
from frazil.sink.memory import MemoryKeys, MemorySink
from frazil.sink.windows import WindowKeys, WindowSink
from frazil.table.commit import Change, swap
from tests.landing import (
    KEYLESS,
    LOG,
    ORDERS,
    Judge,
    ListLog,
    event,
    landed,
    place_of,
    raw_batch,
    scratch,
    set_aside,
    sink_and_keys,
    totals_of,
)


@dataclass
class Ground:
    """A sink under test, and what it holds as a reader sees it."""

    sink: Sink
    new_keys: Callable[[], KeyIndex]
    maintain: Callable[[], object]
    rows: Callable[[], list[dict[str, Any]]]
    letters: Callable[[], list[dict[str, Any]]]
    keeps_letters: bool = True  # live windows count what was set aside and leave it to the raw table


def memory(root: Path, contract: Contract = ORDERS) -> Ground:
    sink = MemorySink()
    return Ground(sink, lambda: MemoryKeys(contract), sink.maintain, lambda: sorted(sink.rows(), key=place_of), sink.set_aside)


def iceberg(root: Path, contract: Contract = ORDERS) -> Ground:
    sink, _ = sink_and_keys(root, contract)
    lake = sink.lake
    return Ground(
        sink,
        lambda: sink_and_keys(root, contract)[1],
        lambda: swap(lake, lake.raw(contract), Change("maintenance")),
        lambda: landed(lake, contract),
        lambda: set_aside(lake, contract),
    )


def windows(root: Path, contract: Contract = ORDERS) -> Ground:
    spec = WindowSpec(
        "days", contract.name, (Value("n", "count"),), size=timedelta(days=1), hop=timedelta(days=1), lateness=timedelta(days=30)
    )
    sink = WindowSink(root / "state.db", contract, [spec], {})
    return Ground(sink, lambda: WindowKeys(sink), sink.maintain, lambda: counted(root / "state.db"), list, keeps_letters=False)


def counted(file: Path) -> list[dict[str, Any]]:
    """Events that the windows counted, by place."""
    names = ("_log", "_partition", "_offset", "_commit", "_replay")
    return [dict(zip(names, one, strict=True)) for one in kernel.WindowReader(str(file)).landed()]


GROUNDS = {"memory": memory, "iceberg": iceberg, "windows": windows}


@pytest.fixture(params=GROUNDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Ground]:
    numbers = itertools.count()
    return lambda contract=ORDERS: GROUNDS[request.param](tmp_path / str(next(numbers)), contract)


def decision(ground: Ground, values: list[bytes | None], *, first: int = 0, head: Head | None = None, limit: int = 1_000) -> Decision:
    return ground.new_keys().decide(Judge(limit=limit)(raw_batch(values, first=first)), head or ground.sink.head())


def test_a_new_sink_stands_at_the_beginning(make: Callable[..., Ground]) -> None:
    head = make().sink.head()
    assert (head.version, head.sequence, head.epoch, totals_of(head)) == (0, 0, 0, (0, 0, 0, 0))
    assert not head.position.logs


def test_rows_letters_position_and_books_come_in_one_commit(make: Callable[..., Ground]) -> None:
    ground = make()
    head = ground.sink.head()
    commit = ground.sink.append(decision(ground, [event(1), b"{", event(1), event(2, 5_000), None, event(3, day=-1)]), head)
    after = ground.sink.head()
    assert (commit.landed, commit.dead, commit.duplicates, commit.sequence) == (2, 3, 1, 1)
    assert (after.version, after.sequence) == (commit.version, 1)
    assert after.position == commit.position
    assert after.position.logs == {LOG: {"0": ("5", "c5")}}
    assert totals_of(after) == (6, 2, 3, 1)
    assert [(row["_offset"], row["_commit"], row["_replay"]) for row in ground.rows()] == [(0, 1, None), (5, 1, None)]
    if not ground.keeps_letters:
        return
    letters = {letter["_offset"]: letter for letter in ground.letters()}
    assert {offset: letter["stage"] for offset, letter in letters.items()} == {1: "parse", 2: "dedupe", 3: "validate", 4: "parse"}
    assert letters[1]["value"] == b"{"
    assert letters[2]["value"] is None
    assert letters[2]["first"] == {"log": LOG, "partition": "0", "offset": 0}
    assert all(letter["_commit"] == 1 for letter in letters.values())


def test_the_same_decision_twice_leaves_what_once_leaves(make: Callable[..., Ground]) -> None:
    ground = make()
    head = ground.sink.head()
    once = decision(ground, [event(1), b"{"], head=head)
    ground.sink.append(once, head)
    before = (ground.rows(), ground.letters(), ground.sink.head().version)
    with pytest.raises(CommitConflict):
        ground.sink.append(once, head)
    assert (ground.rows(), ground.letters(), ground.sink.head().version) == before


def test_a_commit_in_between_is_a_conflict_and_nothing_is_half_done(make: Callable[..., Ground]) -> None:
    ground = make()
    head = ground.sink.head()
    ground.sink.append(decision(ground, [event(1)]), head)
    before = (ground.rows(), ground.letters(), ground.sink.head().position)
    with pytest.raises(CommitConflict):
        ground.sink.append(decision(ground, [event(2), b"["], head=head), head)
    assert (ground.rows(), ground.letters(), ground.sink.head().position) == before


def test_a_commit_that_only_sets_letters_aside_is_a_conflict_too(make: Callable[..., Ground]) -> None:
    ground = make()
    head = ground.sink.head()
    ground.sink.append(decision(ground, [b"["]), head)
    with pytest.raises(CommitConflict):
        ground.sink.append(decision(ground, [event(2)], head=head), head)


def test_over_maintenance_the_same_files_land(make: Callable[..., Ground]) -> None:
    ground = make()
    ground.sink.append(decision(ground, [event(1)]), ground.sink.head())
    head = ground.sink.head()
    second = decision(ground, [event(2), event(1)], first=1, head=head)
    ground.maintain()
    ground.maintain()
    commit = ground.sink.append(second, head)
    assert commit.sequence == 4
    assert [(row["_offset"], row["_commit"]) for row in ground.rows()] == [(0, 1), (1, 2)], "`_commit` stays as planned"
    assert ground.sink.head().position.last(LOG, "0") == 2
    assert totals_of(ground.sink.head()) == (3, 2, 0, 1)


def test_maintenance_carries_on_where_the_flow_stands(make: Callable[..., Ground]) -> None:
    ground = make()
    ground.sink.append(decision(ground, [event(1), b"{"]), ground.sink.head())
    before, letters = ground.sink.head(), ground.letters()
    ground.maintain()
    after = ground.sink.head()
    assert (after.position, after.totals, after.sequence) == (before.position, before.totals, before.sequence + 1)
    assert ground.letters() == letters, "what a commit set aside is its own, never carried on"


def test_an_empty_batch_moves_the_position_over_its_gap(make: Callable[..., Ground]) -> None:
    ground = make()
    gap = raw_batch([])
    spans = raw_batch([None], first=9).spans
    judged = Judge()(type(gap)(gap.rows, spans))
    commit = ground.sink.append(ground.new_keys().decide(judged, ground.sink.head()), ground.sink.head())
    assert (commit.landed, commit.position.last(LOG, "0")) == (0, 9)


def test_a_replay_lands_at_the_original_place_and_leaves_the_position(make: Callable[..., Ground]) -> None:
    ground = make()
    ground.sink.append(decision(ground, [event(1), event(2, 5_000), event(3, 6_000), event(4, 7_000)]), ground.sink.head())
    head = ground.sink.head()
    mended = [event(2), event(1), b"still broken"]
    replayed = decision(ground, mended, first=1, head=head).replayed("r1")
    commit = ground.sink.append(replayed, head)
    after = ground.sink.head()
    assert (commit.kind, commit.landed, commit.duplicates, commit.dead) == ("replay", 1, 1, 0)
    assert after.position == head.position
    assert totals_of(after) == (4, 2, 1, 1), "landing or closing a letter moves one from dead"
    assert [(row["_offset"], row["_commit"], row["_replay"]) for row in ground.rows()] == [(0, 1, None), (1, 2, "r1")]
    if not ground.keeps_letters:
        return
    closed = ground.letters()[-1]
    assert (closed["_offset"], closed["stage"], closed["_replay"]) == (2, "dedupe", "r1")


def test_a_replay_that_changes_nothing_commits_nothing(make: Callable[..., Ground]) -> None:
    ground = make()
    ground.sink.append(decision(ground, [event(1), b"{"]), ground.sink.head())
    head = ground.sink.head()
    commit = ground.sink.append(decision(ground, [b"{"], first=1, head=head).replayed("r1"), head)
    assert (commit.version, commit.landed, commit.commit_id) == (head.version, 0, "")
    assert ground.sink.head().version == head.version


@pytest.mark.parametrize("contract", [ORDERS, KEYLESS], ids=["key", "no key"])
def test_a_place_lands_once_whatever_its_key(make: Callable[..., Ground], contract: Contract) -> None:
    ground = make(contract)
    judge = Judge(contract)
    head = ground.sink.head()
    ground.sink.append(ground.new_keys().decide(judge(raw_batch([event(1), event(2)])), head), head)
    with pytest.raises(CommitConflict):
        ground.new_keys().decide(judge(raw_batch([event(7)], first=1)), ground.sink.head())


def test_without_a_key_only_places_protect(make: Callable[..., Ground]) -> None:
    ground = make(KEYLESS)
    log, judge, keys = ListLog(), Judge(KEYLESS), ground.new_keys()
    log.append(event(1), event(1), event(1, 2))
    assert pump(log, judge, keys, ground.sink) is not None
    log.append(event(1))
    assert pump(log, judge, keys, ground.sink) is not None
    assert len(ground.rows()) == 4


def test_a_stale_cache_is_brought_up_to_the_head(make: Callable[..., Ground]) -> None:
    ground = make()
    log, judge = ListLog(), Judge()
    mine, other = ground.new_keys(), ground.new_keys()
    log.append(event(1))
    pump(log, judge, mine, ground.sink)
    log.append(event(2))
    pump(log, judge, other, ground.sink)
    ground.maintain()
    log.append(event(1), event(2), event(2, 9))
    commit = pump(log, judge, mine, ground.sink)
    assert commit is not None
    assert (commit.landed, commit.duplicates, commit.dead) == (0, 2, 1)


def test_a_cache_does_not_advance_over_another_head(make: Callable[..., Ground]) -> None:
    """A pump and a replay share an index: the replay's commit must not make the pump's older keys look current."""
    ground = make()
    keys, judge = ground.new_keys(), Judge()
    first = ground.sink.head()
    lost = keys.decide(judge(raw_batch([event(1)])), first)
    commit = ground.sink.append(lost, first)
    second = ground.sink.head()
    ground.sink.append(ground.new_keys().decide(judge(raw_batch([event(2)], first=1)), second), second)
    keys.decide(judge(raw_batch([event(5)], first=2)), ground.sink.head())  # the cache now reflects the second commit
    keys.advance(first, commit)  # late: must change nothing
    third = ground.sink.head()
    again = keys.decide(judge(raw_batch([event(1), event(2)], first=2)), third)
    assert (again.rows.num_rows, again.duplicates.num_rows) == (0, 2)


def test_another_sinks_head_is_refused(make: Callable[..., Ground]) -> None:
    ground = make()
    head = ground.sink.head()
    foreign = Head(head.version, head.sequence, head.position, head.totals, head.floor, head.epoch, handle="elsewhere")
    with pytest.raises(Corrupt) as stop:
        ground.sink.append(decision(ground, [event(1)]), foreign)
    assert stop.value.code == "sink.foreign_head"


class ExpiredLog(ListLog):
    """A log whose records were unlinked; `meanwhile` happens while it is read."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        self.meanwhile()
        raise OffsetExpired("gone")


def test_before_stopping_the_pump_looks_again(make: Callable[..., Ground]) -> None:
    ground = make()
    log = ExpiredLog()
    with pytest.raises(OffsetExpired):
        pump(log, Judge(), ground.new_keys(), ground.sink)
    log.meanwhile = lambda: ground.sink.append(decision(ground, [event(1)]), ground.sink.head())
    with pytest.raises(CommitConflict):
        pump(log, Judge(), ground.new_keys(), ground.sink)


# ---------------------------------------------------------------- the cut changes nothing

records = st.one_of(
    st.builds(lambda key, amount, day: event(key, amount, day=day), st.integers(1, 4), st.integers(1, 2), st.integers(-1, 0)),
    st.sampled_from([None, b"", b"{", b"[]", event(9, 5_000)]),
)


def one_by_one(
    partitions: list[list[bytes | None]], order: list[tuple[str, int]]
) -> tuple[dict[Place, bytes], dict[Place, str], dict[Place, Place]]:
    """What the model says: each record as if it came alone. Landed bytes, stages of letters, firsts of duplicates, by place."""
    landed_bytes: dict[Place, bytes] = {}
    stages: dict[Place, str] = {}
    firsts: dict[Place, Place] = {}
    seen: dict[bytes, tuple[Place, bytes]] = {}
    for partition, offset in order:
        value, place = partitions[int(partition)][offset], Place(LOG, partition, offset)
        if value is None or not value.startswith(b'{"'):
            stages[place] = "parse"
        elif b"5000" in value:
            stages[place] = "validate"
        elif (first := seen.get(value[:53])) is None:
            landed_bytes[place] = value
            seen[value[:53]] = place, value
        elif first[1] == value:
            stages[place], firsts[place] = "dedupe", first[0]
        else:
            stages[place] = "identity"
    return landed_bytes, stages, firsts


@pytest.mark.parametrize("ground", GROUNDS)
@settings(max_examples=25)
@given(values=st.lists(records, min_size=1, max_size=12), cuts=st.lists(st.integers(1, 5), max_size=6), kept=st.booleans())
def test_the_cut_of_batches_never_changes_the_outcome(ground: str, values: list[bytes | None], cuts: list[int], kept: bool) -> None:
    with scratch() as root:
        under = GROUNDS[ground](root)
        log, keys = ListLog({"0": list(values)}), under.new_keys()
        for size in itertools.chain(cuts, itertools.repeat(100)):
            keys = keys if kept else under.new_keys()  # a restart loses the cache
            if pump(log, Judge(), keys, under.sink, limit=size) is None:
                break
        wanted = one_by_one([values], [("0", offset) for offset in range(len(values))])
        letters = {place_of(letter): letter for letter in under.letters()}
        assert {place_of(row) for row in under.rows()} == wanted[0].keys()
        assert sum(totals_of(under.sink.head())[1:]) == totals_of(under.sink.head())[0] == len(values)
        if not under.keeps_letters:
            assert totals_of(under.sink.head())[3] == list(wanted[1].values()).count("dedupe")
            return
        assert {place: letter["stage"] for place, letter in letters.items()} == wanted[1]
        assert {place: Place(**letter["first"]) for place, letter in letters.items() if letter["first"]} == wanted[2]
        own = {place: values[place.offset] for place, stage in wanted[1].items() if stage != "dedupe"}
        assert {place: letters[place]["value"] for place in own} == own, "a letter carries its record's own bytes"
