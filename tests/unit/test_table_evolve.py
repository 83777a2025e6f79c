"""A contract that changes: what the table takes, what it refuses, and that rows on both sides stay readable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frazil.contract import Contract, Field
from frazil.errors import CommitConflict, ContractError
from frazil.flow import pump
from frazil.process.python import PythonProcessor
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from frazil.table.catalog import Lake
from frazil.table.evolve import evolved
from tests.landing import NOON, ListLog, open_lake, set_aside, totals_of

OLD = Contract(
    "notes",
    "1",
    (
        Field("id", "/id", "string", required=True),
        Field("at", "/at", "timestamp", required=True),
        Field("who", "/who", "object", fields=(Field("name", "/who/name", "string"),)),
        Field("amount", "/amount", "decimal", precision=10, scale=2, required=True),
    ),
    key=("/id",),
    event_time="/at",
    unknown="drop",
)
WHO = Field("who", "/who", "object", fields=(Field("name", "/who/name", "string"), Field("age", "/who/age", "integer")))
NEW = replace(OLD, version="2", fields=(*OLD.fields[:2], WHO, OLD.fields[3], Field("mood", "/mood", "string")))


def note(key: str, **more: object) -> bytes:
    return json.dumps({"id": key, "at": NOON.isoformat(), "amount": 1.5, **more}).encode()


class Flow:
    """One process under one contract, on a log and a lake that others use too."""

    def __init__(self, lake: Lake, log: ListLog, contract: Contract) -> None:
        self.log, self.judge = log, PythonProcessor(contract)
        self.sink, self.keys = IcebergSink(lake, contract), TableKeys(lake, contract, max_bytes=1 << 24)

    def land(self, *values: bytes) -> tuple[int, int, int]:
        self.log.append(*values)
        commit = pump(self.log, self.judge, self.keys, self.sink)
        assert commit is not None
        return commit.landed, commit.dead, commit.duplicates


@pytest.fixture
def flows(tmp_path: Path) -> tuple[Lake, Flow, Flow]:
    lake, log = open_lake(tmp_path), ListLog()
    return lake, Flow(lake, log, OLD), Flow(lake, log, NEW)


def test_an_optional_field_becomes_a_column_before_the_batch(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, new = flows
    old.land(note("a", who={"name": "x"}))
    before = lake.raw(OLD).schema()
    assert new.land(note("b", mood="fine", who={"name": "y", "age": 7})) == (1, 0, 0)
    table = lake.raw(NEW)
    for name in ("id", "who", "who.name", "amount", "_offset", "_commit"):
        assert table.schema().find_field(name).field_id == before.find_field(name).field_id
    rows = table.scan().to_arrow().select(["id", "who", "mood", "_contract_version"]).sort_by("id").to_pylist()
    assert rows == [
        {"id": "a", "who": {"name": "x", "age": None}, "mood": None, "_contract_version": "1"},
        {"id": "b", "who": {"name": "y", "age": 7}, "mood": "fine", "_contract_version": "2"},
    ]
    assert len(table.snapshots()) == 2, "the schema changed in a commit without a snapshot"


def test_old_and_new_processes_share_the_table_in_peace(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, new = flows
    new.land(note("a", mood="fine"))
    schema = lake.raw(NEW).schema()
    assert old.land(note("b", mood="unseen")) == (1, 0, 0)
    assert new.land(note("c", mood="good")) == (1, 0, 0)
    assert lake.raw(NEW).schema() == schema, "nobody takes the other's column away"
    assert totals_of(new.sink.head()) == (3, 3, 0, 0)


def test_a_row_of_the_old_contract_is_compared_by_what_the_new_one_names(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, new = flows
    old.land(note("a", who={"name": "x"}), note("b"))
    assert new.land(note("a", who={"name": "x"})) == (0, 0, 1)
    assert new.land(note("b", mood="now there is one"), note("a", who={"name": "x", "age": 1})) == (0, 2, 0)
    assert [letter["stage"] for letter in set_aside(lake, OLD)] == ["dedupe", "identity", "identity"]


def test_a_stricter_contract_needs_no_change_of_the_table(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, _ = flows
    old.land(note("a"))
    strict = replace(OLD, version="2", fields=(*OLD.fields[:2], replace(OLD.fields[2], required=True), OLD.fields[3]))
    assert Flow(lake, old.log, strict).land(note("b"), note("c", who={"name": "z"})) == (1, 1, 0)
    assert not lake.raw(OLD).schema().find_field("who").required


def test_a_looser_contract_makes_the_column_optional(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, _ = flows
    old.land(note("a"))
    loose = replace(OLD, version="2", fields=(*OLD.fields[:3], replace(OLD.fields[3], required=False)))
    assert Flow(lake, old.log, loose).land(note("b", amount=None)) == (1, 0, 0)
    assert not lake.raw(OLD).schema().find_field("amount").required
    lost = replace(OLD, version="3", fields=OLD.fields[:3])
    assert Flow(lake, old.log, lost).land(note("c")) == (1, 0, 0)


def test_a_changed_type_is_refused_and_nothing_lands(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, _ = flows
    old.land(note("a"))
    other = replace(OLD, version="2", fields=(*OLD.fields[:3], Field("amount", "/amount", "number", required=True)))
    with pytest.raises(ContractError) as error:
        Flow(lake, old.log, other).land(note("b"))
    assert error.value.code == "contract.breaking_change"
    assert totals_of(old.sink.head()) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("key", {"key": ("/id", "/amount")}),
        ("key", {"key": ()}),
        ("event time", {"event_time": None}),
        ("event time", {"event_time": "/seen"}),
    ],
)
def test_another_key_or_event_time_is_refused_and_nothing_lands(what: str, change: dict[str, Any], flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, _ = flows
    old.land(note("a"))
    fields = (*OLD.fields, Field("seen", "/seen", "timestamp"))
    with pytest.raises(ContractError, match=f"the {what} of raw_notes is") as error:
        Flow(lake, old.log, replace(OLD, version="2", fields=fields, **change)).land(note("b", seen=NOON.isoformat()))
    assert error.value.code == "contract.breaking_change"
    assert "new name" in error.value.hint
    assert totals_of(old.sink.head()) == (1, 1, 0, 0)


def test_a_batch_that_lands_meanwhile_is_a_conflict(flows: tuple[Lake, Flow, Flow]) -> None:
    lake, old, _ = flows
    old.land(note("a"))
    table = lake.raw(OLD)
    old.land(note("b"))
    with pytest.raises(CommitConflict):
        evolved(lake, table, NEW)
