"""DuckDB and polars at the same job, as far as each can."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from benchmarks.events import CURRENCIES, KINDS

TEXT = ("event_id", "event_type", "user_id", "session_id", "timestamp", "currency")
ADDRESS = r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$"

DUCKDB = """
copy (
  select distinct on (event_id) * from (
    select try_cast(event_id as uuid) event_id, event_type, user_id, session_id, try_cast("timestamp" as timestamptz) "timestamp",
      "value", currency, properties, context,
      try_cast("timestamp" as timestamptz)::date event_date, extract(hour from try_cast("timestamp" as timestamptz))::integer event_hour
    from read_json('{path}', format = 'newline_delimited', ignore_errors = true, columns = {{
      event_id: 'varchar', event_type: 'varchar', user_id: 'varchar', session_id: 'varchar', "timestamp": 'varchar',
      "value": 'double', currency: 'varchar',
      properties: 'struct(product_id varchar, price double, quantity bigint, url varchar)',
      context: 'struct(ip varchar, user_agent varchar, country varchar)'}}))
  where event_id is not null and event_type in ({kinds}) and length(user_id) between 1 and 64 and length(session_id) between 1 and 64
    and "timestamp" is not null and "value" >= 0 and currency in ({currencies})
    and (properties.product_id is null or regexp_full_match(properties.product_id, 'P[0-9]{{5}}'))
    and (properties.price is null or properties.price >= 0)
    and (properties.quantity is null or properties.quantity between 1 and 1000)
    and (properties.url is null or length(properties.url) <= 2048)
    and (context.ip is null or regexp_full_match(context.ip, '{address}'))
    and (context.user_agent is null or length(context.user_agent) <= 512)
    and (context.country is null or regexp_full_match(context.country, '[A-Z]{{2}}'))
) to '{place}' (format parquet, partition_by (event_date), write_partition_columns true, compression zstd, compression_level {level})
"""


def quoted(words: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def duckdb_chain(path: str, place: Path, threads: int, level: int = 1) -> dict[str, int]:
    """Bad rows are left out, neither kept nor explained; of equal ids any one row stays."""
    con = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
    con.execute("set timezone = 'UTC'")
    query = DUCKDB.format(path=path, place=place, kinds=quoted(KINDS), currencies=quoted(CURRENCIES), address=ADDRESS, level=level)
    con.execute(query)
    return _written(place)


def polars_chain(path: str, place: Path) -> dict[str, int]:
    """On the file without broken records: polars stops at the first. Threads: POLARS_MAX_THREADS. Bad rows are left out."""
    schema = {
        **dict.fromkeys(TEXT[:5], pl.String),
        "value": pl.Float64,
        "currency": pl.String,
        "properties": pl.Struct({"product_id": pl.String, "price": pl.Float64, "quantity": pl.Int64, "url": pl.String}),
        "context": pl.Struct({"ip": pl.String, "user_agent": pl.String, "country": pl.String}),
    }
    properties, context = pl.col("properties").struct, pl.col("context").struct
    uuid = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

    def fine(rule: pl.Expr) -> pl.Expr:
        return rule.fill_null(True)

    at = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)
    rows = (
        pl.read_ndjson(path, schema=schema)
        .lazy()
        .with_columns(at.alias("timestamp"))
        .filter(
            pl.col("event_id").str.contains(uuid),
            pl.col("event_type").is_in(KINDS),
            pl.col("user_id").str.len_chars().is_between(1, 64),
            pl.col("session_id").str.len_chars().is_between(1, 64),
            pl.col("timestamp").is_not_null(),
            pl.col("value") >= 0,
            pl.col("currency").is_in(CURRENCIES),
            fine(properties.field("product_id").str.contains("^P[0-9]{5}$")),
            fine(properties.field("price") >= 0),
            fine(properties.field("quantity").is_between(1, 1000)),
            fine(properties.field("url").str.len_chars() <= 2048),
            fine(context.field("ip").str.contains(ADDRESS)),
            fine(context.field("user_agent").str.len_chars() <= 512),
            fine(context.field("country").str.contains("^[A-Z]{2}$")),
        )
        .unique(subset="event_id", keep="first", maintain_order=True)
        .with_columns(pl.col("timestamp").dt.date().alias("event_date"), pl.col("timestamp").dt.hour().cast(pl.Int32).alias("event_hour"))
        .collect()
    )
    for (day,), of_day in rows.partition_by("event_date", as_dict=True).items():
        target = place / f"event_date={day}"
        target.mkdir(parents=True)
        of_day.write_parquet(target / "0.parquet", compression="zstd", compression_level=1)
    return _written(place)


def _written(place: Path) -> dict[str, int]:
    files = list(place.rglob("*.parquet"))
    counted = duckdb.sql(f"select count(*) from read_parquet('{place}/**/*.parquet', hive_partitioning = false)").fetchall()
    return {"good": counted[0][0], "bytes": sum(file.stat().st_size for file in files)}
