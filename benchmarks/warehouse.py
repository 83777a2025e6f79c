"""What the warehouse costs: `python -m benchmarks.warehouse [EVENTS]`, JSON on stdout.

Lands EVENTS (default 1,000,000) over 60 days with 20,000 users and 2,000 products, builds the marts, lands 1 % more (one in five
of them late, from any day; with new versions, of the last day, of 1 % of the users), goes on, and builds everything anew. Seconds
are those of the models; dbt's own start stands apart. Rows are landed as decided batches: how fast records become rows is
measured elsewhere.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from frazil import settings as configuration
from frazil import telemetry
from frazil.batch import LETTERS, Span
from frazil.contract.derive import arrow_schema
from frazil.project import Project
from frazil.sink import Decision
from frazil.warehouse import Transformation
from frazil.warehouse.run import transform

SHOP = Path(__file__).resolve().parent.parent / "shop"
LOG = "01920000-0000-7000-8000-000000000001"
BATCH = 500_000
USERS, PRODUCTS, DAYS = 20_000, 2_000, 60
_PLACE = f"'{LOG}' as _log, '0' as _partition, i as _offset, 1::bigint as _request, now() as _received_at, '1.0.0' as _contract_version"
_EVENTS = f"""
select unhex(md5(i::varchar)) as event_id,
    ['page_view', 'click', 'add_to_cart', 'purchase', 'search', 'refund'][1 + (hash(i) % 6)::int] as event_type,
    'u_' || (hash(i + 1) % {USERS})::varchar as user_id, 's_' || (hash(i + 2) % {USERS * 3})::varchar as session_id,
    happened as "timestamp", ((hash(i) % 100000) / 100.0)::decimal(18, 4) as value, 'EUR' as currency,
    {{{{'product_id': 'p_' || (hash(i + 3) % {PRODUCTS})::varchar, 'price': 1.5::decimal(18, 4), 'quantity': 2::bigint,
        'url': null::varchar}}}} as properties,
    {{{{'ip': null::varchar, 'user_agent': null::varchar, 'country': 'DE'}}}} as context,
    null::varchar as _extra, happened::date as event_date, hour(happened)::int as event_hour, {_PLACE}
from (
    select i, timestamptz '2026-01-01 00:00:00+00' + to_microseconds(({{when}})::bigint) as happened
    from range({{first}}, {{last}}) as t(i)
)
"""
_DAY = 86_400_000_000
ANY_DAY = f"hash(i + 4) % {DAYS * _DAY}"
LAST_DAY = f"case when i % 5 = 0 then hash(i + 4) % {DAYS * _DAY} else {(DAYS - 1) * _DAY} + hash(i + 4) % {_DAY} end"
_USERS = f"""
select 'u_' || (i % {USERS})::varchar as user_id, 'name ' || i as user_name, null::varchar as email, 'DE' as country,
    timestamptz '2025-12-01 00:00:00+00' as created_at,
    timestamptz '2025-12-31 00:00:00+00' + to_days((30 * (i // {USERS}))::int) as updated_at, false as deleted,
    null::varchar as _extra, updated_at::date as event_date, 0 as event_hour, {_PLACE}
from range({{first}}, {{last}}) as t(i)
"""
_PRODUCTS = f"""
select 'p_' || i as product_id, 'product ' || i as name, 'things' as category, 1.5::decimal(18, 4) as price,
    timestamptz '2025-12-31 00:00:00+00' as updated_at,
    null::varchar as _extra, updated_at::date as event_date, 0 as event_hour, {_PLACE}
from range({{first}}, {{last}}) as t(i)
"""


def land(project: Project, name: str, sql: str, first: int, last: int) -> None:
    """Land rows `first` to `last` - 1, in commits of at most `BATCH`."""
    contract = project.contract(name)
    sink, schema = project.sink(contract), arrow_schema(contract)
    empty = pa.RecordBatch.from_pylist([], schema=LETTERS)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for begin in range(first, last, BATCH):
            end = min(begin + BATCH, last)
            made = connection.sql(sql.format(first=begin, last=end)).to_arrow_table().combine_chunks()
            columns = [made.column(one.name).combine_chunks().cast(one.type) for one in schema]
            rows = pa.RecordBatch.from_arrays(columns, schema=schema)
            sink.append(Decision(rows, empty, empty, (Span(LOG, "0", begin, end - 1, "c"),), contract.hash), sink.head())


def modelled(done: Transformation) -> dict[str, Any]:
    """Seconds of the models, all and the four dearest."""
    if done.failed:
        raise SystemExit("\n".join(f"{one.name}: {one.message}" for one in done.failed))
    models = sorted((one for one in done.nodes if one.kind == "model"), key=lambda one: -one.seconds)
    dearest = {one.name: [round(one.seconds, 2), one.rows] for one in models[:5]}
    return {"models_s": round(sum(one.seconds for one in models), 2), "whole_s": round(done.seconds, 2), "dearest": dearest}


def main() -> None:
    telemetry.configure_once(level="warning")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    new = count // 100
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "shop"
        shutil.copytree(SHOP, root, ignore=shutil.ignore_patterns(".frazil", "dbt_packages"))
        settings = configuration.load(root)
        project = Project(settings)
        land(project, "products", _PRODUCTS, 0, PRODUCTS)
        land(project, "users", _USERS, 0, 2 * USERS)
        land(project, "events", _EVENTS.replace("{when}", ANY_DAY), 0, count)
        transform(settings, command="run")
        land(project, "users", _USERS, 2 * USERS, 2 * USERS + USERS // 100)
        land(project, "events", _EVENTS.replace("{when}", LAST_DAY), count, count + new)
        going_on = modelled(transform(settings, command="run"))
        full = modelled(transform(settings, command="run", full_refresh=True))
        land(project, "events", _EVENTS.replace("{when}", LAST_DAY), count + new, count + new + 100_000)
        began = time.monotonic()
        built = modelled(transform(settings))
        fresh = {**built, "wall_s": round(time.monotonic() - began, 2)}
    share = round(going_on["models_s"] / full["models_s"], 3)
    report = {"events": count, "new": new, "continued": going_on, "full": full, "share": share, "build_100k_with_tests": fresh}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
