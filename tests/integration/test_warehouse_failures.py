"""What goes wrong in a warehouse: each has a clear message, and readers see the old or the new version of a mart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from frazil.contract import dbt_sources
from frazil.engine import steps
from frazil.errors import ConfigError, FrazilError, Unavailable
from frazil.pipeline.runner import worth_retrying
from frazil.table.lease import Lease
from frazil.table.maintenance import compact, expire
from frazil.table.rewind import rewind, targets
from frazil.warehouse import run
from frazil.warehouse.built import built_of
from frazil.warehouse.reading import relations
from tests.shop import Dbt, Kept, Shop, event, user

FACTS = "select event_id from fact_events order by 1"


@pytest.fixture
def shop(kept: Kept) -> Shop:
    """A shop with one user, product and event; its marts are built."""
    return kept.again()


def names(shop: Shop, mart: str) -> list[Any]:
    found = shop.project.lake.find(mart)
    assert found is not None
    return [snapshot.snapshot_id for snapshot in found.metadata.snapshots]


def test_a_model_that_fails_is_named_and_what_hangs_on_it_is_left_as_it_was(shop: Shop, dbt: Dbt, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shop.root / "warehouse/models/marts/dim_users.sql"
    model.write_text(model.read_text().replace("    user_name,\n", "    cast('not a number' as integer) as user_name,\n", 1))
    shop.land("users", user("u2", 1))
    shop.land("events", event(2))
    before = names(shop, "dim_users"), names(shop, "fact_events")
    done = dbt.transform(shop, command="run")
    (failed,) = done.failed
    assert (failed.name, failed.outcome) == ("dim_users", "error")
    assert "not a number" in failed.message
    monkeypatch.setattr(run, "transform", lambda *_, **__: done)
    with pytest.raises(ConfigError, match="1 models failed: dim_users: Conversion Error") as stopped:
        steps._dbt(shop.project)
    assert not worth_retrying(stopped.value), "a pipeline does not wait for what waiting cannot change"
    assert {node.name for node in done.nodes if node.outcome == "skipped"} >= {"fact_events", "serving_top_products"}
    assert (names(shop, "dim_users"), names(shop, "fact_events")) == before
    assert len(shop.ask(FACTS)) == 1


def test_a_test_that_fails_is_named_and_stops_what_hangs_on_it(shop: Shop, dbt: Dbt) -> None:
    (shop.root / "warehouse/tests/nothing_is_sold.sql").write_text("select event_id from {{ ref('stg_events') }}\n")
    done = dbt.transform(shop, select=["stg_events", "int_event_aggregates", "currencies", "countries"])
    (failed,) = done.failed
    assert (failed.kind, failed.name, failed.outcome) == ("test", "nothing_is_sold", "fail")
    assert "1" in failed.message
    assert {node.name: node.outcome for node in done.nodes}["int_event_aggregates"] == "skipped"


def test_a_mart_edited_by_hand_is_noticed_and_built_anew(shop: Shop, dbt: Dbt) -> None:
    table = shop.project.lake.find("fact_events")
    assert table is not None
    table.delete("event_type = 'purchase'")  # another tool, by hand
    table = shop.project.lake.find("fact_events")
    assert not shop.ask(FACTS)
    assert built_of(table) is None
    done = dbt.transform(shop, command="run", select=["fact_events"])
    assert [(node.name, node.rows) for node in done.nodes] == [("fact_events", 1)]
    assert "rebuilt: its last commit is not ours: somebody edited or rewound it" in done.nodes[0].message
    assert len(shop.ask(FACTS)) == 1


def test_marts_are_built_anew_when_rows_were_taken_back(shop: Shop, dbt: Dbt) -> None:
    shop.land("events", event(2))
    dbt.run(shop, "run")
    assert len(shop.ask(FACTS)) == 2
    rewind(shop.project.lake, "raw_events", targets(shop.project.lake, "raw_events")[0])
    dbt.run(shop, "run")
    assert shop.ask(FACTS) == [{"event_id": event(1)["event_id"]}]
    assert shop.ask("select sum(events) as n from serving_event_counts") == [{"n": 1}]


def test_compaction_of_marts_and_raw_tables_changes_nothing(shop: Shop, dbt: Dbt) -> None:
    for number in range(2, 6):
        shop.land("events", event(number))
        dbt.run(shop, "run")
    for table in ("raw_events", "fact_events"):
        assert compact(shop.project.lake, table, least_files=2).commits == 1
    assert expire(shop.project.lake, "fact_events", keep=2).expired >= 1, "no letters follow a mart: it may forget"
    shop.land("users", user("u1", -1))
    shop.land("events", event(6))
    assert dbt.run(shop, "run")["fact_events"] == 6, "five put right, one new: it went on"
    assert len(shop.ask(FACTS)) == 6


def test_a_column_that_disappeared_is_named(shop: Shop, dbt: Dbt) -> None:
    contract = shop.root / "contracts/users.odcs.yaml"
    text = contract.read_text()
    begin = text.index("      - name: email")
    contract.write_text(text[:begin] + text[text.index("      - name: country") :])
    with pytest.raises(ConfigError) as drift:
        dbt.transform(shop, command="run")
    assert drift.value.code == "warehouse.sources_drift"
    assert "email" in drift.value.message
    assert "contracts compile" in drift.value.hint
    fresh = Shop(shop.root)  # the contract as it is now, over a lake that never had the field
    fresh.project.lake.catalog.drop_table(("shop", "raw_users"))
    assert dbt_sources.write(shop.root, fresh.project.contracts.values()) == shop.root / dbt_sources.FILE
    done = dbt.transform(fresh, command="run", select=["stg_users", "dim_users"])
    assert {node.name for node in done.failed} == {"stg_users"}
    assert "email" in done.failed[0].message
    assert done.failed[0].settled


def test_a_field_added_to_a_contract_can_be_followed_to_the_mart(shop: Shop, dbt: Dbt) -> None:
    contract = shop.root / "contracts/events.odcs.yaml"
    field = "      - name: coupon\n        logicalType: string\n"
    contract.write_text(contract.read_text().replace("      - name: properties\n", field + "      - name: properties\n", 1))
    changed = Shop(shop.root)
    changed.logs = shop.logs
    dbt_sources.write(shop.root, changed.project.contracts.values())
    for file, old in (("staging/stg_events", "    currency,\n"), ("intermediate/int_user_events", "    events.currency,\n")):
        model = shop.root / f"warehouse/models/{file}.sql"
        model.write_text(model.read_text().replace(old, old + old.replace("currency", "coupon"), 1))
    model = shop.root / "warehouse/models/marts/fact_events.sql"
    text = model.read_text().replace("        touched.currency,\n", "        touched.currency,\n        touched.coupon,\n")
    model.write_text(text.replace("currency, quantity", "currency, coupon, quantity"))
    assert not dbt.transform(changed, command="run").failed, "no event has one yet"
    changed.land("events", event(2, coupon="FIVE"))
    assert not dbt.transform(changed, command="run").failed
    assert [row["coupon"] for row in changed.ask("select coupon from fact_events order by event_id")] == [None, "FIVE"]


def test_an_empty_project_has_empty_marts(tmp_path: Path, dbt: Dbt) -> None:
    shop = Shop(tmp_path, leave_out=["warehouse"])
    dbt.run(shop, "run")
    assert shop.ask(FACTS) == []
    assert [row["user_name"] for row in shop.ask("select user_name from dim_users")] == ["unknown"]
    shop.land("events", event(1))
    dbt.run(shop, "run")
    dbt.run(shop, "run")  # an empty day
    assert len(shop.ask(FACTS)) == 1


def test_two_runs_at_once_are_one_and_a_refusal(shop: Shop, dbt: Dbt) -> None:
    lease = Lease(shop.settings.state_dir, "warehouse")
    assert lease.take()
    with pytest.raises(Unavailable) as busy:
        dbt.transform(shop, command="run")
    assert busy.value.code == "warehouse.busy"
    assert busy.value.exit_code == 75
    lease.release()
    assert not dbt.transform(shop, command="run", select=["stg_events"]).failed


def test_a_run_killed_in_the_middle_leaves_whole_marts(shop: Shop, dbt: Dbt) -> None:
    shop.land("events", *(event(number, minutes=-number * 1440) for number in range(2, 200)))  # many partitions, many files
    before = len(names(shop, "fact_events"))
    place = shop.project.lake.find("fact_events")
    assert place is not None
    data = Path(place.location().removeprefix("file://")) / "data"
    files = len(list(data.rglob("*.parquet")))
    words = [sys.executable, "-m", "frazil.cli", "--project", str(shop.root), "transform", "run"]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(data.rglob("*.parquet"))) == files and process.poll() is None:
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)  # its files are there, or some of them; its commit most likely is not
    process.wait()
    assert len(shop.ask(FACTS)) == (1 if len(names(shop, "fact_events")) == before else 199), "old or new, never half"
    dbt.run(shop, "run")
    assert len(shop.ask(FACTS)) == 199
    assert shop.ask("select sum(events) as n from int_event_aggregates") == [{"n": 199}]


def test_a_conflicting_commit_leaves_the_winner(shop: Shop, dbt: Dbt) -> None:
    """Readers who hold a snapshot keep it whatever is committed after."""
    old = shop.project.lake.find("fact_events")
    assert old is not None
    shop.land("events", event(2))
    shop.land("users", user("u1", -1))
    dbt.run(shop, "run")
    rows: pa.Table = old.scan().to_arrow()
    assert rows.column("event_id").to_pylist() == [event(1)["event_id"]]


def test_what_is_missing_is_said(tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = Shop(tmp_path / "blank", leave_out=["warehouse"])
    with pytest.raises(ConfigError) as absent:
        blank.transform()
    assert absent.value.code == "warehouse.absent"
    monkeypatch.setattr(run, "is_installed", lambda: False)
    with pytest.raises(ConfigError) as missing:
        shop.transform()
    assert (missing.value.code, missing.value.hint) == ("warehouse.not_installed", "pip install 'frazil[warehouse]'")


def test_a_model_that_cannot_be_compiled_is_one_error_with_its_name(shop: Shop, dbt: Dbt) -> None:
    (shop.root / "warehouse/models/marts/dim_broken.sql").write_text("select * from {{ ref('nowhere') }}\n")
    with pytest.raises(FrazilError) as stopped:
        dbt.transform(shop, command="run")
    assert stopped.value.code == "warehouse.dbt_failed"
    assert not worth_retrying(stopped.value)
    assert "dim_broken" in stopped.value.message
    assert "nowhere" in stopped.value.message


def test_a_scratch_file_that_another_program_holds_is_said(shop: Shop) -> None:
    shop.settings.state_dir.mkdir(exist_ok=True)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    words = [sys.executable, "-c", code, str(shop.settings.state_dir / "warehouse.duckdb")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Unavailable) as busy:
            shop.transform(command="run")
        holder.kill()
    assert busy.value.code == "warehouse.busy"


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_scratch_file_is_made_anew(shop: Shop, dbt: Dbt, damage: bytes | None) -> None:
    scratch = shop.settings.state_dir / "warehouse.duckdb"
    whole = scratch.read_bytes()
    scratch.write_bytes(whole[:8192] + bytes(4096) + whole[12288:] if damage is None else damage)
    shop.land("events", event(2))
    assert not dbt.transform(shop, command="run").failed
    assert len(shop.ask(FACTS)) == 2


def test_views_of_models_that_are_gone_do_not_stand_in_a_readers_way(shop: Shop, dbt: Dbt) -> None:
    old = shop.root / "warehouse/models/staging/stg_old.sql"
    old.write_text("select event_id from {{ ref('int_old') }}\n")
    older = shop.root / "warehouse/models/staging/int_old.sql"
    older.write_text("select event_id from {{ ref('stg_events') }}\n")
    assert not dbt.transform(shop, command="run", select=["stg_events", "int_old", "stg_old"]).failed
    old.unlink()
    older.write_text("select user_id from {{ ref('stg_events') }}\n")
    assert not dbt.transform(shop, command="run", select=["stg_events", "int_old"]).failed
    assert relations(shop.settings).execute("select user_id from int_old").fetchall() == [("u1",)]
