"""Iceberg schemas and Arrow rows that fit them, made up by Hypothesis."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pyiceberg.schema import Schema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)  # years 1 to 9999
TEXTS = st.one_of(
    st.sampled_from(["", "de", "fr", "a long text that no bound holds in full", "\U0010ffff" * 17, "é" * 20]), st.text(max_size=24)
)


@dataclass(frozen=True)
class Typed:
    """An Iceberg type with an Arrow type that carries it and a strategy for values as `to_pylist` gives them."""

    iceberg: Any
    arrow: pa.DataType
    values: SearchStrategy[Any]


def decimals(precision: int, scale: int) -> Typed:
    limit = 10**precision - 1
    values = st.integers(-limit, limit).map(lambda unscaled: Decimal(f"{unscaled}e-{scale}"))
    return Typed(f"decimal({precision}, {scale})", pa.decimal128(precision, scale), values)


def at(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


PRIMITIVES: dict[str, Typed] = {
    "boolean": Typed("boolean", pa.bool_(), st.booleans()),
    "int": Typed("int", pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "few ints": Typed("int", pa.int32(), st.integers(0, 3)),
    "long": Typed("long", pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": Typed("float", pa.float32(), st.floats(width=32)),
    "double": Typed("double", pa.float64(), st.floats()),
    "small decimal": decimals(9, 2),
    "decimal": decimals(18, 4),
    "large decimal": decimals(38, 10),
    "date": Typed("date", pa.date32(), st.dates()),
    "timestamp": Typed("timestamp", pa.timestamp("us"), INSTANTS.map(lambda us: at(us).replace(tzinfo=None))),
    "timestamptz": Typed("timestamptz", pa.timestamp("us", tz="UTC"), INSTANTS.map(at)),
    "string": Typed("string", pa.string(), TEXTS),
    "large string": Typed("string", pa.large_string(), TEXTS),
    "text view": Typed("string", pa.string_view(), TEXTS),
    "codes": Typed("string", pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "uuid": Typed("uuid", pa.binary(16), st.binary(min_size=16, max_size=16)),
    "binary": Typed("binary", pa.binary(), st.binary(max_size=24)),
    "fixed": Typed("fixed[5]", pa.binary(5), st.binary(min_size=5, max_size=5)),
}


@st.composite
def kinds(draw: DrawFn, number: Callable[[], int], depth: int = 0) -> Typed:
    """A primitive, or a struct or list of such."""
    shape = draw(st.sampled_from(["flat", "flat", "flat", "struct", "list"])) if depth < 2 else "flat"
    if shape == "struct":
        fields = [draw(columns(f"f{at}", number, depth + 1)) for at in range(draw(st.integers(1, 3)))]
        values = st.fixed_dictionaries({spelling["name"]: values for spelling, _, values in fields})
        return Typed({"type": "struct", "fields": [spelling for spelling, _, _ in fields]}, pa.struct([f for _, f, _ in fields]), values)
    if shape == "list":
        spelling, field, values = draw(columns("element", number, depth + 1))
        iceberg = {"type": "list", "element-id": spelling["id"], "element-required": spelling["required"], "element": spelling["type"]}
        return Typed(iceberg, pa.list_(field), st.lists(values, max_size=3))
    return PRIMITIVES[draw(st.sampled_from(sorted(PRIMITIVES)))]


@st.composite
def columns(draw: DrawFn, name: str, number: Callable[[], int], depth: int = 0) -> tuple[dict[str, Any], pa.Field, SearchStrategy[Any]]:
    """One field: its Iceberg spelling, its Arrow field, its values."""
    field_id = number()
    kind = draw(kinds(number, depth))
    required = draw(st.booleans())
    values = kind.values if required else st.one_of(st.none(), kind.values)
    return {"id": field_id, "name": name, "required": required, "type": kind.iceberg}, pa.field(name, kind.arrow, not required), values


@dataclass(frozen=True)
class Case:
    """A schema with rows."""

    schema_json: str
    rows: pa.RecordBatch

    @property
    def schema(self) -> Schema:
        return Schema.model_validate_json(self.schema_json)


@st.composite
def cases(draw: DrawFn, most: int = 30) -> Case:
    """A schema of one to six columns, and rows for it."""
    ids = iter(range(1, 1000))
    drawn = [draw(columns(f"c{at}", lambda: next(ids))) for at in range(draw(st.integers(1, 6)))]
    count = draw(st.integers(0, most))
    arrays = [pa.array(draw(st.lists(values, min_size=count, max_size=count)), field.type) for _, field, values in drawn]
    rows = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([field for _, field, _ in drawn]))
    return Case(json.dumps({"type": "struct", "schema-id": 0, "fields": [spelling for spelling, _, _ in drawn]}), rows)


def days(day: date) -> int:
    return (day - EPOCH.date()).days
