"""The laws of processing notice broken code: each mutant here makes the named test fail. The list is in tests/mutants.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from frazil.errors import ContractError
from frazil.process import reference_json, reference_rules, reference_values, rust
from frazil.process.python import PythonProcessor
from tests.properties import test_processing as laws
from tests.shared import ROOT


def _quickly(examples: int) -> settings:
    return settings(
        phases=(Phase.generate,), max_examples=examples, derandomize=True, database=None, deadline=None, report_multiple_bugs=False
    )


EXAMPLES = {"most": 15}


def run(law: Callable[..., None], *strategies: st.SearchStrategy[Any], **fixed: Any) -> None:
    """A law's own body over generated input, without shrinking: little while it holds, as much as it takes when it is broken."""
    body = law.hypothesis.inner_test  # type: ignore[attr-defined]
    _quickly(EXAMPLES["most"])(given(st.tuples(*strategies))(lambda drawn: body(*fixed.values(), *drawn)))()


def _no_end_check(self: Any) -> Any:
    self.skip_space()
    return self.value(0)


def _reversed_object(self: Any, depth: int, original: Any = reference_json._Reader.object) -> Any:
    node = original(self, depth)
    return node._replace(members=node.members[::-1])


def _raising(self: Any, value: bytes | None) -> Any:
    raise ValueError("not JSON")


class _FactlessError(ContractError):
    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)


PYTHON = {"implementation": PythonProcessor}
_local = st.datetimes(laws.datetime(2001, 1, 1), laws.datetime(2026, 11, 18))
chosen = st.sets(st.sampled_from(range(len(laws.BREAKS))), min_size=1)
Mutant = tuple[str, Any, str, Any, Callable[[], None]]
MUTANTS: list[Mutant] = [
    (
        "4: what follows the JSON is not looked at",
        reference_json._Reader,
        "whole",
        _no_end_check,
        lambda: run(laws.test_a_malformed_record_gives_its_reason_and_no_row, st.data(), **PYTHON),
    ),
    (
        "5: only the first violation is told",
        reference_rules.Rules,
        "all_broken",
        lambda self: self.broken[:1],
        lambda: run(laws.test_every_broken_rule_is_reported_and_no_other, chosen, **PYTHON),
    ),
    (
        "6: the time of receipt stands for the event time",
        reference_rules.Rules,
        "time",
        lambda self, one, node, path: self.time_value(one, node, path),
        lambda: run(laws.test_every_good_event_is_transformed, _local, st.integers(-840, 840), **PYTHON),
    ),
    (
        "8: values are cut after ten characters",
        reference_rules,
        "shortened",
        lambda text: text[:10],
        lambda: run(laws.test_a_violation_points_at_the_value_it_shows, st.data(), **PYTHON),
    ),
    (
        "9: a number may begin with zeros",
        reference_json,
        "_NUMBER",
        re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"),
        lambda: laws.test_both_agree_on_the_json_test_suite(_shared()),
    ),
    (
        "10: bounds are not looked at",
        reference_values.Exact,
        "below",
        lambda self, other: False,
        lambda: run(laws.test_validation_in_the_kernel_is_validation_in_the_reference, st.data()),
    ),
    (
        "11: days are counted from 1970-01-02",
        reference_rules,
        "day_of",
        lambda text, original=reference_values.day_of: (original(text) or 0) + 1,
        lambda: run(laws.test_transformation_in_the_kernel_is_transformation_in_the_reference, st.data()),
    ),
    (
        "12: the kernel's facts are dropped",
        rust,
        "ContractError",
        _FactlessError,
        laws.test_a_plan_the_kernel_refuses_is_a_contract_error_with_its_facts,
    ),
    (
        "39: a record that is no JSON raises",
        PythonProcessor,
        "_parse",
        _raising,
        lambda: run(laws.test_a_record_that_cannot_be_parsed_does_not_stop_the_rest, st.just([b"{"]), **PYTHON),
    ),
    (
        "44: members come back in another order",
        reference_json._Reader,
        "object",
        _reversed_object,
        lambda: run(laws.test_reading_what_was_written_from_what_was_read_is_the_identity, laws.any_json),
    ),
]


def _shared() -> Any:
    from tests.shared import SHARED

    if SHARED is None:
        pytest.skip("shared data is absent: set FRAZIL_SHARED or put it at ../shared")
    return SHARED


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant[0] for mutant in MUTANTS])
def test_a_broken_processor_is_noticed(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    _, owner, name, broken, law = mutant
    law()
    monkeypatch.setattr(owner, name, broken)
    monkeypatch.setitem(EXAMPLES, "most", 400)
    with pytest.raises(BaseException) as caught:  # an assertion, or what the broken code raises
        law()
    assert not isinstance(caught.value, KeyboardInterrupt)


def test_every_mutant_is_listed() -> None:
    listed = (ROOT / "tests" / "mutants.md").read_text()
    assert [mutant[0] for mutant in MUTANTS if mutant[0].partition(": ")[2] not in listed] == []
