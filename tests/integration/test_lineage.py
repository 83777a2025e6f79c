"""The lineage of a real shop: landing, repairs, dbt, quality and pipelines tell one graph, from a log to a mart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from frazil import lineage
from frazil.engine import lines
from frazil.log import Record
from tests import openlineage
from tests.openlineage import Event, name, of
from tests.shop import NOON, Shop, event

FILE = ".frazil/lineage.ndjson"


def with_lineage(root: Path) -> Shop:
    shop = Shop(root)
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
