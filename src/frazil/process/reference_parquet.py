"""Parquet files as canonical JSON, read by pyarrow: the readable reference of the kernel's reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from frazil.contract import Contract, Field
from frazil.process import reference_spell as spell


def records(contract: Contract, file: bytes) -> list[bytes]:
    """The rows of a file, in order. Raises whatever pyarrow raises for a file it cannot read."""
    table = pq.ParquetFile(pa.BufferReader(file)).read()
    columns = [(name.encode(), column.combine_chunks()) for name, column in zip(table.column_names, table.columns, strict=True)]
    return [_object([(name, column[row]) for name, column in columns], contract.fields) for row in range(table.num_rows)]


def _object(pairs: list[tuple[bytes, Any]], fields: Sequence[Field]) -> bytes:
    known = {field.name.encode(): field for field in fields}
    return spell.members([(name, _value(value, known.get(name))) for name, value in pairs])


def _value(scalar: Any, field: Field | None) -> bytes:
    if isinstance(scalar, pa.ExtensionScalar):
        scalar = scalar.value if scalar.is_valid else pa.scalar(None)
    if not scalar.is_valid:
        return b"null"
    kind, type_ = (field.kind if field else None), scalar.type
    if pa.types.is_dictionary(type_):
        return _value(scalar.as_py() and scalar.value, field)
    if pa.types.is_struct(type_):
        pairs = [(one.name.encode(), scalar[at]) for at, one in enumerate(type_)]
        return _object(pairs, field.fields if field and kind == "object" else ())
    if pa.types.is_map(type_):
        return _map(scalar, field.fields if field and kind == "object" else ())
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        item = field.items if field and kind == "array" else None
        return b"[" + b",".join(_value(one, item) for one in scalar.values) + b"]"
    return _leaf(scalar, kind)


def _map(scalar: Any, fields: Sequence[Field]) -> bytes:
    known = {field.name: field for field in fields}
    pairs = []
    for entry in scalar.values:
        name = entry[0].as_py() if pa.types.is_string(entry[0].type) else _leaf(entry[0], None).decode()
        pairs.append(spell.quoted(name.encode()) + b":" + _value(entry[1], known.get(name)))
    return b"{" + b",".join(pairs) + b"}"


def _leaf(scalar: Any, kind: str | None) -> bytes:
    type_ = scalar.type
    if pa.types.is_boolean(type_):
        return b"true" if scalar.as_py() else b"false"
    if pa.types.is_integer(type_):
        return str(scalar.as_py()).encode()
    if pa.types.is_floating(type_):
        return spell.double(float(scalar.as_py()))
    if pa.types.is_decimal(type_):
        return spell.decimal(int(scalar.as_py().scaleb(type_.scale)), type_.scale)
    if pa.types.is_date(type_):
        return spell.day(scalar.value, kind)
    if pa.types.is_time(type_):
        return spell.time_of_day(scalar.value, type_.unit, kind)
    if pa.types.is_timestamp(type_):
        return spell.instant(scalar.value, type_.unit, type_.tz is not None, kind)
    if pa.types.is_fixed_size_binary(type_):
        return spell.uuid(scalar.as_py()) if type_.byte_width == 16 else spell.binary(scalar.as_py(), kind)
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return spell.binary(scalar.as_py(), kind)
    return spell.text(scalar.as_py().encode(), kind)
