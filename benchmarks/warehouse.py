"""What the warehouse costs: `python -m benchmarks.warehouse [EVENTS]`, JSON on stdout.

Lands EVENTS (default 1,000,000) over 60 days with 20,000 users and 2,000 products and builds the marts. On top of that, each from the
same lake, 1 % more events and new versions of 1 % of the users:

- `stream`: as a stream brings it. The next hours: 95 % of the events happen in them, 4 % in the week before, 1 % on any day; the users'
  versions begin in them.
- `late`: one in five events is late, from any of the 60 days, the others lie on the last day, which has events already; the users'
  versions begin with that day, so facts that stand there are put right.
- `scattered`: all events from any of the 60 days, the users' versions as before.

The marts go on, then all is built anew, which must give the same rows in every mart. Seconds are those of the models; dbt's own start
stands apart. In the end 100,000 events more, with every test. Rows are landed as decided batches: how fast records become rows is
measured elsewhere.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from frazil import settings as configuration
from frazil import telemetry
from frazil.batch import LETTERS, Span
from frazil.bench import clock
from frazil.contract.derive import arrow_schema
from frazil.engine.query import Warehouse
from frazil.project import Project
from frazil.sink import Decision
from frazil.warehouse import Transformation
from frazil.warehouse.run import transform

SHOP = Path(__file__).resolve().parent.parent / "shop"
LOG = "01920000-0000-7000-8000-000000000001"
BATCH = 500_000
MARTS = ("dim_users", "dim_products", "fact_events", "int_event_aggregates", "int_user_days")
SERVING = ("serving_revenue_per_day", "serving_event_counts", "serving_active_users", "serving_top_products")
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
NEXT_HOURS = f"""
case when hash(i + 5) % 100 < 95 then {DAYS * _DAY} + hash(i + 4) % {DAYS * _DAY // 100}
    when hash(i + 5) % 100 < 99 then {(DAYS - 7) * _DAY} + hash(i + 4) % {7 * _DAY}
    else hash(i + 4) % {DAYS * _DAY} end
"""
SINCE_LAST_DAY = f"{(DAYS - 1) * _DAY}"
CASES = {
    "stream": (NEXT_HOURS, f"{DAYS * _DAY} + hash(i) % {DAYS * _DAY // 100}"),
    "late": (LAST_DAY, SINCE_LAST_DAY),
    "scattered": (ANY_DAY, SINCE_LAST_DAY),
}
"""By case: when its events happen and when its users' versions begin, in microseconds since the first day."""
_USERS = f"""
select 'u_' || (i % {USERS})::varchar as user_id, 'name ' || i as user_name, null::varchar as email, 'DE' as country,
    timestamptz '2025-12-01 00:00:00+00' as created_at,
    timestamptz '2026-01-01 00:00:00+00' + to_microseconds(({{when}})::bigint) as updated_at, false as deleted,
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
    """Seconds of the models, together and each, with what became of it."""
    if done.failed:
        raise SystemExit("\n".join(f"{one.name}: {one.message}" for one in done.failed))
    models = sorted((one for one in done.nodes if one.kind == "model"), key=lambda one: -one.seconds)
    each = {one.name: [round(one.seconds, 3), one.message] for one in models}
    return {"models_s": round(sum(one.seconds for one in models), 2), "whole_s": round(done.seconds, 2), "each": each}


def contents(project: Project) -> dict[str, Any]:
    """By mart: its rows as a number and a sum of hashes, which knows no order."""
    reader = Warehouse(project.lake)
    try:
        return {
            name: next(iter(reader.ask(f"select count(*), sum(hash({name})::hugeint) from {name}").rows())) for name in (*MARTS, *SERVING)
        }
    finally:
        reader.close()


def continued(root: Path, aside: Path, case: str, count: int) -> dict[str, Any]:
    """One case, from the lake as it was built: going on, the middle one of three times; everything anew; both give the same rows."""
    events, users = CASES[case]
    times = []
    for _ in range(3):
        shutil.rmtree(root / ".frazil")
        shutil.copytree(aside, root / ".frazil")
        settings = configuration.load(root)
        project = Project(settings)
        land(project, "users", _USERS.replace("{when}", users), 2 * USERS, 2 * USERS + USERS // 100)
        land(project, "events", _EVENTS.replace("{when}", events), count, count + count // 100)
        times.append(modelled(transform(settings, command="run")))
    there = contents(project)
    full = modelled(transform(settings, command="run", full_refresh=True))
    if contents(project) != there:
        raise SystemExit(f"{case}: built anew, the marts have other rows")
    times.sort(key=lambda one: one["models_s"])
    all_three = [one["models_s"] for one in times]
    return {"share": round(times[1]["models_s"] / full["models_s"], 3), "three_times_s": all_three, "continued": times[1], "full": full}


def main() -> None:
    telemetry.configure_once(level="warning")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    machine = clock.machine()  # as it was before
    with tempfile.TemporaryDirectory() as directory:
        root, aside = Path(directory) / "shop", Path(directory) / "aside"
        shutil.copytree(SHOP, root, ignore=shutil.ignore_patterns(".frazil", "dbt_packages"))
        settings = configuration.load(root)
        project = Project(settings)
        land(project, "products", _PRODUCTS, 0, PRODUCTS)
        land(project, "users", _USERS.replace("{when}", f"{30 * _DAY} * (i // {USERS}) - {_DAY}"), 0, 2 * USERS)
        land(project, "events", _EVENTS.replace("{when}", ANY_DAY), 0, count)
        built = modelled(transform(settings, command="run"))
        shutil.copytree(root / ".frazil", aside)
        cases = {case: continued(root, aside, case, count) for case in CASES}
        land(Project(settings), "events", _EVENTS.replace("{when}", LAST_DAY), 2 * count, 2 * count + 100_000)
        began = time.monotonic()
        fresh = modelled(transform(settings))
        fresh["wall_s"] = round(time.monotonic() - began, 2)
    figures = {"events": count, "new": count // 100, "first": built, "cases": cases, "build_100k_with_tests": fresh}
    print(json.dumps({"measured": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine, **figures}, indent=1))


if __name__ == "__main__":
    main()
