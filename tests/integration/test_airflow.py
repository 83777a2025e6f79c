"""Airflow's tests run in Airflow's environment; a standalone Airflow is started in the slow ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from frazil.pipeline.store import Run, RunStore
from tests.airflow.conftest import frazil, land
from tests.shared import ROOT

PYTHON = ROOT / ".venv-airflow/bin/python"
FRAZIL_COMMAND = str(Path(sys.executable).parent / "frazil")

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="Airflow was NOT tested: `make test` installs .venv-airflow")


def environment(project: Path) -> dict[str, str]:
    """Variables for processes in Airflow's environment, which keeps its compiled modules: it is large, and imported often."""
    ask = (
        "import json, sys; from pathlib import Path; from frazil.airflow.__main__ import environment;"
        "print(json.dumps(environment(Path(sys.argv[1]), int(sys.argv[2]))))"
    )
    asked = subprocess.run([PYTHON, "-c", ask, project, str(free_port())], capture_output=True, text=True, check=True)
    dropped = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "COV", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, **json.loads(asked.stdout), "FRAZIL_COMMAND": FRAZIL_COMMAND}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chosen", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_what_runs_inside_airflow(tmp_path: Path, chosen: str) -> None:
    home = tmp_path / "pytest-airflow"
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir", "tests/airflow", "-m", chosen, "tests/airflow"],
        cwd=ROOT,
        env={**environment(tmp_path), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__UNIT_TEST_MODE": "False"},
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


# ---------------------------------------------------------------- a running Airflow: scheduler, triggerer, API


class Airflow:
    """A standalone Airflow on a project's DAGs, and what its API says."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def ask(self, path: str, body: Any = None, token: str | None = None) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        heads = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(urllib.request.Request(self.url + path, sent, heads), timeout=20) as answer:
            return json.load(answer)

    def healthy(self) -> bool:
        assert self.process.poll() is None, "Airflow ended"
        with suppress(OSError):
            parts = self.ask("/api/v2/monitor/health")
            return all(parts[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "triggerer", "dag_processor"))
        return False

    def states(self) -> list[str]:
        """State of every run of the pipeline's DAG, oldest first."""
        token = self.ask("/auth/token")["access_token"]
        runs = self.ask("/api/v2/dags/dag_data_pipeline/dagRuns?order_by=run_after", token=token)["dag_runs"]
        return [str(one["state"]) for one in runs]

    def start(self) -> None:
        token = self.ask("/auth/token")["access_token"]
        self.ask("/api/v2/dags/dag_data_pipeline/dagRuns", {"logical_date": None}, token)


@contextmanager
def standalone(root: Path) -> Iterator[Airflow]:
    known = environment(root)
    log = root / "airflow.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [PYTHON, "-m", "frazil.airflow", str(root), known["AIRFLOW__API__PORT"]],
            cwd=root, env=known, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    airflow = Airflow(f"http://127.0.0.1:{known['AIRFLOW__API__PORT']}", process)
    try:
        await_true(airflow.healthy, 240)
        yield airflow
    except BaseException:
        print(log.read_text()[-6000:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_true(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def stays(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not true():
            return False
        time.sleep(0.5)
    return True


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.prop(17)
@pytest.mark.prop(19)
@pytest.mark.prop(20)
@pytest.mark.prop(21)
def test_a_snapshot_starts_the_pipeline_in_a_running_airflow_and_so_does_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_COMMAND", FRAZIL_COMMAND)
    root = tmp_path / "project"
    shutil.copytree(ROOT / "examples/blank", root)
    shutil.copytree(ROOT / "shop/dags", root / "dags")
    store = RunStore(root / ".frazil")

    def commit(seed: int) -> None:
        land(root, seed)
        frazil(root, "process", "--until-idle")

    def runs() -> list[Run]:
        return list(store.runs(pipeline="pipeline"))

    def covered() -> int:
        known = store.known("pipeline").get("raw_events")
        return 0 if known is None else known.sequence

    with standalone(root) as airflow:
        assert stays(lambda: not runs(), 6), "nothing has landed"
        commit(1)
        await_true(lambda: len(runs()) == 1, 120)
        commit(2)
        commit(3)
        await_true(lambda: covered() == 3 and set(airflow.states()) == {"success"}, 240)
        burst = len(runs())
        assert burst <= 2, "commits while a run works are one more run at most"
        frazil(root, "tables", "maintain", "--json")
        assert stays(lambda: len(airflow.states()) == burst, 10), "maintenance and the pipeline's own commits start nothing"
        airflow.start()
        await_true(lambda: len(runs()) == burst + 1 and set(airflow.states()) == {"success"}, 120)
    assert {(run.state, run.cause["kind"]) for run in runs()} == {("succeeded", "airflow")}
    assert all(store.log_of(run.id).stat().st_size for run in runs())
