"""From new snapshots to what a dashboard reads. An Airflow DAG: each task is one step of `frazil run pipeline`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetWatcher

from frazil.airflow.operators import FrazilStepOperator, GreatExpectationsOperator, log_failure, log_retry
from frazil.airflow.snapshots import IcebergSnapshotSensor, IcebergSnapshotTrigger

PROJECT = str(Path(__file__).resolve().parent.parent)

landed = Asset(
    name="raw_tables",
    uri="frazil://shop/raw",
    watchers=[AssetWatcher(name="snapshots", trigger=IcebergSnapshotTrigger(PROJECT, dag_id="dag_data_pipeline"))],
)

with DAG(
    "dag_data_pipeline",
    description="ingest, process, catalog, dbt, quality, dashboard",
    schedule=[landed],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        "on_failure_callback": log_failure,
        "on_retry_callback": log_retry,
    },
    tags=["frazil"],
) as dag:
    detect_snapshot = IcebergSnapshotSensor(task_id="detect_snapshot", project=PROJECT, poke_interval=2, timeout=30, soft_fail=True)
    ingest_data = FrazilStepOperator(task_id="ingest_data", project=PROJECT, step="ingest")
    process_with_rust = FrazilStepOperator(task_id="process_with_rust", project=PROJECT, step="process")
    catalog_data = FrazilStepOperator(task_id="catalog_data", project=PROJECT, step="catalog")
    run_dbt = FrazilStepOperator(task_id="run_dbt", project=PROJECT, step="transform")
    quality_checks = GreatExpectationsOperator(task_id="quality_checks", project=PROJECT)
    update_dashboard = FrazilStepOperator(task_id="update_dashboard", project=PROJECT, step="update_dashboard")

    detect_snapshot >> ingest_data >> process_with_rust >> catalog_data >> run_dbt >> quality_checks >> update_dashboard
