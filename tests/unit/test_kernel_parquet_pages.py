"""Columns of many pages: dictionaries that stay, dictionaries that are given up at once or later, long values, no values."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.iceberg_rows import at

ROWS = 45_000
CODED = pa.dictionary(pa.int32(), pa.string())


def words(rng: random.Random) -> str:
    return f"{rng.randrange(1 << 40):x}" * rng.randrange(1, 4)


def fewer_later(rng: random.Random, row: int) -> str:
    return f"word {rng.randrange(50)}" if row < 24_000 else words(rng) * 3  # the dictionary pays at first, then overflows


KINDS: dict[str, tuple[str, pa.DataType, Callable[[random.Random, int], Any]]] = {
    "boolean": ("boolean", pa.bool_(), lambda rng, row: rng.random() < 0.5),
    "few ints": ("int", pa.int32(), lambda rng, row: rng.randrange(-3, 20)),
    "any int": ("int", pa.int32(), lambda rng, row: rng.randrange(-(2**31), 2**31)),
    "few longs": ("long", pa.int64(), lambda rng, row: rng.choice([-(2**63), 2**63 - 1, 0])),
    "any long": ("long", pa.int64(), lambda rng, row: rng.randrange(-(2**63), 2**63)),
    "offsets": ("long", pa.int64(), lambda rng, row: row * 3),
    "few floats": ("float", pa.float32(), lambda rng, row: rng.choice([0.5, -0.0, 1e30])),
    "any float": ("float", pa.float32(), lambda rng, row: struct.unpack("f", struct.pack("f", rng.gauss(0, 9)))[0]),
    "prices": ("double", pa.float64(), lambda rng, row: rng.randrange(5_000) / 100),
    "any double": ("double", pa.float64(), lambda rng, row: rng.gauss(0, 1e9)),
    "small decimal": ("decimal(9, 2)", pa.decimal128(9, 2), lambda rng, row: Decimal(f"{rng.randrange(-(10**9) + 1, 10**9)}e-2")),
    "few decimals": ("decimal(9, 2)", pa.decimal128(9, 2), lambda rng, row: Decimal(f"{rng.randrange(-50, 50)}e-2")),
    "decimal": ("decimal(18, 4)", pa.decimal128(18, 4), lambda rng, row: Decimal(f"{rng.randrange(-(10**18) + 1, 10**18)}e-4")),
    "wide decimal": ("decimal(30, 4)", pa.decimal128(30, 4), lambda rng, row: Decimal(f"{rng.randrange(-(10**30) + 1, 10**30)}e-4")),
    "few wide": ("decimal(30, 4)", pa.decimal128(30, 4), lambda rng, row: Decimal(f"{rng.choice([-(10**29), 7])}e-4")),
    "date": ("date", pa.date32(), lambda rng, row: date(1900, 1, 1) + timedelta(days=rng.randrange(80_000))),
    "timestamptz": ("timestamptz", pa.timestamp("us", tz="UTC"), lambda rng, row: at(rng.randrange(-(10**15), 10**16))),
    "kinds": ("string", CODED, lambda rng, row: f"kind {rng.randrange(8)}"),
    "users": ("string", CODED, lambda rng, row: f"user-{rng.randrange(9_000)}"),
    "plain words": ("string", pa.string(), lambda rng, row: words(rng)),
    "coded words": ("string", CODED, lambda rng, row: words(rng)),
    "fewer later": ("string", CODED, fewer_later),
    "fewer later, plain": ("string", pa.large_string(), fewer_later),
    "numbered": ("string", pa.string(), lambda rng, row: f"user_{rng.randrange(10**6):06}"),
    "alike at first": ("string", CODED, lambda rng, row: "order " * (row < 21_000) + words(rng)),
    "long texts": ("string", pa.string(), lambda rng, row: "é" * (200_000 if row % 7_001 == 5 else 3)),
    "uuid": ("uuid", pa.binary(16), lambda rng, row: rng.randbytes(16)),
    "fixed": ("fixed[3]", pa.binary(3), lambda rng, row: rng.randbytes(3)),
    "binary": ("binary", pa.binary(), lambda rng, row: rng.randbytes(rng.randrange(9))),
    "constant": ("string", CODED, lambda rng, row: "always"),
    "nothing": ("string", pa.string(), lambda rng, row: None),
}


@pytest.mark.prop(7)
@pytest.mark.parametrize("nulls", ["required", "optional", "nested"])
@pytest.mark.parametrize("name", KINDS)
def test_many_pages_are_read_by_all_as_they_were(tmp_path: Path, name: str, nulls: str) -> None:
    iceberg, arrow, make = KINDS[name]
    if nulls == "required" and name not in ("any long", "prices", "any double", "kinds", "plain words", "uuid", "timestamptz"):
        return  # the levels of required columns are the same for every type
    rng = random.Random(name)
    drawn = [make(rng, row) for row in range(ROWS)]
    values = pa.array(drawn if nulls == "required" else [None if rng.random() < 0.2 else value for value in drawn], arrow)
    kind: Any = iceberg
    if nulls == "nested":  # both the struct and its field may be missing
        mask = pa.array([rng.random() < 0.1 for _ in range(ROWS)])
        kind = {"type": "struct", "fields": [{"id": 2, "name": "x", "required": False, "type": iceberg}]}
        values = pa.StructArray.from_arrays([values], ["x"], mask=mask)
    schema = json.dumps({"type": "struct", "fields": [{"id": 1, "name": "c", "required": nulls == "required", "type": kind}]})
    rows = pa.record_batch([values], names=["c"])
    halves = pa.Table.from_batches([rows.slice(0, 22_222), rows.slice(22_222)])
    [file] = kernel.write_iceberg_parquet(halves, str(tmp_path), schema_json=schema, durable=False)
    ours = pa.record_batch(kernel.read_iceberg_parquet(file["path"])).column("c")
    expected = values.to_pylist()
    assert ours.to_pylist() == expected
    theirs = pq.read_table(file["path"]).column("c")
    if iceberg != "uuid":
        assert theirs.to_pylist() == expected
        assert polars.read_parquet(file["path"]).to_arrow().column("c").to_pylist() == expected
    # DuckDB reads its own way: equal to what pyarrow wrote, row by row
    plain = values.cast(pa.struct([("x", pa.string())]) if nulls == "nested" else pa.string()) if arrow == CODED else values
    pq.write_table(pa.table({"c": plain}), tmp_path / "theirs.parquet")
    column = "c" if iceberg != "uuid" else "replace(c::varchar, '-', '')" if nulls != "nested" else "replace(c.x::varchar, '-', '')"
    other = "c" if iceberg != "uuid" else "lower(hex(c))" if nulls != "nested" else "lower(hex(c.x))"
    different = duckdb.sql(
        f"""select count(*) from (select {column} c from '{file["path"]}') a
        positional join (select {other} c from '{tmp_path}/theirs.parquet') b where a.c is distinct from b.c"""
    ).fetchall()
    assert different == [(0,)]
    footer = pq.read_metadata(file["path"])
    nulls_seen = sum(value is None or (nulls == "nested" and value["x"] is None) for value in expected)
    assert list(file["null_value_counts"].values()) == [nulls_seen]
    assert footer.row_group(0).column(0).statistics.null_count == nulls_seen
