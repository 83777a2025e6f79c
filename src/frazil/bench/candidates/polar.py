"""polars, its expressions made from the contract. It stops at the first broken record, so it reads the file without them."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import polars as pl

from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import Leaf, event_time, key, leaves
from frazil.bench.parity import Found
from frazil.contract import Contract, Field

_TYPES: dict[str, Any] = {"integer": pl.Int64, "number": pl.Float64, "decimal": pl.Float64, "boolean": pl.Boolean}


def _type(one: Field) -> Any:
    if one.kind == "object":
        return pl.Struct({part.name: _type(part) for part in one.fields})
    return _TYPES.get(one.kind, pl.String)


def _named(leaf: Leaf, flat: bool = False) -> pl.Expr:
    if flat:
        return pl.col(leaf.dotted)
    head, *below = leaf.path
    return reduce(lambda column, name: column.struct.field(name), below, pl.col(head))


def instant(text: pl.Expr) -> pl.Expr:
    """UTC instants of texts that end in Z; null where there is none."""
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)


def rules(contract: Contract, *, flat: bool = False, times_typed: bool = False) -> list[pl.Expr]:
    """The conditions of a good row."""
    found: list[pl.Expr] = []
    for leaf in leaves(contract):
        of_values = _of_values(leaf, _named(leaf, flat), times_typed)
        if leaf.always:
            found += [_named(leaf, flat).is_not_null(), *of_values]
        else:
            found += [one.fill_null(True) for one in of_values]
    return found


def _of_values(leaf: Leaf, column: pl.Expr, times_typed: bool) -> list[pl.Expr]:
    one, found = leaf.field, []
    if one.kind == "timestamp" and not times_typed:
        found.append(column.is_null() | instant(column).is_not_null())
    if one.kind == "date" and not times_typed:
        found.append(column.is_null() | column.str.to_date(strict=False).is_not_null())
    if leaf.pattern is not None:
        found.append(column.str.contains(leaf.pattern))
    if one.enum is not None:
        found.append(column.is_in(list(one.enum) if one.kind == "string" else [float(value) for value in one.enum]))
    if one.min_length is not None:
        found.append(column.str.len_chars() >= one.min_length)
    if one.max_length is not None:
        found.append(column.str.len_chars() <= one.max_length)
    if one.minimum is not None:
        found.append(column > float(one.minimum) if one.exclusive_minimum else column >= float(one.minimum))
    if one.maximum is not None:
        found.append(column < float(one.maximum) if one.exclusive_maximum else column <= float(one.maximum))
    return found


def typed(contract: Contract) -> list[pl.Expr]:
    """Times, dates and decimals from their text or double; then date and hour follow from `derived`. UUIDs stay text."""
    return [_typed(one, pl.col(one.name)).alias(one.name) for one in contract.fields if _differs(one)]


def _differs(one: Field) -> bool:
    return one.kind in ("timestamp", "date", "decimal") or any(map(_differs, one.fields))


def _typed(one: Field, column: pl.Expr) -> pl.Expr:
    match one.kind:
        case "object":
            return pl.when(column.is_not_null()).then(
                pl.struct([_typed(part, column.struct.field(part.name)).alias(part.name) for part in one.fields])
            )
        case "timestamp":
            return instant(column)
        case "date":
            return column.str.to_date(strict=False)
        case "decimal":
            return column.cast(pl.Decimal(one.precision, one.scale or 0))
    return column


def derived(contract: Contract) -> list[pl.Expr]:
    """`event_date` and `event_hour`."""
    leaf = event_time(contract)
    assert leaf is not None
    at = _named(leaf)
    return [at.dt.date().alias("event_date"), at.dt.hour().cast(pl.Int32).alias("event_hour")]


def _unique(frame: pl.DataFrame | pl.LazyFrame, names: list[str]) -> Any:
    """The first of each key."""
    if not names:
        return frame
    nested = {f"_key{at}": name.split(".") for at, name in enumerate(names) if "." in name}
    if nested:
        parts = [reduce(lambda column, part: column.struct.field(part), path[1:], pl.col(path[0])).alias(at) for at, path in nested.items()]
        frame = frame.with_columns(parts)
    subset = [name for name in names if "." not in name] + list(nested)
    return frame.unique(subset=subset, keep="first", maintain_order=True).drop(list(nested))


def _write(rows: pl.DataFrame, place: Path, level: int) -> None:
    for (day,), of_day in rows.partition_by("event_date", as_dict=True).items():
        target = place / f"event_date={day}"
        target.mkdir(parents=True)
        of_day.write_parquet(target / "0.parquet", compression="zstd", compression_level=level)


def run(job: Job, laps: Laps, found: Found, place: Path) -> None:
    """Every stage by itself."""
    contract = job.contract
    with laps("parse"):
        parsed = pl.read_ndjson(job.clean, schema={one.name: _type(one) for one in contract.fields})
    with laps("validate"):
        valid = parsed.filter(rules(contract))
    with laps("handover"):
        valid.to_arrow()
    with laps("transform"):
        rows = valid.with_columns(typed(contract)).with_columns(derived(contract))
    found.table("transform", rows.to_arrow)
    found.count("valid", len(rows))
    if key(contract):
        with laps("dedupe"):
            rows = _unique(rows, key(contract))
    found.count("good", len(rows))
    with laps("write"):
        _write(rows, place, 1)
    found.files("write", place)


def judge(job: Job, path: str, laps: Laps, found: Found) -> None:
    """Parsing and validation of a file alone."""
    with laps("judge"):
        valid = pl.read_ndjson(path, schema={one.name: _type(one) for one in job.contract.fields}).filter(rules(job.contract))
    found.count("valid", len(valid))


def judge_format(job: Job, format: str, laps: Laps, found: Found) -> None:
    """A CSV, Avro or Parquet file to a validated frame."""
    contract, path, flat = job.contract, job.formats[format], format == "csv"
    with laps("judge"):
        if flat:
            frame = pl.read_csv(path, schema={one.dotted: _type(one.field) for one in leaves(contract)})
        else:
            frame = pl.read_avro(path) if format == "avro" else pl.read_parquet(path)
        valid = frame.filter(rules(contract, flat=flat, times_typed=not flat))
    found.count("valid", len(valid))
    found.table("valid", valid.to_arrow, flat=flat)


def chain(job: Job, place: Path, found: Found, *, peers_encoding: bool = False) -> None:
    """Read whole, the rest in one lazy query."""
    contract = job.contract
    frame = pl.read_ndjson(job.clean, schema={one.name: _type(one) for one in contract.fields}).lazy()
    # times become typed before the rules, so that they are parsed once
    frame = frame.with_columns(typed(contract)).filter(rules(contract, times_typed=True))
    rows: pl.DataFrame = _unique(frame, key(contract)).with_columns(derived(contract)).collect()
    _write(rows, place, 3 if peers_encoding else 1)
    found.count("good", len(rows))
