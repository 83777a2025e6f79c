"""The shop's warehouse over a real lake: dbt builds the marts, readers see them, what comes late puts them right."""

from __future__ import annotations

from pathlib import Path

from tests.shop import Shop, event, product, user

UNKNOWN = "0" * 32


def test_marts_follow_what_lands(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.land("users", user("u1", -10), user("u1", 5))
    shop.land("products", product("p1", -10))
    shop.land("events", event(1, "u1", 0), event(2, "u1", 10), event(3, "u9", 0))
    first = shop.transform()
    assert not first.failed, first.failed
    versions = "select user_name from dim_users u join fact_events f using (user_sk) order by event_id"
    assert [row["user_name"] for row in shop.ask(versions)] == ["u1 at -10", "u1 at 5", "unknown"]

    shop.land("users", user("u9", -10), user("u1", -5))  # both late: facts 1 and 3 belong to them
    shop.land("events", event(4, "u1", -7))
    second = shop.transform()
    assert not second.failed, second.failed
    assert {node.name: node.rows for node in second.nodes}["fact_events"] == 3  # one new, two put right
    assert [row["user_name"] for row in shop.ask(versions)] == ["u1 at -5", "u1 at 5", "u9 at -10", "u1 at -10"]

    third = shop.transform()
    assert {node.rows for node in third.nodes if node.kind == "model"} <= {0, None}, "nothing landed, nothing is written"
