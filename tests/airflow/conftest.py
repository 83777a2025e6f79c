"""A project, a fresh Airflow database, and the platform's command line beside them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPEND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from frazil.log import Record
from frazil.project import Project
project = Project.at(Path(sys.argv[1]))
writer = project.log_writer(project.contract(sys.argv[3]))
writer.append([Record(line) for line in Path(sys.argv[2]).read_bytes().splitlines()], request=1, received_at=datetime.now(UTC))
writer.close()
"""
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """Airflow's own tables; the environment names a fresh home."""
    from airflow.utils.db import initdb

    assert "pytest" in os.environ["AIRFLOW_HOME"]
    initdb()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The blank example with the shop's DAGs; it has no warehouse and no quality, whose steps are skipped."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "examples/blank", root)
    shutil.copytree(ROOT / "shop/dags", root / "dags")
    return root


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The whole shop, with its warehouse and its suites."""
    root = tmp_path / "shop"
    ignored = shutil.ignore_patterns(".frazil", "dbt_packages", "target", "logs", "__pycache__")
    shutil.copytree(ROOT / "shop", root, ignore=ignored)
    return root


def frazil(root: Path, *words: str) -> str:
    done = subprocess.run([os.environ["FRAZIL_COMMAND"], "--project", str(root), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def land(root: Path, seed: int, contract: str = "events", count: int = 20) -> None:
    """Records into the log, by the platform's own processes."""
    text = frazil(root, "generate", contract, "--count", str(count), "--seed", str(seed))
    (root / "records.ndjson").write_text(text)
    python = Path(os.environ["FRAZIL_COMMAND"]).parent / "python"
    subprocess.run([python, "-c", APPEND, root, root / "records.ndjson", contract], check=True, timeout=120)


def ran(dag: Any, **options: Any) -> Any:
    """A DAG's run by `dag.test()`; it must be in the database first."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        if not session.get(DagBundleModel, "testing"):
            session.add(DagBundleModel(name="testing"))
    bag = DagBag(os.devnull, collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "testing", None)
    return dag.test(**options)


def states(run: Any) -> dict[str, tuple[str, int]]:
    """State and number of tries by task."""
    return {one.task_id: (str(one.state), one.try_number) for one in run.get_task_instances()}
