"""Checks find what is at fault: all of it, nothing else, wherever the pieces of a table are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

from frazil import settings as configuration
from frazil.contract.load import load_directory
from frazil.quality import CheckResult, run, suite
from frazil.quality.expectations import Expectations
from frazil.quality.lake import Tables
from frazil.quality.suite import Check
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: things
name: things
version: 1.0.0
status: active
schema:
  - name: things
    customProperties: [{property: eventTime, value: at}]
    properties:
      - {name: id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true}
      - {name: name, logicalType: string, required: true}
      - {name: n, logicalType: integer, logicalTypeOptions: {%s}}
      - {name: x, logicalType: number, logicalTypeOptions: {%s}}
      - {name: inner, logicalType: object, properties: [{name: m, logicalType: integer, logicalTypeOptions: {%s}}]}
"""
INNER = StructType(NestedField(100, "m", LongType()))
TYPES: Mapping[str, IcebergType] = {
    "id": StringType(), "at": TimestamptzType(), "name": StringType(), "n": LongType(), "x": DoubleType(), "inner": INNER,
}  # fmt: skip
PLACE: Mapping[str, IcebergType] = {"_log": StringType(), "_partition": StringType(), "_offset": LongType()}


def checked(rows: Sequence[Mapping[str, Any]], bounds: Sequence[str], judge: Expectations, types: Mapping[str, IcebergType] = TYPES,
            parts: int = 1) -> list[tuple[Check, CheckResult]]:  # fmt: skip
    """Results of the contract's checks on a table of the lake with these rows, in as many files."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "contracts").mkdir()
        (root / "frazil.toml").write_text('name = "store"\n')
        (root / "contracts" / "things.odcs.yaml").write_text(CONTRACT % tuple(bounds))
        project = configuration.load(root)
        lake = Lake.open(project)
        try:
            schema = Schema(*(NestedField(number, name, kind) for number, (name, kind) in enumerate({**types, **PLACE}.items(), 1)))
            table = lake.create("raw_things", schema, PartitionSpec())
            for part in range(parts):
                mine = [dict(row, _log="l", _partition="0", _offset=number) for number, row in enumerate(rows) if number % parts == part]
                added = files.write(table, pa.Table.from_pylist(mine, schema=files.arrow_schema(table)))
                if added:
                    table = lake.find("raw_things") or table
                    swap(lake, table, Change("maintenance", added=added))
            there = Tables(lake, NOW)
            try:
                return run.judged(project, suite.of_contract(load_directory(project.contracts_dir)["things"]), there, judge)
            finally:
                there.close()
        finally:
            lake.close()


def found(results: Sequence[tuple[Check, CheckResult]], expectation: str, column: str) -> CheckResult:
    return next(one for check, one in results if (check.expectation, check.column) == (f"expect_column_{expectation}", column))


def offsets(one: CheckResult) -> list[int]:
    return sorted(row["_offset"] for row in one.failing)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"t{number}", "at": NOW, "name": "a name", "n": None, "x": None, "inner": None, **more}


@pytest.fixture(scope="session")
def judge() -> Expectations:
    """Great Expectations, imported once."""
    return Expectations()


@pytest.mark.prop(27)
@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(["t", None]), st.sampled_from(["a name", "", "null", "NaN", None])), max_size=30), st.data())
def test_null_checks_find_every_missing_value(
    judge: Expectations, values: list[tuple[str | None, str | None]], data: st.DataObject
) -> None:
    rows = [row(number, id=None if key is None else f"t{number}", name=name) for number, (key, name) in enumerate(values)]
    cut, run.PIECE = run.PIECE, data.draw(st.integers(1, 7))
    try:
        results = checked(rows, ("", "", ""), judge, parts=data.draw(st.integers(1, 3)))
    finally:
        run.PIECE = cut
    for column in ("id", "name"):
        missing = [number for number, one in enumerate(rows) if one[column] is None]
        said = found(results, "values_to_not_be_null", column)
        assert (said.passed, offsets(said), said.severity) == (not missing, missing, "critical")
        assert said.share == (len(missing) / len(rows) if rows else 0.0)


OTHER: Sequence[IcebergType] = (
    StringType(), LongType(), DoubleType(), BooleanType(), TimestamptzType(), ListType(100, StringType()),
    StructType(NestedField(100, "m", StringType())), StructType(NestedField(100, "other", LongType())), INNER,
)  # fmt: skip


@pytest.mark.prop(28)
@settings(max_examples=15)
@example({"inner": StructType(NestedField(100, "m", StringType()))})
@example({"inner": StructType(NestedField(100, "other", LongType()))})
@given(st.dictionaries(st.sampled_from(sorted(TYPES)), st.sampled_from([*OTHER, None]), max_size=4))
def test_type_checks_find_every_mismatch(judge: Expectations, changed: dict[str, IcebergType | None]) -> None:
    types = {name: kind for name, kind in {**TYPES, **changed}.items() if kind is not None}
    results = checked([], ("", "", ""), judge, types)
    for name, wanted in TYPES.items():
        said = found(results, "to_have_type", name)
        there = types.get(name)
        assert said.passed is (there is not None and spelled(there) == spelled(wanted)), (name, there)
        if not said.passed:
            assert name in said.message
            assert said.severity == "critical"
            assert ("absent" if there is None else str(there)) in said.message


def spelled(kind: IcebergType) -> object:
    """A type without its ids."""
    return {one.name: str(one.field_type) for one in kind.fields} if isinstance(kind, StructType) else str(kind)


def bounds(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Limits of a field as a contract writes them: at least one, each open or closed."""
    lower = st.one_of(st.just({}), st.builds(lambda key, value: {key: value}, st.sampled_from(["minimum", "exclusiveMinimum"]), numbers))
    upper = st.one_of(st.just({}), st.builds(lambda key, value: {key: value}, st.sampled_from(["maximum", "exclusiveMaximum"]), numbers))
    return st.builds(lambda low, high: {**low, **high}, lower, upper).filter(fits)


def fits(limits: dict[str, Any]) -> bool:
    low = limits.get("minimum", limits.get("exclusiveMinimum"))
    high = limits.get("maximum", limits.get("exclusiveMaximum"))
    return low is None or high is None or low < high


def outside(value: Any, limits: Mapping[str, Any]) -> bool:
    if value is None:
        return False
    exact = Decimal(value)
    return (
        ("minimum" in limits and exact < Decimal(limits["minimum"]))
        or ("exclusiveMinimum" in limits and exact <= Decimal(limits["exclusiveMinimum"]))
        or ("maximum" in limits and exact > Decimal(limits["maximum"]))
        or ("exclusiveMaximum" in limits and exact >= Decimal(limits["exclusiveMaximum"]))
    )


WHOLE = st.one_of(st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1]))
REAL = st.sampled_from([-1.5, 0.0, 0.1, 0.30000000000000004, 0.3, 1.0, 1e300, 5e-324])


@pytest.mark.prop(29)
@settings(max_examples=25)
@given(
    st.tuples(bounds(WHOLE), bounds(REAL), bounds(WHOLE)),
    st.lists(st.tuples(st.none() | WHOLE, st.none() | REAL, st.none() | st.none() | WHOLE), max_size=20),
)
def test_range_checks_find_every_value_out_of_bounds(
    judge: Expectations, limits: tuple[dict[str, Any], dict[str, Any], dict[str, Any]], values: list[tuple[Any, Any, Any]]
) -> None:
    rows = [row(number, n=n, x=x, inner=None if m is None else {"m": m}) for number, (n, x, m) in enumerate(values)]
    results = checked(rows, [", ".join(f"{name}: {value!r}" for name, value in one.items()) for one in limits], judge)
    for place, column in enumerate(("n", "x", "inner.m")):
        if limits[place]:
            wrong = [number for number, one in enumerate(values) if outside(one[place], limits[place])]
            said = found(results, "values_to_be_between", column)
            assert (said.passed, offsets(said)) == (not wrong, wrong), (column, limits[place])
