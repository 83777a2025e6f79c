"""The shop's warehouse over a real lake: dbt builds the marts, readers see them, what comes late puts them right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frazil.table.files import equal, planned
from frazil.warehouse.reading import relations
from tests.shop import Dbt, Kept, Shop, event, product, user

UNKNOWN = "0" * 32


@pytest.mark.prop(37)
def test_marts_follow_what_lands(tmp_path: Path, dbt: Dbt) -> None:
    shop = Shop(tmp_path)
    shop.land("users", user("u1", -10), user("u1", 5))
    shop.land("products", product("p1", -10))
    shop.land("events", event(1, "u1", 0), event(2, "u1", 10), event(3, "u9", 0))
    first = shop.transform()
    assert not first.failed, first.failed
    ended = {node.name: node.outcome for node in first.nodes}
    units = ("versions_in_any_order_become_intervals", "of_the_same_instant_the_later_landed_counts", "deleted_closes_the_last_interval")
    assert {ended[f"int_user_versions.{unit}"] for unit in units} == {"success"}, "dbt's unit tests ran"
    assert ended["countries"] == ended["currencies"] == "success"
    versions = "select user_name from dim_users u join fact_events f using (user_sk) order by event_id"
    assert [row["user_name"] for row in shop.ask(versions)] == ["u1 at -10", "u1 at 5", "unknown"]

    shop.land("users", user("u9", -10), user("u1", -5))  # both late: facts 1 and 3 belong to them
    shop.land("events", event(4, "u1", -7))
    second = dbt.transform(shop)
    assert not second.failed, second.failed
    assert {node.name: node.rows for node in second.nodes}["fact_events"] == 3  # one new, two put right
    assert [row["user_name"] for row in shop.ask(versions)] == ["u1 at -5", "u1 at 5", "u9 at -10", "u1 at -10"]

    staged = relations(shop.settings)
    assert staged.execute("select count(*), sum(event_value) from stg_events").fetchall() == [(4, 40)]
    assert staged.execute("select count(*) from int_user_events join fact_events using (event_sk, user_sk)").fetchall() == [(4,)]
    assert staged.execute("select country_name from countries where country = 'NA'").fetchall() == [("Namibia",)]
    staged.close()

    third = dbt.transform(shop, command="run")
    assert {node.rows for node in third.nodes if node.kind == "model"} <= {0, None}, "nothing landed, nothing is written"


@pytest.mark.parametrize("target", ["spark", "snowflake"])
def test_the_same_models_compile_for_other_engines(kept: Kept, dbt: Dbt, target: str) -> None:
    shop = kept.again()
    assert not dbt.transform(shop, command="parse", target=target).failed
    done = dbt.transform(shop, command="compile", target=target)
    assert {node.outcome for node in done.nodes} == {"success"}
    compiled = (shop.settings.state_dir / "warehouse/target/compiled/shop/models/staging/stg_events.sql").read_text()
    assert {"spark": "properties.product_id", "snowflake": "properties:product_id"}[target] in compiled
    assert "epoch_us(" not in "".join(file.read_text() for file in shop.settings.state_dir.rglob("compiled/**/dim_users.sql")), "DuckDB's"


def test_docs_and_lineage_are_written(kept: Kept, dbt: Dbt) -> None:
    shop = kept.again()
    assert not dbt.transform(shop, command="docs").failed
    target = shop.settings.state_dir / "warehouse/target"
    assert (target / "index.html").stat().st_size > 100_000
    catalog = json.loads((target / "catalog.json").read_text())
    assert "user_sk" in catalog["nodes"]["model.shop.dim_users"]["columns"]
    parents = json.loads((target / "manifest.json").read_text())["parent_map"]
    assert "source.shop.lake.raw_events" in parents["model.shop.stg_events"]
    assert "model.shop.fact_events" in parents["exposure.shop.dashboard"]


@pytest.mark.prop(36)
def test_a_date_filter_reads_only_its_partition_of_the_facts(kept: Kept, dbt: Dbt) -> None:
    shop = kept.again()
    shop.land("events", *(event(number, minutes=-1440 * number) for number in range(2, 6)))
    dbt.run(shop, "run", "--select", "+fact_events")
    facts = shop.project.lake.find("fact_events")
    assert facts is not None
    assert [field.name for field in facts.spec().fields] == ["event_date"]
    assert len(planned(facts)) == 5
    assert len(planned(facts, equal("event_date", "2026-11-18"))) == 1
    before = {task.file.file_path for task in planned(facts)}
    shop.land("events", event(7, minutes=-1440 * 3))  # one more on a day that is there
    dbt.run(shop, "run", "--select", "+fact_events")
    assert before < {task.file.file_path for task in planned(shop.project.lake.catalog.load_table(facts.name()))}, "old files stay"
