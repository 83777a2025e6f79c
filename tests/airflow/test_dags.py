"""The shop's DAGs and Frazil's operators in a real Airflow."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import MutableMapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from structlog.testing import capture_logs

from frazil.airflow.lake import new_heads
from frazil.airflow.operators import FrazilOperator, FrazilStepOperator, log_failure, log_retry
from frazil.airflow.snapshots import IcebergSnapshotSensor, IcebergSnapshotTrigger
from frazil.pipeline.store import RunStore
from tests.airflow.conftest import ROOT, frazil, land, ran, states

CHAINS = {
    "dag_data_pipeline": "detect_snapshot ingest_data process_with_rust catalog_data run_dbt quality_checks update_dashboard",
    "dag_dbt_transform": "dbt_seed dbt_run dbt_test dbt_docs_generate",
    "dag_maintenance": "maintain verify",
}


def test_every_dag_loads_and_its_tasks_stand_in_line() -> None:
    bag = DagBag(str(ROOT / "shop/dags"))
    assert bag.import_errors == {}
    assert set(bag.dags) == set(CHAINS)
    for name, chain in CHAINS.items():
        tasks = chain.split()
        for before, after in zip(tasks, [*tasks[1:], None], strict=True):
            assert bag.dags[name].get_task(before).downstream_task_ids == ({after} if after else set())
        assert all(task.retries for task in bag.dags[name].tasks)


@pytest.mark.prop(19)
@pytest.mark.prop(20)
@pytest.mark.prop(21)
def test_a_run_by_hand_takes_the_shop_to_its_dashboard_as_one_run_and_covers_what_landed(shop: Path) -> None:
    for contract in ("users", "products", "events"):
        land(shop, 1, contract)
    run = ran(DagBag(str(shop / "dags")).dags["dag_data_pipeline"])
    assert str(run.state) == "success", states(run)
    (known,) = RunStore(shop / ".frazil").runs()
    assert (known.state, known.driver, known.cause["kind"]) == ("succeeded", "outside", "airflow")
    assert {step.state for step in known.steps} == {"succeeded"}, known.steps
    assert known.step("process").result["landed"] == 60
    assert known.step("quality").result["checks"] > 0
    assert new_heads(str(shop), "pipeline", {}) is None, "its own commits are covered"
    assert (shop / ".frazil/runs" / f"{known.id}.log").stat().st_size > 0
    assert "20" in frazil(shop, "query", "select count(*) as n from fact_events")


@pytest.mark.slow
def test_the_warehouse_alone_is_built_command_by_command(shop: Path) -> None:
    for contract in ("users", "products", "events"):
        land(shop, 1, contract)
    frazil(shop, "process", "--until-idle")
    run = ran(DagBag(str(shop / "dags")).dags["dag_dbt_transform"])
    assert {state for state, _ in states(run).values()} == {"success"}, states(run)
    assert "20" in frazil(shop, "query", "select count(*) as n from fact_events")


@pytest.mark.prop(18)
@pytest.mark.prop(40)
def test_a_task_that_fails_is_logged_and_tried_again(project: Path, tmp_path: Path) -> None:
    run, said = failing(project, tmp_path, fails=1)
    assert states(run) == {"verify": ("success", 2)}
    (line,) = said
    assert (line["event"], line["dag"], line["task"], line["attempt"]) == ("task is tried again", "failing", "verify", 1)
    assert "exit 75" in line["error"]
    assert "hint: wait" in line["error"], "what the command said"


@pytest.mark.prop(18)
@pytest.mark.prop(40)
def test_a_task_that_fails_too_often_fails_and_is_logged(project: Path, tmp_path: Path) -> None:
    run, said = failing(project, tmp_path, fails=9)
    assert (str(run.state), states(run)) == ("failed", {"verify": ("failed", 3)})
    assert [(line["event"], line["attempt"]) for line in said] == [
        ("task is tried again", 1),
        ("task is tried again", 2),
        ("task failed", 3),
    ]


def failing(project: Path, tmp_path: Path, fails: int) -> tuple[Any, list[MutableMapping[str, Any]]]:
    """A DAG whose command answers 75 so many times; its run, and the structured lines of the callbacks."""
    command = tmp_path / "frazil"
    command.write_text(
        f'#!/bin/sh\nn=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n+1)) > "$0.n"; echo "hint: wait" >&2\n[ $n -ge {fails} ] || exit 75\n'
    )
    command.chmod(0o755)
    with DAG("failing", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        FrazilOperator(
            task_id="verify", project=str(project), arguments=["verify"], command=str(command), retries=2, retry_delay=timedelta(0),
            on_retry_callback=log_retry, on_failure_callback=log_failure,
        )  # fmt: skip
    with capture_logs() as said:
        run = ran(dag)
    return run, [line for line in said if line["event"] in ("task is tried again", "task failed") and "attempt" in line]


def test_an_answer_that_is_no_is_final(project: Path, tmp_path: Path) -> None:
    command = tmp_path / "frazil"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    with DAG("final", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        operator = FrazilOperator(task_id="verify", project=str(project), arguments=["verify"], command=str(command), retries=3)
    with pytest.raises(AirflowFailException, match="the answer is no"):
        operator.execute({"run_id": "x"})
    assert dag.dag_id == "final"


class State:
    """What Airflow keeps for an asset, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.kept.get(key, default)

    async def aset(self, key: str, value: str) -> None:
        self.kept[key] = value


@pytest.mark.prop(17)
def test_a_watcher_fires_once_for_what_landed_restarted_or_not(project: Path) -> None:
    state = State()

    def watcher() -> Any:
        path, arguments = IcebergSnapshotTrigger(str(project), poll=0.05).serialize()
        assert path == "frazil.airflow.snapshots.IcebergSnapshotTrigger"
        made = IcebergSnapshotTrigger(**arguments)
        made.asset_state_store = state  # type: ignore[assignment]
        return made.run()

    async def fires(events: Any, seconds: float) -> bool:
        try:
            await asyncio.wait_for(events.__anext__(), seconds)
        except TimeoutError:
            return False
        return True

    def process(seed: int) -> None:
        land(project, seed)
        frazil(project, "process", "--until-idle")

    async def story() -> None:
        assert not await fires(watcher(), 0.5), "nothing has landed"
        process(1)
        assert await fires(watcher(), 20)
        events = watcher()
        assert await fires(events, 20), "the first one was killed in the act: better twice than never"
        assert not await fires(events, 0.5), "once"
        assert not await fires(watcher(), 0.5), "started again it remembers"
        process(2)
        process(3)
        events = watcher()
        assert await fires(events, 20), "a burst fires"
        assert not await fires(events, 0.5), "once"
        assert json.loads(state.kept["fired"])["raw_events"]["sequence"] == 3
        frazil(project, "run", "pipeline", "--json")
        state.kept.clear()
        assert not await fires(watcher(), 0.5), "a run covered it, by whomever it was started"

    asyncio.run(story())


@pytest.mark.prop(17)
def test_a_sensor_waits_in_the_triggerer_until_rows_land(project: Path) -> None:
    with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        sensor = Waiting(task_id="detect", project=str(project), poke_interval=0.2, timeout=60)

    def process() -> None:
        land(project, 1)
        frazil(project, "process", "--until-idle")

    landing = threading.Timer(1, process)
    landing.start()
    run = ran(dag)
    landing.join()
    assert str(run.state) == "success"
    assert sensor.deferrable


class Waiting(IcebergSnapshotSensor):
    """`dag.test()` starts runs by hand, and those do not wait: this one does."""

    def execute(self, context: Any) -> Any:
        run = context["dag_run"]
        return super().execute({**context, "dag_run": type("Run", (), {"run_type": "asset_triggered", "run_id": run.run_id})()})


def test_connections_reach_a_command_as_the_variables_that_clients_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = {"conn_type": "aws", "login": "id", "password": "key", "extra": {"region_name": "eu-west-1"}}
    snow = {"conn_type": "snowflake", "login": "u", "password": "p", "extra": {"account": "a", "warehouse": "w"}}
    monkeypatch.setenv("AIRFLOW_CONN_CLOUD", json.dumps(cloud))
    monkeypatch.setenv("AIRFLOW_CONN_SNOW", json.dumps(snow))
    command = tmp_path / "frazil"
    command.write_text('#!/bin/sh\nenv > "$0.env"\n')
    command.chmod(0o755)
    with DAG("connected", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        FrazilOperator(task_id="run", project=str(project), command=str(command), aws_conn_id="cloud", snowflake_conn_id="snow")
    assert str(ran(dag).state) == "success"
    known = dict(line.partition("=")[::2] for line in command.with_suffix(".env").read_text().splitlines())
    assert {name: value for name, value in known.items() if name.startswith(("AWS_", "SNOWFLAKE_")) and name in EXPECTED} == EXPECTED
    assert not [name for name in known if name.startswith("AIRFLOW")]


EXPECTED = {
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "key",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "SNOWFLAKE_USER": "u",
    "SNOWFLAKE_PASSWORD": "p",
    "SNOWFLAKE_ACCOUNT": "a",
    "SNOWFLAKE_WAREHOUSE": "w",
}


def test_a_step_is_named_after_its_run() -> None:
    words = FrazilStepOperator(task_id="x", project=".", step="process").words({"run_id": "manual__2026-11-20T12:00:00+00:00"})
    assert words[:4] == ["run", "pipeline", "--id", "airflow-manual__2026-11-20T12_00_00_00_00"]
