"""Airflow's tests run in Airflow's environment; a standalone Airflow is started in the slow ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import ROOT

PYTHON = ROOT / ".venv-airflow/bin/python"
FRAZIL_COMMAND = str(Path(sys.executable).parent / "frazil")

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="Airflow was NOT tested: `make test` installs .venv-airflow")


def environment(project: Path) -> dict[str, str]:
    asked = subprocess.run(
        [PYTHON, "-c", "import json, sys; from pathlib import Path; from frazil.airflow.__main__ import environment;"
         " print(json.dumps(environment(Path(sys.argv[1]), int(sys.argv[2]))))", project, str(free_port())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
    return {**kept, **json.loads(asked.stdout), "FRAZIL_COMMAND": FRAZIL_COMMAND}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_what_runs_inside_airflow(tmp_path: Path) -> None:
    home = tmp_path / "pytest-airflow"
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir", "tests/airflow", "tests/airflow"],
        cwd=ROOT,
        env={**environment(tmp_path), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__UNIT_TEST_MODE": "False"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
