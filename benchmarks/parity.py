"""Whether candidates did the same job: aggregates of their files, read by DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

FACTS = """
select count(*), count(distinct replace(event_id::varchar, '-', '')), bit_xor(hash(replace(event_id::varchar, '-', ''))),
  round(sum("value"), 2), round(sum(properties.price), 2), sum(properties.quantity), min(epoch_us("timestamp")),
  max(epoch_us("timestamp")), sum(epoch_us("timestamp")::hugeint)::varchar, sum(event_hour), count(distinct event_date),
  count(distinct user_id), count(distinct session_id), count(distinct context.ip), sum(length(context.user_agent)),
  count(*) filter (where event_type = 'purchase'), count(*) filter (where currency = 'EUR'),
  count(*) filter (where context.country = 'DE'), bit_xor(hash(properties.url)), bit_xor(hash(event_date::date))
from read_parquet('{place}/**/*.parquet', hive_partitioning = false)
"""


def facts(place: Path) -> list[Any]:
    """Twenty aggregates over all rows written below a directory."""
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    [row] = con.sql(FACTS.format(place=place)).fetchall()
    return [str(value) for value in row]
