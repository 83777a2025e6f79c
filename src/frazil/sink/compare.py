"""Whether two events are one: their contract's columns compared by typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.compute as pc

from frazil.contract import Contract, Field

_EXTRA = Field("_extra", "/_extra", "json")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type with text instead of dictionaries."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(n).with_type(plain_type(kind.field(n).type)).with_nullable(True) for n in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", plain_type(kind.value_type)))
    return kind


def like(rows: pa.RecordBatch, model: pa.RecordBatch) -> pa.RecordBatch:
    """Rows with the names and plain types of `model`'s columns; a column or member that rows of an older contract lack is null."""
    columns = {}
    for field in model.schema:
        wanted = plain_type(field.type)
        at = rows.schema.get_field_index(field.name)
        columns[field.name] = pa.nulls(rows.num_rows, wanted) if at < 0 else _shaped(rows.column(at), wanted)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _shaped(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """`array` as `wanted`: members by name, dictionaries decoded."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == wanted:
        return array
    if pa.types.is_struct(wanted) and pa.types.is_struct(array.type):
        members = []
        for n in range(wanted.num_fields):
            one = wanted.field(n)
            there = array.type.get_field_index(one.name)
            members.append(pa.nulls(len(array), one.type) if there < 0 else _shaped(pc.struct_field(array, [there]), one.type))
        return pa.StructArray.from_arrays(members, fields=[wanted.field(n) for n in range(wanted.num_fields)], mask=array.is_null())
    if pa.types.is_list(wanted) and pa.types.is_list(array.type):
        inner = _shaped(array.flatten(), wanted.value_type)
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        ends = pc.cumulative_sum(lengths)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
        return pa.ListArray.from_arrays(offsets, inner, type=wanted, mask=array.is_null())
    return array.cast(wanted)


def equal_content(left: pa.RecordBatch, right: pa.RecordBatch, contract: Contract, content: Sequence[str]) -> pa.Array:
    """Whether row n of `left` and row n of `right` are the same event, one boolean per row.

    Typed values decide: null equals null, NaN equals NaN. JSON that is kept as text is the same when its values are:
    white space and the order of members do not matter.
    """
    wanted = right.select(list(content))
    mine, theirs = like(wanted, wanted), like(left, wanted)
    equal = pa.array(kernel.equal_rows(theirs, mine, list(content)))
    open_fields = {field.name: field for field in contract.fields if any(one.kind == "json" for one in _under(field))}
    if contract.unknown == "keep":
        open_fields["_extra"] = _EXTRA
    if not open_fields or pc.all(equal).as_py() is not False:
        return equal
    closed = [name for name in content if name not in open_fields]
    nearly = pa.array(kernel.equal_rows(theirs, mine, closed)) if closed else pa.repeat(pa.scalar(True), len(equal))
    again = pc.indices_nonzero(pc.and_(pc.invert(equal), nearly))
    same = [_same_values(a, b, open_fields) for a, b in zip(_values(theirs, again), _values(mine, again), strict=True)]
    position = pc.index_in(pa.array(range(len(equal)), pa.uint64()), value_set=again)
    return pc.coalesce(pa.array(same, pa.bool_()).take(position), equal)


def _under(field: Field) -> list[Field]:
    return list(field.walk())


def _values(rows: pa.RecordBatch, at: pa.Array) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.take(at).to_pylist()
    return found


def same_event(left: Mapping[str, Any], right: Mapping[str, Any], contract: Contract) -> bool:
    """`equal_content` for one pair of events as Python values, contract columns by name. Slow and plain: its oracle."""
    fields = {field.name: field for field in contract.fields} | ({"_extra": _EXTRA} if contract.unknown == "keep" else {})
    return _same_values(left, right, fields)


def _same_values(left: Mapping[str, Any], right: Mapping[str, Any], fields: Mapping[str, Field]) -> bool:
    try:
        return all(_same(_opened(left[name], field), _opened(right[name], field)) for name, field in fields.items())
    except RecursionError:  # deeper than Python can follow: not known to be the same, so not dropped as a duplicate
        return False


class _Members(tuple[tuple[str, Any], ...]):
    """Members of a JSON object in the order of their names; repeated names in the order they came."""


def _opened(value: Any, field: Field) -> Any:
    """A column's value with JSON text parsed."""
    if value is None:
        return None
    if field.kind == "json":
        return json.loads(value, parse_int=Decimal, parse_float=Decimal, object_pairs_hook=_members)
    if field.kind == "object":
        return [_opened(value[child.name], child) for child in field.fields]
    if field.kind == "array" and field.items is not None:
        return [_opened(item, field.items) for item in value]
    return value


def _members(pairs: list[tuple[str, Any]]) -> _Members:
    return _Members(sorted(pairs, key=lambda pair: pair[0]))


def _same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right) or (left != left and right != right)
