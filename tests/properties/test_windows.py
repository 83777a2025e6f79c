"""Live windows equal a batch recompute in SQL, whatever the order, the cut of batches, duplicates or crashes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import data_processor_rs as kernel
import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.contract.windows import Value, WindowSpec
from frazil.errors import CommitConflict
from frazil.flow import pump
from frazil.process.rust import RustProcessor
from frazil.sink import Decision, Head
from frazil.sink.windows import WindowKeys, WindowSink
from tests.landing import NOON, ListLog, scratch

FIELDS = (
    Field("event_id", "/event_id", "uuid", required=True),
    Field("at", "/at", "timestamp", required=True),
    Field("user", "/user", "string"),
    Field("amount", "/amount", "integer"),
    Field("price", "/price", "decimal", precision=18, scale=4),
    Field("weight", "/weight", "number"),
)
SALES = Contract("sales", "1", FIELDS, key=("/event_id",), event_time="/at", unknown="drop")
PROCESS = RustProcessor(SALES)
BEGIN = NOON - timedelta(minutes=15)
CLOSING = "closing"
SECOND = timedelta(seconds=1)
VALUES = (
    Value("n", "count"),
    Value("users", "distinct", "price"),
    Value("amounts", "count", "amount"),
    Value("amount", "sum", "amount"),
    Value("price", "sum", "price"),
    Value("least", "min", "price"),
    Value("most", "max", "price"),
    Value("weight", "sum", "weight"),
    Value("mean", "avg", "price"),
    Value("middle", "quantile", "weight", 0.5),
)
SHAPES = {
    "tumbling": {"size": 10 * SECOND, "hop": 10 * SECOND},
    "hopping": {"size": 20 * SECOND, "hop": 7 * SECOND},
    "session": {"gap": 8 * SECOND},
}


@dataclass(frozen=True)
class Sale:
    number: int
    at: int  # seconds after BEGIN
    user: str | None
    amount: int | None = 1
    price: str | None = "1.0000"
    weight: float | None = 1.0

    @property
    def record(self) -> bytes:
        facts = {"event_id": str(UUID(int=self.number)), "at": (BEGIN + self.at * SECOND).isoformat(), "user": self.user}
        told = json.dumps({**facts, "amount": self.amount, "weight": self.weight})
        return f'{told[:-1]},"price":{self.price or "null"}}}'.encode()

    @property
    def row(self) -> tuple[Any, ...]:
        price = None if self.price is None else Decimal(self.price)
        return (self.number, self.at, self.user, self.amount, price, self.weight)


def specs(lateness: int, emit: str = "update") -> list[WindowSpec]:
    delay = lateness * SECOND
    return [
        WindowSpec(name, "sales", VALUES, lateness=delay, emit=emit, key=("user",), **spans)  # type: ignore[arg-type]
        for name, spans in SHAPES.items()
    ]


class Crash(Exception):
    """The process is gone."""


@dataclass
class Running:
    """Pumps a log into windows; a crash loses everything but the file."""

    root: Path
    windows: list[WindowSpec]
    log: ListLog = field(default_factory=ListLog)
    batches: list[list[int]] = field(default_factory=list)  # offsets of each batch that was committed
    memory: int = 64 * 1024 * 1024  # bytes of open windows

    def __post_init__(self) -> None:
        self.sink = WindowSink(self.root / "state.db", SALES, self.windows, {}, memory_bytes=self.memory)
        self.crash: str | None = None

    @property
    def reader(self) -> kernel.WindowReader:
        return kernel.WindowReader(str(self.root / "state.db"))

    def pump(self, limit: int, crash: str | None = None) -> bool:
        """One batch; `crash`: before the commit, or after it. Whether there was anything."""
        self.crash = crash
        before = self.sink.head().position.last(self.log.log_id, "0")
        try:
            done = pump(self.log, PROCESS, WindowKeys(self.sink), self, limit=limit)  # type: ignore[arg-type]
        except Crash:
            done = None
            self.__post_init__()
        after = self.sink.head().position.last(self.log.log_id, "0")
        if after != before:
            self.batches.append(list(range(-1 if before is None else before, after or 0)))
        return done is not None or crash is not None

    def head(self) -> Head:
        return self.sink.head()

    def append(self, decision: Decision, head: Head) -> Any:
        if self.crash == "before":
            raise Crash
        done = self.sink.append(decision, head)
        if self.crash == "after":
            raise Crash
        return done

    def drain(self, cuts: Sequence[tuple[int, str | None]]) -> None:
        for limit, crash in cuts:
            self.pump(limit, crash)
        while self.pump(100):
            pass


Results = dict[tuple[str, str | None, int, int], dict[str, Any]]


def results(running: Running) -> Results:
    """Final results by window, user, start and end in seconds."""
    found = {}
    begin = (BEGIN - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for _, window, start, end, key, _, state, values, _ in running.reader.changes(0):
        user = json.loads(key)[0]
        if state == 1 and user != CLOSING:
            place = (window, user, (start - begin) // 1_000_000, (end - begin) // 1_000_000)
            found[place] = json.loads(values, parse_float=Decimal)
    return found


BATCH = """
select who, start, finish, count(*) n, count(distinct price) users, count(amount) amounts, sum(amount)::bigint amount,
       sum(price) price, min(price) least, max(price) most, fsum(weight) weight, avg(price) mean, list(weight order by weight) weights
from placed group by all
"""
HOPPING = """
select who, amount, price, weight, start, start + $size finish from sales,
  (select unnest(range(-10, 30)) n), lateral (select n * $hop - (epoch_of_begin % $hop) start)
where start <= sec and sec < start + $size and (number, start) not in (select number, start from late)
"""
SESSIONS = """
with alive as (select * from sales where number not in (select number from late)),
marked as (select *, case when sec - lag(sec) over w <= $gap then 0 else 1 end fresh from alive
           window w as (partition by who order by sec, number)),
numbered as (select *, sum(fresh) over (partition by who order by sec, number) session from marked)
select who, amount, price, weight, min(sec) over s start, max(sec) over s + $gap finish from numbered
window s as (partition by who, session)
"""
COLUMNS = "number int, sec int, who text, amount bigint, price decimal(18,4), weight double, epoch_of_begin int"
DATABASE = duckdb.connect()


def recomputed(window: WindowSpec, sales: Sequence[Sale], late: set[tuple[int, int]]) -> Results:
    """The batch answer, by SQL over the events that were not late."""
    epoch = int(BEGIN.timestamp())
    DATABASE.execute(f"create or replace table sales ({COLUMNS})")
    DATABASE.execute("create or replace table late (number int, start int)")
    if sales:
        DATABASE.executemany("insert into sales values (?, ?, ?, ?, ?, ?, ?)", [(*sale.row, epoch) for sale in sales])
    if late:
        DATABASE.executemany("insert into late values (?, ?)", sorted(late))
    size, hop, gap = (span // SECOND for span in (window.size, window.hop, window.gap))
    sql = SESSIONS.replace("$gap", str(gap)) if gap else HOPPING.replace("$size", str(size)).replace("$hop", str(hop))
    DATABASE.execute(f"create or replace table placed as {sql}")
    names = [column[0] for column in DATABASE.execute(BATCH).description or []]
    rows = [dict(zip(names, row, strict=True)) for row in DATABASE.fetchall()]
    return {(window.name, row.pop("who"), row.pop("start"), row.pop("finish")): row for row in rows}


def assert_equal(live: dict[Any, dict[str, Any]], batch: dict[Any, dict[str, Any]]) -> None:
    assert live.keys() == batch.keys()
    for place, wanted in batch.items():
        found = live[place]
        for exact in ("n", "users", "amounts", "amount", "price", "least", "most"):
            assert found[exact] == wanted[exact], (place, exact)
        for near in ("weight", "mean"):
            assert (found[near] is None) == (wanted[near] is None)
            if wanted[near] is not None:
                assert float(found[near]) == pytest.approx(float(wanted[near]), rel=1e-12, abs=1e-9), (place, near)
        weights = [one for one in wanted["weights"] if one is not None]
        if weights:
            assert float(found["middle"]) == pytest.approx(weights[(len(weights) - 1) // 2], rel=0.0101, abs=1e-12)


weights = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: 0.0 if abs(x) < 1e-9 else x))
prices = st.one_of(st.none(), st.decimals(0, 10**9, places=4, allow_nan=False).map(lambda price: f"{price:.4f}"))
amounts = st.none() | st.integers(-9, 9)
sales = st.lists(
    st.builds(Sale, st.integers(1, 10**6), st.integers(0, 100), st.sampled_from(["a", "b", None]), amounts, prices, weights),
    max_size=25,
    unique_by=lambda sale: sale.number,
)
cuts = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([None, None, "before", "after"])), max_size=12)


def run(root: Path, given_sales: list[Sale], repeats: list[int], steps: list[tuple[int, str | None]], lateness: int, emit: str) -> Running:
    running = Running(root, specs(lateness, emit))
    running.log.append(*(sale.record for sale in given_sales))
    for at in repeats if given_sales else []:
        values = running.log.partitions["0"]
        values.insert(at % len(values), given_sales[at % len(given_sales)].record)
    running.drain(steps)
    running.log.append(Sale(0, 15 * 60 + 200, CLOSING).record)
    running.drain([])
    return running


@pytest.mark.prop(15)
@pytest.mark.prop(43)
@settings(max_examples=40)
@given(sales, st.lists(st.integers(0, 1000), max_size=5), cuts, st.sampled_from(["update", "final"]))
@example([Sale(1, 0, "a"), Sale(2, 16, "a"), Sale(3, 8, "a")], [], [(1, "after")] * 3, "update")
def test_final_results_are_the_batch_recompute_when_nothing_is_later_than_allowed(
    given_sales: list[Sale], repeats: list[int], steps: list[tuple[int, str | None]], emit: str
) -> None:
    with scratch() as root:
        running = run(root, given_sales, repeats, steps, 100, emit)
        live = results(running)
        assert [one[3] for one in running.reader.progress()] == [0, 0, 0], "nothing is late"
        for window in running.windows:
            assert_equal({at: found for at, found in live.items() if at[0] == window.name}, recomputed(window, given_sales, set()))


def late_by_rule(window: WindowSpec, batches: Sequence[Sequence[Sale]]) -> set[tuple[int, int]]:
    """Spark's rule in its simplest form, for windows of fixed length: the watermark of a batch comes from those before it."""
    size, hop, delay = (span // SECOND for span in (window.size, window.hop, window.lateness))
    epoch, largest = int(BEGIN.timestamp()), None
    late = set()
    for batch in batches:
        for sale in batch:
            newest = (sale.at + epoch) // hop * hop - epoch
            for start in range(newest, sale.at - size, -hop):
                if largest is not None and start + size <= largest - delay:
                    late.add((sale.number, start))
        largest = max([*(sale.at for sale in batch), *([] if largest is None else [largest])], default=largest)
    return late


@pytest.mark.prop(15)
@settings(max_examples=40)
@given(sales, cuts, st.integers(0, 30))
@example([Sale(1, 0, "a"), Sale(2, 50, "a"), Sale(3, 6, "a")], [(1, None)] * 3, 0)
@example([Sale(1, 0, "a"), Sale(2, 20, "a"), Sale(3, 9, "a")], [(1, None)] * 3, 10)
@example([Sale(1, 0, "a"), Sale(2, 20, "a"), Sale(3, 9, "a")], [(1, None)] * 3, 11)
@example([Sale(1, 0, "a"), Sale(2, 8, "b"), Sale(3, 8, "a"), Sale(4, 9, "b"), Sale(5, 8, "a")], [(1, None)] * 5, 0)
def test_otherwise_they_are_the_recompute_over_the_rows_that_were_not_late(
    given_sales: list[Sale], steps: list[tuple[int, str | None]], lateness: int
) -> None:
    with scratch() as root:
        running = run(root, given_sales, [], steps, lateness, "update")
        live, by_offset = results(running), dict(enumerate(given_sales))
        batches = [[by_offset[at + 1] for at in batch if at + 1 in by_offset] for batch in running.batches]
        begin = int(BEGIN.timestamp())
        for window in running.windows:
            told = running.reader.late(window.name, 10_000)
            late = {(by_offset[place[2]].number, start // 1_000_000 - begin) for _, start, _, _, place in told}
            assert len(told) == len(late) == next(one[3] for one in running.reader.progress() if one[0] == window.name)
            if not window.gap:
                assert late == late_by_rule(window, batches)
            else:
                assert all(reached // 1_000_000 - begin > time // 1_000_000 - begin for _, _, time, reached, _ in told), (
                    "only what is behind"
                )
            assert_equal({at: found for at, found in live.items() if at[0] == window.name}, recomputed(window, given_sales, late))


@pytest.mark.prop(15)
@settings(max_examples=20)
@given(sales, cuts, cuts)
def test_revisions_have_no_gaps_and_a_crash_repeats_none(
    given_sales: list[Sale], steps: list[tuple[int, str | None]], others: list[tuple[int, str | None]]
) -> None:
    """Without crashes and with them the same batches give the same results under the same numbers."""
    with scratch() as one, scratch() as two:
        calm = Running(one, specs(5))
        calm.log.append(*(sale.record for sale in given_sales))
        calm.drain([(limit, None) for limit, _ in steps])
        rough = Running(two, specs(5))
        rough.log.append(*(sale.record for sale in given_sales))
        for batch in calm.batches:
            rough.pump(len(batch), "before")
            rough.pump(len(batch), "after")
        kept = [[outcome[:8] for outcome in running.reader.changes(0)] for running in (calm, rough)]
        assert kept[0] == kept[1]


def test_two_writers_decide_one_commit(tmp_path: Path) -> None:
    mine, other = Running(tmp_path, specs(5)), Running(tmp_path, specs(5))
    mine.log.append(Sale(1, 1, "a").record)
    other.log = mine.log
    head = mine.head()
    raw = mine.log.read(after=head.position, limit=10)
    assert raw is not None
    decision = WindowKeys(mine.sink).decide(PROCESS(raw), head)
    assert other.pump(10)
    with pytest.raises(CommitConflict):
        mine.append(decision, head)
    assert not mine.pump(10)
    counts = [json.loads(outcome[7])["n"] for outcome in mine.reader.changes(0)]
    assert counts == [1] * len(counts)


def test_a_changed_window_starts_anew_and_the_others_go_on(tmp_path: Path) -> None:
    running = Running(tmp_path, specs(5))
    running.log.append(Sale(1, 1, "a").record)
    running.drain([])
    changed = [*specs(5)[:2], *specs(6)[2:]]
    running = Running(tmp_path, changed, running.log)
    running.log.append(Sale(2, 2, "a").record)
    running.drain([])
    told = [(outcome[1], json.loads(outcome[7])["n"]) for outcome in running.reader.changes(0)]
    most = {name: max(count for window, count in told if window == name) for name in SHAPES}
    assert most == {"tumbling": 2, "hopping": 2, "session": 1}
    assert {one[0]: bool(json.loads(one[4] or "{}")) for one in running.reader.progress()} == {
        "tumbling": False,
        "hopping": False,
        "session": True,
    }


def test_keys_are_kept_only_as_long_as_a_repetition_could_count(tmp_path: Path) -> None:
    running = Running(tmp_path, specs(5))
    running.log.append(*(Sale(number, number, "a").record for number in range(1, 101)))
    running.drain([(10, None)] * 10)
    assert 20 <= len(running.reader.landed()) <= 40, "the longest window and its lateness"


def test_an_idle_partition_holds_nothing_back(tmp_path: Path) -> None:
    running = Running(tmp_path, specs(5)[:1])
    running.log.append(Sale(1, 1, "a").record, partition="1")
    running.drain([])
    running.log.append(Sale(2, 2, "a").record, Sale(3, 30, "b").record)
    running.drain([])
    assert {place: found["n"] for place, found in results(running).items()} == {("tumbling", "a", 0, 10): 2}


def test_a_clock_that_runs_ahead_makes_nobody_late(tmp_path: Path) -> None:
    """An event time moves the watermark to five minutes after its receipt at most."""
    received = (NOON - BEGIN) // SECOND
    running = Running(tmp_path, specs(400)[:1])
    running.log.append(Sale(1, received + 20 * 3600, "ahead").record)
    running.drain([])
    running.log.append(Sale(2, received - 95, "a").record, Sale(3, received - 115, "a").record)
    running.drain([])
    late = running.reader.late("tumbling", 10)
    assert [(place[2], start < time) for _, start, time, _, place in late] == [(2, True)], "its end lies behind 12:05 less 400 s"
