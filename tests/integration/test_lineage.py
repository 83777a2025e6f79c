"""The lineage of a real shop: landing, repairs, dbt, quality and pipelines tell one graph, from a log to a mart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from frazil import lineage
from frazil.engine import lines
from frazil.errors import ConfigError
from frazil.log import Record
from frazil.quality.run import check
from tests import openlineage
from tests.integration.running import frazil
from tests.openlineage import Event, name, of
from tests.shop import NOON, Shop, event, product, user

FILE = ".frazil/lineage.ndjson"


def with_lineage(root: Path) -> Shop:
    Shop(root)
    with (root / "frazil.toml").open("a") as toml:
        toml.write(f'\n[lineage]\nurl = "file://{FILE}"\n')
    return Shop(root)


def send(shop: Shop, contract: str, *records: Any) -> None:
    """Put records into the shop's own log, as the door does."""
    writer = shop.project.log_writer(shop.project.contract(contract))
    writer.append([Record(json.dumps(one).encode(), None) for one in records], request=1, received_at=NOON)
    writer.close()


def land(shop: Shop, *contracts: str) -> int:
    return lines.engine(shop.settings, contracts, until_idle=True).run()


def told(shop: Shop) -> list[Event]:
    """Everything told so far; every event is checked."""
    lineage.close()
    return openlineage.read(shop.root / FILE)


def location(shop: Shop, table: str) -> tuple[str, str]:
    found = shop.project.lake.find(table)
    assert found is not None
    return "file", found.location().removeprefix("file://")


def test_landing_is_a_run_from_the_log_to_the_table(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    send(shop, "events", event(1), event(2), {"event_id": "no event"})
    assert land(shop, "events") == 0
    start, complete = of(told(shop), "land.events")
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["eventTime"] <= complete["eventTime"]
    assert name(complete["inputs"][0]) == ("file", str(shop.root / ".frazil/log/events"))
    raw, letters = complete["outputs"]
    table = shop.project.lake.find("raw_events")
    assert table is not None
    assert name(raw) == location(shop, "raw_events")
    assert name(letters) == location(shop, "dead_letters")
    assert raw["facets"]["version"]["datasetVersion"] == str(table.metadata.current_snapshot_id)
    assert raw["facets"]["symlinks"]["identifiers"][0]["name"] == "shop.raw_events"
    assert raw["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert raw["outputFacets"]["outputStatistics"]["size"] > 0
    assert letters["outputFacets"]["outputStatistics"]["rowCount"] == 1
    fields = {one["name"]: one for one in raw["facets"]["schema"]["fields"]}
    assert {one["name"] for one in fields["properties"]["fields"]} >= {"product_id", "quantity"}
    assert fields["event_id"]["type"] == "uuid" or fields["event_id"]["type"] == "string"


def test_nothing_is_told_where_nothing_happened(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    assert land(shop, "events") == 0
    lineage.close()
    assert not (shop.root / FILE).exists()


def test_a_receiver_that_is_away_does_not_touch_landing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with (tmp_path / "frazil.toml").open("a") as toml:
        toml.write('\n[lineage]\nurl = "http://127.0.0.1:9"\n')
    shop = Shop(tmp_path)
    send(shop, "events", event(1))
    assert land(shop, "events") == 0
    lineage.close()
    assert shop.ask("select count(*) n from raw_events") == [{"n": 1}]
    kept = [json.loads(file.read_text()) for file in sorted((tmp_path / ".frazil/lineage").glob("*.json"))]
    assert [one["eventType"] for one in kept] == ["START", "COMPLETE"]


def reaches(events: Sequence[Event], start: tuple[str, str], goal: tuple[str, str]) -> bool:
    """Whether a receiver that knows names only finds a way from one dataset to the other."""
    edges = {(name(a), name(b)) for one in events for a in one.get("inputs", []) for b in one.get("outputs", [])}
    found, before = {start}, set()
    while found != before:
        before = set(found)
        found |= {b for a, b in edges if a in found}
    return goal in found


def origins(events: Sequence[Event], dataset: tuple[str, str], column: str) -> set[tuple[tuple[str, str], str]]:
    """The columns that a column is made of in the end, model by model."""
    made = {
        (name(one), column): [(name(above), above["field"]) for above in lead["inputFields"]]
        for event in events
        for one in event.get("outputs", [])
        for column, lead in one.get("facets", {}).get("columnLineage", {}).get("fields", {}).items()
    }
    found, queue = set(), [(dataset, column)]
    while queue:
        at = queue.pop()
        queue += made.get(at, [])
        found |= set() if at in made else {at}
    return found


def test_a_graph_leads_from_the_log_to_a_mart_and_says_what_was_checked(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    send(shop, "events", event(1), event(2, "u1", 5))
    send(shop, "users", user("u1", -10))
    send(shop, "products", product("p1", -10))
    assert land(shop, "events", "users", "products") == 0
    (tmp_path / "warehouse/models/marts/broken.sql").write_text("select event_id from {{ ref('stg_events') }} where error('no luck')")
    done = shop.transform(select=["+fact_events", "broken"])
    assert [one.name for one in done.failed] == ["broken"]
    report = check(shop.settings, tables=["raw_events", "fact_events"])
    events = told(shop)

    log, mart = ("file", str(shop.root / ".frazil/log/events")), location(shop, "fact_events")
    assert reaches(events, log, location(shop, "raw_events"))
    assert reaches(events, location(shop, "raw_events"), mart)
    assert reaches(events, log, mart)
    assert not reaches(events, mart, log)
    assert not reaches([one for one in events if one["job"]["name"] != "transform.stg_events"], log, mart), "every step counts"

    (whole,) = of(events, "transform", "FAIL")
    assert "broken" in whole["run"]["facets"]["errorMessage"]["message"]
    start, complete = of(events, "transform.fact_events")
    assert complete["run"]["facets"]["parent"]["run"]["runId"] == whole["run"]["runId"] != complete["run"]["runId"]
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert "select" in complete["job"]["facets"]["sql"]["query"].lower()
    (facts,) = complete["outputs"]
    table = shop.project.lake.find("fact_events")
    assert table is not None
    assert facts["facets"]["version"]["datasetVersion"] == str(table.metadata.current_snapshot_id)
    assert facts["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert [one["name"] for one in facts["facets"]["schema"]["fields"]] == [one.name for one in table.schema().fields]
    assert origins(events, mart, "event_type") == {(location(shop, "raw_events"), "event_type")}
    assert (location(shop, "raw_users"), "updated_at") in origins(events, mart, "user_sk"), "of the version that was valid"
    (failed,) = of(events, "transform.broken", "FAIL")
    assert "no luck" in failed["run"]["facets"]["errorMessage"]["message"]
    tested = of(events, "transform.fact_events.test", "COMPLETE")[0]["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {("unique", "event_sk", True), ("not_null", "event_sk", True)} <= {
        (one["assertion"], one.get("column"), one["success"]) for one in tested
    }

    suites = {one["job"]["name"]: one for one in events if one["job"]["name"].startswith("quality.") and one["eventType"] == "COMPLETE"}
    assert set(suites) == {f"quality.{one.suite}" for one in report.checks}
    asserted = [
        (name(dataset), one["assertion"], one.get("column"), one["success"])
        for suite in suites.values()
        for dataset in suite["inputs"]
        for one in dataset["inputFacets"]["dataQualityAssertions"]["assertions"]
    ]
    wanted = [(location(shop, one.table), one.expectation, one.column, one.passed) for one in report.checks]
    assert sorted(asserted, key=str) == sorted(wanted, key=str)
    assert any(what == "expect_column_values_to_not_be_null" for _, what, _, _ in asserted)


def test_a_replay_and_its_undo_are_runs(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    send(shop, "events", event(1), event(2, value="much"))
    land(shop, "events")
    patched = frazil("dead", "replay", "--all", "-c", "events", "--patch", "value = 1", "--name", "mend", cwd=shop.root)
    assert patched.code == 0, patched.err
    assert frazil("dead", "undo", "mend", "-c", "events", cwd=shop.root).code == 0
    events = told(shop)
    start, replayed = of(events, "replay.events")
    assert (start["eventType"], replayed["eventType"]) == ("START", "COMPLETE")
    assert name(replayed["inputs"][0]) == location(shop, "dead_letters")
    assert name(replayed["outputs"][0]) == location(shop, "raw_events")
    assert replayed["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 1
    (undone,) = of(events, "undo.events", "COMPLETE")
    versions = [one["outputs"][0]["facets"]["version"]["datasetVersion"] for one in (replayed, undone)]
    table = shop.project.lake.find("raw_events")
    assert table is not None
    assert versions[0] != versions[1] == str(table.metadata.current_snapshot_id)


def test_a_pipeline_is_the_parent_of_its_steps_and_of_what_they_land(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    send(shop, "events", event(1))
    done = frazil("run", "pipeline", "--step", "ingest", "--step", "process", "--json", cwd=shop.root)
    assert done.code == 0, done.err
    events = told(shop)
    whole, end = of(events, "pipeline")
    assert (whole["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert whole["run"]["runId"] == end["run"]["runId"]
    (step,) = of(events, "pipeline.process", "COMPLETE")
    (landed,) = of(events, "land.events", "COMPLETE")
    assert step["run"]["facets"]["parent"]["run"]["runId"] == whole["run"]["runId"]
    parent = landed["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == step["run"]["runId"]
    assert parent["root"]["run"]["runId"] == whole["run"]["runId"]
    assert of(events, "pipeline.ingest", "COMPLETE")


def test_what_an_operator_has_to_see_fails_the_run(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    send(shop, "events", event(1))
    table = shop.project.lake.raw(shop.project.contract("events"))
    with table.transaction() as change:
        change.set_properties({"frazil.owner": "another"})
    assert land(shop, "events") == 78
    start, failed = of(told(shop), "land.events")
    assert (start["eventType"], failed["eventType"]) == ("START", "FAIL")
    assert "table.foreign" in failed["run"]["facets"]["errorMessage"]["message"]


def test_a_transformation_that_cannot_begin_has_failed(tmp_path: Path) -> None:
    shop = with_lineage(tmp_path)
    shutil.rmtree(tmp_path / "warehouse")
    with pytest.raises(ConfigError, match="no dbt project"):
        shop.transform()
    start, failed = told(shop)
    assert (start["job"]["name"], start["eventType"], failed["eventType"]) == ("transform", "START", "FAIL")
    assert "warehouse.absent" in failed["run"]["facets"]["errorMessage"]["message"]
