"""Laws of the marts on hostile histories: versions and events late, repeated, out of order, at the same instant, deleted.

A history is a list of landings; after each the marts are continued and compared with what a few lines of Python make of the raw
rows. In the end they are built anew, which must change nothing. Users and events in one history are independent of each other, so
one example is many small histories.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from frazil.warehouse.reading import relations
from tests.landing import scratch
from tests.shop import Dbt, Shop, event, product, user

EXAMPLES = max(1, int(os.environ.get("EXAMPLES", "60")) // 20)
UNKNOWN = "0" * 32
MARTS = ("dim_users", "dim_products", "fact_events", "int_event_aggregates", "int_user_days", "present_users")
SERVING = ("serving_revenue_per_day", "serving_event_counts", "serving_active_users", "serving_top_products")
MINUTES = st.sampled_from([-3000.0, -1441.0, 0.0, 1.0, 2.0, 3.0, 1440.0])  # several days; the same instant often

user_versions = st.tuples(st.sampled_from(["u1", "u2", "u3", "u4"]), MINUTES, st.booleans(), st.sampled_from("ab"))
product_versions = st.tuples(st.sampled_from(["p1", "p2"]), MINUTES, st.sampled_from("ab"))
events = st.tuples(
    st.integers(0, 30),  # the key: often one that came before
    st.sampled_from(["u1", "u2", "u3", "u4", "u5"]),
    st.sampled_from(["p1", "p2", "p3", None]),
    MINUTES,
    st.sampled_from(["purchase", "refund", "page_view"]),
    st.sampled_from([None, 0, 0.5, 12]),
    st.sampled_from(["EUR", "USD", None]),
)
landings = st.fixed_dictionaries(
    {
        "users": st.lists(user_versions, max_size=6),
        "products": st.lists(product_versions, max_size=4),
        "events": st.lists(events, max_size=12),
    }
)


HOSTILE: list[dict[str, list[Any]]] = [
    {  # events before anything is known of whom they name
        "users": [("u1", 0.0, False, "a"), ("u3", 0.0, False, "a")],
        "products": [],
        "events": [(1, "u1", "p1", 0.0, "purchase", 12, "EUR"), (2, "u2", "p1", 2.0, "purchase", 12, "EUR")],
    },
    {  # an older version, the same one again, one with another content, a deletion at the instant of an event
        "users": [("u1", -3000.0, False, "b"), ("u1", 0.0, False, "a"), ("u1", 0.0, False, "b"), ("u1", 2.0, True, "a")],
        "products": [("p1", 2.0, "b"), ("p1", 1.0, "a"), ("p1", 2.0, "b")],
        "events": [
            (1, "u1", "p1", 0.0, "purchase", 12, "EUR"),
            (3, "u1", "p1", 2.0, "refund", 12, None),
            (4, "u1", "p1", -3000.0, "purchase", 0.5, "USD"),
        ],
    },
    {"users": [], "products": [], "events": []},
    {  # the last user's only version ends; a first one comes long after its event, the deleted one comes back
        "users": [("u3", 1.0, True, "a"), ("u2", -1441.0, False, "b"), ("u1", 1440.0, False, "a")],
        "products": [("p1", -3000.0, "a")],
        "events": [],
    },
]


def land(shop: Shop, landing: dict[str, list[Any]]) -> None:
    if landing["users"]:
        shop.land("users", *(user(name, at, deleted=gone, user_name=text) for name, at, gone, text in landing["users"]))
    if landing["products"]:
        shop.land("products", *(product(name, at, name=text) for name, at, text in landing["products"]))
    if landing["events"]:
        shop.land("events", *(_event(*one) for one in landing["events"]))


def _event(number: int, who: str, what: str | None, at: float, kind: str, value: float | None, currency: str | None) -> dict[str, Any]:
    about = {"quantity": 2} if what is None else {"product_id": what, "quantity": 2}
    return event(number, who, at, event_type=kind, value=value, currency=currency, properties=about)


def rows(shop: Shop, name: str) -> list[tuple[Any, ...]]:
    """Rows of a mart in an order that says nothing about how they came."""
    found = [tuple(sorted(row.items())) for row in shop.ask(f"select * from {name}")]
    return sorted(found, key=repr)


def expected_versions(raw: list[dict[str, Any]], key: str) -> dict[str, list[tuple[str | None, datetime, datetime | None]]]:
    """By thing: its versions as (key of the version or None when deleted, from, to), in order."""
    things: dict[str, list[dict[str, Any]]] = {}
    for row in raw:
        things.setdefault(row[key], []).append(row)
    found = {}
    for thing, messages in things.items():
        messages.sort(key=lambda row: row["updated_at"])
        ends = [row["updated_at"] for row in messages[1:]] + [None]
        found[thing] = [
            (None if row.get("deleted") else _key(row["updated_at"], thing), row["updated_at"], end)
            for row, end in zip(messages, ends, strict=True)
        ]
    return found


def _key(at: datetime, thing: str) -> str:
    micros = (at - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)
    return hashlib.md5(f"{micros}|{thing}".encode()).hexdigest()


def valid_at(versions: dict[str, list[tuple[str | None, datetime, datetime | None]]], thing: str | None, at: datetime) -> str:
    """The key of the version that was true then; half-open intervals."""
    for key, begin, end in versions.get(thing or "", []):
        if begin <= at and (end is None or at < end):
            return key or UNKNOWN
    return UNKNOWN


def check_dimension(shop: Shop, name: str, key: str, versions: dict[str, list[tuple[str | None, datetime, datetime | None]]]) -> None:
    sk = name.removeprefix("dim_").removesuffix("s") + "_sk"
    there = {(row[sk], row[key], row["valid_from"], row["valid_to"]) for row in shop.ask(f"select * from {name} where {key} is not null")}
    assert there == {(version, thing, begin, end) for thing, all_ in versions.items() for version, begin, end in all_ if version}
    current = shop.ask(f"select {key}, count(*) as n from {name} where is_current group by 1")
    alive = living(versions)
    assert {row[key]: row["n"] for row in current} == dict.fromkeys([*alive, None], 1), "one current row per key that is alive"


def living(versions: dict[str, list[tuple[str | None, datetime, datetime | None]]]) -> set[str]:
    return {thing for thing, all_ in versions.items() if all_[-1][0] is not None}


def check_layers(shop: Shop, raw: list[dict[str, Any]]) -> None:
    """Staging has every row of the raw table once; the sum of values is the same in every layer."""
    layers = relations(shop.settings)
    try:
        assert sorted(layers.execute("select event_id from stg_events").fetchall()) == sorted((row["id"],) for row in raw)
        total = sum((row["value"] or Decimal(0) for row in raw), Decimal(0))
        for layer in ("stg_events", "int_user_events"):
            said = layers.execute(f"select count(*), coalesce(sum(event_value), 0) from {layer}").fetchall()
            assert said == [(len(raw), total)], layer
    finally:
        layers.close()
    for layer, count, of in (
        ("fact_events", "count(*)", "event_value"),
        ("int_event_aggregates", "coalesce(sum(events), 0)", "total_value"),
    ):
        found = shop.ask(f"select {count} as events, coalesce(sum({of}), 0) as value from {layer}")
        assert found == [{"events": len(raw), "value": total}], layer


def check(shop: Shop) -> None:
    """What the marts must be, said in Python over the raw rows."""
    users = expected_versions(shop.ask("select * from raw_users"), "user_id")
    products = expected_versions(shop.ask("select * from raw_products"), "product_id")
    check_dimension(shop, "dim_users", "user_id", users)
    check_dimension(shop, "dim_products", "product_id", products)
    raw = shop.ask("select event_id::varchar as id, user_id, properties.product_id as product_id, timestamp as at, value from raw_events")
    facts = shop.ask("select event_id, user_sk, product_sk, event_value, event_date, event_timestamp from fact_events")
    wanted = {
        row["id"]: (
            valid_at(users, row["user_id"], row["at"]),
            valid_at(products, row["product_id"], row["at"]),
            row["value"],
        )
        for row in raw
    }
    assert {row["event_id"]: (row["user_sk"], row["product_sk"], row["event_value"]) for row in facts} == wanted
    assert len(facts) == len(raw), "each once"
    assert all(row["event_date"] == row["event_timestamp"].date() for row in facts)
    check_layers(shop, raw)
    present = [row["user_id"] for row in shop.ask("select user_id from present_users")]
    assert sorted(present) == sorted(living(users)), "a row that no message speaks for any more is gone"


@pytest.mark.prop(22)
@pytest.mark.prop(23)
@pytest.mark.prop(24)
@pytest.mark.prop(25)
@pytest.mark.prop(26)
@pytest.mark.prop(37)
@settings(max_examples=EXAMPLES, phases=(Phase.explicit, Phase.generate))  # a run takes seconds: no shrinking
@given(history=st.lists(landings, min_size=2, max_size=4))
@example(history=HOSTILE)
def test_continued_marts_are_what_the_raw_rows_say_and_equal_a_full_rebuild(dbt: Dbt, history: list[dict[str, list[Any]]]) -> None:
    with scratch() as root:
        shop = Shop(root, leave_out=["warehouse"])
        for landing in history:
            land(shop, landing)
            dbt.run(shop, "run")
            check(shop)
        continued = {name: rows(shop, name) for name in (*MARTS, *SERVING)}
        dbt.run(shop, "run", "--full-refresh")
        for name, before in continued.items():
            assert rows(shop, name) == before, f"{name} built anew differs"
