"""What starts a run: a snapshot with new rows once, a clock in its own zone, and never the same news twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from frazil import settings as configuration
from frazil.errors import ConfigError
from frazil.pipeline import find
from frazil.pipeline.execution import lease_name, leases, store_of
from frazil.pipeline.heads import heads, news
from frazil.pipeline.news import Heads, Pin, later
from frazil.pipeline.scheduler import RESUMES, Scheduler, next_due
from frazil.pipeline.store import Run
from frazil.project import Project
from frazil.settings import PipelineSettings, Settings
from frazil.table import maintenance
from frazil.table.lease import Lease
from tests.serving import TOML, land_orders, make_project

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configuration.load(make_project(tmp_path / "project"))


@pytest.mark.prop(17)
def test_rows_are_news_once_and_maintenance_never_is(settings: Settings) -> None:
    project = Project(settings)
    assert news(project.lake, {}) is None
    land_orders(project, 1)
    first = news(project.lake, {})
    assert first is not None
    assert news(project.lake, first) is None
    land_orders(project, 2)
    land_orders(project, 3)
    burst = news(project.lake, first)
    assert burst == heads(project.lake)
    assert news(project.lake, burst) is None
    before = project.lake.raw(project.contract("orders")).metadata.current_snapshot_id
    maintenance.compact(project.lake, "raw_orders", least_files=2)
    after = project.lake.raw(project.contract("orders")).metadata.current_snapshot_id
    assert after != before, "nothing was compacted: the test says nothing"
    assert news(project.lake, burst) is None
    land_orders(project, 4)
    assert news(project.lake, burst) is not None
    assert news(project.lake, {"raw_orders": Pin("another table", 1_000, "1")}) is not None


def scheduled(
    settings: Settings, toml: str, news: Callable[[Heads], Heads | None], now: Callable[[], datetime]
) -> tuple[Scheduler, list[str]]:
    """A scheduler whose runs do not start by themselves: their ids are listed."""
    (settings.root / "frazil.toml").write_text(TOML + toml)
    begun: list[str] = []

    def start(settings: Settings, run: Run) -> subprocess.Popen[bytes]:
        begun.append(run.id)
        return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    return Scheduler(configuration.load(settings.root), news, start, now), begun


@pytest.mark.prop(17)
def test_a_snapshot_starts_one_run_and_a_burst_while_it_works_one_more(settings: Settings) -> None:
    at: dict[str, Pin] = {"raw_orders": Pin("u", 1, "s1")}
    scheduler, begun = scheduled(
        settings,
        '[pipelines.pipeline]\non = "snapshot"\nspacing = 0\n',
        lambda known: at if later(known, at) != dict(known) else None,
        lambda: datetime.now(UTC),
    )
    store = store_of(settings)

    def look() -> None:
        scheduler._looked = float("-inf")
        scheduler.tick()

    try:
        for _ in range(3):
            look()
        assert len(begun) == 1
        assert store.get(begun[0]).cause == {"kind": "snapshot", "snapshots": {"raw_orders": "s1"}}
        lease = Lease(leases(settings), lease_name("pipeline"))
        assert lease.take()
        assert store.begin(begun[0], os.getpid())
        for sequence in (2, 3, 4):
            at["raw_orders"] = Pin("u", sequence, f"s{sequence}")
            look()
        assert len(begun) == 1
        store.cover(begun[0], {"raw_orders": Pin("u", 3, "s3")})  # 2 and 3 were its own
        store.end(begun[0], "succeeded")
        lease.release()
        look()
        look()
        assert len(begun) == 2
        store.end(begun[1], "failed", {"step": "ingest"})
        look()
        assert len(begun) == 2, "a failed run is not started again by the same snapshot"
    finally:
        scheduler._drain()


def test_missed_times_of_a_schedule_start_one_run(settings: Settings) -> None:
    clock = [NOON]
    scheduler, begun = scheduled(settings, '[pipelines.maintain]\nschedule = "0 * * * *"\n', lambda known: None, lambda: clock[0])
    try:
        scheduler.tick()
        assert begun == []
        clock[0] += timedelta(hours=5)
        scheduler.tick()
        scheduler.tick()
        assert len(begun) == 1
        assert store_of(settings).get(begun[0]).cause["due"] == "2026-11-20T13:00:00+00:00"
    finally:
        scheduler._drain()


def test_a_schedule_keeps_its_zones_wall_clock_over_the_change_of_summer_time() -> None:
    plan = PipelineSettings(schedule="30 6 * * *", timezone="Europe/Berlin")
    assert next_due(plan, datetime(2026, 10, 24, 12, tzinfo=UTC)) == datetime(2026, 10, 25, 5, 30, tzinfo=UTC)
    assert next_due(plan, datetime(2026, 10, 23, 12, tzinfo=UTC)) == datetime(2026, 10, 24, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize("toml", ['schedule = "often"', 'on = "monday"', 'schedule = "0 0 31 2 *"', 'timezone = "Mars/X"'])
def test_a_wrong_declaration_names_its_key(settings: Settings, toml: str) -> None:
    (settings.root / "frazil.toml").write_text(TOML + f"[pipelines.transform]\n{toml}\n")
    with pytest.raises(ConfigError, match=rf"pipelines\.transform\.{toml.split()[0]}"):
        configuration.load(settings.root)


def test_a_run_that_takes_its_process_down_each_time_is_given_up(settings: Settings) -> None:
    store = store_of(settings)
    run_id = store.create(find("pipeline"), {"kind": "manual"}).id
    assert store.begin(run_id, os.getpid())
    scheduler, begun = scheduled(settings, "", lambda known: None, lambda: NOON)
    try:
        for _ in range(RESUMES + 1):
            scheduler._children.clear()
            scheduler.tick()
            store.begin(run_id, 1)
        assert len(begun) == RESUMES
        scheduler._children.clear()
        scheduler.tick()
        assert (store.get(run_id).state, (store.get(run_id).error or {})["code"]) == ("failed", "pipeline.interrupted")
    finally:
        scheduler._drain()
