"""What a change of a contract means: told by rules, and true of records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.contract.derive import iceberg_schema
from frazil.contract.evolution import evolution, refused
from frazil.errors import ContractError
from frazil.process.python import PythonProcessor
from tests.strategies import batches, contracts, raw_batch


def contract_of(*fields: Field, **settings: Any) -> Contract:
    return Contract("case", "1", fields, **settings)


def one(kind: str = "string", **rules: Any) -> Field:
    return Field("a", "/a", kind, **rules)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "effects"),
    [
        (one(), one(required=True), ["tightened"]),
        (one(required=True), one(), ["loosened"]),
        (one(), one("integer"), ["breaking"]),
        (one("decimal", precision=9, scale=2), one("decimal", precision=18, scale=2), ["loosened"]),
        (one("decimal", precision=9, scale=2), one("decimal", precision=18, scale=4), ["breaking"]),
        (one("decimal", precision=9, scale=2), one("decimal", precision=8, scale=2), ["breaking"]),
        (one(min_length=1), one(min_length=2), ["tightened"]),
        (one(min_length=1), one(), ["loosened"]),
        (one(max_length=1), one(max_length=2), ["loosened"]),
        (one(), one(max_length=2), ["tightened"]),
        (one("integer", minimum="1"), one("integer", minimum="1", exclusive_minimum=True), ["tightened"]),
        (one("integer", maximum="1.0"), one("integer", maximum="1"), []),
        (one("integer", maximum="1", exclusive_maximum=True), one("integer", maximum="1"), ["loosened"]),
        (one(pattern="a"), one(pattern="b"), ["tightened"]),
        (one(format="uri"), one(), ["loosened"]),
        (one(enum=("a", "b")), one(enum=("b", "a")), []),
        (one(enum=("a", "b")), one(enum=("b", "c")), ["tightened", "loosened"]),
        (one(), one(enum=("b",)), ["tightened"]),
        (one("timestamp", unit="s"), one("timestamp", unit="ms"), ["breaking"]),
        (one("timestamp"), one("timestamp", zone="UTC"), ["loosened"]),
        (one(description="x"), one(description="y"), []),
    ],
)
def test_a_change_of_a_field_is_classified(old: Field, new: Field, effects: list[str]) -> None:
    assert [(change.path, change.effect) for change in evolution(contract_of(old), contract_of(new))] == [
        ("/a", effect) for effect in effects
    ]


def test_fields_come_and_go() -> None:
    other = Field("b", "/b", "string")
    assert [change.effect for change in evolution(contract_of(one()), contract_of(one(), other))] == ["additive"]
    assert [change.effect for change in evolution(contract_of(one()), contract_of(one(), replace(other, required=True)))] == ["tightened"]
    assert [change.effect for change in evolution(contract_of(one(), other), contract_of(one()))] == ["loosened"]
    gone = evolution(contract_of(one(), other, unknown="refuse"), contract_of(one(), unknown="refuse"))
    assert [change.effect for change in gone] == ["tightened"]


def test_the_contracts_own_rules_are_compared() -> None:
    base = contract_of(one(required=True))
    changes = {
        "key": evolution(base, replace(base, key=("/a",))),
        "event_time": evolution(base, replace(base, event_time="/a")),
        "unknown": evolution(base, replace(base, unknown="refuse")),
        "max_bytes": evolution(base, replace(base, max_bytes=10)),
        "earliest_us": evolution(base, replace(base, earliest_us=0)),
    }
    assert {name: [change.effect for change in found] for name, found in changes.items()} == {
        "key": ["breaking"],
        "event_time": ["breaking"],
        "unknown": ["tightened"],
        "max_bytes": ["tightened"],
        "earliest_us": ["loosened"],
    }


def test_compatibility_refuses_what_it_promises_against() -> None:
    changes = evolution(contract_of(one(min_length=2)), contract_of(one(max_length=5), Field("b", "/b", "string")))
    assert sorted(change.effect for change in changes) == ["additive", "loosened", "tightened"]
    assert [change.effect for change in refused(changes, "backward")] == ["tightened"]
    assert [change.effect for change in refused(changes, "forward")] == ["loosened"]
    assert sorted(change.effect for change in refused(changes, "full")) == ["loosened", "tightened"]
    assert refused(changes, "none") == []


@given(st.data())
def test_without_a_tightening_what_was_good_stays_good(data: st.DataObject) -> None:
    """The list against the verdicts themselves."""
    old = data.draw(contracts())
    new = data.draw(_changed(old))
    if any(change.effect in ("tightened", "breaking") for change in evolution(old, new)):
        return
    values = data.draw(batches(old))
    before, after = (set(PythonProcessor(each)(raw_batch(values)).good.rows["_offset"].to_pylist()) for each in (old, new))
    assert before <= after


@given(st.data())
def test_without_a_breaking_change_the_table_can_follow(data: st.DataObject) -> None:
    old = data.draw(contracts())
    new = data.draw(st.one_of(_changed(old), contracts()))
    if any(change.effect == "breaking" for change in evolution(old, new)):
        return
    try:
        iceberg_schema(new, iceberg_schema(old))
    except ContractError as error:
        raise AssertionError(error.message) from error


@st.composite
def _changed(draw: st.DrawFn, old: Contract) -> Contract:
    """The contract with one field's rules drawn again, or with another limit."""
    fields = list(old.fields)
    at = draw(st.integers(0, len(fields) - 1))
    change = draw(
        st.sampled_from(["required", "min_length", "max_length", "minimum", "maximum", "enum", "pattern", "drop", "limits", "zone"])
    )
    if change == "drop":
        fields = fields[:at] + fields[at + 1 :] if len(fields) > 1 and fields[at].path != old.event_time else fields
        return replace(old, fields=tuple(fields))
    if change == "limits":
        return replace(old, max_bytes=draw(st.sampled_from([50, 1_048_576])), unknown=draw(st.sampled_from(["keep", "refuse"])))
    values = {"required": False, "zone": "UTC" if fields[at].kind in ("timestamp", "date") else None}
    fields[at] = replace(fields[at], **{change: values.get(change)})  # type: ignore[arg-type]
    return replace(old, fields=tuple(fields))
