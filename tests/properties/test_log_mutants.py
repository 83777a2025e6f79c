"""Rules of the log broken on purpose, where they are Python; each must be noticed by its law (`tests/mutants.md`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from frazil.log import Record, embedded
from frazil.log.embedded import EmbeddedReader
from tests.conformance import test_log as conformance
from tests.properties import test_log_properties as laws
from tests.shared import ROOT

Patch = Callable[[pytest.MonkeyPatch], None]
Law = Callable[[Path], None]
_quick: dict[str, Any] = {
    "phases": (Phase.generate,),
    "derandomize": True,
    "database": None,
    "deadline": None,
    "report_multiple_bugs": False,
}
EXAMPLES = {"most": 3}


def two_logs(directory: Path) -> None:
    run_state_machine_as_test(laws.TwoLogs, settings=settings(max_examples=EXAMPLES["most"], stateful_step_count=25, **_quick))


def senders(directory: Path) -> None:
    body = laws.test_concurrent_appends_keep_each_requests_order.hypothesis.inner_test  # type: ignore[attr-defined]
    several = st.lists(st.lists(laws.records.filter(bool), min_size=1, max_size=4), min_size=1, max_size=6)
    settings(max_examples=EXAMPLES["most"], **_quick)(given(st.tuples(several, st.integers(1, 30)))(lambda drawn: body(*drawn)))()


class Fresh:
    """Directories, one after the other, as the test's own fixture gives them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._given = 0

    def mktemp(self, name: str) -> Path:
        self._given += 1
        made = self._root / f"{name}{self._given}"
        made.mkdir(parents=True)
        return made


def read_back(directory: Path) -> None:
    drawn = st.tuples(conformance.appends, st.integers(1, 20), st.sets(st.integers(0, 8)))
    fresh = Fresh(directory)
    settings(max_examples=EXAMPLES["most"], **_quick)(
        given(drawn)(lambda one: conformance.read_as_appended(conformance.open_log("embedded", fresh.mktemp("log")), *one))
    )()


def admitted(directory: Path) -> None:
    log = conformance.open_log("embedded", directory)
    try:
        conformance.test_an_admitted_body_is_stored_as_it_came(log)
    finally:
        log.writer.close()
        log.reader.close()


_rows = embedded._kernel_records


def _bodies(records: Any) -> Any:
    """Records of an append one by one, whoever split them."""
    return records if isinstance(records, list) else [Record(value, None, records.line(at)) for at, value in enumerate(records.records())]


def values_are_stripped(patch: pytest.MonkeyPatch) -> None:
    """White space around a record is not stored."""
    patch.setattr(
        embedded,
        "_kernel_records",
        lambda records: _rows([Record(one.value and one.value.strip(), one.key, one.line) for one in _bodies(records)]),
    )


def values_are_text(patch: pytest.MonkeyPatch) -> None:
    def through_text(value: bytes | None) -> bytes | None:
        return value and value.decode(errors="replace").encode()

    patch.setattr(
        embedded,
        "_kernel_records",
        lambda records: _rows([Record(through_text(one.value), one.key, one.line) for one in _bodies(records)]),
    )


def nothing_and_empty_are_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        embedded, "_kernel_records", lambda records: _rows([Record(one.value or None, one.key, one.line) for one in _bodies(records)])
    )


def a_body_comes_in_reverse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(embedded, "_kernel_records", lambda records: _rows(_bodies(records)[::-1]))


def lines_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(embedded, "_kernel_records", lambda records: _rows([Record(one.value, one.key) for one in _bodies(records)]))


def the_reader_passes_a_record_by(patch: pytest.MonkeyPatch) -> None:
    batch = EmbeddedReader._batch

    def without_the_second(self: EmbeddedReader, rows: Any, check: str) -> Any:
        whole = batch(self, rows, check)
        kept = [at for at in range(len(whole)) if at != 1]
        return embedded.Batch(whole.rows.take(embedded.pa.array(kept)), whole.spans)

    patch.setattr(EmbeddedReader, "_batch", without_the_second)


def keys_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(embedded, "_kernel_key", lambda key: None)


def the_lag_counts_from_the_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EmbeddedReader, "lag", lambda self, position: self._kernel.end() + 1)


MUTANTS: list[tuple[Patch, Law]] = [
    (values_are_stripped, read_back),
    (values_are_text, read_back),
    (nothing_and_empty_are_the_same, two_logs),
    (a_body_comes_in_reverse, admitted),
    (a_body_comes_in_reverse, two_logs),
    (lines_are_forgotten, read_back),
    (the_reader_passes_a_record_by, senders),
    (the_reader_passes_a_record_by, two_logs),
    (keys_are_not_remembered, two_logs),
    (the_lag_counts_from_the_start, two_logs),
]


@pytest.mark.parametrize("law", [two_logs, senders, read_back, admitted])
def test_the_laws_hold_where_nothing_is_broken(law: Law, tmp_path: Path) -> None:
    law(tmp_path)


@pytest.mark.parametrize(("mutant", "law"), MUTANTS, ids=[f"{mutant.__name__}-{law.__name__}" for mutant, law in MUTANTS])
def test_a_broken_log_is_noticed(mutant: Patch, law: Law, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    monkeypatch.setitem(EXAMPLES, "most", 100)
    with pytest.raises((AssertionError, KeyError)):
        law(tmp_path)


def test_every_mutant_is_listed() -> None:
    listed = (ROOT / "tests" / "mutants.md").read_text()
    assert [name for mutant, _ in MUTANTS if (name := f"2: {mutant.__name__.replace('_', ' ')}") not in listed] == []
