"""The warehouse alone, command by command. An Airflow DAG, started by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from frazil.airflow.operators import FrazilOperator, log_failure, log_retry

PROJECT = str(Path(__file__).resolve().parent.parent)

with DAG(
    "dag_dbt_transform",
    description="dbt seed, run, test, docs",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=5),
        "on_failure_callback": log_failure,
        "on_retry_callback": log_retry,
    },
    tags=["frazil"],
) as dag:
    dbt_seed, dbt_run, dbt_test, dbt_docs_generate = (
        FrazilOperator(task_id=name, project=PROJECT, arguments=["transform", word, "--json"])
        for name, word in (("dbt_seed", "seed"), ("dbt_run", "run"), ("dbt_test", "test"), ("dbt_docs_generate", "docs"))
    )
    dbt_seed >> dbt_run >> dbt_test >> dbt_docs_generate
