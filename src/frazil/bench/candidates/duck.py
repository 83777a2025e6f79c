"""DuckDB, its SQL made from the contract. Bad rows are left out, neither kept nor explained."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb

from frazil.bench.clock import Laps
from frazil.bench.job import Job
from frazil.bench.leaves import Leaf, event_time, key, leaves
from frazil.bench.parity import Found
from frazil.contract import Contract, Field

_TYPES: Final = {"integer": "bigint", "number": "double", "boolean": "boolean"}


def _type(one: Field) -> str:
    """How a JSON member is read: what needs a cast that may fail is read as text."""
    if one.kind == "object":
        return "struct(" + ", ".join(f'"{part.name}" {_type(part)}' for part in one.fields) + ")"
    return f"decimal({one.precision}, {one.scale})" if one.kind == "decimal" else _TYPES.get(one.kind, "varchar")


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join("'" + word.replace("'", "''") + "'" for word in words)


def _named(leaf: Leaf, flat: bool) -> str:
    return f'"{leaf.dotted}"' if flat else ".".join(f'"{name}"' for name in leaf.path)


def rules(contract: Contract, *, flat: bool = False, times_typed: bool = False) -> str:
    """The condition of a good row."""
    found: list[str] = []
    for leaf in leaves(contract):
        one, name = leaf.field, _named(leaf, flat)
        found += [f"{name} is not null"] if leaf.always else []
        found += [rule if leaf.always else f"({name} is null or {rule})" for rule in _of_values(one, name, leaf.pattern, times_typed)]
    return " and ".join(found) or "true"


def _of_values(one: Field, name: str, pattern: str | None, times_typed: bool) -> list[str]:
    found: list[str] = []
    if one.kind == "timestamp" and not times_typed:
        found.append(f"try_cast({name} as timestamptz) is not null")
    if one.kind == "date" and not times_typed:
        found.append(f"try_cast({name} as date) is not null")
    if one.kind == "uuid":
        found.append(f"try_cast({name} as uuid) is not null")
    elif pattern is not None:
        found.append(f"regexp_matches({name}, {_quoted((pattern,))})")
    if one.enum is not None:
        found.append(f"{name} in ({_quoted(one.enum) if one.kind == 'string' else ', '.join(one.enum)})")
    found += [f"length({name}) >= {one.min_length}"] if one.min_length is not None else []
    found += [f"length({name}) <= {one.max_length}"] if one.max_length is not None else []
    found += [f"{name} {'>' if one.exclusive_minimum else '>='} {one.minimum}"] if one.minimum is not None else []
    found += [f"{name} {'<' if one.exclusive_maximum else '<='} {one.maximum}"] if one.maximum is not None else []
    return found


def typed(contract: Contract, *, text_ids: bool = False) -> str:
    """The select list of a landed row: typed columns, date, hour."""
    time = event_time(contract)
    assert time is not None
    at = f"({_cast(time.field, _named(time, False), text_ids)})"
    own = [f'{_column(one, one.name, text_ids)} as "{one.name}"' for one in contract.fields]
    return ", ".join([*own, f"{at}::date as event_date", f"extract(hour from {at})::integer as event_hour"])


def _column(one: Field, name: str, text_ids: bool) -> str:
    return _cast(one, f'"{name}"', text_ids)


def _cast(one: Field, name: str, text_ids: bool) -> str:
    if one.kind == "object" and any(part.kind in ("uuid", "timestamp", "date", "object") for part in one.fields):
        parts = ", ".join(f'"{part.name}" := ' + _cast(part, f'{name}."{part.name}"', text_ids) for part in one.fields)
        return f"case when {name} is null then null else struct_pack({parts}) end"
    targets = {"timestamp": "timestamptz", "date": "date"} | ({} if text_ids else {"uuid": "uuid"})
    return f"try_cast({name} as {targets[one.kind]})" if one.kind in targets else name


def source(contract: Contract, path: str) -> str:
    """The file as rows; what is no JSON is skipped."""
    columns = ", ".join(f"\"{one.name}\": '{_type(one)}'" for one in contract.fields)
    return f"read_json('{path}', format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"


def _first(names: list[str], rows: str) -> str:
    """The first of each key; without a key, all."""
    if not names:
        return f"select * from {rows}"
    keys = ", ".join(".".join(f'"{part}"' for part in name.split(".")) for name in names)
    return f"select distinct on ({keys}) * from {rows}"


def _connect(threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
    connection.execute("set timezone = 'UTC'")
    return connection


def _copy(rows: str, place: Path, level: int) -> str:
    options = f"format parquet, partition_by (event_date), write_partition_columns true, compression zstd, compression_level {level}"
    return f"copy ({rows}) to '{place}' ({options})"


def run(job: Job, laps: Laps, found: Found, place: Path, threads: int) -> None:
    """Every stage by itself, each kept as a table in memory."""
    contract, connection = job.contract, _connect(threads)
    stages = [
        ("parse", f"create table parsed as select * from {source(contract, job.broken_allowed)}"),
        ("validate", f"create table valid as select * from parsed where {rules(contract)}"),
        ("transform", f"create table typed as select {typed(contract)} from valid"),
    ]
    if key(contract):
        stages.append(("dedupe", f"create table good as {_first(key(contract), 'typed')}"))
    for name, statement in stages:
        with laps(name):
            connection.execute(statement)
    with laps("handover"):
        connection.sql("select * from valid").to_arrow_table()
    landed = "good" if key(contract) else "typed"
    with laps("write"):
        connection.execute(_copy(f"select * from {landed}", place, 1))
    found.count("valid", _number(connection, "valid"))
    found.count("good", _number(connection, landed))
    found.table("transform", lambda: connection.sql("select * from typed").to_arrow_table())
    found.files("write", place)


def _number(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    [[number]] = connection.sql(f"select count(*) from {table}").fetchall()
    return int(number)


def judge(job: Job, path: str, laps: Laps, found: Found, threads: int) -> None:
    """Parsing and validation of a file alone."""
    connection = _connect(threads)
    with laps("judge"):
        connection.execute(f"create table valid as select * from {source(job.contract, path)} where {rules(job.contract)}")
    found.count("valid", _number(connection, "valid"))


def judge_format(job: Job, format: str, laps: Laps, found: Found, threads: int) -> None:
    """A CSV or Parquet file to a validated table."""
    contract, path, connection, flat = job.contract, job.formats[format], _connect(threads), format == "csv"
    rows = f"read_parquet('{path}')"
    if flat:
        columns = ", ".join(f"'{one.dotted}': '{_type(one.field)}'" for one in leaves(contract))
        rows = f"read_csv('{path}', header = true, columns = {{{columns}}})"
    with laps("judge"):
        connection.execute(f"create table valid as select * from {rows} where {rules(contract, flat=flat, times_typed=not flat)}")
    found.count("valid", _number(connection, "valid"))
    found.table("valid", lambda: connection.sql("select * from valid").to_arrow_table(), flat=flat)


def chain(job: Job, place: Path, threads: int, found: Found, *, peers_encoding: bool = False) -> None:
    """One statement; of equal keys any one row stays."""
    contract, connection = job.contract, _connect(threads)
    inner = f"select {typed(contract, text_ids=peers_encoding)} from {source(contract, job.broken_allowed)} where {rules(contract)}"
    connection.execute(_copy(_first(key(contract), f"({inner})"), place, 3 if peers_encoding else 1))
    [[number]] = connection.sql(f"select count(*) from read_parquet('{place}/**/*.parquet', hive_partitioning = false)").fetchall()
    found.count("good", int(number))
