"""Rules of the engine broken on purpose; each must be noticed by the law that states it (`tests/mutants.md`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from frazil.engine import local, patience
from frazil.engine.cadence import Backoff, Cadence
from frazil.engine.local import Worker
from frazil.engine.patience import PatientProcessor
from frazil.errors import CommitConflict, Unavailable
from tests.properties import test_engine as laws

Patch = Callable[[pytest.MonkeyPatch], None]


def one_attempt(patch: pytest.MonkeyPatch) -> None:
    whole = PatientProcessor.__call__

    def once(self: PatientProcessor, raw: Any) -> Any:
        self._attempts = 1
        return whole(self, raw)

    patch.setattr(PatientProcessor, "__call__", once)


def half_is_dropped(patch: pytest.MonkeyPatch) -> None:
    split = PatientProcessor._split
    patch.setattr(PatientProcessor, "_split", lambda self, raw, start, stop: split(self, raw, start, stop)[:1])


def the_whole_batch_is_at_fault(patch: pytest.MonkeyPatch) -> None:
    def aside(self: PatientProcessor, raw: Any, start: int, stop: int) -> Any:
        return [self._alone(raw, row) for row in range(start, stop)]

    patch.setattr(PatientProcessor, "_split", aside)
    patch.setattr(PatientProcessor, "_alone", lambda self, raw, row: _letter(self, raw, row))


def _letter(self: PatientProcessor, raw: Any, row: int) -> Any:
    one = patience._slice(raw, row, row + 1)
    dead = patience.Batch(patience._letter(one, self.contract, ValueError("boom")), one.spans)
    return patience.Processed(patience.Batch(patience._no_rows(self._inner, one), one.spans), dead)


def systems_are_blamed_on_records(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PatientProcessor, "_refuse_system", staticmethod(lambda error: None))


def waiting_is_giving_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_failed", lambda self, error: 0)


def a_conflict_skips(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_overtaken", lambda self, error: 0)


def errors_lose_their_facts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(local, "_logged", lambda facts: {"code": facts["code"]})


def letters_lose_their_bytes(patch: pytest.MonkeyPatch) -> None:
    letter = patience._letter

    def empty(one: Any, contract: Any, error: BaseException) -> Any:
        made = letter(one, contract, error)
        at = made.schema.get_field_index("value")
        return made.set_column(at, made.schema.field(at), patience.pa.nulls(made.num_rows, patience.pa.binary()))

    patch.setattr(patience, "_letter", empty)


def set_aside_in_silence(patch: pytest.MonkeyPatch) -> None:
    class Silent:
        def error(self, *words: object, **facts: object) -> None: ...

    patch.setattr(patience, "_log", Silent())


def waits_do_not_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cadence, "due", lambda self, waiting, first_seen, last_commit: first_seen + 2 * self.max_delay)


def waits_do_not_grow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "wait", lambda self, attempt, *, chance=None: self.first / 4)


def a_stop_drops_what_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_drain", lambda self: 0)


MUTANTS: list[tuple[Patch, Callable[[], object]]] = [
    (one_attempt, laws.test_a_failing_batch_is_tried_as_often_as_specified_with_growing_waits),
    (waits_do_not_grow, laws.test_a_failing_batch_is_tried_as_often_as_specified_with_growing_waits),
    (half_is_dropped, laws.test_only_the_records_at_fault_are_set_aside),
    (the_whole_batch_is_at_fault, laws.test_only_the_records_at_fault_are_set_aside),
    (letters_lose_their_bytes, laws.test_only_the_records_at_fault_are_set_aside),
    (systems_are_blamed_on_records, lambda: laws.test_a_failing_system_never_sets_a_record_aside(Unavailable("down"))),
    (waiting_is_giving_up, laws.test_whatever_the_sink_answers_each_record_is_decided_once),
    (a_conflict_skips, laws.test_whatever_the_sink_answers_each_record_is_decided_once),
    (errors_lose_their_facts, laws.test_every_error_of_a_worker_is_logged_with_code_hint_and_facts),
    (set_aside_in_silence, laws.test_every_record_set_aside_is_logged_with_its_facts),
    (waits_do_not_end, laws.test_no_record_waits_longer_than_allowed_and_full_batches_not_at_all),
    (a_stop_drops_what_waits, laws.test_a_stop_lands_what_waits),
]


@pytest.mark.parametrize(("mutant", "law"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_each_mutant_is_noticed(mutant: Patch, law: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with capture_logs(), pytest.raises((AssertionError, KeyError, pytest.fail.Exception, CommitConflict, ExceptionGroup)):
        law()
