"""A model's columns as columns of its mart: types, field ids, partitions. Only these change a mart's shape in the lake."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from frazil.errors import ConfigError

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_SIMPLE: dict[str, IcebergType] = {
    "BOOLEAN": BooleanType(),
    "TINYINT": IntegerType(),
    "SMALLINT": IntegerType(),
    "INTEGER": IntegerType(),
    "BIGINT": LongType(),
    "FLOAT": FloatType(),
    "DOUBLE": DoubleType(),
    "DATE": DateType(),
    "TIMESTAMP": TimestampType(),
    "TIMESTAMP WITH TIME ZONE": TimestamptzType(),
    "VARCHAR": StringType(),
}


def types_of(model: str, described: Sequence[tuple[str, str]]) -> dict[str, IcebergType]:
    """Iceberg types of a model's columns, given DuckDB's names and types in order.

    Raises:
        ConfigError: `warehouse.column_type`: a type that a mart does not take; the hint says what to cast.
    """
    types: dict[str, IcebergType] = {}
    for name, spelled in described:
        found = _DECIMAL.fullmatch(spelled)
        kind = DecimalType(int(found[1]), int(found[2])) if found else _SIMPLE.get(spelled)
        if kind is None:
            known = ", ".join([*(one.lower() for one in _SIMPLE), "decimal(p,s)"])
            raise ConfigError(
                f"column {name} of {model} is {spelled}, which a mart does not take",
                code="warehouse.column_type",
                hint=f"cast it to one of: {known}",
                model=model,
                column=name,
            )
        types[name] = kind
    return types


def schema_of(types: Mapping[str, IcebergType]) -> Schema:
    """The schema of a new mart: every column optional, ids from 1. What may be null is a matter of tests."""
    return Schema(*(NestedField(number, name, kind, required=False) for number, (name, kind) in enumerate(types.items(), start=1)))


def spec_of(model: str, schema: Schema, partition_by: Sequence[str]) -> PartitionSpec:
    """Identity partitions by these columns. Raises ConfigError `warehouse.partition`: there is no such column."""
    for name in partition_by:
        _known(model, [one.name for one in schema.fields], name)
    fields = (
        PartitionField(schema.find_field(name).field_id, PARTITION_FIELD_ID_START + number, IdentityTransform(), name)
        for number, name in enumerate(partition_by)
    )
    return PartitionSpec(*fields)


def _known(model: str, columns: Sequence[str], name: str) -> None:
    if name not in columns:
        words = f"{model} is to be partitioned by {name}, which is no column of it"
        raise ConfigError(words, code="warehouse.partition", hint=f"its columns: {', '.join(columns)}", model=model)


def fits(table: Table, types: Mapping[str, IcebergType], partition_by: Sequence[str]) -> bool:
    """Whether a mart has exactly these columns, in any order, and these partitions."""
    there = {one.name: one.field_type for one in table.schema().fields}
    return there == dict(types) and [one.name for one in table.spec().fields] == list(partition_by)


def reshaped(model: str, types: Mapping[str, IcebergType], partition_by: Sequence[str]) -> Callable[[Transaction], None]:
    """What a transaction does to a mart that no longer fits; for a commit that replaces all of its rows."""

    def reshape(transaction: Transaction) -> None:
        for name in partition_by:
            _known(model, list(types), name)
        schema, spec = transaction.table_metadata.schema(), transaction.table_metadata.spec()
        with transaction.update_spec() as partitions:
            for field in spec.fields:
                if field.name not in partition_by:
                    partitions.remove_field(field.name)
        there = {one.name: one.field_type for one in schema.fields}
        with transaction.update_schema(allow_incompatible_changes=True) as columns:
            for name, kind in there.items():
                if types.get(name) != kind:
                    columns.delete_column(name)
            for name, kind in types.items():
                if there.get(name) != kind:
                    columns.add_column(name, kind)
        with transaction.update_spec() as partitions:
            for name in partition_by:
                if name not in {field.name for field in spec.fields}:
                    partitions.add_field(name, IdentityTransform(), name)

    return reshape
