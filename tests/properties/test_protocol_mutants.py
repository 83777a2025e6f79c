"""Rules broken on purpose: the scenarios and their laws must notice each one. `tests/mutants.md` lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table.update import SetSnapshotRefUpdate

from frazil.batch import Batch, Position, Span
from frazil.errors import FrazilError
from frazil.sink import books, dead_letters, iceberg, repair
from frazil.sink.keys import TableKeys
from frazil.table import commit, maintenance, retention
from frazil.table import rewind as rewinds
from frazil.table.snapshots import Markers, ancestry, markers_of, sequence_of
from tests.actors import touch
from tests.laws import Laws
from tests.protocol import SCENARIOS, followers, pumps, repairs
from tests.world import Mart, World

REFLECT, DECIDE, FOLLOWED, BACK, MARKED, JOINED = (
    TableKeys._reflect, TableKeys.decide, dead_letters._followed, repair._back, iceberg._marked, maintenance._joined,
)  # fmt: skip


TOLD = (followers, pumps, repairs)
"""The modules that tell the scenarios; importing them is what fills `SCENARIOS`."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "FIRST_WAIT_S", 0.0)


def stale_keys(self: TableKeys, table: Any) -> None:
    """Dedupe against whatever the cache held: an old head."""
    if self._version is None:
        REFLECT(self, table)


def everything_is_maintenance(since: Any) -> bool:
    return True


def rows_added_is_what_counts(since: Any) -> bool:
    """An undo, a discard or a rewind passes for maintenance."""
    return all((found := markers_of(one)) is not None and found.kind not in ("pump", "replay", "switch") for one in since)


def newest_first(commits: Sequence[Any]) -> Any:
    return FOLLOWED(list(reversed(commits)))


def keep_after_rewind(commits: Sequence[Any]) -> Any:
    return FOLLOWED(commits)[0], None


def position_of_the_batch(self: Position, spans: Sequence[Span]) -> Position:
    logs: dict[str, dict[str, tuple[str, str | None]]] = {}
    for span in spans:
        logs.setdefault(span.log, {})[span.partition] = (str(span.last), span.check)
    return Position({**self.logs, **logs})


def replay_moves_the_position(carried: Markers, decision: Any, *rest: Any) -> Markers:
    found = MARKED(carried, decision, *rest)
    if decision.replay is None:
        return found
    rows = decision.rows.select(["_log", "_partition", "_offset"]).to_pylist()
    return replace(found, position=found.position.after(Span(row["_log"], row["_partition"], 0, row["_offset"]) for row in rows))


def carry_everything(self: Markers, kind: Any) -> Markers:
    return replace(self, kind=kind)


def swap_back_to_target(base: Any, target: Any, properties: Any, same: Any) -> Any:
    """Rewind as a reference set back to the old snapshot instead of a new one."""
    branch = {"ref-name": "main", "type": "branch", "snapshot-id": target.snapshot_id}
    return (same,), (SetSnapshotRefUpdate.model_validate(branch),)


def reused_sequence(metadata: Any) -> int:
    found = [one for one in ancestry(metadata) if (said := markers_of(one)) is not None and said.kind not in ("rewind", "maintenance")]
    return max((sequence_of(one) for one in found), default=0)


def letters_read_before_the_head(
    self: World, ids: Any = None, mend: Callable[[Batch], Batch] = lambda batch: batch, id: str = "r", keys: int = 0
) -> Any:
    """The letters first, the head later."""
    found = self.letters.open(ids, at=self.sink.head())
    touch()
    head = self.sink.head()
    decision = self.keys(keys).decide(self.processor(mend(found)), head).replayed(id)
    return self.sink.append(decision, head)


def undo_everything(raw: Any, known: Any, id: str) -> Any:
    back = BACK(raw, known, id)
    return repair._Back(back.gone | frozenset(back.kept), (), back.duplicates)


def undo_rows_only(raw: Any, known: Any, id: str) -> Any:
    return replace(BACK(raw, known, id), duplicates=frozenset())


def unlink_without_a_floor(lake: Any, name: str, reader: Any, log: Any, **options: Any) -> Any:
    found = retention.standing(lake.find(name).metadata).position
    touch()
    return retention.Retained(found, log.unlink(found))


def everything_is_adopted(*_: Any) -> int:
    return 1 << 60


def mart_by_commit_alone(self: Mart, rows: list[dict[str, Any]], epoch: int) -> None:
    new = [row for row in rows if row["_commit"] > self.seen]
    self.rows += [(row["_commit"], row["_partition"], row["_offset"], row["k"], row["n"]) for row in new]
    self.seen = max([self.seen, *(row["_commit"] for row in new)])


def decide_backwards(self: TableKeys, processed: Any, head: Any) -> Any:
    good = processed.good.rows
    turned = good.take(pa.array(range(good.num_rows - 1, -1, -1), pa.int64()))
    return DECIDE(self, replace(processed, good=Batch(turned, processed.good.spans)), head)


def advance_over_another_head(self: TableKeys, head: Any, done: Any) -> None:
    for file in done.handle.added:
        self._files[file.file_path] = one = self._file(done.handle.landed.table, file, done.sequence)
        self._load(one)
    self._version = done.version


def targets_own_number(entries: Any, sequence: int) -> int:
    return sequence


def compaction_keeps_the_small_files(lake: Any, table: Any, small: Any) -> int:
    rows = maintenance.files.rows_of(table, [maintenance.FileScanTask(file) for file in small])
    maintenance.swap(lake, table, maintenance.Change("maintenance", added=maintenance.files.write(table, rows)))
    return 1


def nothing(*_: Any) -> tuple[()]:
    return ()


def what_the_tables_hold(reader: Any, since: Any) -> Any:
    """As if the log held what the tables show."""
    return {"0": ((1, 2),)}, {"0": 1}


MUTANTS: dict[str, tuple[Any, str, Any, str]] = {
    "dedupe on an old head": (TableKeys, "_reflect", stale_keys, "a_cache_of_an_old_head_decides_nothing"),
    "rebuild though rows were added": (commit, "only_maintenance", everything_is_maintenance, "a_pump_is_not_rebuilt_over_another_pump"),
    "rebuild over an undo": (commit, "only_maintenance", rows_added_is_what_counts, "a_pump_is_not_rebuilt_over_an_undo"),
    "rebuild over a discard": (commit, "only_maintenance", rows_added_is_what_counts, "a_replay_is_not_rebuilt_over_a_discard"),
    "adopt out of order": (dead_letters, "_followed", newest_first, "a_rewind_and_what_follows_are_adopted_together"),
    "letters survive a rewind": (dead_letters, "_followed", keep_after_rewind, "a_rewind_takes_letters_back_and_records_land_again"),
    "position not merged": (Position, "after", position_of_the_batch, "positions_of_all_partitions_are_kept"),
    "replay moves the position": (iceberg, "_marked", replay_moves_the_position, "a_replay_does_not_move_the_position"),
    "maintenance carries the set-aside": (Markers, "carried", carry_everything, "maintenance_sets_nothing_aside"),
    "rewind sets the reference back": (commit, "_rewound", swap_back_to_target, "the_target_of_a_rewind_gets_no_late_commit"),
    "_commit reused after rewind": (iceberg, "last_sequence", reused_sequence, "commit_numbers_are_never_used_again"),
    "letters read before the head": (World, "replay", letters_read_before_the_head, "a_replay_reads_letters_at_its_own_head"),
    "undo takes rows that duplicates name": (repair, "_back", undo_everything, "an_undo_keeps_rows_that_duplicates_name"),
    "undo leaves its duplicates closed": (repair, "_back", undo_rows_only, "an_undo_opens_its_duplicates_again"),
    "unlink without a committed floor": (retention, "retain", unlink_without_a_floor, "nothing_below_the_floor_is_rewound_to"),
    "expiry forgets unadopted commits": (maintenance, "adopted_to", everything_is_adopted, "expiry_keeps_what_is_not_adopted"),
    "mart by _commit alone": (Mart, "refresh", mart_by_commit_alone, "a_mart_follows_rows_that_go"),
    "decide out of offset order": (TableKeys, "decide", decide_backwards, "records_are_decided_in_the_order_of_offsets"),
    "cache advanced over another head": (TableKeys, "advance", advance_over_another_head, "a_shared_cache_never_mixes_two_heads"),
    "rewind names maintenance": (rewinds, "settled", targets_own_number, "a_rewind_after_maintenance_takes_back_the_right_letters"),
    "books overlook doubled rows": (books, "repeated", nothing, "missing_doubled_and_miscounted_records_are_named"),
    "books overlook lost duplicates": (books, "_orphaned", nothing, "missing_doubled_and_miscounted_records_are_named"),
    "books believe the totals": (books, "_differences", nothing, "missing_doubled_and_miscounted_records_are_named"),
    "books infer what is missing": (books, "_read_log", what_the_tables_hold, "missing_doubled_and_miscounted_records_are_named"),
    "compaction keeps the small files": (maintenance, "_joined", compaction_keeps_the_small_files, "maintenance_sets_nothing_aside"),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, scenario = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, broken)
    with pytest.raises((AssertionError, FrazilError, pytest.fail.Exception)):
        SCENARIOS[scenario](world, Laws(world))


def test_every_mutant_is_written_down() -> None:
    page = (Path(__file__).parent.parent / "mutants.md").read_text()
    assert not [name for name in MUTANTS if name not in page]
