"""pyarrow: its readers, compute functions and Parquet writer. It stops at the first broken record, so it reads the file without them."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import Leaf, event_time, key, leaves
from frazil.bench.parity import Found
from frazil.contract import Contract, Field

_TYPES = {"integer": pa.int64(), "number": pa.float64(), "decimal": pa.float64(), "boolean": pa.bool_()}
pa.array([0])  # imports pandas where there is one: no part of a measurement
INSTANT = pa.timestamp("us", "UTC")


def _type(one: Field) -> pa.DataType:
    if one.kind == "object":
        return pa.struct([pa.field(part.name, _type(part)) for part in one.fields])
    return _TYPES.get(one.kind, pa.string())


def _column(rows: pa.Table, leaf: Leaf, flat: bool) -> Any:
    if flat:
        return rows[leaf.dotted]
    head, *below = leaf.path
    return pc.struct_field(rows[head], below) if below else rows[head]


def good(rows: pa.Table, contract: Contract, *, flat: bool = False, times_typed: bool = False) -> pa.Table:
    """The rows that meet every rule. A time that is none is an error of the cast, not of the row."""
    masks = []
    for leaf in leaves(contract):
        column = _column(rows, leaf, flat)
        of_values = _of_values(leaf, column, times_typed)
        if leaf.always:
            masks += [pc.is_valid(column), *of_values]
        else:
            masks += [pc.fill_null(mask, True) for mask in of_values]
    return rows.filter(reduce(pc.and_, masks)) if masks else rows


def _of_values(leaf: Leaf, column: Any, times_typed: bool) -> list[Any]:
    one, found = leaf.field, []
    if one.kind in ("timestamp", "date") and not times_typed and not pa.types.is_temporal(column.type):
        found.append(pc.is_valid(_instant(column) if one.kind == "timestamp" else column.cast(pa.date32())))
    if leaf.pattern is not None:
        found.append(pc.match_substring_regex(column, leaf.pattern))
    if one.enum is not None:
        values = pa.array(one.enum) if one.kind == "string" else pa.array([float(value) for value in one.enum])
        found.append(pc.is_in(column, value_set=values))
    if one.min_length is not None:
        found.append(pc.greater_equal(pc.utf8_length(column), one.min_length))
    if one.max_length is not None:
        found.append(pc.less_equal(pc.utf8_length(column), one.max_length))
    if one.minimum is not None:
        found.append((pc.greater if one.exclusive_minimum else pc.greater_equal)(column, _scalar(one, one.minimum)))
    if one.maximum is not None:
        found.append((pc.less if one.exclusive_maximum else pc.less_equal)(column, _scalar(one, one.maximum)))
    return found


def _scalar(one: Field, bound: str) -> Any:
    return int(bound) if one.kind == "integer" else float(bound)


def _instant(column: Any) -> Any:
    return column if pa.types.is_timestamp(column.type) else column.cast(INSTANT)


def _typed(one: Field, column: Any) -> Any:
    match one.kind:
        case "object" if any(part.kind in ("timestamp", "date", "decimal") for part in one.fields):
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
            parts = [_typed(part, pc.struct_field(whole, [part.name])) for part in one.fields]
            return pa.StructArray.from_arrays(parts, names=[part.name for part in one.fields], mask=pc.is_null(whole))
        case "timestamp":
            return _instant(column)
        case "date":
            return column.cast(pa.date32())
        case "decimal":
            target = pa.decimal128(one.precision, one.scale)
            return pc.cast(pc.round(column, one.scale or 0), options=pc.CastOptions(target, allow_decimal_truncate=True))
    return column


def transform(rows: pa.Table, contract: Contract) -> pa.Table:
    """Typed columns, `event_date`, `event_hour`. UUIDs stay text."""
    made = pa.table([_typed(one, rows[one.name]) for one in contract.fields], names=[one.name for one in contract.fields])
    leaf = event_time(contract)
    assert leaf is not None
    at = _column(made, leaf, False)
    return made.append_column("event_date", at.cast(pa.date32())).append_column("event_hour", pc.hour(at).cast(pa.int32()))


def first_of_each(rows: pa.Table, names: list[str]) -> pa.Table:
    """The first row of each key: the least index in a group."""
    keys = {f"k{at}": _path(rows, name) for at, name in enumerate(names)}
    indexed = pa.table({**keys, "at": pa.array(range(rows.num_rows), pa.int64())})
    first = indexed.group_by(list(keys), use_threads=False).aggregate([("at", "min")])["at_min"]
    return rows.take(pc.take(first, pc.sort_indices(first)))


def _path(rows: pa.Table, name: str) -> Any:
    head, *below = name.split(".")
    return pc.struct_field(rows[head], below) if below else rows[head]


def run(job: Job, laps: Laps, found: Found, place: Path) -> None:
    """Every stage by itself."""
    contract = job.contract
    schema = pa.schema([pa.field(one.name, _type(one)) for one in contract.fields])
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    with laps("parse"):
        parsed = pa_json.read_json(job.clean, parse_options=options)
    with laps("validate"):
        valid = good(parsed, contract)
    found.count("valid", valid.num_rows)
    with laps("transform"):
        rows = transform(valid, contract)
    found.table("transform", lambda: rows)
    kept = rows
    if key(contract):
        with laps("dedupe"):
            kept = first_of_each(rows, key(contract))
    found.count("good", kept.num_rows)
    with laps("write"):
        pq.write_to_dataset(_with_day(kept), place, partition_cols=["day"], compression="zstd", compression_level=1)
    found.files("write", place)


def _with_day(rows: pa.Table) -> pa.Table:
    """The partition column leaves the files, so it is one more."""
    return rows.append_column("day", rows["event_date"])


def judge_format(job: Job, format: str, laps: Laps, found: Found) -> None:
    """A CSV or Parquet file to a validated table."""
    contract, path, flat = job.contract, job.formats[format], format == "csv"
    with laps("judge"):
        if flat:
            types = {one.dotted: INSTANT if one.field.kind == "timestamp" else _type(one.field) for one in leaves(contract)}
            convert = pa_csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            )
            rows = pa_csv.read_csv(path, convert_options=convert)
        else:
            rows = pq.read_table(path)
        valid = good(rows, contract, flat=flat, times_typed=True)
    found.count("valid", valid.num_rows)
    found.table("valid", lambda: valid, flat=flat)
