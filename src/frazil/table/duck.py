"""Iceberg tables as DuckDB reads them without an extension: a view over the live files of one snapshot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

_SIMPLE: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    StringType: "VARCHAR",
    UUIDType: "UUID",
    BinaryType: "BLOB",
    FixedType: "BLOB",
}


def view(schema: Schema, paths: Sequence[str], *, filename: bool = False) -> str:
    """The SELECT behind a table: its live files, columns matched by Iceberg field id, columns a file lacks as NULL.

    Args:
        schema: The columns to show.
        paths: Local paths of the files (`path_of`); none: no rows.
        filename: Whether a last column `filename` says where a row lies.
    """
    if not paths:
        columns = [f"NULL::{duck_type(one.field_type)} AS {quoted(one.name)}" for one in schema.fields]
        return f"SELECT {', '.join([*columns, 'NULL::VARCHAR AS filename'] if filename else columns)} WHERE false"
    mapping = ", ".join(
        f"{one.field_id}: {{name: {literal(one.name)}, type: {literal(duck_type(one.field_type))}, default_value: NULL}}"
        for one in schema.fields
    )
    options = "hive_partitioning=false" + (", filename=true" if filename else "")
    return f"SELECT * FROM read_parquet([{', '.join(map(literal, paths))}], schema=MAP {{{mapping}}}, {options})"


def duck_type(one: IcebergType) -> str:
    """DuckDB's spelling of an Iceberg type."""
    if isinstance(one, DecimalType):
        return f"DECIMAL({one.precision},{one.scale})"
    if isinstance(one, StructType):
        return "STRUCT(" + ", ".join(f"{quoted(field.name)} {duck_type(field.field_type)}" for field in one.fields) + ")"
    if isinstance(one, ListType):
        return f"{duck_type(one.element_type)}[]"
    if isinstance(one, MapType):
        return f"MAP({duck_type(one.key_type)}, {duck_type(one.value_type)})"
    return _SIMPLE[type(one)]


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def path_of(location: str) -> str:
    """The local path of a `file://` location; another one as it stands."""
    return unquote(urlsplit(location).path) if re.match(r"file:", location) else location
