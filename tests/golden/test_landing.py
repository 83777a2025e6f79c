"""A fixed sequence of batches, landed whole and with a crash at each step: the same table, letters, books and positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pytest

from frazil.errors import CommitConflict
from frazil.flow import pump
from frazil.sink import iceberg
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from frazil.table import commit as swapping
from frazil.table.commit import Change, swap
from tests.landing import LOG, ORDERS, Judge, ListLog, event, landed, open_lake, raw_batch, set_aside

VALUES: list[bytes | None] = [
    *(event(n, n) for n in range(6)),
    b"{",
    event(2, 2),  # a duplicate of the same batch
    event(3, 9),  # another content
    *(event(10 + n, n, day=-n) for n in range(4)),
    event(0, 0),  # a duplicate of an earlier batch
    None,
    event(20, 5_000),  # over the limit: mended below
    event(5, 7),  # another content than a landed one
    event(21),
]
LIMIT = 5
MENDED = {15: event(20, 50), 6: event(4, 4)}  # one lands, one turns out to be a duplicate


class Crash(BaseException):
    """The process is gone: nobody catches this."""


class Steps:
    """Crashes when the n-th of the steps that a landing takes is reached."""

    NAMES = ("before files", "after rows", "after letters", "after manifests", "swapped, no answer", "before the cache advances")

    def __init__(self, crash_at: tuple[str, int] | None) -> None:
        self.crash_at = crash_at
        self.reached: dict[str, int] = {}

    def __call__(self, name: str) -> None:
        self.reached[name] = self.reached.get(name, 0) + 1
        if self.crash_at == (name, self.reached[name]):
            raise Crash(name)


def watch(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    """Let a landing tell its steps."""
    write, letters, staged, advance = kernel.write_iceberg_parquet, iceberg.write_set_aside, swapping._staged, TableKeys.advance

    def writing(*args: Any, **options: Any) -> Any:
        steps("before files")
        written = write(*args, **options)
        steps("after rows")
        return written

    def writing_letters(*args: Any) -> Any:
        written = letters(*args)
        steps("after letters")
        return written

    def staging(*args: Any) -> Any:
        done = staged(*args)
        steps("after manifests")
        return done

    def advancing(*args: Any) -> None:
        steps("before the cache advances")
        advance(*args)

    monkeypatch.setattr(kernel, "write_iceberg_parquet", writing)
    monkeypatch.setattr(iceberg, "write_set_aside", writing_letters)
    monkeypatch.setattr(swapping, "_staged", staging)
    monkeypatch.setattr(TableKeys, "advance", advancing)


class Process:
    """One life of a processor: its own lake, sink and cache."""

    def __init__(self, root: Path, steps: Steps) -> None:
        lake = open_lake(root)
        commit_table = lake.catalog.commit_table

        def swapped(*args: Any) -> Any:
            answer = commit_table(*args)
            steps("swapped, no answer")
            return answer

        lake.catalog.commit_table = swapped  # type: ignore[method-assign]
        self.sink, self.keys = IcebergSink(lake, ORDERS), TableKeys(lake, ORDERS, max_bytes=1 << 24)

    def drain(self) -> None:
        while pump(ListLog({"0": VALUES}), Judge(), self.keys, self.sink, limit=LIMIT) is not None:
            pass

    def repair(self) -> None:
        """Replay what is mended and not landed or closed yet, as its letters say."""
        head = self.sink.head()
        closed = {row["_offset"] for row in landed(self.sink.lake)} | {
            letter["_offset"] for letter in set_aside(self.sink.lake) if letter["stage"] == "dedupe"
        }
        for offset, value in MENDED.items():
            if offset not in closed:
                judged = Judge()(raw_batch([value], first=offset))
                commit = self.sink.append(self.keys.decide(judged, head).replayed(f"r{offset}"), head)
                self.keys.advance(head, commit)
                head = self.sink.head()

    def tidy(self) -> None:
        swap(self.sink.lake, self.sink.lake.raw(ORDERS), Change("maintenance"))


def live(root: Path, steps: Steps) -> IcebergSink:
    """Land everything; start again after each crash."""
    tasks: list[Callable[[Process], None]] = [Process.drain, Process.repair, Process.tidy, Process.drain]
    process = Process(root, steps)
    while tasks:
        try:
            tasks[0](process)
            tasks.pop(0)
        except Crash:
            process = Process(root, steps)
        except CommitConflict:
            continue
    return process.sink


def told(sink: IcebergSink) -> dict[str, Any]:
    """Everything a reader can see, but for identities of commits and files."""
    head = sink.head()
    rows = [{name: value for name, value in row.items() if name != "event_id"} for row in landed(sink.lake)]
    letters = [{name: value for name, value in letter.items() if name != "violations"} for letter in set_aside(sink.lake)]
    return {"rows": rows, "letters": letters, "position": head.position, "totals": head.totals}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, int]]:
    """What an undisturbed run leaves, and how often it reached each step."""
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(None)
        watch(patch, steps)
        sink = live(tmp_path_factory.mktemp("whole"), steps)
    return told(sink), steps.reached


def test_the_whole_run(whole: tuple[dict[str, Any], dict[str, int]]) -> None:
    seen, reached = whole
    assert set(reached) == set(Steps.NAMES)
    assert [(row["_offset"], row["amount"], row["_commit"], row["_replay"]) for row in seen["rows"]] == [
        (0, 0, 1, None),
        (1, 1, 1, None),
        (2, 2, 1, None),
        (3, 3, 1, None),
        (4, 4, 1, None),
        (5, 5, 2, None),
        (9, 0, 2, None),
        (10, 1, 3, None),
        (11, 2, 3, None),
        (12, 3, 3, None),
        (15, 50, 5, "r15"),
        (17, 1, 4, None),
    ]
    assert [(letter["_offset"], letter["stage"], letter["_commit"], letter["_replay"]) for letter in seen["letters"]] == [
        (6, "parse", 2, None),
        (8, "identity", 2, None),
        (7, "dedupe", 2, None),
        (14, "parse", 3, None),
        (13, "dedupe", 3, None),
        (15, "validate", 4, None),
        (16, "identity", 4, None),
        (6, "dedupe", 6, "r6"),
    ]
    totals = seen["totals"][LOG]
    assert (totals.records, totals.landed, totals.dead, totals.duplicates) == (18, 12, 3, 3)
    assert seen["position"].logs == {LOG: {"0": ("17", "c17")}}


@pytest.mark.parametrize("step", Steps.NAMES)
@pytest.mark.parametrize("time", range(1, 5))
def test_a_crash_at_any_step_changes_nothing(
    step: str, time: int, whole: tuple[dict[str, Any], dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, reached = whole
    assert time <= reached[step], "the sequence is long enough for this crash"
    steps = Steps((step, time))
    watch(monkeypatch, steps)
    after = told(live(tmp_path, steps))
    assert after["totals"] == seen["totals"]
    assert after["position"] == seen["position"]
    assert after["rows"] == seen["rows"]
    assert after["letters"] == seen["letters"]
