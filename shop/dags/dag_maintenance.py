"""Upkeep of tables and logs every night, then the books. An Airflow DAG."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from frazil.airflow.operators import FrazilOperator, FrazilStepOperator, log_failure, log_retry

PROJECT = str(Path(__file__).resolve().parent.parent)

with DAG(
    "dag_maintenance",
    description="compaction, expiry, retention, orphans; then verify",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "on_failure_callback": log_failure,
        "on_retry_callback": log_retry,
    },
    tags=["frazil"],
) as dag:
    maintain = FrazilStepOperator(task_id="maintain", project=PROJECT, pipeline="maintain", step="maintain")
    verify = FrazilOperator(task_id="verify", project=PROJECT, arguments=["verify", "--json"])
    maintain >> verify
