"""Rules of landing broken on purpose; each must be noticed by the law that states it (`tests/mutants.md`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from frazil.batch import Position, Span
from frazil.sink import Commit, Decision, Head, iceberg
from frazil.sink.iceberg import IcebergSink
from frazil.table import commit, history, maintenance
from frazil.table.commit import Change, swap
from tests.landing import event
from tests.properties import test_landing as laws
from tests.shared import ROOT

Patch = Callable[[pytest.MonkeyPatch], None]
Law = Callable[[int], None]
BAD = b"{"


def drawing(law: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> Law:
    """A law's own body over so many drawn examples, without shrinking."""
    body = law.hypothesis.inner_test  # type: ignore[attr-defined]

    def run(examples: int) -> None:
        quick = settings(
            phases=(Phase.generate,), max_examples=examples, derandomize=True, database=None, deadline=None, report_multiple_bugs=False
        )
        quick(given(st.tuples(*strategies))(lambda drawn: body(*drawn)))()

    return run


# What the laws draw themselves, with the cases that matter often: a good event, one that is none, a repeated one.
_batches = st.just([[event(1), BAD], [event(1), event(2, day=-1)]]) | laws.batches
_values = st.just([event(1), BAD, event(2), event(1), event(3)])
_deaths = st.permutations([laws.dies_before, laws.dies_after, None, laws.dies_after])
_steps = st.just([[event(1), BAD], "maintain", [event(2)], "expire", [event(3)]])

landed = drawing(laws.test_every_processed_batch_is_in_the_table, _batches)
whole = drawing(laws.test_readers_see_all_of_a_commit_or_nothing, _batches)
restarted = drawing(laws.test_a_restart_neither_loses_nor_repeats, _values, st.just([2, 1]), _deaths)
audited = drawing(laws.test_every_commit_is_in_the_audit_log, _steps)


def _rows_written(patch: pytest.MonkeyPatch, change: Callable[[Decision], Decision]) -> None:
    write = IcebergSink._write_rows
    patch.setattr(IcebergSink, "_write_rows", lambda self, table, decision, planned: write(self, table, change(decision), planned))


def the_last_row_is_lost(patch: pytest.MonkeyPatch) -> None:
    _rows_written(patch, lambda decision: replace(decision, rows=decision.rows.slice(0, max(0, decision.rows.num_rows - 1))))


def every_row_is_written_twice(patch: pytest.MonkeyPatch) -> None:
    write = IcebergSink._write_rows

    def twice(self: IcebergSink, table: Any, decision: Decision, planned: int) -> Any:
        return (*write(self, table, decision, planned), *write(self, table, decision, planned))

    patch.setattr(IcebergSink, "_write_rows", twice)


def duplicates_are_not_set_aside(patch: pytest.MonkeyPatch) -> None:
    write = IcebergSink._write_set_aside

    def dead_only(self: IcebergSink, decision: Decision, planned: int) -> Any:
        return write(self, replace(decision, duplicates=decision.duplicates.slice(0, 0)), planned)

    patch.setattr(IcebergSink, "_write_set_aside", dead_only)


def dead_letters_are_dropped(patch: pytest.MonkeyPatch) -> None:
    write = IcebergSink._write_set_aside

    def duplicates_only(self: IcebergSink, decision: Decision, planned: int) -> Any:
        return write(self, replace(decision, dead=decision.dead.slice(0, 0)), planned)

    patch.setattr(IcebergSink, "_write_set_aside", duplicates_only)


def rows_come_before_their_position(patch: pytest.MonkeyPatch) -> None:
    """Two swaps: rows and letters, then the position."""
    mark = iceberg._marked

    def standing_still(carried: Any, decision: Decision, set_aside: Any) -> Any:
        return replace(mark(carried, decision, set_aside), position=carried.position)

    append = IcebergSink.append

    def in_two_steps(self: IcebergSink, decision: Decision, head: Head) -> Commit:
        patch.setattr(iceberg, "_marked", standing_still)
        append(self, decision, head)
        patch.setattr(iceberg, "_marked", mark)
        return _moved(self, decision)

    patch.setattr(IcebergSink, "append", in_two_steps)


def _moved(sink: IcebergSink, decision: Decision) -> Commit:
    table = sink.lake.raw(sink.contract)
    landed = swap(sink.lake, table, Change("pump", lambda carried: replace(carried, position=carried.position.after(decision.spans))))
    now = sink.head()
    counts = decision.rows.num_rows, decision.dead.num_rows, decision.duplicates.num_rows
    return Commit(
        now.version, now.sequence, landed.markers.commit_id, "pump", now.position, *counts, laws.NOON, iceberg.LandedFiles(landed)
    )


def the_position_comes_before_its_rows(patch: pytest.MonkeyPatch) -> None:
    """Two swaps: the position, then rows and letters."""
    append = IcebergSink.append

    def in_two_steps(self: IcebergSink, decision: Decision, head: Head) -> Commit:
        _moved(self, decision)
        return append(self, decision, self.head())

    patch.setattr(IcebergSink, "append", in_two_steps)


def letters_come_before_their_rows(patch: pytest.MonkeyPatch) -> None:
    """Two swaps: what is set aside, then the rows."""
    append = IcebergSink.append

    def in_two_steps(self: IcebergSink, decision: Decision, head: Head) -> Commit:
        append(self, replace(decision, rows=decision.rows.slice(0, 0)), head)
        empty = {"dead": decision.dead.slice(0, 0), "duplicates": decision.duplicates.slice(0, 0)}
        return append(self, replace(decision, **empty), self.head())

    patch.setattr(IcebergSink, "append", in_two_steps)


def the_position_is_one_too_far(patch: pytest.MonkeyPatch) -> None:
    mark = iceberg._marked

    def ahead(carried: Any, decision: Decision, set_aside: Any) -> Any:
        spans = tuple(span._replace(last=span.last + 1) if span.first == 0 else span for span in decision.spans)
        return replace(mark(carried, decision, set_aside), position=carried.position.after(spans))

    patch.setattr(iceberg, "_marked", ahead)


def a_restart_reads_from_the_beginning(patch: pytest.MonkeyPatch) -> None:
    head = IcebergSink.head

    def forgetful(self: IcebergSink) -> Head:
        first = not hasattr(self, "_looked")
        self._looked = True  # type: ignore[attr-defined]
        return replace(head(self), position=Position.empty()) if first else head(self)

    patch.setattr(IcebergSink, "head", forgetful)


def a_restart_passes_the_next_record_by(patch: pytest.MonkeyPatch) -> None:
    """The process believes that what was under way when it died had landed."""
    head = IcebergSink.head

    def hopeful(self: IcebergSink) -> Head:
        first = not hasattr(self, "_looked")
        self._looked = True  # type: ignore[attr-defined]
        now = head(self)
        spans = [Span(log, part, 0, int(at[0]) + 1) for log, parts in now.position.logs.items() for part, at in parts.items()]
        return replace(now, position=now.position.after(spans)) if first else now

    patch.setattr(IcebergSink, "head", hopeful)


def expiry_records_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(maintenance, "record", lambda lake, table, snapshots: 0)


def only_live_snapshots_are_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(history, "recorded", lambda lake, name: [])


def maintenance_is_not_told(patch: pytest.MonkeyPatch) -> None:
    told = history._followed
    patch.setattr(history, "_followed", lambda entries: [one for one in told(entries) if one.kind != "maintenance"])


def commits_do_not_name_their_writer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commit, "_PROCESS", "")


MUTANTS: list[tuple[int, Patch, Law]] = [
    (13, the_last_row_is_lost, landed),
    (13, every_row_is_written_twice, landed),
    (13, duplicates_are_not_set_aside, landed),
    (13, dead_letters_are_dropped, landed),
    (14, rows_come_before_their_position, whole),
    (14, the_position_comes_before_its_rows, whole),
    (14, letters_come_before_their_rows, whole),
    (15, the_position_comes_before_its_rows, restarted),
    (15, the_position_is_one_too_far, restarted),
    (15, a_restart_reads_from_the_beginning, restarted),
    (15, a_restart_passes_the_next_record_by, restarted),
    (42, expiry_records_nothing, audited),
    (42, only_live_snapshots_are_told, audited),
    (42, maintenance_is_not_told, audited),
    (42, commits_do_not_name_their_writer, audited),
]


@pytest.mark.parametrize("law", [landed, whole, restarted, audited], ids=["landed", "whole", "restarted", "audited"])
def test_the_laws_hold_where_nothing_is_broken(law: Law) -> None:
    law(2)


@pytest.mark.parametrize(("mutant", "law"), [one[1:] for one in MUTANTS], ids=[f"{number}-{one.__name__}" for number, one, _ in MUTANTS])
def test_a_broken_landing_is_noticed(mutant: Patch, law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        law(40)


def test_every_mutant_is_listed() -> None:
    listed = (ROOT / "tests" / "mutants.md").read_text()
    assert [name for number, mutant, _ in MUTANTS if (name := f"{number}: {mutant.__name__.replace('_', ' ')}") not in listed] == []
